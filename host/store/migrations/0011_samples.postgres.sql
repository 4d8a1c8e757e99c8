-- Beside this file lies its twin for SQLite; the two must describe the same tables. Times are microseconds UTC.

-- The latest round of measuring of each cloud. Who writes the next one must have seen this revision.
CREATE TABLE sample_rounds (
    cloud    TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    revision BIGINT  NOT NULL,
    round    BIGINT  NOT NULL
);

-- What is measured of one machine, which is known by its token, with the newest value. Without an index on what every round changes.
CREATE TABLE sample_series (
    id         BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cloud      TEXT COLLATE "C" NOT NULL,
    subject    TEXT COLLATE "C" NOT NULL,
    metric     TEXT COLLATE "C" NOT NULL,
    unit       TEXT COLLATE "C" NOT NULL,
    counter    BIGINT  NOT NULL CHECK (counter IN (0, 1)),
    since      BIGINT  NOT NULL,
    last_at    BIGINT  NOT NULL,
    last_value DOUBLE PRECISION NOT NULL,
    seen_at    BIGINT  NOT NULL,
    UNIQUE (cloud, subject, metric, unit, counter)
) WITH (fillfactor = 50);

-- What the values of a series came to, by the minute, five minutes, hour and day. The time comes before the series: what a round
-- writes and what is forgotten lies together. No foreign key, for what it would cost each round: a series goes after its points.
CREATE TABLE sample_points (
    resolution BIGINT  NOT NULL CHECK (resolution IN (60, 300, 3600, 86400)),
    start      BIGINT  NOT NULL,
    series     BIGINT  NOT NULL,
    weight     BIGINT  NOT NULL,
    low        DOUBLE PRECISION NOT NULL,
    high       DOUBLE PRECISION NOT NULL,
    total      DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (resolution, start, series)
);
