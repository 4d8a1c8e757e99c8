-- Beside this file lies its twin for PostgreSQL; the two must describe the same tables. Times are microseconds UTC.

-- An operation of several steps: which way it goes, and until when.
ALTER TABLE operations ADD COLUMN subject TEXT;
ALTER TABLE operations ADD COLUMN phase TEXT NOT NULL DEFAULT 'forward' CHECK (phase IN ('forward', 'back', 'out'));
ALTER TABLE operations ADD COLUMN cause TEXT;
ALTER TABLE operations ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0;
ALTER TABLE operations ADD COLUMN attempt_deadline INTEGER;
ALTER TABLE operations ADD COLUMN deadline INTEGER;
ALTER TABLE operations ADD COLUMN wake_at INTEGER;
ALTER TABLE operations ADD COLUMN stuck INTEGER NOT NULL DEFAULT 0 CHECK (stuck IN (0, 1));
ALTER TABLE operations ADD COLUMN request TEXT CHECK (request IN ('cancel', 'retry', 'abandon'));
CREATE INDEX operations_lease ON operations (lease_owner) WHERE lease_owner IS NOT NULL;
CREATE INDEX operations_subject ON operations (subject, id) WHERE subject IS NOT NULL;
CREATE INDEX operations_stuck ON operations (id) WHERE stuck = 1;

-- The steps of an operation, in the order in which they were planned.
CREATE TABLE steps (
    operation   TEXT    NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    position    INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    stage       INTEGER NOT NULL,
    onward      INTEGER NOT NULL CHECK (onward IN (0, 1)),
    kind        TEXT    NOT NULL,
    cloud       TEXT,
    token       TEXT,
    input       TEXT    NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('planned', 'doing', 'done', 'failed', 'undoing', 'undone')),
    tries       INTEGER NOT NULL,
    wake_at     INTEGER NOT NULL,
    output      TEXT,
    error       TEXT,
    begun_at    INTEGER,
    ended_at    INTEGER,
    PRIMARY KEY (operation, position)
) STRICT;
CREATE UNIQUE INDEX steps_token ON steps (cloud, token) WHERE token IS NOT NULL;
