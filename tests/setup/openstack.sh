#!/usr/bin/env bash
# A real OpenStack for the tests: Keystone, Glance, Placement, Nova and Neutron from PyPI on free ports of 127.0.0.1, with SQLite and an
# in-memory message bus, as processes of whoever calls. Nothing outside DIR and the cache of packages is touched, nothing needs root, and
# Nova's servers are fakes. About a minute and a half, the first time half a minute more; 1 GB of memory.
#   openstack.sh start DIR            prints how to reach it, as shell variables (also in DIR/env)
#   openstack.sh start DIR SERVICE…   starts services again, with their old ports and data
#   openstack.sh kill DIR SERVICE…    ends services as a crash would
#   openstack.sh stop DIR             ends everything and removes DIR; what does not run, or is not there, is no error
# Needs Python 3.11 or newer (OSTLER_PYTHON names another than python3) and curl. OSTLER_TOKEN_SECONDS is the life of a token, counted
# when Keystone starts; OSTLER_OPENSTACK_SECONDS is how long a start may take. A start that fails says why and leaves DIR/log.
set -euo pipefail
umask 077

here=$(cd "$(dirname "$0")/openstack" && pwd)
services="keystone placement glance neutron nova"
limit=${OSTLER_OPENSTACK_SECONDS:-1800}

fail() { echo "openstack.sh: $*" >&2; exit 1; }
say() { echo "[${SECONDS}s] $*" >&2; }

# Seconds until the end of the time for the start; fails when it is over. Argument: what is being waited for.
left() {
    [ "$SECONDS" -lt "$limit" ] || fail "$1: not done after $limit seconds (OSTLER_OPENSTACK_SECONDS)"
    echo $((limit - SECONDS))
}

# What a log ends with.
show() { for log in "$@"; do [ ! -s "$log" ] || { echo "--- $log"; tail -n 20 "$log"; } >&2; done; }

# Whether a process has this in its command line. Arguments: process, text.
runs() { { tr '\0' ' ' <"/proc/$1/cmdline"; } 2>/dev/null | grep -qF -- "$2"; }

# The process of a service, if it is the one that was started here.
running() {
    local process
    process=$(cat "$dir/run/$1.pid" 2>/dev/null) || return 1
    runs "$process" "serve.py $1 $dir " && echo "$process"
}

# The packages, installed once for all runs.
packages() {
    local python=${OSTLER_PYTHON:-python3} stamp seconds
    command -v curl >/dev/null || fail "curl is missing"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "Python 3.11 or newer is needed"
    stamp=$(sha256sum "$here/requirements.txt" | cut -c1-16)
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/ostler-tests
    venv=$cache/openstack-$stamp
    mkdir -p "$cache"
    exec 9>"$venv.lock"
    seconds=$(left "packages")
    flock -w "$seconds" 9 || fail "packages: another run has been installing them for $seconds seconds ($venv.lock)"
    if [ ! -f "$venv/complete" ]; then
        say "installing OpenStack's packages"
        rm -rf "$venv"
        "$python" -m venv "$venv" >&2 || fail "no virtual environment can be made"
        seconds=$(left "packages")
        # All versions are pinned, so there is nothing to resolve.
        timeout "$seconds" "$venv/bin/pip" install -q --no-deps --no-compile --disable-pip-version-check --no-input --retries 5 \
            --progress-bar off -r "$here/requirements.txt" >"$dir/log/pip.log" 2>&1 9>&- || {
            local code=$?
            show "$dir/log/pip.log"
            [ $code != 124 ] || fail "packages: not installed after $limit seconds (OSTLER_OPENSTACK_SECONDS)"
            fail "the packages cannot be installed"
        }
        touch "$venv/complete"
        say "packages are installed"
    fi
    exec 9>&-
}

# Ports that nothing listens on, below the range from which the system takes those of connections: else one might be taken while a service
# is down.
free_ports() {
    "$venv/bin/python" - "$@" <<'EOF'
import random
import socket
import sys

found = []
for port in random.sample(range(20000, 32000), 500):
    one = socket.socket()
    try:
        one.bind(("127.0.0.1", port))
    except OSError:
        continue
    found.append((port, one))
    if len(found) == int(sys.argv[1]):
        print(*(port for port, _ in found))
        sys.exit()
sys.exit("no free ports")
EOF
}

