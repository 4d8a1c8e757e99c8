-- Beside this file lies its twin for SQLite; the two must describe the same tables. Times are microseconds UTC.

-- Images, by numbers that are never given again. Those with a token were registered here; others the provider had by itself, and
-- they are 'gone' once it has them no more. The task is what the operation does.
CREATE TABLE images (
    id          BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cloud       TEXT COLLATE "C" NOT NULL,
    name        TEXT COLLATE "C" NOT NULL,
    owner       BIGINT  REFERENCES users (number) ON DELETE SET NULL,
    status      TEXT COLLATE "C" NOT NULL CHECK (status IN ('saving', 'active', 'failed', 'gone')),
    progress    BIGINT  CHECK (progress BETWEEN 0 AND 100),
    detail      TEXT COLLATE "C",
    source      TEXT COLLATE "C",
    checksum    TEXT COLLATE "C",
    size_bytes  BIGINT,
    token       TEXT COLLATE "C",
    provider_id TEXT COLLATE "C",
    task        TEXT COLLATE "C" CHECK (task IN ('import', 'delete')),
    operation   TEXT COLLATE "C",
    created_at  BIGINT  NOT NULL,
    updated_at  BIGINT  NOT NULL,
    UNIQUE (cloud, provider_id),
    UNIQUE (cloud, token),
    CHECK ((task IS NULL) = (operation IS NULL))
);
CREATE INDEX images_cloud ON images (cloud, id);
CREATE INDEX images_owner ON images (owner) WHERE owner IS NOT NULL;

-- Instances, by numbers that are never given again. The state is what was known last; the task is what the operation does.
CREATE TABLE instances (
    id          BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cloud       TEXT COLLATE "C" NOT NULL,
    name        TEXT COLLATE "C" NOT NULL,
    image_id    BIGINT  NOT NULL REFERENCES images (id),
    owner       BIGINT  NOT NULL REFERENCES users (number),
    size        TEXT COLLATE "C" NOT NULL,
    token       TEXT COLLATE "C" NOT NULL,
    state       TEXT COLLATE "C" NOT NULL
        CHECK (state IN ('running', 'stopped', 'frozen', 'starting', 'stopping', 'rebooting', 'error')),
    detail      TEXT COLLATE "C",
    address     TEXT COLLATE "C",
    node_id     TEXT COLLATE "C",
    acted       BIGINT  NOT NULL CHECK (acted IN (0, 1)),
    task        TEXT COLLATE "C" CHECK (task IN ('create', 'start', 'stop', 'reboot', 'suspend', 'resume', 'delete')),
    operation   TEXT COLLATE "C",
    created_at  BIGINT  NOT NULL,
    updated_at  BIGINT  NOT NULL,
    UNIQUE (cloud, token),
    CHECK ((task IS NULL) = (operation IS NULL))
);
CREATE INDEX instances_cloud ON instances (cloud, id);
CREATE INDEX instances_image ON instances (image_id);
CREATE INDEX instances_owner ON instances (owner);
