#!/bin/sh
# Runs the operations of a plan in their order and reports each. Usage: runner DIRECTORY
#
# What templates and users say is data in files of the directory: none of it becomes text of this script, and neither it nor
# the token becomes an argument of a command, which every user of the machine could read. POSIX sh, with base64 and sleep, and
# curl, python3 or wget for the network (BusyBox's wget takes header fields from its arguments only: it is not used).
#
# plan       settings, then a line for each operation: op NUMBER KIND SECONDS SOURCE SHA256 NAMES
# ops/       NUMBER.script or NUMBER.url, NUMBER.env or NUMBER.vars
# state/ID/  NUMBER.ok (it succeeded), NUMBER.log, NUMBER.outputs, work/NUMBER/, spool/ (reports that wait); complete
set -u
umask 077
base=$1
cd -- "$base" && chmod 700 . || exit 70
PATH=${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}
HOME=${HOME:-/root}
export PATH HOME

have() { command -v "$1" >/dev/null 2>&1; }
gnu_wget() { have wget && wget --version 2>/dev/null | grep -q 'GNU Wget'; }

# Becomes the operation, in a process of its own.
launch() {
    umask 022
    cd "$base/state/$id/work/$1" || exit 70
    OSTLER_OUTPUTS=$base/state/$id/$1.outputs
    export OSTLER_OUTPUTS
    script=$base/ops/$1.script
    if [ "$2" = ansible ]; then
        ANSIBLE_NOCOLOR=1 ANSIBLE_RETRY_FILES_ENABLED=0 ANSIBLE_LOCALHOST_WARNING=0 ANSIBLE_PYTHON_INTERPRETER=auto_silent
        LC_ALL=${LC_ALL:-C.UTF-8}
        export ANSIBLE_NOCOLOR ANSIBLE_RETRY_FILES_ENABLED ANSIBLE_LOCALHOST_WARNING ANSIBLE_PYTHON_INTERPRETER LC_ALL
        exec ansible-playbook -i localhost, -c local --extra-vars "@$base/ops/$1.vars" "$script"
    fi
    chmod 700 "$script"
    env=$base/ops/$1.env
    set --
    if [ -f "$env" ]; then
        while read -r name value; do
            # The x keeps line feeds at the end of a value.
            value=$(printf %s "$value" | base64 -d; printf x)
            set -- "$@" "$name=${value%x}"
        done <"$env"
    fi
    # From here on an input may have any variable's name, PATH too: nothing but positions, builtins and full paths.
    set -- "$@" "$script"
    while [ "$#" -gt 1 ]; do
        export "$1"
        shift
    done
    # A shell runs what names no interpreter itself.
    exec "$1"
}

# POSTs a file; prints the status code of the answer, 000 when there was none.
post() {
    token=$(cat token)
    printf '%s\n' "$report" >report.url
    if have curl; then
        {
            printf 'url = "%s"\n' "$report"
            printf 'header = "Authorization: Bearer %s"\n' "$token"
            [ ! -f ca.pem ] || printf 'cacert = "ca.pem"\n'
        } | curl -q --config - --globoff --silent --connect-timeout 15 --max-time 60 --header 'Content-Type: application/json' \
            --header 'Expect:' --proto '=http,https' --data-binary "@$1" --output /dev/null --write-out '%{http_code}'
    elif have python3; then
        python3 -I - "$1" <<'END'
import os, ssl, sys, urllib.error, urllib.request
class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None
with open("report.url") as url, open("token") as token, open(sys.argv[1], "rb") as body:
    fields = {"Authorization": "Bearer " + token.read().strip(), "Content-Type": "application/json"}
    request = urllib.request.Request(url.read().strip(), body.read(), fields, method="POST")
tls = ssl.create_default_context(cafile="ca.pem" if os.path.exists("ca.pem") else None)
try:
    with urllib.request.build_opener(Stay, urllib.request.HTTPSHandler(context=tls)).open(request, timeout=60) as answer:
        print(answer.status)
except urllib.error.HTTPError as error:
    print(error.code)
except Exception as error:
    print("runner:", error, file=sys.stderr)
    print("000")
END
    elif gnu_wget; then
        {
            printf 'header = Authorization: Bearer %s\n' "$token"
            [ ! -f ca.pem ] || printf 'ca_certificate = ca.pem\nca_directory = /nonexistent\n'
        } >wgetrc
        code=$(wget --config=wgetrc --input-file=report.url --quiet --server-response --tries=1 --timeout=60 --max-redirect=0 \
            --header='Content-Type: application/json' --post-file="$1" --output-document=/dev/null 2>&1 |
            sed -n 's|^ *HTTP/[0-9.]* \([0-9][0-9][0-9]\).*|\1|p' | tail -n 1)
        printf '%s' "${code:-000}"
    else
        printf '000'
    fi
}

