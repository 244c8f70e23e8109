-- name: insert
-- A new model of an experiment that the caller holds a lock on.
INSERT INTO logged_models (model_id, experiment_id, name, model_type, source_run_id) VALUES ($1, $2, $3, $4, $5);

-- name: get
-- One model of a workspace; deleted ones if $3.
SELECT d.* FROM logged_model_details d
 WHERE d.workspace_id = $1 AND d.model_id = $2 AND ($3 OR d.deleted_at IS NULL);

-- name: lock
-- Locks a model for a change, even if it is deleted; no row if there is none. It is found even if it is moved with its run
-- while this waits: see lifecycle_for_share in runs.sql.
SELECT m.model_id FROM logged_models m
 WHERE m.model_id = $2 AND (SELECT e.workspace_id FROM experiments e WHERE e.experiment_id = m.experiment_id) = $1
   FOR NO KEY UPDATE OF m;

-- name: list_metrics
-- The metrics of some models.
SELECT model_id, run_id, key, step, time, value, dataset_name, dataset_digest
  FROM logged_model_metrics
 WHERE model_id = ANY ($1::text[])
 ORDER BY model_id, key COLLATE "C", time, step, run_id, dataset_name, dataset_digest, value;

-- name: set_status
-- Sets the status of a model after its upload.
UPDATE logged_models SET status = $2, updated_at = now() WHERE model_id = $1;

-- name: delete
-- Marks a model as deleted; the time of the first deletion stays. Returns whether this is the first.
UPDATE logged_models SET deleted_at = coalesce(deleted_at, now()), updated_at = now() WHERE model_id = $1
RETURNING deleted_at = now();

-- name: insert_params
-- Writes params that do not exist yet.
INSERT INTO logged_model_params (model_id, key, value)
SELECT $1, key, value FROM unnest($2::text[], $3::text[]) AS new (key, value)
ON CONFLICT (model_id, key) DO NOTHING;

-- name: find_changed_param
-- A param that is stored with another value.
SELECT stored.key, stored.value
  FROM unnest($2::text[], $3::text[]) AS new (key, value)
  JOIN logged_model_params stored ON stored.model_id = $1 AND stored.key = new.key AND stored.value <> new.value
 LIMIT 1;

-- name: upsert_tags
-- Sets tags, replacing earlier values.
INSERT INTO logged_model_tags AS stored (model_id, key, value)
SELECT $1, key, value FROM unnest($2::text[], $3::text[]) AS new (key, value)
ON CONFLICT (model_id, key) DO UPDATE SET value = excluded.value WHERE stored.value <> excluded.value;

-- name: delete_tag
-- Deletes a tag.
DELETE FROM logged_model_tags WHERE model_id = $1 AND key = $2;
