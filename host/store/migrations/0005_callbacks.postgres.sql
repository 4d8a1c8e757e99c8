-- Beside this file lies its twin for SQLite; the two must describe the same tables. Times are microseconds UTC.

-- What those who wait for deployments are to be told. Written with the change that it tells of, and kept when the deployment is
-- gone. Those of one deployment are told in the order of their numbers.
CREATE TABLE callbacks (
    id          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    deployment  TEXT COLLATE "C" NOT NULL,
    number      BIGINT  NOT NULL,
    kind        TEXT COLLATE "C" NOT NULL CHECK (kind IN ('create.submitted', 'create.done', 'create.failed', 'update.submitted',
                    'update.done', 'update.failed', 'delete.failed', 'delete.done')),
    url         TEXT COLLATE "C" NOT NULL,
    snapshot    TEXT COLLATE "C" NOT NULL,
    tries       BIGINT  NOT NULL,
    due_at      BIGINT  NOT NULL,
    lease_owner TEXT COLLATE "C",
    lease_until BIGINT,
    outcome     TEXT COLLATE "C" CHECK (outcome IN ('delivered', 'given-up')),
    error       TEXT COLLATE "C",
    created_at  BIGINT  NOT NULL,
    ended_at    BIGINT,
    UNIQUE (deployment, number),
    CHECK ((lease_owner IS NULL) = (lease_until IS NULL)),
    CHECK ((outcome IS NULL) = (ended_at IS NULL))
);
CREATE INDEX callbacks_due ON callbacks (due_at, id) WHERE ended_at IS NULL;
CREATE INDEX callbacks_over ON callbacks (ended_at, id) WHERE ended_at IS NOT NULL;
