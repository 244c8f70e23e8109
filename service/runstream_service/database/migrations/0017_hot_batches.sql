-- when: after
-- Points that are not rolled up yet are stored in batches instead of rows, which takes PostgreSQL a fraction of the work.
-- Older releases do not know the new table: stop all replicas first. Points of the old table are copied.

-- A batch of one producer, or a part of it. It has up to 250 points (stores/hot_batches.py), so that it fits into its page.
CREATE TABLE hot_batches (
    epoch int NOT NULL,
    commit_no int NOT NULL,
    run_id uuid NOT NULL,
    first_series bigint,               -- what the differences in `points` are counted from
    first_step bigint,
    first_time timestamptz,            -- these three are null: `points` has whole numbers
    rank int NOT NULL,
    points bytea NOT NULL              -- the function hot_points reads them
) PARTITION BY LIST (epoch);

ALTER TABLE hot_batches ALTER points SET STORAGE PLAIN;
CREATE INDEX hot_batches_by_run ON hot_batches (run_id, rank, commit_no);

-- The latest point of each series of an epoch, from the moment when it is rolled up until it is published, which merges them
-- into latest_values. A series may have several.
CREATE TABLE unpublished_latest_values (
    epoch int NOT NULL,
    series_id bigint NOT NULL,
    step bigint NOT NULL,
    time timestamptz NOT NULL,
    value double precision NOT NULL
);
ALTER TABLE unpublished_latest_values REPLICA IDENTITY FULL;
CREATE INDEX unpublished_latest_values_by_epoch ON unpublished_latest_values (epoch);

-- install: bigint_at 45ac1c2e0c1b
-- install: double_at 25833c8fbfa5
-- install: hot_points b2bc1fed7101

-- A replica that was not stopped waits here for the end of this migration, and then fails. Otherwise points that it commits
-- after they were copied would be dropped with the old table.
LOCK TABLE metric_points_hot IN ACCESS EXCLUSIVE MODE;

DO $$
DECLARE
    hot_epoch int;
BEGIN
    FOR hot_epoch IN
        SELECT epoch FROM epochs
         WHERE epoch > (SELECT visible_epoch FROM watermark) AND to_regclass('metric_points_hot_' || epoch) IS NOT NULL
    LOOP
        -- What create_hot_partition does.
        EXECUTE format($create$
            CREATE TABLE hot_batches_%1$s (LIKE hot_batches INCLUDING STORAGE INCLUDING INDEXES)
                WITH (autovacuum_enabled = false);
            ALTER TABLE hot_batches_%1$s REPLICA IDENTITY FULL;
            ALTER TABLE hot_batches ATTACH PARTITION hot_batches_%1$s FOR VALUES IN (%1$s)
            $create$, hot_epoch);
        EXECUTE format($copy$
            INSERT INTO hot_batches_%1$s (epoch, commit_no, run_id, rank, points)
            SELECT epoch, commit_no, run_id, rank,
                   string_agg(int8send(series_id) || int8send(step) || timestamptz_send(time) || float8send(value), ''
                              ORDER BY place)
              FROM (SELECT h.*, h.ctid AS place,
                           -- A point without a series is of a run that was deleted for good. Roll-up leaves it out.
                           coalesce(s.run_id, '00000000-0000-0000-0000-000000000000') AS run_id, coalesce(s.rank, 0) AS rank,
                           (row_number() OVER (PARTITION BY h.commit_no, s.run_id, s.rank ORDER BY h.ctid) - 1) / 250 AS part
                      FROM metric_points_hot_%1$s h LEFT JOIN series s USING (series_id)) numbered
             GROUP BY epoch, commit_no, run_id, rank, part
             ORDER BY commit_no, run_id, rank, part
            $copy$, hot_epoch);
    END LOOP;
END $$;

-- install: metric_points 5d0ac63275e6

DROP TABLE metric_points_hot;
-- install: create_hot_partition 40ad4890d618
-- install: metric_points_hot 1ad04b6f0b41

DROP FUNCTION begin_group;
DROP FUNCTION commit_small_group;
DROP FUNCTION commit_small_points;
DROP FUNCTION resolve_series(uuid, int, int, text[]);
-- install: commit_batches 887c0a6af853
-- install: resolve_series 47f8e99e45ef
