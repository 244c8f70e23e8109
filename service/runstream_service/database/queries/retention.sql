-- name: run_due
-- A run that was deleted at least $1 days ago and is not in $2, locked. Another replica gets another run.
SELECT run_id FROM runs
 WHERE lifecycle = 'deleted' AND purge_epoch IS NULL AND deleted_at <= now() - make_interval(days => $1)
   AND run_id <> ALL ($2::uuid[])
 ORDER BY deleted_at
 LIMIT 1
   FOR UPDATE SKIP LOCKED;

-- name: mark_run
-- Marks a run, so that no read returns it from then on, with the epoch up to which it may have points (see mark_series in
-- runs.sql).
UPDATE runs
   SET purge_epoch = coalesce((SELECT max(epoch) FROM commits), (SELECT visible_epoch FROM watermark))
 WHERE run_id = $1;

-- name: mark_series
-- Marks up to $1 series of marked runs, with the epoch of their run. No series are created in a marked run.
UPDATE series s
   SET purge_epoch = marked.purge_epoch
  FROM (SELECT live.series_id, r.purge_epoch
          FROM runs r JOIN series live USING (run_id)
         WHERE r.purge_epoch IS NOT NULL AND live.purge_epoch IS NULL
         LIMIT $1) marked
 WHERE s.series_id = marked.series_id;

-- name: purgeable_series
-- Up to $1 marked series whose points have all been rolled up, locked. Series that another replica or a merge has locked
-- are left for the next round.
SELECT series_id FROM series
 WHERE purge_epoch <= (SELECT visible_epoch FROM watermark)
 ORDER BY purge_epoch, series_id
 LIMIT $1
   FOR UPDATE SKIP LOCKED;

-- name: delete_latest
-- Deletes the latest values of some series.
DELETE FROM latest_values WHERE series_id = ANY ($1::bigint[]);

-- name: delete_series
-- Deletes series that have no points any more.
DELETE FROM series WHERE series_id = ANY ($1::bigint[]);

-- name: purgeable_run
-- A marked run all of whose series are gone and that is not in $1, locked; and the experiment below whose location its files
-- are.
SELECT r.run_id, f.experiment_id, f.artifact_location
  FROM runs r JOIN experiments f ON f.experiment_id = coalesce(r.files_experiment_id, r.experiment_id)
 WHERE r.purge_epoch <= (SELECT visible_epoch FROM watermark)
   AND NOT EXISTS (SELECT FROM series s WHERE s.run_id = r.run_id)
   AND r.run_id <> ALL ($1::uuid[])
 LIMIT 1
   FOR UPDATE OF r SKIP LOCKED;

-- name: delete_producers
-- Deletes the ledger of a run.
DELETE FROM producers WHERE run_id = $1;

-- name: delete_run
-- Deletes a run, with its params and tags.
DELETE FROM runs WHERE run_id = $1;

-- name: experiment_due
-- An experiment that was deleted at least $1 days ago, all of whose runs are marked and that is not in $2, locked. For
-- a deleted experiment, updated_at is the time of its deletion, or of a later change of its retention. Experiment 0 stays:
-- MLflow's clients log to it by default.
SELECT e.experiment_id FROM experiments e
 WHERE e.lifecycle = 'deleted' AND e.workspace_id <> 0 AND e.experiment_id <> 0
   AND e.updated_at <= now() - make_interval(days => $1)
   AND NOT EXISTS (SELECT FROM runs r WHERE r.experiment_id = e.experiment_id AND r.purge_epoch IS NULL)
   AND e.experiment_id <> ALL ($2::bigint[])
 ORDER BY e.experiment_id
 LIMIT 1
   FOR UPDATE SKIP LOCKED;

