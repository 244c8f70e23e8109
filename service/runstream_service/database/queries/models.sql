-- name: create
-- A new registered model; no row if the name is taken, also by a transaction that commits while this one waits for it.
INSERT INTO registered_models (workspace_id, name, description) VALUES ($1, $2, $3)
ON CONFLICT (workspace_id, name) DO NOTHING
RETURNING registered_model_id;

-- name: lock
-- Locks a registered model, and with it all that belongs to it: every write takes this lock first.
SELECT registered_model_id FROM registered_models WHERE workspace_id = $1 AND name = $2 FOR NO KEY UPDATE;

-- name: lock_two
-- Locks the registered models of two names, as far as they exist, always in the same order, so that two renamings cannot
-- deadlock.
SELECT registered_model_id, name FROM registered_models
 WHERE workspace_id = $1 AND name IN ($2, $3) ORDER BY name FOR NO KEY UPDATE;

-- name: get
-- One registered model.
SELECT * FROM registered_model_details WHERE workspace_id = $1 AND name = $2;

-- name: latest_versions
-- The newest version in each stage, for some registered models.
SELECT * FROM (
    SELECT DISTINCT ON (registered_model_id, stage) registered_model_id, version
      FROM model_versions WHERE registered_model_id = ANY ($1::bigint[])
     ORDER BY registered_model_id, stage, version DESC
) newest JOIN model_version_details USING (registered_model_id, version)
 ORDER BY registered_model_id, version;

-- name: rename
-- Renames a registered model; a name that is taken is a unique violation. Its versions count as changed with it.
WITH renamed AS (
    UPDATE registered_models SET name = $2, updated_at = statement_timestamp()
     WHERE registered_model_id = $1 RETURNING registered_model_id
)
UPDATE model_versions v SET updated_at = statement_timestamp()
  FROM renamed WHERE v.registered_model_id = renamed.registered_model_id;

-- name: describe
-- Changes the description of a registered model.
UPDATE registered_models SET description = $2, updated_at = statement_timestamp() WHERE registered_model_id = $1;

-- name: delete
-- Deletes a registered model with its versions, tags and aliases.
DELETE FROM registered_models WHERE registered_model_id = $1;

-- name: upsert_tags
-- Sets tags of a registered model, replacing earlier values.
INSERT INTO registered_model_tags AS stored (registered_model_id, key, value)
SELECT $1, key, value FROM unnest($2::text[], $3::text[]) AS new (key, value)
ON CONFLICT (registered_model_id, key) DO UPDATE SET value = excluded.value WHERE stored.value <> excluded.value;

-- name: delete_tag
-- Deletes a tag of a registered model.
DELETE FROM registered_model_tags WHERE registered_model_id = $1 AND key = $2;

-- name: set_alias
-- Points an alias at a version.
INSERT INTO registered_model_aliases (registered_model_id, alias, version) VALUES ($1, $2, $3)
ON CONFLICT (registered_model_id, alias) DO UPDATE SET version = excluded.version;

-- name: delete_alias
-- Deletes an alias.
DELETE FROM registered_model_aliases WHERE registered_model_id = $1 AND alias = $2;

-- name: create_version
-- A version under the next number of a registered model whose row the caller has locked.
WITH taken AS (
    UPDATE registered_models SET next_version = next_version + 1, updated_at = statement_timestamp()
     WHERE registered_model_id = $1 RETURNING registered_model_id, next_version - 1 AS version, updated_at
)
INSERT INTO model_versions
    (registered_model_id, version, description, source, storage_location, run_id, run_link, created_at, updated_at)
SELECT registered_model_id, version, $2, $3, $4, $5, $6, updated_at, updated_at FROM taken
RETURNING version;

-- name: get_version
-- One version of a registered model.
SELECT * FROM model_version_details WHERE workspace_id = $1 AND name = $2 AND version = $3;

-- name: get_aliased
-- The version that an alias points at.
SELECT d.* FROM model_version_details d JOIN registered_model_aliases a USING (registered_model_id, version)
 WHERE d.workspace_id = $1 AND d.name = $2 AND a.alias = $3;

-- name: version_location
-- Where the files of a version are.
SELECT storage_location FROM model_version_details WHERE workspace_id = $1 AND name = $2 AND version = $3;

-- name: has_version
-- Whether a registered model, locked before, has a version. Not in one statement with the lock, which may have waited
-- for the version's deletion.
SELECT true FROM model_versions WHERE registered_model_id = $1 AND version = $2;

-- name: describe_version
-- Changes the description of a version.
UPDATE model_versions SET description = $3, updated_at = statement_timestamp()
 WHERE registered_model_id = $1 AND version = $2;

-- name: set_stage
-- Moves a version to a stage.
WITH touched AS (
    UPDATE registered_models SET updated_at = statement_timestamp() WHERE registered_model_id = $1
)
UPDATE model_versions SET stage = $3, updated_at = statement_timestamp()
 WHERE registered_model_id = $1 AND version = $2;

-- name: archive_others
-- Moves all other versions of a stage to the archive.
UPDATE model_versions SET stage = 'Archived', updated_at = statement_timestamp()
 WHERE registered_model_id = $1 AND version <> $2 AND stage = $3;

-- name: delete_version
-- Deletes a version with its tags and aliases.
WITH touched AS (
    UPDATE registered_models SET updated_at = statement_timestamp() WHERE registered_model_id = $1
)
DELETE FROM model_versions WHERE registered_model_id = $1 AND version = $2;

-- name: upsert_version_tags
-- Sets tags of a version, replacing earlier values.
INSERT INTO model_version_tags AS stored (registered_model_id, version, key, value)
SELECT $1, $2, key, value FROM unnest($3::text[], $4::text[]) AS new (key, value)
ON CONFLICT (registered_model_id, version, key) DO UPDATE SET value = excluded.value
 WHERE stored.value <> excluded.value;

-- name: delete_version_tag
-- Deletes a tag of a version.
DELETE FROM model_version_tags WHERE registered_model_id = $1 AND version = $2 AND key = $3;

-- name: source_run
-- The experiment below whose location the files of a run are, also of a deleted run.
SELECT f.experiment_id, f.artifact_location
  FROM runs r JOIN experiments e USING (experiment_id)
  JOIN experiments f ON f.experiment_id = coalesce(r.files_experiment_id, r.experiment_id)
 WHERE e.workspace_id = $1 AND r.run_id = $2;

-- name: source_model
-- A logged model: the experiment below whose location its files are, and its run.
SELECT f.experiment_id, f.artifact_location, l.source_run_id
  FROM logged_models l JOIN experiments e USING (experiment_id)
  JOIN experiments f ON f.experiment_id = coalesce(l.files_experiment_id, l.experiment_id)
 WHERE e.workspace_id = $1 AND l.model_id = $2 AND l.deleted_at IS NULL;

-- name: lock_registrations
-- The tag in which a logged model lists the versions that were made of it; locks the model, so that none is lost.
SELECT t.value FROM logged_models l LEFT JOIN logged_model_tags t ON t.model_id = l.model_id AND t.key = $2
 WHERE l.model_id = $1 FOR NO KEY UPDATE OF l;

-- name: set_registrations
-- Sets the tag of a logged model that lists the versions that were made of it.
INSERT INTO logged_model_tags (model_id, key, value) VALUES ($1, $2, $3)
ON CONFLICT (model_id, key) DO UPDATE SET value = excluded.value;
