-- Beside this file lies its twin for PostgreSQL; the two must describe the same tables. Times are microseconds UTC.

-- Images, by numbers that are never given again. Those with a token were registered here; others the provider had by itself, and
-- they are 'gone' once it has them no more. The task is what the operation does.
CREATE TABLE images (
    id          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    cloud       TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    owner       INTEGER REFERENCES users (number) ON DELETE SET NULL,
    status      TEXT    NOT NULL CHECK (status IN ('saving', 'active', 'failed', 'gone')),
    progress    INTEGER CHECK (progress BETWEEN 0 AND 100),
    detail      TEXT,
    source      TEXT,
    checksum    TEXT,
    size_bytes  INTEGER,
    token       TEXT,
    provider_id TEXT,
    task        TEXT    CHECK (task IN ('import', 'delete')),
    operation   TEXT,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    UNIQUE (cloud, provider_id),
    UNIQUE (cloud, token),
    CHECK ((task IS NULL) = (operation IS NULL))
) STRICT;
CREATE INDEX images_cloud ON images (cloud, id);
CREATE INDEX images_owner ON images (owner) WHERE owner IS NOT NULL;

-- Instances, by numbers that are never given again. The state is what was known last; the task is what the operation does.
CREATE TABLE instances (
    id          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    cloud       TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    image_id    INTEGER NOT NULL REFERENCES images (id),
    owner       INTEGER NOT NULL REFERENCES users (number),
    size        TEXT    NOT NULL,
    token       TEXT    NOT NULL,
    state       TEXT    NOT NULL
        CHECK (state IN ('running', 'stopped', 'frozen', 'starting', 'stopping', 'rebooting', 'error')),
    detail      TEXT,
    address     TEXT,
    node_id     TEXT,
    acted       INTEGER NOT NULL CHECK (acted IN (0, 1)),
    task        TEXT    CHECK (task IN ('create', 'start', 'stop', 'reboot', 'suspend', 'resume', 'delete')),
    operation   TEXT,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    UNIQUE (cloud, token),
    CHECK ((task IS NULL) = (operation IS NULL))
) STRICT;
CREATE INDEX instances_cloud ON instances (cloud, id);
CREATE INDEX instances_image ON instances (image_id);
CREATE INDEX instances_owner ON instances (owner);
