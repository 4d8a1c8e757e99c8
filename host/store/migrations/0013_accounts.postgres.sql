-- Beside this file lies its twin for SQLite; the two must describe the same tables. Times are microseconds UTC.

-- A user who was deleted stays as a row without name, address and password, since the ledger names it and its number is never
-- given again.
ALTER TABLE users ADD COLUMN deleted_at BIGINT;
-- A password that was sent by mail ends by itself.
ALTER TABLE users ADD COLUMN password_expires_at BIGINT;

-- Requests for a user that came with an idempotency key.
CREATE TABLE user_requests (
    scope       TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    input_hash  BYTEA   NOT NULL,
    user_id     TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at  BIGINT  NOT NULL,
    PRIMARY KEY (scope, key)
);
CREATE INDEX user_requests_user ON user_requests (user_id);