# Everything that processes are told by their environment.
surroundings() {
    unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY
    export no_proxy='*'
    export ADMIN_PASSWORD=adminpw SERVICE_PASSWORD=svcpw DEMO_PASSWORD=demopw CREDENTIAL_SECRET=demo-secret
    read -r keystone placement glance neutron nova <"$dir/ports"
    keystone_url=http://127.0.0.1:$keystone/v3
    export KEYSTONE_URL=$keystone_url OS_NOVA_DISABLE_EVENTLET_PATCHING=1 OS_KEYSTONE_CONFIG_DIR=$dir/etc/keystone \
        OS_GLANCE_CONFIG_DIR=$dir/etc/glance OS_PLACEMENT_CONFIG_DIR=$dir/etc/placement OS_NOVA_CONFIG_DIR=$dir/etc/nova \
        OS_NEUTRON_CONFIG_DIR=$dir/etc/neutron OS_NEUTRON_CONFIG_FILES=neutron.conf PYTHONPATH=$dir/lib
}

. "$here/configure.sh"

# Runs Python until the time is over; its process is noted, so that a failed start can end it. Arguments: a name, script, its arguments.
run_python() {
    local name=$1 seconds code=0
    shift
    seconds=$(left "$name")
    timeout "$seconds" "$venv/bin/python" -W ignore "$@" >"$dir/log/$name.log" 2>&1 </dev/null &
    echo $! >"$dir/run/$name.job"
    wait $! || code=$?
    rm -f "$dir/run/$name.job"
    [ $code = 0 ] && return
    show "$dir/log/$name.log"
    [ $code != 124 ] || fail "$name: not done after $limit seconds (OSTLER_OPENSTACK_SECONDS)"
    fail "$name has failed ($code)"
}

schemas() {
    local service
    for service in "$@"; do run_python "schema-$service" "$here/schema.py" "$service" "$dir"; done
}

bootstrap() { run_python "bootstrap-$1" "$here/bootstrap.py" "$1" "$dir" "$keystone" "$glance" "$nova" "$placement" "$neutron"; }

# Starts services that do not run.
launch() {
    local service
    for service in "$@"; do
        running "$service" >/dev/null && continue
        if (exec 3<>"/dev/tcp/127.0.0.1/${!service}") 2>/dev/null; then fail "port ${!service} of $service is taken"; fi
        setsid "$venv/bin/python" -W ignore "$here/serve.py" "$service" "$dir" "${!service}" >"$dir/log/$service.out" 2>&1 </dev/null &
        echo $! >"$dir/run/$service.pid"
    done
}

await() {
    local service process
    for service in "$@"; do
        # Any answer will do, but from the process that was started here: it is gone if the port was taken.
        until curl -s -o /dev/null -m 5 --noproxy '*' "http://127.0.0.1:${!service}/" && running "$service" >/dev/null; do
            process=$(cat "$dir/run/$service.pid")
            # Before it is what it will be, it is this shell.
            [ -d "/proc/$process" ] || { show "$dir/log/$service.out" "$dir/log/$service.log"; fail "$service has ended"; }
            [ "$SECONDS" -lt "$limit" ] || { show "$dir/log/$service.out" "$dir/log/$service.log"; left "$service"; }
            sleep 0.2
        done
    done
}

