-- name: find_token
-- A token by its hash; the workspace that the call names ($2, empty: none); and the time of the database.
SELECT t.token_id, t.name, t.kind, t.role, t.workspace_id, w.name AS workspace, t.expires_at,
       coalesce(t.revoked_at, p.revoked_at) AS revoked_at,
       (SELECT a.workspace_id FROM workspaces a WHERE a.name = $2 AND a.workspace_id <> 0) AS asked_workspace_id,
       clock_timestamp() AS now
  FROM tokens t
  LEFT JOIN workspaces w USING (workspace_id)
  LEFT JOIN tokens p ON p.token_id = t.parent_id
 WHERE t.hash = $1;

-- name: ended_tokens
-- The tokens of $1 that are not valid any more.
SELECT t.token_id, t.name, coalesce(t.revoked_at, p.revoked_at) AS revoked_at, t.expires_at
  FROM tokens t
  LEFT JOIN tokens p ON p.token_id = t.parent_id
 WHERE t.token_id = ANY ($1::bigint[])
   AND (t.revoked_at IS NOT NULL OR p.revoked_at IS NOT NULL OR t.expires_at <= clock_timestamp());

-- name: insert_token
-- A new token; no row if a token that is not revoked has its name.
INSERT INTO tokens (hash, kind, name, workspace_id, role, parent_id, created_by, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7,
        -- Not later than the token that it was made with. (The least of a time and null is the time.)
        least(now() + $8::double precision * interval '1 second',
              (SELECT p.expires_at FROM tokens p WHERE p.token_id = $6)))
ON CONFLICT DO NOTHING
RETURNING token_id, name, role, workspace_id, created_by, created_at, expires_at, revoked_at;

-- name: list_tokens
-- The tokens of a workspace, or all of them ($1 is null), newest first; those of tracking URIs are left out.
SELECT t.token_id, t.name, t.role, t.workspace_id, w.name AS workspace, t.created_by, t.created_at, t.expires_at,
       t.revoked_at
  FROM tokens t
  LEFT JOIN workspaces w USING (workspace_id)
 WHERE t.kind <> 'uri' AND ($1::int IS NULL OR t.workspace_id = $1) AND ($2 OR t.revoked_at IS NULL)
   AND t.token_id < $3
 ORDER BY t.token_id DESC
 LIMIT $4;

-- name: revoke_token
-- Revokes a token of a workspace, or any token ($1 is null), and all tokens that were made with it.
WITH RECURSIVE family AS (
    SELECT t.token_id FROM tokens t
     WHERE t.token_id = $2 AND t.kind <> 'uri' AND ($1::int IS NULL OR t.workspace_id = $1)
    UNION
    SELECT t.token_id FROM tokens t JOIN family f ON t.parent_id = f.token_id
), revoked AS (
    UPDATE tokens SET revoked_at = coalesce(revoked_at, now())
     WHERE token_id IN (SELECT token_id FROM family)
    RETURNING *
)
SELECT r.*, w.name AS workspace FROM revoked r LEFT JOIN workspaces w USING (workspace_id) WHERE r.token_id = $2;

-- name: has_token
-- Whether there is any valid token.
SELECT EXISTS (SELECT FROM tokens WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()));

-- name: forget_tokens
-- Deletes up to $1 tokens that ended long ago; those that were made with them go, too.
DELETE FROM tokens
 WHERE token_id = ANY (ARRAY(
       SELECT token_id FROM tokens
        WHERE coalesce(revoked_at, expires_at) < now() - interval '90 days'
           OR (kind = 'uri' AND expires_at < now() - interval '1 day')
        LIMIT $1));

-- name: insert_workspace
-- A new workspace; no row if its name is taken.
INSERT INTO workspaces (name, description) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING
RETURNING workspace_id, name, description, created_at;

-- name: describe_workspace
-- Changes the description of a workspace; no row if there is none of this name.
UPDATE workspaces SET description = $2 WHERE name = $1 AND workspace_id <> 0
RETURNING workspace_id, name, description, created_at;

