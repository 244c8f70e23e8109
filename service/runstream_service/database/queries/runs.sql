-- name: get
-- Runs of a workspace, with everything that is stored of them except points. Deleted ones, too, but not those that are being
-- purged.
SELECT r.run_id, r.experiment_id, e.name AS experiment, f.experiment_id AS files_experiment_id, f.artifact_location, r.name,
       r.status, r.lifecycle, r.user_name, r.started_at, r.ended_at,
       ARRAY(SELECT p.key FROM params p WHERE p.run_id = r.run_id ORDER BY p.key) AS param_keys,
       ARRAY(SELECT p.value FROM params p WHERE p.run_id = r.run_id ORDER BY p.key) AS param_values,
       ARRAY(SELECT t.key FROM tags t WHERE t.run_id = r.run_id ORDER BY t.key) AS tag_keys,
       ARRAY(SELECT t.value FROM tags t WHERE t.run_id = r.run_id ORDER BY t.key) AS tag_values,
       (SELECT json_agg(json_build_object('name', d.name, 'digest', d.digest, 'source_type', d.source_type,
                                          'source', d.source, 'schema', d.schema, 'profile', d.profile, 'tags', i.tags)
                        ORDER BY d.dataset_id)
          FROM run_datasets i JOIN datasets d USING (dataset_id) WHERE i.run_id = r.run_id) AS datasets,
       ARRAY(SELECT m.model_id FROM run_model_inputs m WHERE m.run_id = r.run_id ORDER BY m.model_id) AS models_in,
       ARRAY(SELECT m.model_id FROM run_model_outputs m WHERE m.run_id = r.run_id ORDER BY m.step, m.model_id) AS models_out,
       ARRAY(SELECT m.step FROM run_model_outputs m WHERE m.run_id = r.run_id ORDER BY m.step, m.model_id) AS model_steps
  FROM runs r JOIN experiments e USING (experiment_id)
  JOIN experiments f ON f.experiment_id = coalesce(r.files_experiment_id, r.experiment_id)
 WHERE e.workspace_id = $1 AND r.run_id = ANY ($2::uuid[]) AND r.purge_epoch IS NULL;

-- name: get_experiment_of
-- The experiment of a run id in any workspace, as ids are unique over all of them; whether it was moved there, and whether
-- it is being purged.
SELECT e.name AS experiment, e.workspace_id, r.files_experiment_id IS NOT NULL AS is_moved,
       r.purge_epoch IS NOT NULL AS is_purged
  FROM runs r JOIN experiments e USING (experiment_id)
 WHERE r.run_id = $1;

-- name: exists
-- Whether a run id is taken, in any workspace.
SELECT EXISTS (SELECT FROM runs WHERE run_id = $1);

-- name: newest_launch
-- The newest run of an id that launches may share, and whether it had ended, or was deleted, before a caller started,
-- $2 microseconds ago (0: not known). Also one that is running in name only: no replica has had a stream of it for $3
-- seconds of service time, and its last sign of life is from before the caller started. It may be in any workspace.
SELECT run_id, launch_number,
       (SELECT e.workspace_id FROM experiments e WHERE e.experiment_id = found.experiment_id) AS workspace_id,
       $2::bigint > 0 AND (
           (status IN ('finished', 'failed', 'killed') AND coalesce(end_recorded_at, ended_at) < started)
           OR (lifecycle = 'deleted' AND deleted_at < started)
           OR purge_epoch IS NOT NULL
           OR (status = 'running'
               AND EXISTS (SELECT FROM run_connections noted, service_time
                            WHERE noted.run_id = found.run_id AND noted.seen_up_s <= up_s - $3::float8
                              AND coalesce(noted.seen_at, '-infinity') < started)
               AND NOT EXISTS (SELECT FROM producers p
                                WHERE p.run_id = found.run_id AND greatest(p.opened_at, p.committed_at) >= started))
           ) IS TRUE AS ended_before
  FROM (SELECT * FROM runs WHERE run_id = $1
        UNION ALL
        (SELECT * FROM runs WHERE first_run_id = $1 ORDER BY launch_number DESC LIMIT 1)) found,
       (SELECT now() - $2::bigint * interval '1 microsecond' AS started) process
 ORDER BY launch_number DESC
 LIMIT 1;

