-- Beside this file lies its twin for PostgreSQL; the two must describe the same tables. Times are microseconds UTC, money is whole
-- credits.

-- What machines of deployments cost, and until when they are paid for. The reservation is named as long as it is open. Without a
-- foreign key to the resource: whoever removes that closes the reservation first.
CREATE TABLE resource_credit (
    resource    TEXT    NOT NULL PRIMARY KEY,
    deployment  TEXT    NOT NULL,
    user_id     TEXT    NOT NULL REFERENCES users (id),
    cloud       TEXT    NOT NULL,
    price       INTEGER NOT NULL CHECK (price >= 0),
    reservation INTEGER UNIQUE REFERENCES credit_entries (id),
    paid_until  INTEGER
) STRICT;
CREATE INDEX resource_credit_deployment ON resource_credit (deployment);
CREATE INDEX resource_credit_due ON resource_credit (paid_until, resource) WHERE paid_until IS NOT NULL;