-- name: mark_experiment
-- Takes a locked experiment out of its workspace and frees its name. This statement checks the runs again, since one may
-- have been created before the lock was held.
UPDATE experiments e
   SET workspace_id = 0, name = e.experiment_id::text
 WHERE e.experiment_id = $1
   AND NOT EXISTS (SELECT FROM runs r WHERE r.experiment_id = e.experiment_id AND r.purge_epoch IS NULL)
RETURNING e.experiment_id;

-- name: purgeable_models
-- Up to $2 logged models that were deleted at least $1 days ago or whose experiment is being purged, locked, and the
-- experiment below whose location their files are.
SELECT m.model_id, f.experiment_id, f.artifact_location
  FROM logged_models m JOIN experiments f ON f.experiment_id = coalesce(m.files_experiment_id, m.experiment_id)
 WHERE m.model_id IN (
       SELECT model_id FROM logged_models WHERE deleted_at <= now() - make_interval(days => $1)
       UNION ALL
       SELECT model_id FROM logged_models JOIN experiments USING (experiment_id) WHERE workspace_id = 0
       LIMIT $2)
   FOR UPDATE OF m SKIP LOCKED;

-- name: delete_models
-- Deletes logged models, with their params, tags and metrics.
DELETE FROM logged_models WHERE model_id = ANY ($1::text[]);

-- name: purgeable_experiment
-- A marked experiment all of whose runs and models are gone, also those that were moved and left their files here, and that
-- is not in $1, locked.
SELECT e.experiment_id, e.artifact_location FROM experiments e
 WHERE e.workspace_id = 0
   AND NOT EXISTS (SELECT FROM runs r WHERE r.experiment_id = e.experiment_id)
   AND NOT EXISTS (SELECT FROM logged_models m WHERE m.experiment_id = e.experiment_id)
   AND NOT EXISTS (SELECT FROM runs r WHERE r.files_experiment_id = e.experiment_id)
   AND NOT EXISTS (SELECT FROM logged_models m WHERE m.files_experiment_id = e.experiment_id)
   AND e.experiment_id <> ALL ($1::bigint[])
 ORDER BY e.experiment_id
 LIMIT 1
   FOR UPDATE SKIP LOCKED;

-- name: delete_experiment
-- Deletes an experiment, with its tags and datasets.
DELETE FROM experiments WHERE experiment_id = $1;

-- name: waiting
-- How many marked series, runs and experiments wait for roll-up. An experiment without runs and models does not: only files
-- of runs and models that were moved away are left in it.
SELECT (SELECT count(*) FROM series, watermark WHERE purge_epoch > visible_epoch) AS series,
       (SELECT count(*) FROM runs, watermark WHERE purge_epoch > visible_epoch) AS runs,
       (SELECT count(*) FROM experiments e
         WHERE e.workspace_id = 0
           AND (EXISTS (SELECT FROM runs r WHERE r.experiment_id = e.experiment_id)
                OR EXISTS (SELECT FROM logged_models m WHERE m.experiment_id = e.experiment_id))) AS experiments;

-- name: record_artifacts
-- Records files and directories that are to be deleted.
INSERT INTO purged_artifacts (path) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING;

-- name: claim_artifacts
-- Claims up to $1 paths that are due, the longest waiting first. No other replica claims them for ten minutes.
UPDATE purged_artifacts
   SET not_before = now() + interval '10 minutes'
 WHERE path IN (SELECT path FROM purged_artifacts WHERE not_before <= now()
                 ORDER BY not_before LIMIT $1 FOR UPDATE SKIP LOCKED)
RETURNING path;

-- name: postpone_artifacts
-- Postpones the deletion of the paths $1 by an hour, because something still needs the files.
UPDATE purged_artifacts SET not_before = now() + interval '1 hour' WHERE path = ANY ($1::text[]);

-- name: forget_artifacts
-- Removes paths whose files are deleted.
DELETE FROM purged_artifacts WHERE path = ANY ($1::text[]);

-- name: artifacts_waiting
-- The number of paths whose files are still to be deleted.
SELECT count(*) FROM purged_artifacts;

