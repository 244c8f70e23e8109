-- Registered models with everything that callers get and that searches can filter by.
CREATE OR REPLACE VIEW registered_model_details AS
SELECT m.*,
       ARRAY(SELECT t.key FROM registered_model_tags t WHERE t.registered_model_id = m.registered_model_id ORDER BY t.key)
           AS tag_keys,
       ARRAY(SELECT t.value FROM registered_model_tags t WHERE t.registered_model_id = m.registered_model_id ORDER BY t.key)
           AS tag_values,
       ARRAY(SELECT a.alias FROM registered_model_aliases a
              WHERE a.registered_model_id = m.registered_model_id ORDER BY a.alias) AS aliases,
       ARRAY(SELECT a.version FROM registered_model_aliases a
              WHERE a.registered_model_id = m.registered_model_id ORDER BY a.alias) AS alias_versions
  FROM registered_models m;
