-- Beside this file lies its twin for SQLite; the two must describe the same tables. Times are microseconds UTC.

-- Ports of the hosts that lead to ports of instances. Every host listens to all of them.
CREATE TABLE forwards (
    id                BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cloud             TEXT COLLATE "C" NOT NULL,
    -- Which may be gone since: whoever keeps the ports open finds that out.
    instance          BIGINT  NOT NULL,
    protocol          TEXT COLLATE "C" NOT NULL CHECK (protocol IN ('tcp', 'udp')),
    port_from         BIGINT  NOT NULL CHECK (port_from BETWEEN 1 AND 65535),
    port_to           BIGINT  NOT NULL CHECK (port_to BETWEEN 1 AND 65535),
    created_at        BIGINT  NOT NULL,
    updated_at        BIGINT  NOT NULL,
    idempotency_scope TEXT COLLATE "C",
    idempotency_key   TEXT COLLATE "C",
    input_hash        BYTEA   NOT NULL,
    CHECK ((idempotency_scope IS NULL) = (idempotency_key IS NULL)),
    UNIQUE (protocol, port_from),
    UNIQUE (idempotency_scope, idempotency_key)
);
CREATE INDEX forwards_instance ON forwards (instance, id);
CREATE INDEX forwards_cloud ON forwards (cloud, id);