-- name: locations_that_match
-- Where registered versions have their files and experiments theirs, of those whose text matches one of some patterns. Also
-- purged experiments where runs and models that were moved have their files.
SELECT storage_location AS location FROM model_versions WHERE storage_location LIKE ANY ($1::text[])
UNION
SELECT artifact_location FROM experiments e
 WHERE artifact_location LIKE ANY ($1::text[])
   AND (workspace_id <> 0
        OR EXISTS (SELECT FROM runs r WHERE r.files_experiment_id = e.experiment_id)
        OR EXISTS (SELECT FROM logged_models m WHERE m.files_experiment_id = e.experiment_id));

-- name: forget_producers
-- Forgets up to $1 producers that have neither opened a stream nor committed for 90 days.
DELETE FROM producers
 WHERE producer_id = ANY (ARRAY(
       SELECT producer_id FROM producers
        WHERE greatest(opened_at, committed_at) < now() - interval '90 days' LIMIT $1 FOR UPDATE SKIP LOCKED));

-- name: parents_of_waiting
-- The directories of $1 that contain a path that is still to be deleted.
SELECT parent FROM unnest($1::text[]) AS parent
 WHERE EXISTS (SELECT FROM purged_artifacts WHERE starts_with(path, parent || '/'));

-- name: claim_task
-- Claims a task that is due, for the next $2 seconds; no row if another replica has it.
UPDATE shared_tasks SET due_at = now() + make_interval(secs => $2) WHERE name = $1 AND due_at <= now() RETURNING name;

-- name: release_task
-- Releases a task that failed, so that any replica can claim it.
UPDATE shared_tasks SET due_at = now() WHERE name = $1;

-- name: experiments
-- Experiments with a retention, and the time from which on their points are kept.
SELECT experiment_id, name, retention_days, now() - make_interval(days => retention_days) AS keep_from
  FROM experiments
 WHERE retention_days IS NOT NULL
 ORDER BY experiment_id;

-- name: old_runs
-- Runs of an experiment that started before $2, newest first, after (started_at, run_id) of the page before.
SELECT run_id, started_at FROM runs
 WHERE experiment_id = $1 AND started_at < $2 AND purge_epoch IS NULL
   AND ($3::timestamptz IS NULL OR started_at < $3 OR (started_at = $3 AND run_id > $4))
 ORDER BY started_at DESC, run_id
 LIMIT $5;

-- name: hold_runs
-- The runs of $1 that are still in the experiment $2. They cannot be moved until the transaction ends.
SELECT run_id FROM runs WHERE run_id = ANY ($1::uuid[]) AND experiment_id = $2 ORDER BY run_id FOR SHARE;

-- name: lock_series
-- Locks series for a deletion of segments, in order, so that no merge works on the same segments.
SELECT series_id FROM series
 WHERE series_id = ANY ($1::bigint[]) AND purge_epoch IS NULL
 ORDER BY series_id
   FOR NO KEY UPDATE;

-- name: last_experiment_id
-- The highest id that was ever assigned to an experiment.
SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('experiments', 'experiment_id')::regclass), 0);

-- name: known_experiments
-- The experiments of $1 that exist, even if they are deleted.
SELECT experiment_id FROM experiments WHERE experiment_id = ANY ($1::bigint[]);

-- name: known_runs
-- The runs of $1 that exist, even if they are deleted, with their ids as in artifact paths.
SELECT replace(run_id::text, '-', '') AS name FROM runs WHERE run_id = ANY ($1::text[]::uuid[]);

-- name: known_models
-- The logged models of $1 that exist, even if they are deleted.
SELECT model_id AS name FROM logged_models WHERE model_id = ANY ($1::text[]);

-- name: chosen_locations
-- The artifact locations that were chosen for experiments.
SELECT DISTINCT artifact_location FROM experiments WHERE artifact_location IS NOT NULL;
