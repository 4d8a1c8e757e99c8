-- Beside this file lies its twin for PostgreSQL; the two must describe the same tables. Times are microseconds UTC.

-- What issuers have given for acting on behalf of persons later: refresh tokens, sealed by a key that the database does not hold. The
-- lease is whose it is to use one, since many issuers take each but once.
CREATE TABLE grants (
    issuer      TEXT    NOT NULL,
    subject     TEXT    NOT NULL,
    sealed      BLOB    NOT NULL,
    lease_owner TEXT,
    lease_until INTEGER,
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (issuer, subject),
    CHECK ((lease_owner IS NULL) = (lease_until IS NULL))
) STRICT;
