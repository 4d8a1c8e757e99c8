-- Beside this file lies its twin for SQLite; the two must describe the same tables. Times are microseconds UTC.

-- Schedules: what makes a deployment of each file that matches. What is long stands last, so that it is read only where it is wanted.
CREATE TABLE schedules (
    id                      TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    user_id                 TEXT COLLATE "C" REFERENCES users (id),
    issuer                  TEXT COLLATE "C",
    subject                 TEXT COLLATE "C",
    organisation            TEXT COLLATE "C",
    user_group              TEXT COLLATE "C",
    status                  TEXT COLLATE "C" NOT NULL CHECK (status IN ('RUNNING', 'SUSPENDED')),
    file_expression         TEXT COLLATE "C" NOT NULL,
    syntax                  TEXT COLLATE "C" NOT NULL CHECK (syntax IN ('regex', 'glob')),
    replication_expression  TEXT COLLATE "C" NOT NULL,
    replicas                BIGINT  NOT NULL CHECK (replicas > 0),
    callback                TEXT COLLATE "C",
    max_attempts            BIGINT,
    timeout                 BIGINT,
    attempt_timeout         BIGINT,
    keep_last_attempt       BIGINT  NOT NULL CHECK (keep_last_attempt IN (0, 1)),
    created_at              BIGINT  NOT NULL,
    updated_at              BIGINT  NOT NULL,
    idempotency_scope       TEXT COLLATE "C",
    idempotency_key         TEXT COLLATE "C",
    input_hash              BYTEA   NOT NULL,
    template                TEXT COLLATE "C" NOT NULL,
    parameters              TEXT COLLATE "C" NOT NULL,
    CHECK ((issuer IS NULL) = (subject IS NULL)),
    CHECK (issuer IS NOT NULL OR (user_id IS NULL AND organisation IS NULL)),
    CHECK ((idempotency_scope IS NULL) = (idempotency_key IS NULL)),
    UNIQUE (idempotency_scope, idempotency_key)
);
CREATE INDEX schedules_created ON schedules (created_at, id, issuer, subject, organisation);
CREATE INDEX schedules_person ON schedules (issuer, subject) WHERE issuer IS NOT NULL;
CREATE INDEX schedules_running ON schedules (id, file_expression, syntax) WHERE status = 'RUNNING';

-- One file that matched one schedule. Pending is the intent to make its deployment.
CREATE TABLE schedule_events (
    id          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    schedule    TEXT COLLATE "C" NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
    scope       TEXT COLLATE "C" NOT NULL,
    name        TEXT COLLATE "C" NOT NULL,
    state       TEXT COLLATE "C" NOT NULL CHECK (state IN ('pending', 'deployed', 'failed')),
    -- Which may be gone since.
    deployment  TEXT COLLATE "C",
    reason      TEXT COLLATE "C",
    created_at  BIGINT  NOT NULL,
    updated_at  BIGINT  NOT NULL,
    UNIQUE (schedule, scope, name),
    CHECK ((state = 'deployed') = (deployment IS NOT NULL)),
    CHECK ((state = 'failed') = (reason IS NOT NULL))
);
CREATE INDEX schedule_events_created ON schedule_events (schedule, created_at, id);
CREATE INDEX schedule_events_pending ON schedule_events (id) WHERE state = 'pending';
