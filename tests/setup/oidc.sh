#!/usr/bin/env bash
# A private OpenID provider for the tests: npm's `oidc-provider`, started on a free port of 127.0.0.1. What it needs is installed
# once for each lock file, below OSTLER_TEST_CACHE or the user's cache directory.
#   oidc.sh start DIR   prints the issuer's URL
#   oidc.sh stop DIR
set -euo pipefail

fail() { echo "oidc.sh: $*" >&2; exit 1; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/oidc" && pwd)

has_node() { command -v npm >/dev/null && node -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)' 2>/dev/null; }

install() {
    [ "$(id -u)" = 0 ] || fail "Node.js 20 with npm is missing and only root can install it: apt-get install nodejs npm"
    echo "installing Node.js" >&2
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends nodejs npm; } >&2
    has_node || fail "the system's Node.js is older than 20: see https://nodejs.org"
}

# Prints the directory of the installed packages.
packages() {
    local sum cache new
    sum=$(sha256sum "$here/package-lock.json" | cut -c 1-16)
    cache=${OSTLER_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ostler-tests}/oidc-$sum
    if [ ! -d "$cache/node_modules" ]; then
        mkdir -p "$(dirname "$cache")"
        new=$(mktemp -d "$cache.XXXXXX")
        cp "$here/package.json" "$here/package-lock.json" "$new"
        (cd "$new" && npm ci --ignore-scripts --no-audit --no-fund) >&2 || { rm -rf "$new"; fail "npm ci failed"; }
        # Somebody else may have been faster.
        mv -T "$new" "$cache" 2>/dev/null || rm -rf "$new"
    fi
    echo "$cache/node_modules"
}

case "${1:-}" in
start)
    dir=${2:?a directory}
    has_node || install
    modules=$(packages)
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    # Packages are looked for beside the program.
    cp "$here/provider.mjs" "$here/package.json" "$dir"
    ln -sfn "$modules" "$dir/node_modules"
    setsid node "$dir/provider.mjs" "$dir/url" >"$dir/log" 2>&1 </dev/null &
    pid=$!
    echo "$pid" >"$dir/pid"
    for _ in $(seq 300); do
        if [ -f "$dir/url" ]; then
            cat "$dir/url"
            echo
            exit 0
        fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    cat "$dir/log" >&2
    kill "$pid" 2>/dev/null || true
    fail "the provider does not start"
    ;;
stop)
    dir=${2:?a directory}
    pid=$(cat "$dir/pid" 2>/dev/null || true)
    # The number may be another program's by now.
    if [ -n "$pid" ] && tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "/provider.mjs "; then
        kill "$pid" 2>/dev/null || true
    fi
    rm -rf "$dir"
    ;;
*) fail "usage: oidc.sh start|stop DIR" ;;
esac
