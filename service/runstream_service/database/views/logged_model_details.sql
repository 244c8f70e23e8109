-- Logged models with everything that callers get and that searches can filter by. `artifact_location` is that of
-- the experiment `files_experiment_id`, below which their files are.
CREATE OR REPLACE VIEW logged_model_details AS
SELECT m.model_id, m.experiment_id, m.name, m.model_type, m.status, m.status_message, m.source_run_id, m.created_at,
       m.updated_at, m.deleted_at, e.workspace_id, f.artifact_location,
       ARRAY(SELECT t.key FROM logged_model_tags t WHERE t.model_id = m.model_id ORDER BY t.key COLLATE "C") AS tag_keys,
       ARRAY(SELECT t.value FROM logged_model_tags t WHERE t.model_id = m.model_id ORDER BY t.key COLLATE "C") AS tag_values,
       ARRAY(SELECT p.key FROM logged_model_params p WHERE p.model_id = m.model_id ORDER BY p.key COLLATE "C") AS param_keys,
       ARRAY(SELECT p.value FROM logged_model_params p WHERE p.model_id = m.model_id ORDER BY p.key COLLATE "C") AS param_values,
       f.experiment_id AS files_experiment_id
  FROM logged_models m JOIN experiments e USING (experiment_id)
  JOIN experiments f ON f.experiment_id = coalesce(m.files_experiment_id, m.experiment_id);
