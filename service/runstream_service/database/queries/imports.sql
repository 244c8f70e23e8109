-- name: insert_experiment
-- A new experiment with the times that it has elsewhere; no row if the name is taken.
INSERT INTO experiments (workspace_id, name, created_at, updated_at)
VALUES ($1, $2, coalesce($3, now()), coalesce($4, $3, now()))
ON CONFLICT (workspace_id, name) DO NOTHING
RETURNING *, '{}'::text[] AS tag_keys, '{}'::text[] AS tag_values;

-- name: insert_experiment_tags
-- Tags that an experiment does not have yet.
INSERT INTO experiment_tags (experiment_id, key, value)
SELECT $1, key, value FROM unnest($2::text[], $3::text[]) AS new (key, value)
ON CONFLICT (experiment_id, key) DO NOTHING;

-- name: insert_model
-- A logged model with the id and times that it has elsewhere; no row if the id is taken. The caller holds a lock on the
-- experiment.
INSERT INTO logged_models
    (model_id, experiment_id, name, model_type, status, source_run_id, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, coalesce($7, now()), coalesce($8, $7, now()))
ON CONFLICT (model_id) DO NOTHING
RETURNING model_id;

-- name: insert_model_tags
-- Tags that a logged model does not have yet.
INSERT INTO logged_model_tags (model_id, key, value)
SELECT $1, key, value FROM unnest($2::text[], $3::text[]) AS new (key, value)
ON CONFLICT (model_id, key) DO NOTHING;

-- name: insert_model_metrics
-- Metrics that a logged model does not have yet, of runs of this workspace.
INSERT INTO logged_model_metrics (model_id, run_id, key, step, time, value, dataset_name, dataset_digest)
SELECT $2, n.run_id, n.key, n.step, n.time, n.value, n.dataset_name, n.dataset_digest
  FROM unnest($3::uuid[], $4::text[], $5::bigint[], $6::timestamptz[], $7::float8[], $8::text[], $9::text[])
           AS n (run_id, key, step, time, value, dataset_name, dataset_digest)
  JOIN runs r USING (run_id) JOIN experiments e USING (experiment_id)
 WHERE e.workspace_id = $1
ON CONFLICT DO NOTHING;

-- name: insert_registered_model
-- A registered model with its times; no row if the name is taken.
INSERT INTO registered_models (workspace_id, name, description, created_at, updated_at)
VALUES ($1, $2, $3, coalesce($4, now()), coalesce($5, $4, now()))
ON CONFLICT (workspace_id, name) DO NOTHING
RETURNING registered_model_id;

-- name: insert_registered_model_tags
-- Tags that a registered model does not have yet.
INSERT INTO registered_model_tags (registered_model_id, key, value)
SELECT $1, key, value FROM unnest($2::text[], $3::text[]) AS new (key, value)
ON CONFLICT (registered_model_id, key) DO NOTHING;

-- name: insert_version
-- A version with its number and times, of a registered model whose row the caller has locked; no row if the number is
-- taken. Later versions get higher numbers.
WITH reserved AS (
    UPDATE registered_models SET next_version = greatest(next_version, $2::int + 1) WHERE registered_model_id = $1
)
INSERT INTO model_versions
    (registered_model_id, version, description, stage, source, storage_location, run_id, run_link, created_at, updated_at)
VALUES ($1, $2::int, $3, $4, $5, $6, $7, $8, coalesce($9, now()), coalesce($10, $9, now()))
ON CONFLICT (registered_model_id, version) DO NOTHING
RETURNING version;

-- name: insert_version_tags
-- Tags that a version does not have yet.
INSERT INTO model_version_tags (registered_model_id, version, key, value)
SELECT $1, $2, key, value FROM unnest($3::text[], $4::text[]) AS new (key, value)
ON CONFLICT (registered_model_id, version, key) DO NOTHING;

-- name: insert_aliases
-- Aliases that point at no version yet.
INSERT INTO registered_model_aliases (registered_model_id, alias, version)
SELECT $1, alias, $2 FROM unnest($3::text[]) AS new (alias)
ON CONFLICT (registered_model_id, alias) DO NOTHING;
