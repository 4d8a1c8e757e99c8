-- Beside this file lies its twin for PostgreSQL; the two must describe the same tables. Times are microseconds UTC.

-- Requests for an application that came with an idempotency key. The application may be gone: the key stands for it all the same.
CREATE TABLE application_requests (
    user_id         TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    scope           TEXT    NOT NULL,
    key             TEXT    NOT NULL,
    input_hash      BLOB    NOT NULL,
    application_id  INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (user_id, scope, key)
) STRICT;
CREATE INDEX application_requests_age ON application_requests (created_at);
