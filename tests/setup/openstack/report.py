"""report.py: what a project holds, as openstacksdk sees it.

Answers each line of the standard input with a line of JSON: an empty line with a report, and another, which is a report itself, with an
empty object, when everything that stands in it is deleted.
"""
import json
import sys
import time

from connection import user

cloud = user()


def servers():
    for one in cloud.compute.servers():
        addresses = [
            [network, address["addr"], address["OS-EXT-IPS:type"], address["OS-EXT-IPS-MAC:mac_addr"]]
            for network, all_of_it in one.addresses.items()
            for address in all_of_it
        ]
        yield one.id, {
            "name": one.name,
            "status": one.status,
            "task": one.task_state,
            "addresses": sorted(addresses),
            "flavor": one.flavor.original_name,
            "image": one.image.id if one.image else None,
            "key": one.key_name,
            "metadata": one.metadata,
            "groups": sorted(group["name"] for group in one.security_groups or []),
        }


def report():
    compute, network, project = cloud.compute, cloud.network, cloud.current_project_id
    limits = compute.get_limits().absolute
    return {
        "project": project,
        "user": cloud.current_user_id,
        "servers": dict(servers()),
        "ports": {one.id: {"device": one.device_id, "status": one.status} for one in network.ports(project_id=project)},
        "floating_ips": {
            one.id: {"address": one.floating_ip_address, "fixed": one.fixed_ip_address, "description": one.description}
            for one in network.ips(project_id=project)
        },
        "keypairs": {one.name: {} for one in compute.keypairs()},
        "images": {one.id: {"name": one.name, "status": one.status, "size": one.size} for one in cloud.image.images()},
        "flavors": {one.id: {"name": one.name, "ram": one.ram, "vcpus": one.vcpus, "disk": one.disk} for one in compute.flavors()},
        "networks": {one.id: {"name": one.name} for one in network.networks()},
        "volumes": {one.id: {} for one in cloud.block_storage.volumes()} if cloud.has_service("block-storage") else {},
        "limits": {
            "instances": [limits.instances, limits.instances_used],
            "vcpus": [limits.total_cores, limits.total_cores_used],
            "ram-mb": [limits.total_ram, limits.total_ram_used],
        },
    }


def clean(left):
    for one in left["servers"]:
        cloud.compute.delete_server(one, ignore_missing=True)
    for one in left["floating_ips"]:
        cloud.network.delete_ip(one, ignore_missing=True)
    for one in left["keypairs"]:
        cloud.compute.delete_keypair(one, ignore_missing=True)
    for one in left["images"]:
        cloud.image.delete_image(one, ignore_missing=True)
    end = time.monotonic() + 120
    while any(cloud.compute.find_server(one) for one in left["servers"]) and time.monotonic() < end:
        time.sleep(0.5)
    for one in left["ports"]:
        cloud.network.delete_port(one, ignore_missing=True)
    for one in left["networks"]:
        cloud.network.delete_network(one, ignore_missing=True)
    return {}


for line in sys.stdin:
    left = line.strip()
    print(json.dumps(clean(json.loads(left)) if left else report()), flush=True)
