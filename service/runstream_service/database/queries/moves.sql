-- name: experiment_of
-- The experiment that a run is in. The caller holds a lock on the run.
SELECT experiment_id FROM runs WHERE run_id = $1;

-- name: move_run
-- Moves a run to an experiment; its files stay where they are.
UPDATE runs
   SET experiment_id = $2, files_experiment_id = nullif(coalesce(files_experiment_id, experiment_id), $2)
 WHERE run_id = $1;

-- name: move_models
-- Moves the logged models of a run that are in the experiment $2 to $3; returns how many. Their files stay where they are.
WITH moved AS (
    UPDATE logged_models
       SET experiment_id = $3, files_experiment_id = nullif(coalesce(files_experiment_id, experiment_id), $3)
     WHERE source_run_id = $1 AND experiment_id = $2
    RETURNING model_id
)
SELECT count(*) FROM moved;

-- name: copy_datasets
-- Copies datasets that a run read to the experiment $2, if it does not have them yet. Sorted, so that two callers cannot
-- deadlock. The former experiment keeps its own: other runs may have read them.
INSERT INTO datasets (experiment_id, name, digest, source_type, source, schema, profile)
SELECT $2, d.name, d.digest, d.source_type, d.source, d.schema, d.profile
  FROM run_datasets i JOIN datasets d USING (dataset_id)
 WHERE i.run_id = $1
 ORDER BY d.name, d.digest
ON CONFLICT (experiment_id, name, digest) DO NOTHING;

-- name: move_inputs
-- Makes the datasets that a run read those of the experiment $2. A statement of its own: it must see datasets that committed
-- while their insertion waited.
UPDATE run_datasets i
   SET dataset_id = there.dataset_id
  FROM datasets d JOIN datasets there USING (name, digest)
 WHERE i.run_id = $1 AND d.dataset_id = i.dataset_id AND d.experiment_id <> $2 AND there.experiment_id = $2;
