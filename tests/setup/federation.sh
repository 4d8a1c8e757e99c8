#!/usr/bin/env bash
# Two Ostlers on this machine: `far` with a dummy cloud and the Cloud Edge API, and `near` whose cloud `home1` is the far one, by the edge
# driver over HTTPS with the far authority pinned.
#   federation.sh start DIR             prints how to reach both, as shell variables (also in DIR/env)
#   federation.sh start DIR far|near    starts one of them again, with its old port and data
#   federation.sh kill DIR far|near     ends one as a crash would
#   federation.sh demo DIR              a node's life through both, call by call; starts both where they do not run, and stops them then
#   federation.sh stop DIR              ends both and removes DIR; what does not run, or is not there, is no error
# Needs curl and openssl. OSTLER_BIN is the server (default: target/release/ostler), OSTLER_EDGE_COMPONENT the built edge driver (default:
# target/drivers/wasm32-wasip2/driver/ostler_plugin_edge.wasm).
set -euo pipefail
umask 077

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
server=${OSTLER_BIN:-$root/target/release/ostler}
component=${OSTLER_EDGE_COMPONENT:-$root/target/drivers/wasm32-wasip2/driver/ostler_plugin_edge.wasm}

fail() { echo "federation.sh: $*" >&2; exit 1; }

# A port that nothing listens on, below the range from which the system takes those of connections. Arguments: ports that are taken already.
free_port() {
    local port
    for _ in $(seq 200); do
        port=$((20000 + RANDOM % 12000))
        [[ " $* " != *" $port "* ]] || continue
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
    fail "no free port"
}

# The process of a server, if it is the one that was started here.
running() {
    local process
    process=$(cat "$dir/$1/pid" 2>/dev/null) || return 1
    [[ "$({ tr '\0' ' ' <"/proc/$process/cmdline"; } 2>/dev/null)" == *" --data $dir/$1/data "* ]] && echo "$process"
}

# Starts a server that does not run, and waits until it is ready.
launch() {
    local name=$1 process
    running "$name" >/dev/null && return
    rm -f "$dir/$name/out"
    (
        . "$dir/$name/secrets"
        unset OSTLER_BIN OSTLER_EDGE_COMPONENT
        exec setsid "$server" serve --config "$dir/$name/ostler.toml" --data "$dir/$name/data" >"$dir/$name/out" 2>>"$dir/$name/log" </dev/null
    ) &
    process=$!
    echo "$process" >"$dir/$name/pid"
    for _ in $(seq 600); do
        ! grep -q '^listening on ' "$dir/$name/out" 2>/dev/null || return 0
        [ -d "/proc/$process" ] || break
        sleep 0.1
    done
    tail -n 20 "$dir/$name/log" >&2
    fail "$name does not start"
}

# Arguments: server, signal.
end() {
    local process tries=0
    process=$(running "$1") || return 0
    kill -s "$2" "$process" 2>/dev/null || true
    # A process that is being killed has no command line any more, and still its files.
    while [ -e "/proc/$process" ] && ! grep -qs '^State:.Z' "/proc/$process/status"; do
        tries=$((tries + 1))
        [ $tries -le 400 ] || kill -s KILL "$process" 2>/dev/null || true
        sleep 0.1
    done
    rm -f "$dir/$1/pid"
}

configure() {
    local far near
    far=$(free_port)
    near=$(free_port "$far")
    mkdir -p "$dir"/{far,near}/data/drivers
    echo "export OSTLER_ADMIN_PASSWORD=$(openssl rand -hex 16)" >"$dir/far/secrets"
    { echo "export OSTLER_ADMIN_PASSWORD=$(openssl rand -hex 16)"; echo "export HOME1_PASSWORD=$(openssl rand -hex 16)"; } >"$dir/near/secrets"
    # The Cloud Edge API is one cloud: `default`.
    cat >"$dir/far/ostler.toml" <<EOF
[server]
listen_tls = "127.0.0.1:$far"
tls_names = ["127.0.0.1", "localhost"]
[clouds.default]
driver = "dummy"
config = { form = "plain", boot_ms = 500 }
EOF
    cat >"$dir/near/ostler.toml" <<EOF
[server]
listen = "127.0.0.1:$near"
[clouds.home1]
driver = "edge"
grants = { http = ["https://127.0.0.1:$far"] }
config = { url = "https://127.0.0.1:$far/cloudedge", username = "near" }
secrets = { password = { env = "HOME1_PASSWORD" } }
tls = { ca = "far-ca.pem" }
EOF
    cp "$component" "$dir/near/data/drivers/edge.wasm"
    cat >"$dir/env" <<EOF
FAR_URL=https://127.0.0.1:$far
FAR_CA=$dir/near/far-ca.pem
FAR_USER=near
FAR_PASSWORD=$(sed -n 's/^export HOME1_PASSWORD=//p' "$dir/near/secrets")
FAR_ADMIN_PASSWORD=$(sed -n 's/^export OSTLER_ADMIN_PASSWORD=//p' "$dir/far/secrets")
NEAR_URL=http://127.0.0.1:$near
NEAR_USER=admin
NEAR_PASSWORD=$(sed -n 's/^export OSTLER_ADMIN_PASSWORD=//p' "$dir/near/secrets")
EOF
}

