"""sdk.py: what tests want of the cloud, by openstacksdk, and how long it takes for what a driver does.

Reads lines and answers each with a line: milliseconds, or 0 where nothing is timed.
  fill N       N servers more, all at once, and room for them in the quota
  list         all servers, with all that is known of them
  create NAME  a server from its order until it is active; it is deleted afterwards
  empty        deletes all servers, and gives the quota back
  quota N      room for N servers
"""
import os
import sys
import time

from connection import connect, user

cloud = user()
compute = cloud.compute
project = cloud.current_project_id
image = next(image.id for image in cloud.image.images() if image.name == "cirros-fake")
network = next(network.id for network in cloud.network.networks(name="private"))


def admin():
    return connect("admin", os.environ["OSTLER_OPENSTACK_ADMIN_PASSWORD"])


def order(name, **more):
    return compute.create_server(name=name, image_id=image, flavor_id="42", networks=[{"uuid": network}], **more)


def wait(done, seconds):
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.1)


def empty():
    for server in compute.servers(details=False):
        compute.delete_server(server, ignore_missing=True)
    wait(lambda: not list(compute.servers(details=False)), 300)


def fill(count):
    admin().set_compute_quotas(project, instances=count + 20, cores=count + 20, ram=1 << 20)
    order("many", min_count=count)
    wait(lambda: sum(server.status == "ACTIVE" for server in compute.servers()) >= count, 600)


def create(name):
    began = time.perf_counter()
    server = order(name)
    wait(lambda: compute.get_server(server).status == "ACTIVE", 300)
    took = time.perf_counter() - began
    compute.delete_server(server)
    wait(lambda: compute.find_server(server.id) is None, 300)
    return took


def listed():
    began = time.perf_counter()
    list(compute.servers())
    return time.perf_counter() - began


for line in sys.stdin:
    word, *arguments = line.split()
    took = 0
    if word == "fill":
        fill(int(arguments[0]))
    elif word == "list":
        took = listed()
    elif word == "create":
        took = create(arguments[0])
    elif word == "empty":
        empty()
        admin().delete_compute_quotas(project)
    elif word == "quota":
        admin().set_compute_quotas(project, instances=int(arguments[0]))
    print(took * 1000, flush=True)
