#!/usr/bin/env bash
# A real OpenStack for the tests: Keystone, Glance, Placement, Nova and Neutron from PyPI on free ports of 127.0.0.1, with SQLite and an
# in-memory message bus, as processes of whoever calls. Nothing outside DIR and the cache of packages is touched, nothing needs root, and
# Nova's servers are fakes. About a minute and a half, the first time half a minute more; 1 GB of memory.
#   openstack.sh start DIR    prints how to reach it, as shell variables (also in DIR/env)
#   openstack.sh stop DIR
# Needs Python 3.11 or newer (OSTLER_PYTHON names another than python3). OSTLER_TOKEN_SECONDS is the life of a token.
set -euo pipefail

fail() { echo "openstack.sh: $*" >&2; exit 1; }

here=$(cd "$(dirname "$0")/openstack" && pwd)
action=${1:-} dir=${2:-}
services="keystone placement glance neutron nova"

# The process of a service, if it is the one that was started here.
running() {
    local process
    process=$(cat "$dir/run/$1.pid" 2>/dev/null) || return 1
    { tr '\0' ' ' <"/proc/$process/cmdline"; } 2>/dev/null | grep -qF "serve.py $1 " && echo "$process"
}

# The packages, installed once for all runs.
packages() {
    local python=${OSTLER_PYTHON:-python3} stamp
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "Python 3.11 or newer is needed"
    stamp=$(sha256sum "$here/requirements.txt" | cut -c1-16)
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/ostler-tests
    venv=$cache/openstack-$stamp
    mkdir -p "$cache"
    exec 9>"$venv.lock"
    flock 9
    if [ ! -f "$venv/complete" ]; then
        echo "installing OpenStack's packages" >&2
        rm -rf "$venv"
        "$python" -m venv "$venv" >&2 || fail "no virtual environment can be made"
        # All versions are pinned, so there is nothing to resolve.
        "$venv/bin/pip" install -q --no-deps --no-compile --disable-pip-version-check -r "$here/requirements.txt" >&2 ||
            fail "the packages cannot be installed"
        touch "$venv/complete"
    fi
    exec 9>&-
}

# Who a service is for the others.
credentials() {
    cat <<EOF
auth_type = password
auth_url = $keystone_url
username = svc
password = $SERVICE_PASSWORD
user_domain_id = default
project_domain_id = default
project_name = service
region_name = RegionOne
EOF
}

connection() { printf 'connection = sqlite:///%s/db/%s.db?timeout=60\nsqlite_synchronous = false\n' "$dir" "$1"; }

# What all have: log, bus, database, and how to check tokens. Arguments: name, section of the database.
common() {
    cat <<EOF
[DEFAULT]
log_file = $dir/log/$1.log
use_stderr = false
transport_url = fake://
$(cat)
[${2:-database}]
$(connection "${3:-$1}")
[keystone_authtoken]
www_authenticate_uri = $keystone_url
service_token_roles_required = true
$(credentials)
[oslo_concurrency]
lock_path = $dir/run
EOF
}

configure() {
    local etc=$dir/etc
    mkdir -p "$etc"/{keystone,glance,placement,nova,neutron}
    common keystone <<<"" >"$etc/keystone/keystone.conf"
    cat >>"$etc/keystone/keystone.conf" <<EOF
[token]
expiration = ${OSTLER_TOKEN_SECONDS:-3600}
[fernet_tokens]
key_repository = $etc/keystone/fernet-keys
[fernet_receipts]
key_repository = $etc/keystone/fernet-keys
[credential]
key_repository = $etc/keystone/credential-keys
[cache]
enabled = true
backend = dogpile.cache.memory
[identity]
password_hash_rounds = 4
EOF
    common glance >"$etc/glance/glance-api.conf" <<EOF
enabled_backends = file:file
node_staging_uri = file://$dir/staging
EOF
    # Images come from ports of this machine.
    cat >>"$etc/glance/glance-api.conf" <<EOF
[glance_store]
default_backend = file
[file]
filesystem_store_datadir = $dir/images
[os_glance_staging_store]
filesystem_store_datadir = $dir/staging
[os_glance_tasks_store]
filesystem_store_datadir = $dir/tasks
[import_filtering_opts]
allowed_ports =
[paste_deploy]
flavor = keystone
config_file = $venv/etc/glance/glance-api-paste.ini
EOF
    common placement placement_database <<<"" >"$etc/placement/placement.conf"
    printf '[api]\nauth_strategy = keystone\n' >>"$etc/placement/placement.conf"
    common nova database nova_cell1 >"$etc/nova/nova.conf" <<EOF
host = fakehost1
my_ip = 127.0.0.1
state_path = $dir/nova
instances_path = $dir/nova/instances
compute_driver = fake.FakeDriverWithoutFakeNodes
enabled_apis = osapi_compute
allow_resize_to_same_host = true
EOF
    cat >>"$etc/nova/nova.conf" <<EOF
[api]
auth_strategy = keystone
[api_database]
$(connection nova_api)
[service_user]
send_service_user_token = true
$(credentials)
[placement]
$(credentials)
[neutron]
$(credentials)
[glance]
api_servers = http://127.0.0.1:$glance
[scheduler]
workers = 1
[conductor]
workers = 1
[vnc]
enabled = false
[cache]
enabled = true
backend = dogpile.cache.memory
EOF
    cp "$venv/etc/nova/api-paste.ini" "$etc/nova/"
    common neutron >"$etc/neutron/neutron.conf" <<EOF
state_path = $dir/neutron
core_plugin = ml2
service_plugins = router
auth_strategy = keystone
api_paste_config = $venv/etc/neutron/api-paste.ini
enable_traditional_dhcp = false
rpc_workers = 0
EOF
    cat >>"$etc/neutron/neutron.conf" <<EOF
[nova]
$(credentials)
[ml2]
type_drivers = flat,vxlan
tenant_network_types = vxlan
mechanism_drivers = ostler
extension_drivers = port_security
[ml2_type_flat]
flat_networks = *
[ml2_type_vxlan]
vni_ranges = 1:10000
EOF
    # Neutron finds drivers by the entry points of what is installed.
    mkdir -p "$dir/lib/ostler_ml2-1.0.dist-info"
    cp "$here/ostler_ml2.py" "$dir/lib/"
    printf 'Metadata-Version: 2.1\nName: ostler-ml2\nVersion: 1.0\n' >"$dir/lib/ostler_ml2-1.0.dist-info/METADATA"
    printf '[neutron.ml2.mechanism_drivers]\nostler = ostler_ml2:MechanismDriver\n' >"$dir/lib/ostler_ml2-1.0.dist-info/entry_points.txt"
}

