-- Beside this file lies its twin for SQLite; the two must describe the same tables. Times are microseconds UTC.

-- Deployments. What is long and seldom looked at is in a table of its own, so that rows are short and changes to them cheap.
CREATE TABLE deployments (
    id                  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    user_id             TEXT COLLATE "C" REFERENCES users (id),
    issuer              TEXT COLLATE "C",
    subject             TEXT COLLATE "C",
    organisation        TEXT COLLATE "C",
    user_group          TEXT COLLATE "C",
    status              TEXT COLLATE "C" NOT NULL CHECK (status IN ('CREATE_IN_PROGRESS', 'CREATE_COMPLETE', 'CREATE_FAILED',
                            'UPDATE_IN_PROGRESS', 'UPDATE_COMPLETE', 'UPDATE_FAILED', 'DELETE_IN_PROGRESS', 'DELETE_FAILED',
                            'UNKNOWN')),
    status_reason       TEXT COLLATE "C",
    task                TEXT COLLATE "C" NOT NULL CHECK (task IN ('NONE', 'MONITORING', 'QOS', 'BROKERING', 'DEPLOYER')),
    callback            TEXT COLLATE "C",
    max_attempts        BIGINT,
    timeout             BIGINT,
    attempt_timeout     BIGINT,
    keep_last_attempt   BIGINT  NOT NULL CHECK (keep_last_attempt IN (0, 1)),
    cloud               TEXT COLLATE "C",
    physical_id         TEXT COLLATE "C",
    operation           TEXT COLLATE "C",
    created_at          BIGINT  NOT NULL,
    updated_at          BIGINT  NOT NULL,
    endpoint            TEXT COLLATE "C",
    outputs             TEXT COLLATE "C" NOT NULL,
    attempts            TEXT COLLATE "C" NOT NULL,
    CHECK ((issuer IS NULL) = (subject IS NULL)),
    CHECK (issuer IS NOT NULL OR (user_id IS NULL AND organisation IS NULL))
);
-- Pages are found in these alone: of everything, of an issuer, of a person, of an organisation. Their columns never change.
CREATE INDEX deployments_created ON deployments (created_at, id, issuer, subject, organisation, user_group);
CREATE INDEX deployments_issuer ON deployments (issuer, created_at, id, organisation, user_group) WHERE issuer IS NOT NULL;
CREATE INDEX deployments_person ON deployments (issuer, subject, created_at, id, organisation, user_group)
    WHERE issuer IS NOT NULL;
CREATE INDEX deployments_organisation ON deployments (issuer, organisation, created_at, id, subject, user_group)
    WHERE organisation IS NOT NULL;
CREATE INDEX deployments_operation ON deployments (operation) WHERE operation IS NOT NULL;

CREATE TABLE deployment_texts (
    deployment  TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES deployments (id) ON DELETE CASCADE,
    template    TEXT COLLATE "C" NOT NULL,
    parameters  TEXT COLLATE "C" NOT NULL,
    log         TEXT COLLATE "C" NOT NULL
);

CREATE TABLE resources (
    id          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    deployment  TEXT COLLATE "C" NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    position    BIGINT  NOT NULL,
    node        TEXT COLLATE "C" NOT NULL,
    type        TEXT COLLATE "C" NOT NULL,
    ancestors   TEXT COLLATE "C" NOT NULL,
    state       TEXT COLLATE "C" NOT NULL CHECK (state IN ('INITIAL', 'CREATING', 'CREATED', 'CONFIGURING', 'CONFIGURED',
                    'STARTING', 'STARTED', 'STOPPING', 'STOPPED', 'DELETING', 'ERROR')),
    cloud       TEXT COLLATE "C",
    token       TEXT COLLATE "C",
    physical_id TEXT COLLATE "C",
    attributes  TEXT COLLATE "C" NOT NULL,
    required_by TEXT COLLATE "C" NOT NULL,
    created_at  BIGINT  NOT NULL,
    updated_at  BIGINT  NOT NULL
);
CREATE INDEX resources_deployment ON resources (deployment, position, id);
CREATE UNIQUE INDEX resources_token ON resources (cloud, token) WHERE token IS NOT NULL;

-- For what is kept only for a time: which operations are over, and which nodes were destroyed.
CREATE INDEX operations_over ON operations (updated_at, id) WHERE state <> 'pending';
CREATE INDEX operations_destroyed ON operations (cloud, node_id) WHERE kind = 'destroy-node';
