"""schema.py SERVICE ROOT: the empty databases of a service, and what it needs before its first start."""
import base64
import os
import sqlite3
import sys

service, root = sys.argv[1:3]


def database(name):
    """A file that can be read while it is written."""
    connection = sqlite3.connect(os.path.join(root, "db", name + ".db"))
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()


def conf(name):
    return os.path.join(root, "etc", service, name)


def keystone():
    database("keystone")
    for kind in ("fernet-keys", "credential-keys"):
        os.makedirs(conf(kind), mode=0o700)
        for key in ("0", "1"):
            with open(os.open(os.path.join(conf(kind), key), os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
                file.write(base64.urlsafe_b64encode(os.urandom(32)))
    from keystone.cmd import cli

    url = os.environ["KEYSTONE_URL"]
    urls = [word for kind in ("admin", "internal", "public") for word in (f"--bootstrap-{kind}-url", url)]
    bootstrap = ["bootstrap", "--bootstrap-password", os.environ["ADMIN_PASSWORD"], "--bootstrap-region-id", "RegionOne", *urls]
    for command in (["db_sync"], bootstrap):
        # The program keeps state, and expects to run once in a process.
        child = os.fork()
        if child == 0:
            cli.main(argv=["keystone-manage", "--config-file", conf("keystone.conf"), *command])
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            sys.exit(f"keystone-manage {command[0]} failed")


def placement():
    database("placement")
    from placement.cmd import manage

    sys.argv = ["placement-manage", "--config-file", conf("placement.conf"), "db", "sync"]
    return manage.main()


def glance():
    database("glance")
    from glance.cmd import manage

    sys.argv = ["glance-manage", "--config-file", conf("glance-api.conf"), "db_sync"]
    return manage.main()


def neutron():
    """Its migrations are slow and not made for SQLite; its models are the schema they lead to."""
    database("neutron")
    import sqlalchemy
    from neutron.db.migration.models import head

    path = os.path.join(root, "db", "neutron.db")
    head.get_metadata().create_all(sqlalchemy.create_engine(f"sqlite:///{path}"))


def nova():
    from nova import monkey_patch

    monkey_patch.patch(backend="threading")
    for name in ("nova_api", "nova_cell0", "nova_cell1"):
        database(name)
    from nova import config, objects

    objects.register_all()
    config.parse_args(["nova-manage"], default_config_files=[conf("nova.conf")])
    from nova.cmd import manage

    def url(name):
        return "sqlite:///" + os.path.join(root, "db", name + ".db") + "?timeout=60"

    cells = manage.CellV2Commands()
    steps = [
        lambda: manage.ApiDbCommands().sync(),
        lambda: cells.map_cell0(database_connection=url("nova_cell0")),
        lambda: cells.create_cell(name="cell1", database_connection=url("nova_cell1"), transport_url="fake://"),
        lambda: manage.DbCommands().sync(),
    ]
    for number, step in enumerate(steps):
        if step():
            sys.exit(f"step {number} of Nova's schema failed")


sys.exit({"keystone": keystone, "placement": placement, "glance": glance, "neutron": neutron, "nova": nova}[service]())