-- name: list_workspaces
-- All workspaces ($1 is null), or those of some names, by name.
SELECT workspace_id, name, description, created_at FROM workspaces
 WHERE workspace_id <> 0 AND ($1::text[] IS NULL OR name = ANY ($1))
 ORDER BY name;

-- name: find_workspace
-- A workspace by its name.
SELECT workspace_id, name, description, created_at FROM workspaces WHERE name = $1 AND workspace_id <> 0;

-- name: record_event
-- An event of the audit log.
INSERT INTO audit_events (workspace_id, principal, action, subject, details) VALUES ($1, $2, $3, $4, $5::jsonb);

-- name: list_events
-- The newest events of a workspace, or of all ($1 is null), before an id.
SELECT a.event_id, a.at, w.name AS workspace, a.principal, a.action, a.subject, a.details::text AS details
  FROM audit_events a
  LEFT JOIN workspaces w USING (workspace_id)
 WHERE ($1::int IS NULL OR a.workspace_id = $1) AND a.event_id < $2
 ORDER BY a.event_id DESC
 LIMIT $3;

-- name: record_refusals
-- Calls that were refused, as one event for each kind.
INSERT INTO audit_events (workspace_id, principal, action, subject, details)
SELECT workspace_id, principal, 'call_refused', subject, details
  FROM unnest($1::int[], $2::text[], $3::text[], $4::jsonb[]) AS new (workspace_id, principal, subject, details);

-- name: forget_events
-- Deletes up to $1 old events. Refused calls are deleted earlier, as everybody who can reach the ports can cause them.
DELETE FROM audit_events
 WHERE event_id = ANY (ARRAY(
       SELECT event_id FROM audit_events
        WHERE at < now() - interval '400 days' OR (at < now() - interval '30 days' AND action = 'call_refused')
        LIMIT $1));

-- name: find_session
-- A session by its hash; the workspace that the call names ($2); and the time of the database.
SELECT s.token_id, s.principal, s.grants::text AS grants, s.expires_at,
       coalesce(t.revoked_at, p.revoked_at) AS revoked_at,
       (SELECT a.workspace_id FROM workspaces a WHERE a.name = $2 AND a.workspace_id <> 0) AS workspace_id,
       clock_timestamp() AS now
  FROM sessions s
  LEFT JOIN tokens t USING (token_id)
  LEFT JOIN tokens p ON p.token_id = t.parent_id
 WHERE s.hash = $1;

-- name: insert_session
-- A new session. It ends after $5 seconds, or with its token.
INSERT INTO sessions (hash, token_id, principal, grants, expires_at)
VALUES ($1, $2, $3, $4::jsonb,
        least(now() + $5::double precision * interval '1 second',
              (SELECT expires_at FROM tokens WHERE token_id = $2)));

-- name: delete_session
-- Ends a session.
DELETE FROM sessions WHERE hash = $1 RETURNING principal, token_id;

-- name: forget_sessions
-- Deletes up to $1 sessions that are over.
DELETE FROM sessions
 WHERE hash = ANY (ARRAY(SELECT hash FROM sessions WHERE expires_at < now() ORDER BY expires_at LIMIT $1));

-- name: insert_code
-- A code for signing in on the command line.
INSERT INTO command_line_codes (hash, challenge, machine, workspace_id, principal, role, token_id, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, now() + $8::double precision * interval '1 second');

-- name: take_code
-- Takes a code for signing in, which can be used once.
WITH taken AS (DELETE FROM command_line_codes WHERE hash = $1 RETURNING *)
SELECT t.*, w.name AS workspace FROM taken t JOIN workspaces w USING (workspace_id) WHERE t.expires_at > now();

-- name: forget_codes
-- Deletes up to $1 codes that were not used in time.
DELETE FROM command_line_codes
 WHERE hash = ANY (ARRAY(SELECT hash FROM command_line_codes WHERE expires_at < now() ORDER BY expires_at LIMIT $1));
