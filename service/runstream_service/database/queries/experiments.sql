-- name: get_by_name
-- One experiment of a workspace, even if it is deleted.
SELECT e.*, ARRAY(SELECT t.key FROM experiment_tags t WHERE t.experiment_id = e.experiment_id ORDER BY t.key) AS tag_keys,
       ARRAY(SELECT t.value FROM experiment_tags t WHERE t.experiment_id = e.experiment_id ORDER BY t.key) AS tag_values
  FROM experiments e
 WHERE e.workspace_id = $1 AND e.name = $2;

-- name: get_by_id
-- One experiment of a workspace, even if it is deleted.
SELECT e.*, ARRAY(SELECT t.key FROM experiment_tags t WHERE t.experiment_id = e.experiment_id ORDER BY t.key) AS tag_keys,
       ARRAY(SELECT t.value FROM experiment_tags t WHERE t.experiment_id = e.experiment_id ORDER BY t.key) AS tag_values
  FROM experiments e
 WHERE e.workspace_id = $1 AND e.experiment_id = $2;

-- name: insert
-- A new experiment; no row if the name is taken, also by a transaction that commits while this one waits for it.
INSERT INTO experiments (workspace_id, name, artifact_location)
VALUES ($1, $2, $3)
ON CONFLICT (workspace_id, name) DO NOTHING
RETURNING *, '{}'::text[] AS tag_keys, '{}'::text[] AS tag_values;

-- name: list_active
-- Active experiments older than $2 (null: from the newest on), newest first. Ids grow with time.
SELECT *, '{}'::text[] AS tag_keys, '{}'::text[] AS tag_values
  FROM experiments
 WHERE workspace_id = $1 AND lifecycle = 'active' AND ($2::bigint IS NULL OR experiment_id < $2)
 ORDER BY experiment_id DESC
 LIMIT $3;

-- name: lock
-- Locks an experiment for a change of its name, tags or lifecycle.
SELECT lifecycle FROM experiments WHERE workspace_id = $1 AND experiment_id = $2 FOR NO KEY UPDATE;

-- name: lock_shared
-- Locks an experiment against deletion, for runs that are created in it.
SELECT lifecycle FROM experiments WHERE workspace_id = $1 AND experiment_id = $2 FOR SHARE;

-- name: set_retention
-- Sets after how many days points are deleted; null: never. No row if there is no such experiment.
UPDATE experiments SET retention_days = $3, updated_at = now()
 WHERE workspace_id = $1 AND experiment_id = $2
RETURNING experiment_id;

-- name: rename
-- Renames an experiment; a name that is taken is a unique violation.
UPDATE experiments SET name = $2, updated_at = now() WHERE experiment_id = $1;

-- name: set_lifecycle
-- Deletes or restores an experiment; separate statements do that for its runs.
UPDATE experiments SET lifecycle = $2, updated_at = now() WHERE experiment_id = $1;

-- name: lock_runs
-- Locks an experiment's runs, in the order in which group commits lock them.
SELECT run_id FROM runs WHERE experiment_id = $1 AND purge_epoch IS NULL ORDER BY run_id FOR NO KEY UPDATE;

-- name: delete_runs
-- Marks an experiment's runs as deleted; the time of the first deletion stays.
UPDATE runs SET lifecycle = 'deleted', deleted_at = now() WHERE experiment_id = $1 AND lifecycle = 'active';

-- name: restore_runs
-- Restores all of an experiment's runs, even those that were deleted before it.
UPDATE runs SET lifecycle = 'active', deleted_at = NULL
 WHERE experiment_id = $1 AND lifecycle = 'deleted' AND purge_epoch IS NULL;

-- name: lock_producers
-- Locks the ledger rows of some runs in the order in which group commits lock them.
SELECT producer_id FROM producers WHERE run_id = ANY ($1::uuid[]) ORDER BY producer_id FOR UPDATE;

-- name: fence_producers
-- Raises the sessions of the producers of some runs: open streams cannot write any more.
UPDATE producers SET session = session + 1 WHERE run_id = ANY ($1::uuid[]);

-- name: upsert_tags
-- Sets tags, replacing earlier values. Keys come sorted, so that two callers cannot deadlock.
INSERT INTO experiment_tags AS stored (experiment_id, key, value)
SELECT $1, key, value FROM unnest($2::text[], $3::text[]) AS new (key, value)
ON CONFLICT (experiment_id, key) DO UPDATE SET value = excluded.value WHERE stored.value <> excluded.value;

-- name: delete_tag
-- Deletes a tag.
DELETE FROM experiment_tags WHERE experiment_id = $1 AND key = $2;

-- name: experiments_of_workspace
-- The experiments of some ids that are in a workspace, or from which runs or models were moved into the workspace: their
-- files are still there, even if the experiment itself was purged.
SELECT experiment_id FROM experiments WHERE workspace_id = $1 AND experiment_id = ANY ($2::bigint[])
UNION
SELECT r.files_experiment_id FROM runs r JOIN experiments e USING (experiment_id)
 WHERE e.workspace_id = $1 AND r.files_experiment_id = ANY ($2::bigint[])
UNION
SELECT m.files_experiment_id FROM logged_models m JOIN experiments e USING (experiment_id)
 WHERE e.workspace_id = $1 AND m.files_experiment_id = ANY ($2::bigint[]);

-- name: chosen_locations_of_workspace
-- The artifact locations that were chosen for experiments of a workspace, and for those that its runs and models were in.
SELECT artifact_location FROM experiments WHERE workspace_id = $1 AND artifact_location IS NOT NULL
UNION
SELECT f.artifact_location
  FROM runs r JOIN experiments e USING (experiment_id) JOIN experiments f ON f.experiment_id = r.files_experiment_id
 WHERE e.workspace_id = $1 AND f.artifact_location IS NOT NULL AND r.files_experiment_id IS NOT NULL
UNION
SELECT f.artifact_location
  FROM logged_models m JOIN experiments e USING (experiment_id) JOIN experiments f ON f.experiment_id = m.files_experiment_id
 WHERE e.workspace_id = $1 AND f.artifact_location IS NOT NULL AND m.files_experiment_id IS NOT NULL;

-- name: list_by_activity
-- At most $3 experiments with their active runs and the time of their last activity; that with the name $2 is first.
SELECT e.experiment_id, e.name, e.lifecycle, e.retention_days, coalesce(of_runs.count, 0)::bigint AS run_count,
       greatest(e.updated_at, of_runs.last) AS last_update
  FROM experiments e
  LEFT JOIN (
       SELECT r.experiment_id, count(*) FILTER (WHERE r.lifecycle = 'active') AS count,
              max(greatest(r.started_at, r.ended_at, c.seen_at)) AS last
         FROM runs r LEFT JOIN run_connections c USING (run_id)
        WHERE r.purge_epoch IS NULL
          AND r.experiment_id IN (SELECT own.experiment_id FROM experiments own WHERE own.workspace_id = $1)
        GROUP BY r.experiment_id) of_runs USING (experiment_id)
 WHERE e.workspace_id = $1
 ORDER BY e.name = $2 DESC, last_update DESC, e.experiment_id DESC
 LIMIT $3;

-- name: ids_of_workspace
-- All experiments of a workspace.
SELECT experiment_id FROM experiments WHERE workspace_id = $1;
