"""bootstrap.py identity|data ROOT KEYSTONE GLANCE NOVA PLACEMENT NEUTRON: users and catalog, or flavors, image and networks."""
import io
import os
import sys
import time

import openstack

phase, root, *ports = sys.argv[1:]
KEYSTONE, GLANCE, NOVA, PLACEMENT, NEUTRON = (f"http://127.0.0.1:{port}" for port in ports)


def connect(user, password, project):
    auth = {
        "auth_url": KEYSTONE + "/v3",
        "username": user,
        "password": password,
        "project_name": project,
        "user_domain_id": "default",
        "project_domain_id": "default",
    }
    return openstack.connect(auth=auth, region_name="RegionOne", load_yaml_config=False, load_envvars=False)


admin = connect("admin", os.environ["ADMIN_PASSWORD"], "admin")


def identity():
    keystone = admin.identity
    for kind, name, url in (
        ("compute", "nova", NOVA + "/v2.1"),
        ("image", "glance", GLANCE),
        ("network", "neutron", NEUTRON),
        ("placement", "placement", PLACEMENT),
    ):
        service = keystone.create_service(type=kind, name=name)
        for interface in ("public", "internal", "admin"):
            keystone.create_endpoint(service_id=service.id, interface=interface, url=url, region_id="RegionOne")
    roles = {name: keystone.find_role(name) or keystone.create_role(name=name) for name in ("admin", "member", "reader", "service")}
    services = keystone.create_project(name="service", domain_id="default")
    demo = keystone.create_project(name="demo", domain_id="default")
    for name, password, project, granted in (
        ("svc", os.environ["SERVICE_PASSWORD"], services, ("admin", "service")),
        ("demo", os.environ["DEMO_PASSWORD"], demo, ("member", "reader")),
    ):
        user = keystone.create_user(name=name, domain_id="default", password=password, default_project_id=project.id)
        for role in granted:
            keystone.assign_project_role_to_user(project, user, roles[role])
    keystone.assign_project_role_to_user(demo, keystone.find_user("admin"), roles["admin"])
    mine = connect("demo", os.environ["DEMO_PASSWORD"], "demo").identity
    secret = os.environ["CREDENTIAL_SECRET"]
    credential = mine.create_application_credential(user.id, "demo-app", secret=secret)
    with open(os.path.join(root, "credential"), "w", encoding="ascii") as file:
        file.write(credential.id)


def data():
    for name, flavor, ram, cpus, disk in (("m1.nano", "42", 64, 1, 1), ("m1.tiny", "1", 512, 1, 1), ("m1.small", "2", 2048, 2, 20)):
        admin.compute.create_flavor(name=name, id=flavor, ram=ram, vcpus=cpus, disk=disk)
    admin.image.create_image(
        name="cirros-fake",
        data=io.BytesIO(bytes(65536)),
        disk_format="raw",
        container_format="bare",
        visibility="public",
        properties={"os_distro": "cirros", "os_version": "0.6"},
        wait=True,
        timeout=60,
    )
    neutron, demo = admin.network, admin.identity.find_project("demo")
    outside = neutron.create_network(
        name="public", is_router_external=True, provider_network_type="flat", provider_physical_network="public"
    )
    neutron.create_subnet(
        name="public-subnet",
        network_id=outside.id,
        ip_version=4,
        cidr="203.0.113.0/24",
        enable_dhcp=False,
        allocation_pools=[{"start": "203.0.113.10", "end": "203.0.113.250"}],
    )
    inside = neutron.create_network(name="private", project_id=demo.id)
    subnet = neutron.create_subnet(
        name="private-subnet", network_id=inside.id, project_id=demo.id, ip_version=4, cidr="10.0.0.0/24"
    )
    router = neutron.create_router(name="router", project_id=demo.id, external_gateway_info={"network_id": outside.id})
    neutron.add_interface_to_router(router, subnet_id=subnet.id)
    end = time.monotonic() + 60
    while not admin.compute.get("/os-hypervisors").json()["hypervisors"]:
        if time.monotonic() > end:
            sys.exit("no hypervisor has come up")
        time.sleep(0.5)


{"identity": identity, "data": data}[phase]()