# Sends the reports that wait, oldest first, each at most $1 times. 1: the host refuses one for good; 2: it cannot be reached.
deliver() {
    [ -n "$report" ] || return 0
    for waiting in "$spool"/*.json; do
        [ -f "$waiting" ] || continue
        try=1 pause=$delay
        while :; do
            code=$(post "$waiting")
            case $code in
            2??)
                rm -f "$waiting"
                break
                ;;
            400 | 409 | 410 | 413 | 415 | 422)
                echo "runner: the host refuses $waiting: $code" >&2
                mv "$waiting" "$waiting.refused"
                return 1
                ;;
            esac
            echo "runner: no delivery of $waiting: $code" >&2
            [ "$try" -lt "$1" ] || return 2
            sleep "$pause"
            try=$((try + 1)) pause=$((pause * 2))
            [ "$pause" -le 60 ] || pause=60
        done
    done
}

# The last report, and the end.
finish() {
    printf '%s\n' "$1" >"$spool/last"
    mv "$spool/last" "$spool/999.json"
    deliver "$tries" || exit 75
    exit "$2"
}

# Gets the script of operation $1 from its address, if it is not here.
fetch() {
    [ ! -f "ops/$1.script" ] || return 0
    url=$(cat "ops/$1.url")
    # Text that is not protected on its way is taken where a digest protects it, so the address may be of either kind.
    case $url in https:*) secure='=https' ;; *) secure='=http,https' ;; esac
    try=1
    while :; do
        if (
            ulimit -f 131072 # 64 MiB
            if have curl; then
                printf 'url = "%s"\n' "$url" | curl -q --config - --globoff --silent --show-error --fail --location --max-redirs 5 \
                    --proto "$secure" --proto-redir "$secure" --connect-timeout 15 --max-time 300 --output "ops/$1.part"
            elif have python3; then
                python3 -I - "ops/$1.url" "ops/$1.part" "$secure" <<'END'
import shutil, sys, urllib.request
source, target, secure = sys.argv[1:]
class Secure(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request, answer, code, text, fields, url):
        if not url.startswith("https:") and secure == "=https":
            raise ValueError("redirection to an address that is not https")
        return super().redirect_request(request, answer, code, text, fields, url)
with open(source) as line:
    url = line.read().strip()
with urllib.request.build_opener(Secure).open(url, timeout=60) as answer, open(target, "wb") as file:
    shutil.copyfileobj(answer, file)
END
            elif gnu_wget; then
                # It cannot be told to refuse redirection to http.
                wget --no-config --input-file="ops/$1.url" --no-verbose --tries=1 --timeout=60 --max-redirect=0 \
                    --output-document="ops/$1.part"
            else
                echo 'runner: no curl, python3 or GNU wget' >&2
                false
            fi
        ); then
            mv "ops/$1.part" "ops/$1.script"
            return
        fi
        [ "$try" -lt 3 ] || return 1
        sleep "$((delay * try))"
        try=$((try + 1))
    done
}

digest() {
    if have sha256sum; then sha256sum <"$1"; elif have shasum; then shasum -a 256 <"$1"; else openssl dgst -sha256 -r <"$1"; fi |
        cut -c 1-64
}

# Runs operation $1 of kind $2 for at most $3 seconds, in a process group of its own where setsid is there.
run() {
    if have setsid; then setsid=setsid group=-; else setsid='' group=''; fi
    # Of this runner: one that was killed may have left a guard behind.
    overdue=$state/overdue.$$ guard=''
    rm -f "$state"/overdue.*
    $setsid sh "$base/runner" "$base" launch "$1" "$2" >"$state/$1.log" 2>&1 </dev/null 3<&- 9>&- &
    child=$!
    trap 'kill ${guard:+"$guard"}; kill -KILL "$group$child"; wait "$child" 2>/dev/null; exit 143' TERM INT
    (
        nap=''
        trap 'kill ${nap:+"$nap"} 2>/dev/null; exit 0' TERM
        sleep "$3" &
        nap=$!
        wait "$nap"
        : >"$overdue"
        kill -TERM "$group$child"
        sleep "$grace" &
        nap=$!
        wait "$nap"
        kill -KILL "$group$child"
    ) >/dev/null 2>&1 </dev/null 3<&- 9>&- &
    guard=$!
    wait "$child" 2>/dev/null
    status=$?
    kill "$guard" 2>/dev/null
    wait "$guard" 2>/dev/null
    trap - TERM INT
    outcome=exit
    if [ -f "$overdue" ]; then
        # What the operation started and left.
        kill -KILL "$group$child" 2>/dev/null
        outcome=timeout
    elif [ "$(wc -c <"$state/$1.outputs")" -gt "$outputs" ]; then
        outcome=outputs
    fi
}

encoded() { base64 | tr -d '\n'; }

report='' spool=''
while read -r key value; do
    case $key in
    id) id=$value ;;
    report) report=$value ;;
    output) output=$value ;;
    outputs) outputs=$value ;;
    tries) tries=$value ;;
    delay) delay=$value ;;
    grace) grace=$value ;;
    esac
done <plan

[ "${2-}" != launch ] || launch "$3" "$4"

state=$base/state/$id spool=$base/state/$id/spool
mkdir -p "$state/work" "$spool"
if have flock; then
    exec 9>"$base/lock"
    flock -n 9 || { echo 'runner: it runs already' >&2; exit 75; }
fi
# How an earlier run ended counts no more, if it was not the end.
[ -f "$state/complete" ] || rm -f "$spool/999.json"

if [ ! -f "$state/complete" ]; then
    while read -r key number kind seconds source sha256 names <&3; do
        [ "$key" = op ] && [ ! -f "$state/$number.ok" ] || continue
        rm -rf "$state/work/$number"
        mkdir "$state/work/$number"
        : >"$state/$number.outputs"
        : >"$state/$number.log"
        status=0 outcome=exit
        if ! have base64; then
            finish '{"failed":{"reason":"no base64"}}' 69
        elif [ "$source" = url ] && ! fetch "$number" 2>"$state/$number.log"; then
            outcome=fetch
        elif [ "$sha256" != - ] && [ "$(digest "ops/$number.script")" != "$sha256" ]; then
            [ "$source" != url ] || rm -f "ops/$number.script"
            outcome=digest
        elif [ "$kind" = ansible ] && ! have ansible-playbook; then
            outcome=tool
        else
            run "$number" "$kind" "$seconds"
        fi
        {
            printf '{"operation":{%s,"outcome":"%s","status":%d,"output":"' "$names" "$outcome" "$status"
            tail -c "$output" "$state/$number.log" | encoded
            printf '","outputs":"'
            [ "$outcome" = outputs ] || encoded <"$state/$number.outputs"
            printf '"}}\n'
        } >"$spool/next"
        mv "$spool/next" "$spool/$number.json"
        [ "$outcome" = exit ] && [ "$status" -eq 0 ] || finish '{"failed":{"reason":"operation"}}' 1
        : >"$state/$number.ok"
        deliver 3
        [ $? -ne 1 ] || finish '{"failed":{"reason":"refused"}}' 1
    done 3<plan
    : >"$state/complete"
    [ -z "$report" ] || finish '{"done":{}}' 0
fi
deliver "$tries" || exit 75
