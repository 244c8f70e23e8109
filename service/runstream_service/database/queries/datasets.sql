-- name: insert
-- Datasets that the experiment of a run does not have yet. They come sorted, so that two callers cannot deadlock.
INSERT INTO datasets (experiment_id, name, digest, source_type, source, schema, profile)
SELECT r.experiment_id, n.*
  FROM runs r, unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[]) AS n
 WHERE r.run_id = $1
ON CONFLICT (experiment_id, name, digest) DO NOTHING;

-- name: insert_inputs
-- What a run read: datasets of its experiment with tags. An input that is there already keeps its tags, as in MLflow. A
-- statement of its own: it must see datasets that committed while their insertion waited.
INSERT INTO run_datasets (run_id, dataset_id, tags)
SELECT $1, d.dataset_id, n.tags
  FROM runs r, unnest($2::text[], $3::text[], $4::jsonb[]) AS n (name, digest, tags), datasets d
 WHERE r.run_id = $1 AND d.experiment_id = r.experiment_id AND d.name = n.name AND d.digest = n.digest
 ORDER BY d.dataset_id
ON CONFLICT (run_id, dataset_id) DO NOTHING;

-- name: insert_models_in
-- The models that a run read.
INSERT INTO run_model_inputs (run_id, model_id) SELECT $1, unnest($2::text[]) ON CONFLICT DO NOTHING;

-- name: upsert_models_out
-- The models that a run made, each with its last step. Ids come sorted, so that two callers cannot deadlock.
INSERT INTO run_model_outputs (run_id, model_id, step)
SELECT $1, n.model_id, n.step FROM unnest($2::text[], $3::bigint[]) AS n (model_id, step)
ON CONFLICT (run_id, model_id) DO UPDATE SET step = excluded.step;

-- name: summaries
-- The datasets that runs of some experiments read, with each context in which they did; at most $3.
SELECT DISTINCT d.experiment_id, d.name, d.digest, i.tags ->> 'mlflow.data.context' AS context
  FROM datasets d JOIN experiments e USING (experiment_id) JOIN run_datasets i USING (dataset_id)
 WHERE e.workspace_id = $1 AND d.experiment_id = ANY ($2::bigint[])
 ORDER BY d.experiment_id, d.name, d.digest, context
 LIMIT $3;