python() { PYTHONPATH=$dir/lib "$venv/bin/python" -W ignore "$@"; }

schema() {
    local service
    for service in "$@"; do
        python "$here/schema.py" "$service" "$dir" >>"$dir/log/schema-$1.log" 2>&1 || { tail -n 20 "$dir/log/schema-$1.log" >&2; return 1; }
    done
}

# Arguments: service, port.
launch() {
    PYTHONPATH=$dir/lib setsid "$venv/bin/python" -W ignore "$here/serve.py" "$1" "$2" >"$dir/log/$1.out" 2>&1 </dev/null &
    echo $! >"$dir/run/$1.pid"
}

await() {
    local _
    for _ in $(seq 1 900); do
        curl -s -o /dev/null -m 5 --noproxy '*' "http://127.0.0.1:$2/" && return 0
        running "$1" >/dev/null || { tail -n 20 "$dir/log/$1.out" "$dir/log/$1.log" >&2; fail "$1 has ended"; }
        sleep 0.2
    done
    fail "$1 does not answer; see $dir/log/$1.log"
}

start() {
    [ ! -e "$dir" ] || [ -z "$(ls -A "$dir")" ] || fail "$dir is not empty"
    umask 077
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    mkdir -p "$dir"/{db,log,run,images,staging,tasks,nova/instances,neutron,lib}
    packages
    # Everything from here on is on this machine.
    unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY
    export no_proxy='*'
    export ADMIN_PASSWORD=adminpw SERVICE_PASSWORD=svcpw DEMO_PASSWORD=demopw CREDENTIAL_SECRET=demo-secret
    local ports
    ports=$("$venv/bin/python" -c '
import socket
taken = [socket.socket() for _ in range(5)]
for one in taken:
    one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in taken))')
    read -r keystone placement glance neutron nova <<<"$ports"
    keystone_url=http://127.0.0.1:$keystone/v3
    export KEYSTONE_URL=$keystone_url OS_NOVA_DISABLE_EVENTLET_PATCHING=1 OS_KEYSTONE_CONFIG_DIR=$dir/etc/keystone \
        OS_GLANCE_CONFIG_DIR=$dir/etc/glance OS_PLACEMENT_CONFIG_DIR=$dir/etc/placement OS_NOVA_CONFIG_DIR=$dir/etc/nova \
        OS_NEUTRON_CONFIG_DIR=$dir/etc/neutron OS_NEUTRON_CONFIG_FILES=neutron.conf
    configure
    schema keystone placement glance & local first=$!
    schema neutron nova & local second=$!
    wait $first || { wait $second || true; fail "a schema cannot be made"; }
    wait $second || fail "a schema cannot be made"
    trap '[ $? = 0 ] || stop_services' EXIT
    launch keystone "$keystone"
    await keystone "$keystone"
    python "$here/bootstrap.py" identity "$dir" "$keystone" "$glance" "$nova" "$placement" "$neutron" >&2
    local service
    for service in placement glance neutron nova; do launch "$service" "${!service}"; done
    for service in placement glance neutron nova; do await "$service" "${!service}"; done
    python "$here/bootstrap.py" data "$dir" "$keystone" "$glance" "$nova" "$placement" "$neutron" >&2
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
EOF
    cat "$dir/env"
}

stop_services() {
    local service process
    for service in $services; do
        process=$(running "$service") || continue
        kill "$process" 2>/dev/null || true
        for _ in $(seq 1 50); do
            running "$service" >/dev/null || break
            sleep 0.1
        done
        process=$(running "$service") && kill -9 "$process" || true
    done
}

[ -n "$dir" ] || action=
case "$action" in
start) start ;;
stop)
    [ -d "$dir" ] || exit 0
    dir=$(cd "$dir" && pwd)
    # Only what was made here is removed.
    [ -d "$dir/run" ] && [ -d "$dir/etc" ] || fail "$dir was not made by start"
    stop_services
    rm -rf "$dir"
    ;;
*) fail "usage: openstack.sh start|stop DIR" ;;
esac