start_all() {
    [ ! -e "$dir" ] || [ -z "$(ls -A "$dir")" ] || fail "$dir is not empty"
    [ -x "$server" ] || fail "no server at $server: build it, or set OSTLER_BIN"
    [ -f "$component" ] || fail "no component at $component: build it (README), or set OSTLER_EDGE_COMPONENT"
    command -v curl >/dev/null && command -v openssl >/dev/null || fail "curl or openssl is missing"
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    touch "$dir/.ostler-federation"
    trap '[ $? = 0 ] || { end near TERM; end far TERM; echo "federation.sh: the logs are in $dir" >&2; }' EXIT
    configure
    . "$dir/env"
    launch far
    cp "$dir/far/data/ca/ca_cert.pem" "$dir/near/far-ca.pem"
    # The role of somebody who makes and sees instances of his own.
    "$server" user add near --role guest --password-stdin --data "$dir/far/data" <<<"$FAR_PASSWORD" >/dev/null
    launch near
    await_cloud
}

# Waits until the near server has compiled the driver and the far one has answered its check.
await_cloud() {
    local state
    for _ in $(seq 600); do
        state=$(near "$NEAR_URL/ostler/v1/clouds") || fail "the near server does not answer: $state"
        ! grep -q '"state":"serving"' <<<"$state" || return 0
        ! grep -q '"state":"degraded"' <<<"$state" || break
        sleep 0.1
    done
    fail "the cloud home1 is not served: $state"
}

near() { curl -sS --fail-with-body -m 60 --noproxy '*' -u "$NEAR_USER:$NEAR_PASSWORD" -H 'Content-Type: application/json' "$@"; }
far() { curl -sS --fail-with-body -m 60 --noproxy '*' --cacert "$FAR_CA" -u "$FAR_USER:$FAR_PASSWORD" "$@"; }

# Prints a call as one would type it, and what it answers.
call() {
    local who=$1 method=$2 path=$3 body=${4:-} url
    [ "$who" = near ] && url=$NEAR_URL || url=$FAR_URL
    printf '\n$ curl -X %s %s%s' "$method" "$url" "$path"
    [ -z "$body" ] || printf " -d '%s'" "$body"
    echo
    answer=$("$who" -X "$method" ${body:+-d "$body"} "$url$path") || { echo "$answer"; fail "this call has failed"; }
    echo "$answer"
}

# The first match of a pattern in the last answer.
found() { grep -oE "$1" <<<"$answer" | head -n 1 | grep -oE '[0-9]+' | head -n 1; }

demo() {
    local image node
    . "$dir/env"
    call far GET /cloudedge/platform/version
    call near GET /api/v1/images/home1
    image=$(found '"id": "[0-9]+"') || fail "the near server shows no image"
    call near GET /api/v1/sizes/home1
    call near POST /api/v1/vm/start/home1 "{\"name\": \"web\", \"image\": \"$image\", \"size\": \"default\"}"
    node=$(found '"id": "[0-9]+"') || fail "no node was made"
    echo "(the same node, at the far server: its name has the near server's token)"
    call far GET "/cloudedge/instances/$node"
    for _ in $(seq 100); do
        answer=$(far "$FAR_URL/cloudedge/instances/$node")
        grep -q '"running"' <<<"$answer" && break
        near "$NEAR_URL/api/v1/nodes/home1" >/dev/null
        sleep 0.2
    done
    grep -q '"running"' <<<"$answer" || fail "the node does not come up"
    call near GET /api/v1/nodes/home1
    call near PUT /api/v1/vm/stop/home1 "{\"node\": \"$node\"}"
    call far GET /cloudedge/instances
    ! grep -q "\"id\": *$node[,}]" <<<"$answer" || fail "the instance is there still"
    printf '\nBoth are as they were before.\n'
}

# Only what was made here is touched.
mine() {
    dir=$(cd "$dir" && pwd)
    [ -f "$dir/.ostler-federation" ] || fail "$dir was not made by start"
}

stop_all() {
    [ -d "$dir" ] || return 0
    [ -n "$(ls -A "$dir")" ] || { rmdir "$dir"; return 0; }
    mine
    end near TERM
    end far TERM
    rm -rf "$dir"
}

action=${1:-} dir=${2:-} which=${3:-}
case "$action:${dir:+dir}:$which" in
start:dir:) start_all; cat "$dir/env" ;;
start:dir:far) mine; launch far ;;
start:dir:near) mine; . "$dir/env"; launch near; await_cloud ;;
kill:dir:far | kill:dir:near) mine; end "$which" KILL ;;
demo:dir:)
    if [ -f "$dir/.ostler-federation" ]; then
        mine
        demo
    else
        start_all
        demo
        stop_all
    fi
    ;;
stop:dir:) stop_all ;;
*) fail "usage: federation.sh start DIR [far|near] | kill DIR far|near | demo DIR | stop DIR" ;;
esac
