-- Beside this file lies its twin for PostgreSQL; the two must describe the same tables. Times are microseconds UTC.

-- Ports of the hosts that lead to ports of instances. Every host listens to all of them.
CREATE TABLE forwards (
    id                INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    cloud             TEXT NOT NULL,
    -- Which may be gone since: whoever keeps the ports open finds that out.
    instance          INTEGER NOT NULL,
    protocol          TEXT NOT NULL CHECK (protocol IN ('tcp', 'udp')),
    port_from         INTEGER NOT NULL CHECK (port_from BETWEEN 1 AND 65535),
    port_to           INTEGER NOT NULL CHECK (port_to BETWEEN 1 AND 65535),
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL,
    idempotency_scope TEXT,
    idempotency_key   TEXT,
    input_hash        BLOB    NOT NULL,
    CHECK ((idempotency_scope IS NULL) = (idempotency_key IS NULL)),
    UNIQUE (protocol, port_from),
    UNIQUE (idempotency_scope, idempotency_key)
) STRICT;
CREATE INDEX forwards_instance ON forwards (instance, id);
CREATE INDEX forwards_cloud ON forwards (cloud, id);
