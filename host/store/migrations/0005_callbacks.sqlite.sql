-- Beside this file lies its twin for PostgreSQL; the two must describe the same tables. Times are microseconds UTC.

-- What those who wait for deployments are to be told. Written with the change that it tells of, and kept when the deployment is
-- gone. Those of one deployment are told in the order of their numbers.
CREATE TABLE callbacks (
    id          TEXT    NOT NULL PRIMARY KEY,
    deployment  TEXT    NOT NULL,
    number      INTEGER NOT NULL,
    kind        TEXT    NOT NULL CHECK (kind IN ('create.submitted', 'create.done', 'create.failed', 'update.submitted',
                    'update.done', 'update.failed', 'delete.failed', 'delete.done')),
    url         TEXT    NOT NULL,
    snapshot    TEXT    NOT NULL,
    tries       INTEGER NOT NULL,
    due_at      INTEGER NOT NULL,
    lease_owner TEXT,
    lease_until INTEGER,
    outcome     TEXT    CHECK (outcome IN ('delivered', 'given-up')),
    error       TEXT,
    created_at  INTEGER NOT NULL,
    ended_at    INTEGER,
    UNIQUE (deployment, number),
    CHECK ((lease_owner IS NULL) = (lease_until IS NULL)),
    CHECK ((outcome IS NULL) = (ended_at IS NULL))
) STRICT;
CREATE INDEX callbacks_due ON callbacks (due_at, id) WHERE ended_at IS NULL;
CREATE INDEX callbacks_over ON callbacks (ended_at, id) WHERE ended_at IS NOT NULL;
