-- Model versions with everything that callers get and that searches can filter by.
CREATE OR REPLACE VIEW model_version_details AS
SELECT m.workspace_id, m.name, v.*,
       ARRAY(SELECT t.key FROM model_version_tags t
              WHERE t.registered_model_id = v.registered_model_id AND t.version = v.version ORDER BY t.key) AS tag_keys,
       ARRAY(SELECT t.value FROM model_version_tags t
              WHERE t.registered_model_id = v.registered_model_id AND t.version = v.version ORDER BY t.key) AS tag_values,
       ARRAY(SELECT a.alias FROM registered_model_aliases a
              WHERE a.registered_model_id = v.registered_model_id AND a.version = v.version ORDER BY a.alias) AS aliases
  FROM registered_models m JOIN model_versions v USING (registered_model_id);
