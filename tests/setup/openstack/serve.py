"""serve.py SERVICE ROOT PORT: a service of OpenStack on 127.0.0.1, in this process.

`nova` is its API, conductor, scheduler and compute at once: they talk by an in-memory message bus. Its servers are Nova's own fakes, so that
they cost nothing; the metadata `fake_spawn_seconds` and `fake_spawn_error` of a server make its build slow, or fail.
"""
import os
import sys
import time


def queue_writers():
    """Transactions that may write begin as such.

    A transaction of SQLite that begins as a reader cannot become a writer once somebody else has written: "database is locked", at once and
    whatever the timeout. One that begins as a writer waits for its turn.
    """
    from oslo_db.sqlalchemy import enginefacade
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    factory = getattr(enginefacade, "_AbstractTransactionFactory", enginefacade._TransactionFactory)
    make_session, make_connection = factory._create_session, factory._create_connection

    def writer(self):
        if not self._started:
            self._start()
        return self._writer_engine.execution_options(begins_as_writer=True)

    def session(self, mode, bind=None):
        if bind is None and mode is enginefacade._WRITER:
            bind = writer(self)
        return make_session(self, mode, bind)

    def connection(self, mode):
        return writer(self).connect() if mode is enginefacade._WRITER else make_connection(self, mode)

    factory._create_session, factory._create_connection = session, connection

    @event.listens_for(Engine, "begin")
    def begin(connection):
        if connection.get_execution_options().get("begins_as_writer") and "in_transaction" not in connection.info:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            connection.info["in_transaction"] = True


def start_nova():
    """Everything of Nova but its API."""
    import os_brick
    import os_vif
    from nova import conf, context, exception, objects, service
    from nova.compute import rpcapi as compute
    from nova.conductor import rpcapi as conductor
    from nova.objects import host_mapping
    from nova.scheduler import rpcapi as scheduler
    from nova.virt import fake

    spawn, init_host = fake.FakeDriver.spawn, fake.FakeDriver.init_host

    def spawn_as_told(self, ctxt, instance, *args, **kwargs):
        told = instance.metadata or {}
        time.sleep(float(told.get("fake_spawn_seconds", 0)))
        if "fake_spawn_error" in told:
            raise exception.BuildAbortException(instance_uuid=instance.uuid, reason=told["fake_spawn_error"])
        return spawn(self, ctxt, instance, *args, **kwargs)

    def init_host_again(self, host):
        """The fakes are in memory. A real hypervisor would still have its servers after a restart of Nova."""
        init_host(self, host)
        for known in objects.InstanceList.get_by_host(context.get_admin_context(), host):
            if known.vm_state not in ("building", "deleted", "error", "shelved_offloaded"):
                self.instances[known.uuid] = fake.FakeInstance(known.name, known.power_state, known.uuid)

    fake.FakeDriver.spawn, fake.FakeDriver.init_host = spawn_as_told, init_host_again
    os_brick.setup(conf.CONF)
    os_vif.initialize()
    objects.Service.enable_min_version_cache()
    parts = [
        {"binary": "nova-conductor", "topic": conductor.RPC_TOPIC},
        {"binary": "nova-scheduler", "topic": scheduler.RPC_TOPIC},
        {"binary": "nova-compute", "topic": compute.RPC_TOPIC, "topic_alt": compute.RPC_TOPIC_ALT},
    ]
    running = []
    for part in parts:
        running.append(service.Service.create(**part))
        running[-1].start()
    host_mapping.discover_hosts(context.get_admin_context())
    # They count as up from now on, not from their first heartbeat in ten seconds.
    for one in running:
        one.servicegroup_api._driver._report_state(one)


def main(service, port):
    sys.argv = [service]
    if service == "nova":
        from nova import monkey_patch

        monkey_patch.patch(backend="threading")
    queue_writers()
    if service == "nova":
        from nova.wsgi.osapi_compute import application

        start_nova()
    elif service == "keystone":
        from keystone.wsgi.api import application
    elif service == "glance":
        from glance.wsgi.api import application
    elif service == "placement":
        from placement.wsgi.api import application
    elif service == "neutron":
        from neutron.wsgi.api import application
    else:
        sys.exit(f"no service {service}")
    from waitress import serve

    serve(application, host="127.0.0.1", port=port, threads=8, ident=None)


main(sys.argv[1], int(sys.argv[3]))