-- name: insert_launch
-- As insert, for callers that say which launch the run belongs to: the newest attempt, and the id and number of a launch
-- that has another's id. Of ranks that insert at once, a late one may meet the first in the index of launches, too.
INSERT INTO runs (run_id, experiment_id, name, user_name, started_at, attempt, first_run_id, launch_number)
VALUES ($1, $2, $3, $4, coalesce($5, now()), $6, $7, $8)
ON CONFLICT DO NOTHING
RETURNING run_id;

-- name: resume
-- Rank 0 of attempt $2 joins: a run that ended before it started, $3 microseconds ago (0: not known), is running again,
-- and so is one whose end an older attempt reported. Its own end is the one that counts from then on.
UPDATE runs
   SET status = 'running', ended_at = NULL, end_recorded_at = NULL, ended_as_silent = false, attempt = $2
 WHERE run_id = $1 AND lifecycle = 'active' AND purge_epoch IS NULL
   AND (attempt < $2
        OR (status <> 'running' AND $3::bigint > 0
            AND coalesce(end_recorded_at, ended_at, '-infinity') < now() - $3::bigint * interval '1 microsecond'));

-- name: attempt_has_points
-- Whether points of this rank and attempt were stored before the caller started, $4 microseconds ago (0: not known).
SELECT EXISTS (
    SELECT FROM producers p JOIN runs r USING (run_id)
     WHERE p.run_id = $1 AND p.rank = $2 AND p.attempt = $3 AND p.committed_number > 0
       AND $4::bigint > 0 AND p.opened_at < now() - $4::bigint * interval '1 microsecond');

-- name: insert
-- A new run; no row if the id is taken, also by a transaction that commits while this one waits for it.
INSERT INTO runs (run_id, experiment_id, name, user_name, started_at)
VALUES ($1, $2, $3, $4, coalesce($5, now()))
ON CONFLICT (run_id) DO NOTHING
RETURNING run_id;

-- name: list_active
-- Active runs of an experiment after (started_at $2, run_id $3) (null: from the newest on), newest first.
SELECT r.run_id, r.experiment_id, e.name AS experiment, f.experiment_id AS files_experiment_id, f.artifact_location, r.name,
       r.status, r.lifecycle, r.user_name, r.started_at, r.ended_at
  FROM runs r JOIN experiments e USING (experiment_id)
  JOIN experiments f ON f.experiment_id = coalesce(r.files_experiment_id, r.experiment_id)
 WHERE r.experiment_id = $1 AND r.lifecycle = 'active'
   AND ($2::timestamptz IS NULL OR r.started_at < $2 OR (r.started_at = $2 AND r.run_id > $3))
 ORDER BY r.started_at DESC, r.run_id
 LIMIT $4;

-- name: lifecycle_for_share
-- Locks a run against deletion until the transaction ends, so that nothing is written to a deleted run. The experiment is
-- not joined, as in open_producer: or a run that is moved while this waits would not be found.
SELECT r.lifecycle
  FROM runs r
 WHERE r.run_id = $2 AND r.purge_epoch IS NULL
   AND (SELECT e.workspace_id FROM experiments e WHERE e.experiment_id = r.experiment_id) = $1
   FOR SHARE OF r;

-- name: lifecycle_for_update
-- Locks a run for a change of its lifecycle.
SELECT r.lifecycle
  FROM runs r
 WHERE r.run_id = $2 AND r.purge_epoch IS NULL
   AND (SELECT e.workspace_id FROM experiments e WHERE e.experiment_id = r.experiment_id) = $1
   FOR NO KEY UPDATE OF r;

-- name: lock_run
-- Locks a run against everything: opening streams and new series (open_producer, resolve_series) wait.
SELECT r.lifecycle
  FROM runs r
 WHERE r.run_id = $2 AND r.purge_epoch IS NULL
   AND (SELECT e.workspace_id FROM experiments e WHERE e.experiment_id = r.experiment_id) = $1
   FOR UPDATE OF r;

-- name: has_series
-- Whether a run has series of some keys.
SELECT EXISTS (SELECT FROM series WHERE run_id = $1 AND key = ANY ($2::text[]) AND purge_epoch IS NULL);

-- name: mark_series
-- Marks series of a run, so that no read returns them from then on, with the epoch up to which they may have points: the
-- highest that has commits. That need not be the open epoch, which does not close while it is empty.
UPDATE series
   SET purge_epoch = coalesce((SELECT max(epoch) FROM commits), (SELECT visible_epoch FROM watermark))
 WHERE run_id = $1 AND key = ANY ($2::text[]) AND purge_epoch IS NULL;

