-- Beside this file lies its twin for PostgreSQL; the two must describe the same tables. Times are microseconds UTC.

-- Schedules: what makes a deployment of each file that matches. What is long stands last, so that it is read only where it is wanted.
CREATE TABLE schedules (
    id                      TEXT    NOT NULL PRIMARY KEY,
    user_id                 TEXT    REFERENCES users (id),
    issuer                  TEXT,
    subject                 TEXT,
    organisation            TEXT,
    user_group              TEXT,
    status                  TEXT    NOT NULL CHECK (status IN ('RUNNING', 'SUSPENDED')),
    file_expression         TEXT    NOT NULL,
    syntax                  TEXT    NOT NULL CHECK (syntax IN ('regex', 'glob')),
    replication_expression  TEXT    NOT NULL,
    replicas                INTEGER NOT NULL CHECK (replicas > 0),
    callback                TEXT,
    max_attempts            INTEGER,
    timeout                 INTEGER,
    attempt_timeout         INTEGER,
    keep_last_attempt       INTEGER NOT NULL CHECK (keep_last_attempt IN (0, 1)),
    created_at              INTEGER NOT NULL,
    updated_at              INTEGER NOT NULL,
    idempotency_scope       TEXT,
    idempotency_key         TEXT,
    input_hash              BLOB    NOT NULL,
    template                TEXT    NOT NULL,
    parameters              TEXT    NOT NULL,
    CHECK ((issuer IS NULL) = (subject IS NULL)),
    CHECK (issuer IS NOT NULL OR (user_id IS NULL AND organisation IS NULL)),
    CHECK ((idempotency_scope IS NULL) = (idempotency_key IS NULL)),
    UNIQUE (idempotency_scope, idempotency_key)
) STRICT;
CREATE INDEX schedules_created ON schedules (created_at, id, issuer, subject, organisation);
CREATE INDEX schedules_person ON schedules (issuer, subject) WHERE issuer IS NOT NULL;
CREATE INDEX schedules_running ON schedules (id, file_expression, syntax) WHERE status = 'RUNNING';

-- One file that matched one schedule. Pending is the intent to make its deployment.
CREATE TABLE schedule_events (
    id          TEXT    NOT NULL PRIMARY KEY,
    schedule    TEXT    NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
    scope       TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('pending', 'deployed', 'failed')),
    -- Which may be gone since.
    deployment  TEXT,
    reason      TEXT,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    UNIQUE (schedule, scope, name),
    CHECK ((state = 'deployed') = (deployment IS NOT NULL)),
    CHECK ((state = 'failed') = (reason IS NOT NULL))
) STRICT;
CREATE INDEX schedule_events_created ON schedule_events (schedule, created_at, id);
CREATE INDEX schedule_events_pending ON schedule_events (id) WHERE state = 'pending';
