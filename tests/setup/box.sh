#!/usr/bin/env bash
# A cloud in a box: a hypervisor with one server on it, from nothing to a guest that answers through a forwarded port, and back to nothing,
# call by call.
#   box.sh demo DIR        libvirt (libvirt.sh), an image to fetch, the server, the calls; all of it is gone afterwards
# Needs root, curl, Python 3, and what libvirt.sh needs. OSTLER_BIN is the server, built with the feature `libvirt` (default:
# target/release/ostler), OSTLER_LIBVIRT_COMPONENT the built driver (default: target/drivers/wasm32-wasip2/driver/ostler_plugin_libvirt.wasm).
set -euo pipefail
umask 077

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
server=${OSTLER_BIN:-$root/target/release/ostler}
component=${OSTLER_LIBVIRT_COMPONENT:-$root/target/drivers/wasm32-wasip2/driver/ostler_plugin_libvirt.wasm}
# Nobody else is in the network in which the calls are made.
api=http://127.0.0.1:5050

fail() { echo "box.sh: $*" >&2; exit 1; }

# Prints a call as one would type it, and what it answers.
call() {
    local method=$1 path=$2 body=${3:-}
    printf '\n$ curl -u admin -X %s %s%s' "$method" "$api" "$path"
    [ -z "$body" ] || printf " -d '%s'" "$body"
    echo
    answer=$(ask -X "$method" ${body:+-H 'Content-Type: application/json' -d "$body"} "$api$path") || { echo "$answer"; fail "this call has failed"; }
    [ -z "$answer" ] || echo "$answer"
}

ask() { curl -sS --fail-with-body -m 60 --noproxy '*' -u "admin:$OSTLER_ADMIN_PASSWORD" "$@"; }

# The number that follows a key in the last answer.
number() { grep -oE "\"$1\": ?[0-9]+" <<<"$answer" | head -n 1 | grep -oE '[0-9]+'; }

# Waits until an answer has a text. Arguments: path, text, a text with which there is nothing to wait for.
until_it_says() {
    for _ in $(seq 600); do
        answer=$(ask "$api$1")
        ! grep -q "$2" <<<"$answer" || return 0
        [ -z "${3:-}" ] || ! grep -q "$3" <<<"$answer" || break
        sleep 0.2
    done
    fail "$1 does not come to $2: $answer"
}

demo() {
    local image instance port rule page
    call GET /cloudedge/platform/resources
    call POST /cloudedge/images '{"image": {"name": "tiny", "imageRef": "http://127.0.0.1:8080/tiny.qcow2"}}'
    image=$(number id)
    until_it_says "/cloudedge/images/$image" ACTIVE ERROR
    call GET "/cloudedge/images/$image"
    call POST /cloudedge/instances "{\"instance\": {\"imageRef\": $image, \"name\": \"web\"}}"
    instance=$(number id)
    call POST /cloudedge/fwrules "{\"fwrule\": {\"instanceRef\": $instance, \"port_to\": 80}}"
    rule=$(number id) port=$(number port_from)
    call POST "/cloudedge/instances/$instance/action" '{"start": null}'
    for _ in $(seq 600); do
        page=$(curl -sS -m 5 --noproxy '*' "http://127.0.0.1:$port/index.html" 2>/dev/null) && break
        sleep 0.5
    done
    [ -n "$page" ] || fail "the guest does not answer"
    printf '\n$ curl http://127.0.0.1:%s/index.html\n%s\n' "$port" "$page"
    call GET "/cloudedge/instances/$instance"
    until_it_says "/cloudedge/instance/$instance/metrics" CPUUtilization
    call GET "/cloudedge/instance/$instance/metrics"
    call DELETE "/cloudedge/instances/$instance"
    call DELETE "/cloudedge/images/$image"
    ! ask "$api/cloudedge/fwrules/$rule" >/dev/null 2>&1 || fail "the rule is there still"
    printf '\nThe rule went with its instance; nothing is left.\n'
}

# Where the guests are.
inside() {
    local ostler images ready=
    OSTLER_ADMIN_PASSWORD=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')
    export OSTLER_ADMIN_PASSWORD
    python3 -m http.server -d "$dir/libvirt/images" -b 127.0.0.1 8080 >"$dir/images.log" 2>&1 &
    images=$!
    "$server" serve --config "$dir/ostler.toml" --data "$dir/data" >"$dir/out" 2>"$dir/log" &
    ostler=$!
    # shellcheck disable=SC2064
    trap "kill $images $ostler 2>/dev/null; wait $ostler 2>/dev/null || true" EXIT
    for _ in $(seq 600); do
        ask "$api/ostler/v1/clouds" 2>/dev/null | grep -q '"state":"serving"' && ready=yes && break
        [ -d "/proc/$ostler" ] || break
        sleep 0.1
    done
    [ -n "$ready" ] || { tail -n 20 "$dir/log" >&2; fail "the server does not serve its cloud"; }
    demo
}

start() {
    [ ! -e "$dir" ] || [ -z "$(ls -A "$dir")" ] || fail "$dir is not empty"
    [ -x "$server" ] || fail "no server at $server: build it, or set OSTLER_BIN"
    [ -f "$component" ] || fail "no component at $component: build it (README), or set OSTLER_LIBVIRT_COMPONENT"
    mkdir -p "$dir/data/drivers"
    dir=$(cd "$dir" && pwd)
    # shellcheck disable=SC2064
    trap "'$here/libvirt.sh' stop '$dir/libvirt'; rm -rf '$dir'" EXIT
    "$here/libvirt.sh" start "$dir/libvirt" >/dev/null
    cp "$component" "$dir/data/drivers/libvirt.wasm"
    cat >"$dir/ostler.toml" <<EOF
[server]
listen = "${api#http://}"
[clouds.default]
driver = "libvirt"
grants = { hypervisor = "$(sed -n 's/^OSTLER_TEST_LIBVIRT=//p' "$dir/libvirt/env")" }
config = { sizes = [{ id = "tiny", vcpus = 1, ram_mb = 128, disk_gb = 0 }] }
[clouds.default.hypervisor]
virtualization = "qemu"
[images]
inside = ["http://127.0.0.1:8080"]
[forwarding]
listen = "127.0.0.1"
[metrics]
interval_seconds = 5
EOF
    "$here/libvirt.sh" exec "$dir/libvirt" bash "${BASH_SOURCE[0]}" inside "$dir"
}

action=${1:-} dir=${2:-}
case "$action:${dir:+dir}" in
demo:dir) start ;;
inside:dir) inside ;;
*) fail "usage: box.sh demo DIR" ;;
esac
