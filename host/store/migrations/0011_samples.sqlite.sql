-- Beside this file lies its twin for PostgreSQL; the two must describe the same tables. Times are microseconds UTC.

-- The latest round of measuring of each cloud. Who writes the next one must have seen this revision.
CREATE TABLE sample_rounds (
    cloud    TEXT    NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL,
    round    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What is measured of one machine, which is known by its token, with the newest value. Without an index on what every round changes.
CREATE TABLE sample_series (
    id         INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    cloud      TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    metric     TEXT    NOT NULL,
    unit       TEXT    NOT NULL,
    counter    INTEGER NOT NULL CHECK (counter IN (0, 1)),
    since      INTEGER NOT NULL,
    last_at    INTEGER NOT NULL,
    last_value REAL    NOT NULL,
    seen_at    INTEGER NOT NULL,
    UNIQUE (cloud, subject, metric, unit, counter)
) STRICT;

-- What the values of a series came to, by the minute, five minutes, hour and day. The time comes before the series: what a round
-- writes and what is forgotten lies together. No foreign key, for what it would cost each round: a series goes after its points.
CREATE TABLE sample_points (
    resolution INTEGER NOT NULL CHECK (resolution IN (60, 300, 3600, 86400)),
    start      INTEGER NOT NULL,
    series     INTEGER NOT NULL,
    weight     INTEGER NOT NULL,
    low        REAL    NOT NULL,
    high       REAL    NOT NULL,
    total      REAL    NOT NULL,
    PRIMARY KEY (resolution, start, series)
) STRICT, WITHOUT ROWID;
