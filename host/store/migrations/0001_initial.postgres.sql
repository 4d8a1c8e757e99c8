-- Beside this file lies its twin for SQLite; the two must describe the same tables. Times are microseconds UTC.

-- Drivers' durable state. The cloud's row is locked first by every commit. Keys are bytes, so that both engines order them alike.
CREATE TABLE state_clouds (
    cloud       TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    revision    BIGINT  NOT NULL,
    bytes       BIGINT  NOT NULL CHECK (bytes >= 0)
);

CREATE TABLE state_entries (
    cloud       TEXT COLLATE "C" NOT NULL REFERENCES state_clouds (cloud),
    key         BYTEA   NOT NULL,
    value       BYTEA   NOT NULL,
    version     BIGINT  NOT NULL,
    PRIMARY KEY (cloud, key)
);

-- Intents and their outcomes.
CREATE TABLE operations (
    id                  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    cloud               TEXT COLLATE "C" NOT NULL,
    kind                TEXT COLLATE "C" NOT NULL,
    token               TEXT COLLATE "C",
    node_id             TEXT COLLATE "C",
    input               TEXT COLLATE "C" NOT NULL,
    input_hash          BYTEA   NOT NULL,
    state               TEXT COLLATE "C" NOT NULL CHECK (state IN ('pending', 'succeeded', 'failed', 'abandoned')),
    output              TEXT COLLATE "C",
    error               TEXT COLLATE "C",
    driver_digest       TEXT COLLATE "C",
    actor               TEXT COLLATE "C" NOT NULL,
    attempts            BIGINT  NOT NULL,
    lease_owner         TEXT COLLATE "C",
    lease_until         BIGINT,
    idempotency_scope   TEXT COLLATE "C",
    idempotency_key     TEXT COLLATE "C",
    created_at          BIGINT  NOT NULL,
    updated_at          BIGINT  NOT NULL,
    UNIQUE (cloud, token),
    UNIQUE (idempotency_scope, idempotency_key),
    CHECK ((idempotency_scope IS NULL) = (idempotency_key IS NULL)),
    CHECK ((lease_owner IS NULL) = (lease_until IS NULL)),
    CHECK (state = 'pending' OR lease_owner IS NULL)
);
CREATE INDEX operations_pending ON operations (created_at, id) WHERE state = 'pending';
CREATE INDEX operations_cloud_state ON operations (cloud, state, id);
CREATE INDEX operations_cloud ON operations (cloud, id);
CREATE INDEX operations_state ON operations (state, id);

-- Who uses which virtual machine.
CREATE TABLE assignments (
    id          BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cloud       TEXT COLLATE "C" NOT NULL,
    id_vm       TEXT COLLATE "C" NOT NULL,
    hostname    TEXT COLLATE "C" NOT NULL,
    user_name   TEXT COLLATE "C",
    recipe      TEXT COLLATE "C",
    recipe_id   BIGINT,
    status      BIGINT  NOT NULL,
    created_at  BIGINT  NOT NULL,
    updated_at  BIGINT  NOT NULL,
    UNIQUE (cloud, id_vm)
);
CREATE INDEX assignments_hostname ON assignments (cloud, hostname, id);

CREATE TABLE users (
    id              TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    username        TEXT COLLATE "C" NOT NULL UNIQUE,
    password_hash   TEXT COLLATE "C",
    email           TEXT COLLATE "C",
    active          BIGINT  NOT NULL CHECK (active IN (0, 1)),
    created_at      BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL
);

CREATE TABLE user_roles (
    user_id     TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role        TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (user_id, role)
);

CREATE TABLE tokens (
    id              TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    user_id         TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    hash            BYTEA   NOT NULL UNIQUE,
    label           TEXT COLLATE "C" NOT NULL,
    scopes          TEXT COLLATE "C" NOT NULL,
    created_at      BIGINT  NOT NULL,
    expires_at      BIGINT,
    revoked_at      BIGINT,
    last_used_at    BIGINT
);
CREATE INDEX tokens_user ON tokens (user_id, id);
CREATE INDEX tokens_expiry ON tokens (expires_at) WHERE expires_at IS NOT NULL;

-- Every component that ever served a driver name, the one that does, and the one last seen in the watched directory.
CREATE TABLE driver_versions (
    id              BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    driver          TEXT COLLATE "C" NOT NULL,
    digest          TEXT COLLATE "C" NOT NULL,
    source          TEXT COLLATE "C" NOT NULL CHECK (source IN ('builtin', 'directory', 'upload', 'rollback')),
    description     TEXT COLLATE "C" NOT NULL,
    installed_at    BIGINT  NOT NULL,
    installed_by    TEXT COLLATE "C" NOT NULL
);
CREATE INDEX driver_versions_driver ON driver_versions (driver, id);

CREATE TABLE driver_active (
    driver      TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    version_id  BIGINT  REFERENCES driver_versions (id)
);

CREATE TABLE driver_directory (
    driver      TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    digest      TEXT COLLATE "C" NOT NULL,
    seen_at     BIGINT  NOT NULL
);

-- The outbox. Identifiers come from the one row of the counter, which stays locked until the commit: so they appear in order,
-- and who has read up to one misses none.
CREATE TABLE event_counter (
    id      BIGINT  NOT NULL PRIMARY KEY CHECK (id = 1),
    last    BIGINT  NOT NULL
);
INSERT INTO event_counter (id, last) VALUES (1, 0);

CREATE TABLE events (
    id          BIGINT  NOT NULL PRIMARY KEY,
    at          BIGINT  NOT NULL,
    kind        TEXT COLLATE "C" NOT NULL,
    subject     TEXT COLLATE "C" NOT NULL,
    cloud       TEXT COLLATE "C",
    actor       TEXT COLLATE "C" NOT NULL,
    data        TEXT COLLATE "C" NOT NULL
);
