-- when: before
-- Segments: what hot rows become. Retention, deletion of series, latest values.

-- Up to about a thousand points of one series a row, ordered by (step, time). Plain types: what a column says can be
-- read in psql. A long array is stored outside of the row, uncompressed (compressing it takes longer than all the rest
-- of the roll-up); summaries stay in the row, so that a wide chart reads no arrays.
CREATE TABLE metric_segments (
    series_id bigint NOT NULL,
    epoch int NOT NULL,                -- of its points; after a merge, the highest
    first_step bigint NOT NULL,
    last_step bigint NOT NULL,
    min_time timestamptz NOT NULL,
    max_time timestamptz NOT NULL,
    point_count int NOT NULL,
    finite_count int NOT NULL,         -- values that are neither NaN nor infinite
    min_value double precision,        -- of the finite values; null if there are none
    max_value double precision,
    sum_value double precision,
    first_value double precision NOT NULL,
    last_value double precision NOT NULL,
    time_ordered boolean NOT NULL,     -- times do not decrease along the points
    step_stride bigint,                -- point i has step first_step + i * step_stride; null: steps has them
    steps bigint[],
    time_offsets int[],                -- microseconds after min_time; null: times has them
    times timestamptz[],
    values_real real[],                -- if every value is exactly a real (or NaN); null: values_double has them
    values_double double precision[]
);

ALTER TABLE metric_segments
    ALTER steps SET STORAGE EXTERNAL,
    ALTER time_offsets SET STORAGE EXTERNAL,
    ALTER times SET STORAGE EXTERNAL,
    ALTER values_real SET STORAGE EXTERNAL,
    ALTER values_double SET STORAGE EXTERNAL;

-- Space of deleted segments is to be used again soon; a segment is a thousand points.
ALTER TABLE metric_segments SET (
    autovacuum_vacuum_scale_factor = 0.05,
    toast.autovacuum_vacuum_scale_factor = 0.05
);

CREATE INDEX metric_segments_by_series ON metric_segments (series_id, first_step);
-- What may be worth merging (rollup/merge.py); full segments are not in it.
CREATE INDEX metric_segments_small ON metric_segments (series_id) INCLUDE (epoch, point_count) WHERE point_count < 800;

-- The greatest (step, time, value) of each series among its segments, where NaN compares as 0. Hot rows correct it.
CREATE TABLE latest_values (
    series_id bigint PRIMARY KEY,
    step bigint NOT NULL,
    time timestamptz NOT NULL,
    value double precision NOT NULL
) WITH (fillfactor = 70);

-- When roll-up did what, and how much.
ALTER TABLE epochs
    ADD rolled_at timestamptz,
    ADD visible_at timestamptz,
    ADD dropped_at timestamptz,
    ADD point_count bigint,
    ADD segment_count int;

CREATE INDEX commits_by_epoch ON commits (epoch);

-- Days after which points of an experiment are deleted; null: never.
ALTER TABLE experiments ADD retention_days int CHECK (retention_days > 0);

-- Deleting a series or a run: marked with the highest epoch that its points may be in, and invisible from that moment
-- on. When the watermark has reached that epoch, no roll-up can bring points back, and they are deleted.
ALTER TABLE series ADD purge_epoch int;
ALTER TABLE runs ADD purge_epoch int;

-- A run that goes on logging a deleted key gets a new series.
ALTER TABLE series DROP CONSTRAINT series_run_id_key_rank_attempt_key;
CREATE UNIQUE INDEX series_live ON series (run_id, key, rank, attempt) WHERE purge_epoch IS NULL;
CREATE INDEX series_to_purge ON series (purge_epoch) WHERE purge_epoch IS NOT NULL;
CREATE INDEX series_by_run ON series (run_id);

CREATE OR REPLACE FUNCTION resolve_series(in_run_id uuid, in_rank int, in_attempt int, keys text[])
RETURNS TABLE (key text, series_id bigint) LANGUAGE plpgsql AS $$
BEGIN
    -- Against a deletion of series in between: the INSERT would see the old one still there, the SELECT would not.
    PERFORM 1 FROM runs r WHERE r.run_id = in_run_id FOR KEY SHARE;
    INSERT INTO series (run_id, key, rank, attempt)
    SELECT in_run_id, k.key, in_rank, in_attempt
      FROM (SELECT DISTINCT unnest(keys) AS key) k
     WHERE NOT EXISTS (
         SELECT 1 FROM series s
          WHERE s.run_id = in_run_id AND s.key = k.key AND s.rank = in_rank AND s.attempt = in_attempt
            AND s.purge_epoch IS NULL)
     ORDER BY k.key
    ON CONFLICT DO NOTHING;
    RETURN QUERY
    SELECT s.key, s.series_id FROM series s
     WHERE s.run_id = in_run_id AND s.rank = in_rank AND s.attempt = in_attempt AND s.key = ANY (keys)
       AND s.purge_epoch IS NULL;
END $$;
