-- Beside this file lies its twin for PostgreSQL; the two must describe the same tables. Times are microseconds UTC.

-- Drivers' durable state. The cloud's row is locked first by every commit. Keys are bytes, so that both engines order them alike.
CREATE TABLE state_clouds (
    cloud       TEXT    NOT NULL PRIMARY KEY,
    revision    INTEGER NOT NULL,
    bytes       INTEGER NOT NULL CHECK (bytes >= 0)
) STRICT;

CREATE TABLE state_entries (
    cloud       TEXT    NOT NULL REFERENCES state_clouds (cloud),
    key         BLOB    NOT NULL,
    value       BLOB    NOT NULL,
    version     INTEGER NOT NULL,
    PRIMARY KEY (cloud, key)
) STRICT;

-- Intents and their outcomes.
CREATE TABLE operations (
    id                  TEXT    NOT NULL PRIMARY KEY,
    cloud               TEXT    NOT NULL,
    kind                TEXT    NOT NULL,
    token               TEXT,
    node_id             TEXT,
    input               TEXT    NOT NULL,
    input_hash          BLOB    NOT NULL,
    state               TEXT    NOT NULL CHECK (state IN ('pending', 'succeeded', 'failed', 'abandoned')),
    output              TEXT,
    error               TEXT,
    driver_digest       TEXT,
    actor               TEXT    NOT NULL,
    attempts            INTEGER NOT NULL,
    lease_owner         TEXT,
    lease_until         INTEGER,
    idempotency_scope   TEXT,
    idempotency_key     TEXT,
    created_at          INTEGER NOT NULL,
    updated_at          INTEGER NOT NULL,
    UNIQUE (cloud, token),
    UNIQUE (idempotency_scope, idempotency_key),
    CHECK ((idempotency_scope IS NULL) = (idempotency_key IS NULL)),
    CHECK ((lease_owner IS NULL) = (lease_until IS NULL)),
    CHECK (state = 'pending' OR lease_owner IS NULL)
) STRICT;
CREATE INDEX operations_pending ON operations (created_at, id) WHERE state = 'pending';
CREATE INDEX operations_cloud_state ON operations (cloud, state, id);
CREATE INDEX operations_cloud ON operations (cloud, id);
CREATE INDEX operations_state ON operations (state, id);

-- Who uses which virtual machine.
CREATE TABLE assignments (
    id          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    cloud       TEXT    NOT NULL,
    id_vm       TEXT    NOT NULL,
    hostname    TEXT    NOT NULL,
    user_name   TEXT,
    recipe      TEXT,
    recipe_id   INTEGER,
    status      INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    UNIQUE (cloud, id_vm)
) STRICT;
CREATE INDEX assignments_hostname ON assignments (cloud, hostname, id);

CREATE TABLE users (
    id              TEXT    NOT NULL PRIMARY KEY,
    username        TEXT    NOT NULL UNIQUE,
    password_hash   TEXT,
    email           TEXT,
    active          INTEGER NOT NULL CHECK (active IN (0, 1)),
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT;

CREATE TABLE user_roles (
    user_id     TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role        TEXT    NOT NULL,
    PRIMARY KEY (user_id, role)
) STRICT;

CREATE TABLE tokens (
    id              TEXT    NOT NULL PRIMARY KEY,
    user_id         TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    hash            BLOB    NOT NULL UNIQUE,
    label           TEXT    NOT NULL,
    scopes          TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER,
    revoked_at      INTEGER,
    last_used_at    INTEGER
) STRICT;
CREATE INDEX tokens_user ON tokens (user_id, id);
CREATE INDEX tokens_expiry ON tokens (expires_at) WHERE expires_at IS NOT NULL;

-- Every component that ever served a driver name, the one that does, and the one last seen in the watched directory.
CREATE TABLE driver_versions (
    id              INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    driver          TEXT    NOT NULL,
    digest          TEXT    NOT NULL,
    source          TEXT    NOT NULL CHECK (source IN ('builtin', 'directory', 'upload', 'rollback')),
    description     TEXT    NOT NULL,
    installed_at    INTEGER NOT NULL,
    installed_by    TEXT    NOT NULL
) STRICT;
CREATE INDEX driver_versions_driver ON driver_versions (driver, id);

CREATE TABLE driver_active (
    driver      TEXT    NOT NULL PRIMARY KEY,
    version_id  INTEGER REFERENCES driver_versions (id)
) STRICT;

CREATE TABLE driver_directory (
    driver      TEXT    NOT NULL PRIMARY KEY,
    digest      TEXT    NOT NULL,
    seen_at     INTEGER NOT NULL
) STRICT;

-- The outbox. Identifiers come from the one row of the counter, which stays locked until the commit: so they appear in order,
-- and who has read up to one misses none.
CREATE TABLE event_counter (
    id      INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    last    INTEGER NOT NULL
) STRICT;
INSERT INTO event_counter (id, last) VALUES (1, 0);

CREATE TABLE events (
    id          INTEGER NOT NULL PRIMARY KEY,
    at          INTEGER NOT NULL,
    kind        TEXT    NOT NULL,
    subject     TEXT    NOT NULL,
    cloud       TEXT,
    actor       TEXT    NOT NULL,
    data        TEXT    NOT NULL
) STRICT;
