#!/usr/bin/env bash
# A private PostgreSQL for the tests: installed if it is missing, started on a free port of 127.0.0.1, without the network and
# without touching a server that is there already.
#   postgres.sh start DIR   prints the URL of a superuser
#   postgres.sh stop DIR
set -euo pipefail

fail() { echo "postgres.sh: $*" >&2; exit 1; }

binaries() {
    local found
    found=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1 || true)
    [ -n "$found" ] || found=$(dirname "$(command -v initdb 2>/dev/null)" 2>/dev/null || true)
    [ -n "$found" ] && [ -x "$found/initdb" ] && echo "$found"
}

install() {
    [ "$(id -u)" = 0 ] || fail "PostgreSQL is missing and only root can install it: apt-get install postgresql"
    echo "installing PostgreSQL" >&2
    # The package would start a server of its own; this one is ours.
    mkdir -p /etc/postgresql-common
    [ -f /etc/postgresql-common/createcluster.conf ] || echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends postgresql; } >&2
}

# PostgreSQL refuses to run as root.
as_server() {
    if [ "$(id -u)" = 0 ]; then runuser -u "$owner" -- "$@"; else "$@"; fi
}

owner=$(id -un)
if [ "$owner" = root ]; then
    owner=postgres
fi

case "${1:-}" in
start)
    dir=${2:?a directory}
    bin=$(binaries) || { install; bin=$(binaries); } || fail "no initdb found"
    if [ "$(id -u)" = 0 ] && ! id "$owner" >/dev/null 2>&1; then useradd --system --home "$dir" "$owner"; fi
    mkdir -p "$dir"
    if [ "$(id -u)" = 0 ]; then chown "$owner" "$dir"; fi
    as_server "$bin/initdb" -D "$dir/data" -U tests -A trust --no-sync -E UTF8 --locale=C >"$dir/initdb.log" 2>&1 || { cat "$dir/initdb.log" >&2; fail "initdb failed"; }
    for _ in 1 2 3 4 5; do
        port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
        if as_server "$bin/pg_ctl" -D "$dir/data" -l "$dir/server.log" -w -t 60 \
            -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c max_connections=300" start >/dev/null 2>&1; then
            echo "postgres://tests@127.0.0.1:$port/postgres"
            exit 0
        fi
    done
    cat "$dir/server.log" >&2 || true
    fail "the server does not start"
    ;;
stop)
    dir=${2:?a directory}
    bin=$(binaries)
    as_server "$bin/pg_ctl" -D "$dir/data" -m immediate stop >/dev/null 2>&1 || true
    rm -rf "$dir"
    ;;
*) fail "usage: postgres.sh start|stop DIR" ;;
esac
