-- Beside this file lies its twin for SQLite; the two must describe the same tables. Times are microseconds UTC, money is whole
-- credits.

-- Numbers that are given once: the last one given.
CREATE TABLE counters (
    name    TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    last    BIGINT  NOT NULL
);

-- Users get a number, which is their UID in certificates, and what registration asks for.
ALTER TABLE users ADD COLUMN number BIGINT;
ALTER TABLE users ADD COLUMN first_name TEXT COLLATE "C";
ALTER TABLE users ADD COLUMN last_name TEXT COLLATE "C";
ALTER TABLE users ADD COLUMN affiliation TEXT COLLATE "C";
UPDATE users SET number = numbered.number
    FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY id) AS number FROM users) AS numbered WHERE numbered.id = users.id;
INSERT INTO counters (name, last) VALUES ('user', (SELECT COUNT(*) FROM users)), ('crl', 0);
UPDATE users SET email = NULL WHERE email IS NOT NULL
    AND EXISTS (SELECT 1 FROM users AS earlier WHERE earlier.id < users.id AND lower(earlier.email) = lower(users.email));
CREATE UNIQUE INDEX users_number ON users (number);
CREATE UNIQUE INDEX users_email ON users (lower(email)) WHERE email IS NOT NULL;

-- One account a user. The balance is the sum of the entries; its row is locked by whoever adds one.
CREATE TABLE credit_accounts (
    user_id     TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES users (id),
    balance     BIGINT  NOT NULL CHECK (balance >= 0)
);
INSERT INTO credit_accounts (user_id, balance) SELECT id, 0 FROM users;

-- The ledger. An entry of kind 'release' or 'settle' closes the 'reserve' entry it names, which can happen once.
CREATE TABLE credit_entries (
    id              BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id         TEXT COLLATE "C" NOT NULL REFERENCES users (id),
    at              BIGINT  NOT NULL,
    kind            TEXT COLLATE "C" NOT NULL CHECK (kind IN ('grant', 'reserve', 'release', 'settle', 'charge')),
    amount          BIGINT  NOT NULL,
    balance         BIGINT  NOT NULL CHECK (balance >= 0),
    reservation     BIGINT  UNIQUE REFERENCES credit_entries (id),
    reference       TEXT COLLATE "C" UNIQUE,
    note            TEXT COLLATE "C" NOT NULL,
    actor           TEXT COLLATE "C" NOT NULL,
    CHECK ((reservation IS NOT NULL) = (kind IN ('release', 'settle')))
);
CREATE INDEX credit_entries_user ON credit_entries (user_id, id);

CREATE FUNCTION credit_entries_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'credit_entries is append-only';
END
$$;
CREATE TRIGGER credit_entries_no_change BEFORE UPDATE OR DELETE ON credit_entries
    FOR EACH ROW EXECUTE FUNCTION credit_entries_refuse();
CREATE TRIGGER credit_entries_no_truncate BEFORE TRUNCATE ON credit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION credit_entries_refuse();

CREATE TABLE applications (
    id          BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id     TEXT COLLATE "C" NOT NULL REFERENCES users (id),
    name        TEXT COLLATE "C" NOT NULL,
    created_at  BIGINT  NOT NULL,
    UNIQUE (user_id, name)
);

-- A 'manager' manages an application as a whole, the 'member's are the services it keeps itself; a 'service' stands alone.
CREATE TABLE services (
    id              BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    application_id  BIGINT  NOT NULL REFERENCES applications (id),
    user_id         TEXT COLLATE "C" NOT NULL REFERENCES users (id),
    kind            TEXT COLLATE "C" NOT NULL CHECK (kind IN ('service', 'manager', 'member')),
    type            TEXT COLLATE "C" NOT NULL,
    name            TEXT COLLATE "C" NOT NULL,
    cloud           TEXT COLLATE "C" NOT NULL,
    state           TEXT COLLATE "C" NOT NULL CHECK (state IN ('starting', 'running', 'stopping')),
    number          BIGINT,
    address         TEXT COLLATE "C",
    node_id         TEXT COLLATE "C",
    prepaid         BIGINT  NOT NULL DEFAULT 0 CHECK (prepaid >= 0),
    operation       TEXT COLLATE "C",
    created_at      BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL
);
CREATE UNIQUE INDEX services_manager ON services (application_id) WHERE kind = 'manager';
CREATE UNIQUE INDEX services_member ON services (application_id, number) WHERE kind = 'member';
CREATE INDEX services_application ON services (application_id, id);
CREATE INDEX services_user ON services (user_id, id);
CREATE INDEX services_operation ON services (operation) WHERE operation IS NOT NULL;

-- The nodes of services, from the intent on. The reservation is named as long as it is open.
CREATE TABLE service_nodes (
    id              BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    service_id      BIGINT  NOT NULL REFERENCES services (id),
    member_id       BIGINT,
    role            TEXT COLLATE "C" NOT NULL CHECK (role IN ('manager', 'agent')),
    cloud           TEXT COLLATE "C" NOT NULL,
    size            TEXT COLLATE "C" NOT NULL,
    token           TEXT COLLATE "C" NOT NULL UNIQUE,
    node_id         TEXT COLLATE "C",
    name            TEXT COLLATE "C",
    address         TEXT COLLATE "C",
    price           BIGINT  NOT NULL CHECK (price >= 0),
    state           TEXT COLLATE "C" NOT NULL CHECK (state IN ('intended', 'present', 'doomed')),
    operation       TEXT COLLATE "C",
    reservation     BIGINT  REFERENCES credit_entries (id),
    created_at      BIGINT  NOT NULL,
    paid_until      BIGINT
);
CREATE INDEX service_nodes_service ON service_nodes (service_id, id);
CREATE INDEX service_nodes_due ON service_nodes (state, paid_until);
CREATE INDEX service_nodes_provider ON service_nodes (cloud, node_id);
CREATE INDEX service_nodes_operation ON service_nodes (operation) WHERE operation IS NOT NULL;
CREATE INDEX service_nodes_reservation ON service_nodes (reservation) WHERE reservation IS NOT NULL;

-- What the certificate authority issued. The service may be gone.
CREATE TABLE certificates (
    serial      TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    role        TEXT COLLATE "C" NOT NULL,
    user_id     TEXT COLLATE "C" REFERENCES users (id),
    service_id  BIGINT,
    locator     BIGINT,
    subject     TEXT COLLATE "C" NOT NULL,
    pem         TEXT COLLATE "C" NOT NULL,
    not_before  BIGINT  NOT NULL,
    not_after   BIGINT  NOT NULL,
    issued_at   BIGINT  NOT NULL,
    issued_by   TEXT COLLATE "C" NOT NULL,
    revoked_at  BIGINT,
    reason      TEXT COLLATE "C",
    CHECK ((revoked_at IS NULL) = (reason IS NULL))
);
CREATE INDEX certificates_issued ON certificates (issued_at, serial);
CREATE INDEX certificates_user ON certificates (user_id);
CREATE INDEX certificates_service ON certificates (service_id);
CREATE INDEX certificates_revoked ON certificates (not_after) WHERE revoked_at IS NOT NULL;

-- The certificate authority that all hosts must have.
CREATE TABLE authority (
    id              BIGINT  NOT NULL PRIMARY KEY CHECK (id = 1),
    fingerprint     TEXT COLLATE "C" NOT NULL
);
