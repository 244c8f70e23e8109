-- name: run_due
-- A run that was deleted at least $1 days ago, locked. Another replica takes another one.
SELECT run_id FROM runs
 WHERE lifecycle = 'deleted' AND purge_epoch IS NULL AND deleted_at <= now() - make_interval(days => $1)
 ORDER BY deleted_at
 LIMIT 1
   FOR UPDATE SKIP LOCKED;

-- name: mark_run
-- Takes a run out of sight for good, with the epoch up to which it may have points, as mark_series in runs.sql.
UPDATE runs
   SET purge_epoch = coalesce((SELECT max(epoch) FROM commits), (SELECT visible_epoch FROM watermark))
 WHERE run_id = $1;

-- name: mark_series_of_run
-- And all its series.
UPDATE series SET purge_epoch = (SELECT purge_epoch FROM runs WHERE run_id = $1)
 WHERE run_id = $1 AND purge_epoch IS NULL;

-- name: doomed_series
-- Series that are marked and whose points have all been rolled up, locked. Another replica takes other ones; a merge that
-- is at them has the lock, and they wait for the next round.
SELECT series_id FROM series
 WHERE purge_epoch <= (SELECT visible_epoch FROM watermark)
 ORDER BY purge_epoch, series_id
 LIMIT $1
   FOR UPDATE SKIP LOCKED;

-- name: delete_segments
-- Deletes up to $2 segments of some series; says how many, and how many points were in them.
WITH gone AS (
    DELETE FROM metric_segments
     WHERE ctid = ANY (ARRAY(SELECT ctid FROM metric_segments WHERE series_id = ANY ($1::bigint[]) LIMIT $2))
    RETURNING point_count
)
SELECT count(*) AS segments, coalesce(sum(point_count), 0)::bigint AS points FROM gone;

-- name: delete_latest
-- Deletes what is known as the latest values of some series.
DELETE FROM latest_values WHERE series_id = ANY ($1::bigint[]);

-- name: delete_series
-- Deletes series that have no points any more.
DELETE FROM series WHERE series_id = ANY ($1::bigint[]);

-- name: doomed_run
-- A marked run all of whose series are gone, locked.
SELECT r.run_id FROM runs r
 WHERE r.purge_epoch <= (SELECT visible_epoch FROM watermark)
   AND NOT EXISTS (SELECT FROM series s WHERE s.run_id = r.run_id)
 LIMIT 1
   FOR UPDATE SKIP LOCKED;

-- name: delete_producers
-- Deletes the ledger of a run.
DELETE FROM producers WHERE run_id = $1;

-- name: delete_run
-- Deletes a run, with its params and tags.
DELETE FROM runs WHERE run_id = $1;

-- name: waiting
-- How many marked series wait for roll-up, and how many runs.
SELECT (SELECT count(*) FROM series, watermark WHERE purge_epoch > visible_epoch) AS series,
       (SELECT count(*) FROM runs, watermark WHERE purge_epoch > visible_epoch) AS runs;

-- name: experiments
-- Experiments whose points are not kept for ever, and from when on they are kept.
SELECT experiment_id, name, retention_days, now() - make_interval(days => retention_days) AS keep_from
  FROM experiments
 WHERE retention_days IS NOT NULL
 ORDER BY experiment_id;

-- name: runs_of
-- Runs of an experiment after $2, by id.
SELECT run_id FROM runs WHERE experiment_id = $1 AND run_id > $2 AND purge_epoch IS NULL ORDER BY run_id LIMIT $3;

-- name: series_with_old_segments
-- Some series of a run that have segments all of whose points are older than $2.
SELECT DISTINCT s.series_id
  FROM series s JOIN metric_segments g USING (series_id)
 WHERE s.run_id = $1 AND s.purge_epoch IS NULL AND g.max_time < $2
 LIMIT $3;

-- name: lock_series
-- Locks series for a deletion of segments, in order: so that no merge has what is to be deleted in its hands.
SELECT series_id FROM series
 WHERE series_id = ANY ($1::bigint[]) AND purge_epoch IS NULL
 ORDER BY series_id
   FOR NO KEY UPDATE;

-- name: delete_old_segments
-- Deletes up to $3 segments of some series that are older than $2; says how many, and how many points were in them.
WITH gone AS (
    DELETE FROM metric_segments
     WHERE ctid = ANY (ARRAY(
           SELECT ctid FROM metric_segments WHERE series_id = ANY ($1::bigint[]) AND max_time < $2 LIMIT $3))
    RETURNING point_count
)
SELECT count(*) AS segments, coalesce(sum(point_count), 0)::bigint AS points FROM gone;
