-- Beside this file lies its twin for SQLite; the two must describe the same tables. Times are microseconds UTC.

-- An operation of several steps: which way it goes, and until when.
ALTER TABLE operations ADD COLUMN subject TEXT COLLATE "C";
ALTER TABLE operations ADD COLUMN phase TEXT COLLATE "C" NOT NULL DEFAULT 'forward' CHECK (phase IN ('forward', 'back', 'out'));
ALTER TABLE operations ADD COLUMN cause TEXT COLLATE "C";
ALTER TABLE operations ADD COLUMN attempt BIGINT NOT NULL DEFAULT 0;
ALTER TABLE operations ADD COLUMN attempt_deadline BIGINT;
ALTER TABLE operations ADD COLUMN deadline BIGINT;
ALTER TABLE operations ADD COLUMN wake_at BIGINT;
ALTER TABLE operations ADD COLUMN stuck BIGINT NOT NULL DEFAULT 0 CHECK (stuck IN (0, 1));
ALTER TABLE operations ADD COLUMN request TEXT COLLATE "C" CHECK (request IN ('cancel', 'retry', 'abandon'));
CREATE INDEX operations_lease ON operations (lease_owner) WHERE lease_owner IS NOT NULL;
CREATE INDEX operations_subject ON operations (subject, id) WHERE subject IS NOT NULL;
CREATE INDEX operations_stuck ON operations (id) WHERE stuck = 1;

-- The steps of an operation, in the order in which they were planned.
CREATE TABLE steps (
    operation   TEXT COLLATE "C" NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    position    BIGINT NOT NULL,
    attempt     BIGINT NOT NULL,
    stage       BIGINT NOT NULL,
    onward      BIGINT NOT NULL CHECK (onward IN (0, 1)),
    kind        TEXT COLLATE "C" NOT NULL,
    cloud       TEXT COLLATE "C",
    token       TEXT COLLATE "C",
    input       TEXT COLLATE "C" NOT NULL,
    state       TEXT COLLATE "C" NOT NULL CHECK (state IN ('planned', 'doing', 'done', 'failed', 'undoing', 'undone')),
    tries       BIGINT NOT NULL,
    wake_at     BIGINT NOT NULL,
    output      TEXT COLLATE "C",
    error       TEXT COLLATE "C",
    begun_at    BIGINT,
    ended_at    BIGINT,
    PRIMARY KEY (operation, position)
);
CREATE UNIQUE INDEX steps_token ON steps (cloud, token) WHERE token IS NOT NULL;