-- name: finish
-- Sets the end status, if attempt $4 (null: not known) is not older than the newest. Without a time ($3 null) a repeat of
-- the same status keeps the first time; when the first end was recorded is kept in any case, so that a late repeat does
-- not make the next launch look as if it had started before this end.
UPDATE runs
   SET status = $2, ended_at = coalesce($3, CASE WHEN status = $2 THEN ended_at END, now()),
       end_recorded_at = coalesce(CASE WHEN NOT ended_as_silent THEN end_recorded_at END, now()), ended_as_silent = false
 WHERE run_id = $1 AND ($4::int IS NULL OR attempt <= $4);

-- name: update
-- Changes the name ($2) and the status ($3) if they are not null, and the end ($4) if $5.
UPDATE runs
   SET name = coalesce($2, name), status = coalesce($3, status), ended_at = CASE WHEN $5 THEN $4 ELSE ended_at END,
       end_recorded_at = CASE WHEN $3 IN ('running', 'scheduled') THEN NULL
                              WHEN $3 IS NOT NULL THEN coalesce(end_recorded_at, now())
                              ELSE end_recorded_at END,
       ended_as_silent = ended_as_silent AND $3 IS NULL
 WHERE run_id = $1;

-- name: insert_params
-- Writes params that do not exist yet. Keys come sorted, so that two callers cannot deadlock.
INSERT INTO params (run_id, key, value)
SELECT $1, key, value FROM unnest($2::text[], $3::text[]) AS new (key, value)
ON CONFLICT (run_id, key) DO NOTHING;

-- name: find_changed_params
-- The params that are stored with another value. A statement of its own, so that it sees params that were committed while
-- insert_params waited.
SELECT stored.key, stored.value
  FROM params stored JOIN unnest($2::text[], $3::text[]) AS new (key, value) USING (key)
 WHERE stored.run_id = $1 AND stored.value <> new.value;

-- name: upsert_tags
-- Sets tags, replacing earlier values. Keys come sorted, so that two callers cannot deadlock.
INSERT INTO tags AS stored (run_id, key, value)
SELECT $1, key, value FROM unnest($2::text[], $3::text[]) AS new (key, value)
ON CONFLICT (run_id, key) DO UPDATE SET value = excluded.value WHERE stored.value <> excluded.value;

-- name: delete_tag
-- Deletes a tag.
DELETE FROM tags WHERE run_id = $1 AND key = $2;

-- name: delete_tags
-- Deletes some tags. The run is locked, so no other caller can deadlock with it.
DELETE FROM tags WHERE run_id = $1 AND key = ANY ($2::text[]);

-- name: get_tag
-- A tag's value.
SELECT value FROM tags WHERE run_id = $1 AND key = $2;

-- name: mark_deleted
-- Marks a run as deleted; the time of the first deletion stays.
UPDATE runs SET lifecycle = 'deleted', deleted_at = now() WHERE run_id = $1 AND lifecycle = 'active';

-- name: mark_active
-- Restores a deleted run.
UPDATE runs SET lifecycle = 'active', deleted_at = NULL WHERE run_id = $1 AND lifecycle = 'deleted';

-- name: lock_producers
-- Locks a run's ledger rows in the order in which group commits lock them, so that the two cannot deadlock.
SELECT producer_id FROM producers WHERE run_id = $1 ORDER BY producer_id FOR UPDATE;

-- name: fence_producers
-- Raises the sessions of a run's producers: open streams cannot write any more.
UPDATE producers SET session = session + 1 WHERE run_id = $1;

-- name: raise_generation
-- Makes metric writes over HTTP stale whose series were looked up before and may be deleted now.
UPDATE runs SET series_generation = series_generation + 1 WHERE run_id = $1;

-- name: last_commits
-- When points were last committed over gRPC, for those of some runs that are running.
SELECT p.run_id, max(p.committed_at) AS committed_at
  FROM runs r JOIN experiments e USING (experiment_id) JOIN producers p USING (run_id)
 WHERE e.workspace_id = $1 AND r.run_id = ANY ($2::uuid[]) AND r.status = 'running' AND p.committed_at IS NOT NULL
 GROUP BY p.run_id;

-- name: states
-- What a page shows of runs and what may change: for the runs $2, each in its workspace $1.
SELECT e.workspace_id, r.run_id, r.name, r.status, r.lifecycle, r.ended_at, r.experiment_id
  FROM unnest($1::int[], $2::uuid[]) AS w (workspace_id, run_id)
  JOIN runs r USING (run_id) JOIN experiments e USING (experiment_id)
 WHERE e.workspace_id = w.workspace_id AND r.purge_epoch IS NULL;
