-- name: list
-- The views of a workspace, the one that was changed last first.
SELECT view_id, name, state, owner, created_at, updated_at
  FROM saved_views WHERE workspace_id = $1 ORDER BY updated_at DESC, name LIMIT $2;

-- name: get
-- One view.
SELECT view_id, name, state, owner, created_at, updated_at
  FROM saved_views WHERE workspace_id = $1 AND view_id = $2;

-- name: count
-- How many views a workspace has.
SELECT count(*) FROM saved_views WHERE workspace_id = $1;

-- name: insert
-- A new view; a name that is taken is a unique violation.
INSERT INTO saved_views (view_id, workspace_id, name, state, owner) VALUES ($1, $2, $3, $4, $5)
RETURNING view_id, name, state, owner, created_at, updated_at;

-- name: update
-- Changes the name ($3) or the state ($4), those that are not null; no row if there is no such view.
UPDATE saved_views SET name = coalesce($3, name), state = coalesce($4, state), updated_at = now()
 WHERE workspace_id = $1 AND view_id = $2
RETURNING view_id, name, state, owner, created_at, updated_at;

-- name: delete
-- Deletes a view; no row if there is none.
DELETE FROM saved_views WHERE workspace_id = $1 AND view_id = $2 RETURNING name;
