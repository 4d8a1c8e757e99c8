-- What machines say of what they had to do. Each has a token of its own, of which only the hash is kept.
CREATE TABLE machine_reports (
    token_hash BYTEA   NOT NULL PRIMARY KEY,
    deployment TEXT    NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    resource   TEXT    NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('awaited', 'done', 'failed')),
    message    TEXT,
    created_at BIGINT  NOT NULL,
    updated_at BIGINT  NOT NULL
);
CREATE INDEX machine_reports_deployment ON machine_reports (deployment, resource);
