-- name: get_by_name
-- One experiment of a workspace, also a deleted one.
SELECT experiment_id, name, lifecycle, created_at, updated_at, retention_days
  FROM experiments
 WHERE workspace_id = $1 AND name = $2;

-- name: get_by_id
-- One experiment of a workspace, also a deleted one.
SELECT experiment_id, name, lifecycle, created_at, updated_at, retention_days
  FROM experiments
 WHERE workspace_id = $1 AND experiment_id = $2;

-- name: insert
-- A new experiment; no row if the name is taken, also by a transaction that commits while this one waits for it.
INSERT INTO experiments (workspace_id, name)
VALUES ($1, $2)
ON CONFLICT (workspace_id, name) DO NOTHING
RETURNING experiment_id, name, lifecycle, created_at, updated_at, retention_days;

-- name: list_active
-- Active experiments older than $2 (null: from the newest on), newest first. Ids grow with time.
SELECT experiment_id, name, lifecycle, created_at, updated_at, retention_days
  FROM experiments
 WHERE workspace_id = $1 AND lifecycle = 'active' AND ($2::bigint IS NULL OR experiment_id < $2)
 ORDER BY experiment_id DESC
 LIMIT $3;

-- name: set_retention
-- Sets after how many days points are deleted; null: never. No row if there is no such experiment.
UPDATE experiments SET retention_days = $3, updated_at = now()
 WHERE workspace_id = $1 AND experiment_id = $2
RETURNING experiment_id;
