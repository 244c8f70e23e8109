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
