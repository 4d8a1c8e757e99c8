# Part of openstack.sh: the configuration of the services. Reads `dir`, `venv`, and the ports by the services' names.

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
    # Images come from ports of this machine, which Glance refuses by default.
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
allowed_ports = []
allowed_hosts = [127.0.0.1]
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