start_all() {
    [ ! -e "$dir" ] || [ -z "$(ls -A "$dir")" ] || fail "$dir is not empty"
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    touch "$dir/.ostler-openstack"
    mkdir -p "$dir"/{db,log,run,images,staging,tasks,nova/instances,neutron,lib}
    trap '[ $? = 0 ] || { stop_services; echo "openstack.sh: the logs are in $dir/log" >&2; }' EXIT
    trap 'exit 130' INT TERM
    packages
    free_ports 5 >"$dir/ports"
    # Everything from here on is on this machine.
    surroundings
    configure
    schemas keystone placement glance & local first=$!
    schemas neutron nova & local second=$!
    wait $first || fail "no schemas"
    launch keystone
    wait $second || fail "no schemas"
    await keystone
    say "schemas are made"
    bootstrap identity
    launch placement glance neutron nova
    await placement glance neutron nova
    say "all services answer"
    bootstrap data
    cat >"$dir/env" <<EOF
OS_AUTH_URL=$keystone_url
OS_REGION_NAME=RegionOne
OS_USERNAME=demo
OS_PASSWORD=$DEMO_PASSWORD
OS_PROJECT_NAME=demo
OS_USER_DOMAIN_ID=default
OS_PROJECT_DOMAIN_ID=default
OS_APPLICATION_CREDENTIAL_ID=$(cat "$dir/credential")
OS_APPLICATION_CREDENTIAL_SECRET=$CREDENTIAL_SECRET
OSTLER_OPENSTACK_ADMIN_PASSWORD=$ADMIN_PASSWORD
OSTLER_OPENSTACK_DIR=$dir
OSTLER_OPENSTACK_PYTHON=$venv/bin/python
OSTLER_OPENSTACK_TOOLS=$here
EOF
    say "ready"
    cat "$dir/env"
}

# Services of a cloud that is there.
start_again() {
    mine
    venv=$(sed -n 's|^OSTLER_OPENSTACK_PYTHON=\(.*\)/bin/python$|\1|p' "$dir/env")
    surroundings
    if [ -n "${OSTLER_TOKEN_SECONDS:-}" ]; then
        sed -i "s/^expiration = .*/expiration = $OSTLER_TOKEN_SECONDS/" "$dir/etc/keystone/keystone.conf"
    fi
    launch "$@"
    await "$@"
}

# Ends what a start may have left running.
stop_services() {
    local job service
    for job in "$dir"/run/*.job; do
        if [ -f "$job" ] && runs "$(cat "$job")" "$dir "; then kill "$(cat "$job")" 2>/dev/null || true; fi
        rm -f "$job"
    done
    for service in $services; do end "$service" TERM; done
    for service in $services; do await_end "$service"; done
}

end() {
    local process
    process=$(running "$1") || return 0
    kill -s "$2" "$process" 2>/dev/null || true
}

# A process that is being killed has no command line any more and still its port.
await_end() {
    local process tries=0
    process=$(cat "$dir/run/$1.pid" 2>/dev/null) || return 0
    while running "$1" >/dev/null; do
        tries=$((tries + 1))
        [ $tries -le 50 ] || end "$1" KILL
        sleep 0.1
    done
    until ! [ -e "/proc/$process" ] || [ -s "/proc/$process/cmdline" ] || grep -qs '^State:.Z' "/proc/$process/status"; do sleep 0.1; done
    rm -f "$dir/run/$1.pid"
}

# Only what was made here is touched.
mine() {
    dir=$(cd "$dir" && pwd)
    [ -f "$dir/.ostler-openstack" ] || fail "$dir was not made by start"
}

action=${1:-} dir=${2:-}
[ -n "$dir" ] || action=
shift $(($# < 2 ? $# : 2))
for service in "$@"; do
    case " $services " in *" $service "*) ;; *) fail "no service $service; there are $services" ;; esac
done
case "$action:$#" in
start:0) start_all ;;
start:*)
    [ -f "$dir/env" ] || fail "no cloud was started in $dir"
    start_again "$@"
    ;;
kill:[1-9]*)
    mine
    for service in "$@"; do end "$service" KILL; done
    for service in "$@"; do await_end "$service"; done
    ;;
stop:0)
    [ -d "$dir" ] || exit 0
    [ -n "$(ls -A "$dir")" ] || { rmdir "$dir"; exit 0; }
    mine
    stop_services
    rm -rf "$dir"
    ;;
*) fail "usage: openstack.sh start DIR [SERVICE…] | kill DIR SERVICE… | stop DIR" ;;
esac
