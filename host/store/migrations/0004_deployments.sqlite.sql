-- Beside this file lies its twin for PostgreSQL; the two must describe the same tables. Times are microseconds UTC.

-- Deployments. What is long and seldom looked at is in a table of its own, so that rows are short and changes to them cheap.
CREATE TABLE deployments (
    id                  TEXT    NOT NULL PRIMARY KEY,
    user_id             TEXT    REFERENCES users (id),
    issuer              TEXT,
    subject             TEXT,
    organisation        TEXT,
    user_group          TEXT,
    status              TEXT    NOT NULL CHECK (status IN ('CREATE_IN_PROGRESS', 'CREATE_COMPLETE', 'CREATE_FAILED',
                            'UPDATE_IN_PROGRESS', 'UPDATE_COMPLETE', 'UPDATE_FAILED', 'DELETE_IN_PROGRESS', 'DELETE_FAILED',
                            'UNKNOWN')),
    status_reason       TEXT,
    task                TEXT    NOT NULL CHECK (task IN ('NONE', 'MONITORING', 'QOS', 'BROKERING', 'DEPLOYER')),
    callback            TEXT,
    max_attempts        INTEGER,
    timeout             INTEGER,
    attempt_timeout     INTEGER,
    keep_last_attempt   INTEGER NOT NULL CHECK (keep_last_attempt IN (0, 1)),
    cloud               TEXT,
    physical_id         TEXT,
    operation           TEXT,
    created_at          INTEGER NOT NULL,
    updated_at          INTEGER NOT NULL,
    endpoint            TEXT,
    outputs             TEXT    NOT NULL,
    attempts            TEXT    NOT NULL,
    CHECK ((issuer IS NULL) = (subject IS NULL)),
    CHECK (issuer IS NOT NULL OR (user_id IS NULL AND organisation IS NULL))
) STRICT;
-- Pages are found in these alone: of everything, of an issuer, of a person, of an organisation. Their columns never change.
CREATE INDEX deployments_created ON deployments (created_at, id, issuer, subject, organisation, user_group);
CREATE INDEX deployments_issuer ON deployments (issuer, created_at, id, organisation, user_group) WHERE issuer IS NOT NULL;
CREATE INDEX deployments_person ON deployments (issuer, subject, created_at, id, organisation, user_group)
    WHERE issuer IS NOT NULL;
CREATE INDEX deployments_organisation ON deployments (issuer, organisation, created_at, id, subject, user_group)
    WHERE organisation IS NOT NULL;
CREATE INDEX deployments_operation ON deployments (operation) WHERE operation IS NOT NULL;

CREATE TABLE deployment_texts (
    deployment  TEXT    NOT NULL PRIMARY KEY REFERENCES deployments (id) ON DELETE CASCADE,
    template    TEXT    NOT NULL,
    parameters  TEXT    NOT NULL,
    log         TEXT    NOT NULL
) STRICT;

CREATE TABLE resources (
    id          TEXT    NOT NULL PRIMARY KEY,
    deployment  TEXT    NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    position    INTEGER NOT NULL,
    node        TEXT    NOT NULL,
    type        TEXT    NOT NULL,
    ancestors   TEXT    NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('INITIAL', 'CREATING', 'CREATED', 'CONFIGURING', 'CONFIGURED',
                    'STARTING', 'STARTED', 'STOPPING', 'STOPPED', 'DELETING', 'ERROR')),
    cloud       TEXT,
    token       TEXT,
    physical_id TEXT,
    attributes  TEXT    NOT NULL,
    required_by TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX resources_deployment ON resources (deployment, position, id);
CREATE UNIQUE INDEX resources_token ON resources (cloud, token) WHERE token IS NOT NULL;

-- For what is kept only for a time: which operations are over, and which nodes were destroyed.
CREATE INDEX operations_over ON operations (updated_at, id) WHERE state <> 'pending';
CREATE INDEX operations_destroyed ON operations (cloud, node_id) WHERE kind = 'destroy-node';
