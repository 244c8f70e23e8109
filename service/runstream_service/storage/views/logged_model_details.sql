-- Logged models with everything that an answer says of them, and that searches can ask for.
CREATE OR REPLACE VIEW logged_model_details AS
SELECT m.*, e.workspace_id, e.artifact_location,
       ARRAY(SELECT t.key FROM logged_model_tags t WHERE t.model_id = m.model_id ORDER BY t.key COLLATE "C") AS tag_keys,
       ARRAY(SELECT t.value FROM logged_model_tags t WHERE t.model_id = m.model_id ORDER BY t.key COLLATE "C") AS tag_values,
       ARRAY(SELECT p.key FROM logged_model_params p WHERE p.model_id = m.model_id ORDER BY p.key COLLATE "C") AS param_keys,
       ARRAY(SELECT p.value FROM logged_model_params p WHERE p.model_id = m.model_id ORDER BY p.key COLLATE "C") AS param_values
  FROM logged_models m JOIN experiments e USING (experiment_id);
