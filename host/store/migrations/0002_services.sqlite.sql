-- Beside this file lies its twin for PostgreSQL; the two must describe the same tables. Times are microseconds UTC, money is whole
-- credits.

-- Numbers that are given once: the last one given.
CREATE TABLE counters (
    name    TEXT    NOT NULL PRIMARY KEY,
    last    INTEGER NOT NULL
) STRICT;

-- Users get a number, which is their UID in certificates, and what registration asks for.
ALTER TABLE users ADD COLUMN number INTEGER;
ALTER TABLE users ADD COLUMN first_name TEXT;
ALTER TABLE users ADD COLUMN last_name TEXT;
ALTER TABLE users ADD COLUMN affiliation TEXT;
UPDATE users SET number = numbered.number
    FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY id) AS number FROM users) AS numbered WHERE numbered.id = users.id;
INSERT INTO counters (name, last) VALUES ('user', (SELECT COUNT(*) FROM users)), ('crl', 0);
UPDATE users SET email = NULL WHERE email IS NOT NULL
    AND EXISTS (SELECT 1 FROM users AS earlier WHERE earlier.id < users.id AND lower(earlier.email) = lower(users.email));
CREATE UNIQUE INDEX users_number ON users (number);
CREATE UNIQUE INDEX users_email ON users (lower(email)) WHERE email IS NOT NULL;

-- One account a user. The balance is the sum of the entries; its row is locked by whoever adds one.
CREATE TABLE credit_accounts (
    user_id     TEXT    NOT NULL PRIMARY KEY REFERENCES users (id),
    balance     INTEGER NOT NULL CHECK (balance >= 0)
) STRICT;
INSERT INTO credit_accounts (user_id, balance) SELECT id, 0 FROM users;

-- The ledger. An entry of kind 'release' or 'settle' closes the 'reserve' entry it names, which can happen once.
CREATE TABLE credit_entries (
    id              INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    user_id         TEXT    NOT NULL REFERENCES users (id),
    at              INTEGER NOT NULL,
    kind            TEXT    NOT NULL CHECK (kind IN ('grant', 'reserve', 'release', 'settle', 'charge')),
    amount          INTEGER NOT NULL,
    balance         INTEGER NOT NULL CHECK (balance >= 0),
    reservation     INTEGER UNIQUE REFERENCES credit_entries (id),
    reference       TEXT    UNIQUE,
    note            TEXT    NOT NULL,
    actor           TEXT    NOT NULL,
    CHECK ((reservation IS NOT NULL) = (kind IN ('release', 'settle')))
) STRICT;
CREATE INDEX credit_entries_user ON credit_entries (user_id, id);

CREATE TRIGGER credit_entries_no_update BEFORE UPDATE ON credit_entries
BEGIN
    SELECT RAISE(ABORT, 'credit_entries is append-only');
END;
CREATE TRIGGER credit_entries_no_delete BEFORE DELETE ON credit_entries
BEGIN
    SELECT RAISE(ABORT, 'credit_entries is append-only');
END;

CREATE TABLE applications (
    id          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    user_id     TEXT    NOT NULL REFERENCES users (id),
    name        TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    UNIQUE (user_id, name)
) STRICT;

-- A 'manager' manages an application as a whole, the 'member's are the services it keeps itself; a 'service' stands alone.
CREATE TABLE services (
    id              INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    application_id  INTEGER NOT NULL REFERENCES applications (id),
    user_id         TEXT    NOT NULL REFERENCES users (id),
    kind            TEXT    NOT NULL CHECK (kind IN ('service', 'manager', 'member')),
    type            TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    cloud           TEXT    NOT NULL,
    state           TEXT    NOT NULL CHECK (state IN ('starting', 'running', 'stopping')),
    number          INTEGER,
    address         TEXT,
    node_id         TEXT,
    prepaid         INTEGER NOT NULL DEFAULT 0 CHECK (prepaid >= 0),
    operation       TEXT,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX services_manager ON services (application_id) WHERE kind = 'manager';
CREATE UNIQUE INDEX services_member ON services (application_id, number) WHERE kind = 'member';
CREATE INDEX services_application ON services (application_id, id);
CREATE INDEX services_user ON services (user_id, id);
CREATE INDEX services_operation ON services (operation) WHERE operation IS NOT NULL;

-- The nodes of services, from the intent on. The reservation is named as long as it is open.
CREATE TABLE service_nodes (
    id              INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    service_id      INTEGER NOT NULL REFERENCES services (id),
    member_id       INTEGER,
    role            TEXT    NOT NULL CHECK (role IN ('manager', 'agent')),
    cloud           TEXT    NOT NULL,
    size            TEXT    NOT NULL,
    token           TEXT    NOT NULL UNIQUE,
    node_id         TEXT,
    name            TEXT,
    address         TEXT,
    price           INTEGER NOT NULL CHECK (price >= 0),
    state           TEXT    NOT NULL CHECK (state IN ('intended', 'present', 'doomed')),
    operation       TEXT,
    reservation     INTEGER REFERENCES credit_entries (id),
    created_at      INTEGER NOT NULL,
    paid_until      INTEGER
) STRICT;
CREATE INDEX service_nodes_service ON service_nodes (service_id, id);
CREATE INDEX service_nodes_due ON service_nodes (state, paid_until);
CREATE INDEX service_nodes_provider ON service_nodes (cloud, node_id);
CREATE INDEX service_nodes_operation ON service_nodes (operation) WHERE operation IS NOT NULL;
CREATE INDEX service_nodes_reservation ON service_nodes (reservation) WHERE reservation IS NOT NULL;

-- What the certificate authority issued. The service may be gone.
CREATE TABLE certificates (
    serial      TEXT    NOT NULL PRIMARY KEY,
    role        TEXT    NOT NULL,
    user_id     TEXT    REFERENCES users (id),
    service_id  INTEGER,
    locator     INTEGER,
    subject     TEXT    NOT NULL,
    pem         TEXT    NOT NULL,
    not_before  INTEGER NOT NULL,
    not_after   INTEGER NOT NULL,
    issued_at   INTEGER NOT NULL,
    issued_by   TEXT    NOT NULL,
    revoked_at  INTEGER,
    reason      TEXT,
    CHECK ((revoked_at IS NULL) = (reason IS NULL))
) STRICT;
CREATE INDEX certificates_issued ON certificates (issued_at, serial);
CREATE INDEX certificates_user ON certificates (user_id);
CREATE INDEX certificates_service ON certificates (service_id);
CREATE INDEX certificates_revoked ON certificates (not_after) WHERE revoked_at IS NOT NULL;

-- The certificate authority that all hosts must have.
CREATE TABLE authority (
    id              INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    fingerprint     TEXT    NOT NULL
) STRICT;
