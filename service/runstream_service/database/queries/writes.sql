-- name: run_to_write_to
-- Whether a run of the workspace accepts points, and the generation of its series.
SELECT r.lifecycle, r.series_generation
  FROM runs r JOIN experiments e USING (experiment_id)
 WHERE e.workspace_id = $1 AND r.run_id = $2 AND r.purge_epoch IS NULL;

-- name: resolve_series
-- The series of some keys of a run. Missing ones are created while the run has fewer than $5.
SELECT key, series_id FROM resolve_series($1, $2, $3, $4, $5);

-- name: forget_writes
-- Forgets up to $1 HTTP writes that are older than an hour.
DELETE FROM http_writes
 WHERE ctid = ANY (ARRAY(
       SELECT ctid FROM http_writes WHERE written_at < now() - interval '1 hour' LIMIT $1 FOR UPDATE SKIP LOCKED));

-- name: find_models
-- The models of $2 that exist in the workspace $1 and are not deleted.
SELECT m.model_id
  FROM logged_models m JOIN experiments e USING (experiment_id)
 WHERE e.workspace_id = $1 AND m.model_id = ANY ($2::text[]) AND m.deleted_at IS NULL;

-- name: insert_model_metrics
-- Metrics that a run logged for models; existing ones stay. Sorted, so that two callers cannot deadlock.
INSERT INTO logged_model_metrics (model_id, run_id, key, step, time, value, dataset_name, dataset_digest)
SELECT w.model_id, $1, w.key, w.step, w.time, w.value, w.dataset_name, w.dataset_digest
  FROM unnest($2::text[], $3::text[], $4::bigint[], $5::timestamptz[], $6::double precision[], $7::text[], $8::text[])
       AS w (model_id, key, step, time, value, dataset_name, dataset_digest)
  JOIN logged_models m USING (model_id)
 ORDER BY w.model_id, w.key, w.time, w.step, w.dataset_name, w.dataset_digest, w.value
ON CONFLICT DO NOTHING;
