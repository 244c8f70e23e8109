-- when: before
-- Who may do what: tokens, and what was done with them. The text of a token is in no table; its hash finds it.
ALTER TABLE workspaces
    ADD COLUMN created_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN description text NOT NULL DEFAULT '';

CREATE TABLE tokens (
    token_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash bytea NOT NULL UNIQUE CHECK (length(hash) = 32),  -- SHA-256 of its text
    kind text NOT NULL CHECK (kind IN ('token', 'uri')),  -- made by a person, or part of a short-lived tracking URI
    name text NOT NULL,
    workspace_id int REFERENCES workspaces,  -- NULL: all of them
    role text NOT NULL CHECK (role IN ('read', 'write', 'manage', 'admin')),
    parent_id bigint REFERENCES tokens ON DELETE CASCADE,  -- the token that it was made with, and ends with
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    CHECK ((workspace_id IS NULL) = (role = 'admin'))
);
-- A name is free again when its token is revoked.
CREATE UNIQUE INDEX tokens_name ON tokens (coalesce(workspace_id, 0), name) WHERE kind = 'token' AND revoked_at IS NULL;
CREATE INDEX tokens_workspace ON tokens (workspace_id);
CREATE INDEX tokens_parent ON tokens (parent_id);
CREATE INDEX tokens_expiry ON tokens (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE audit_events (
    event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    workspace_id int,  -- NULL: it concerns no workspace, or none that is known
    principal text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    details jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_events_workspace ON audit_events (workspace_id, event_id);
CREATE INDEX audit_events_at ON audit_events (at);
CREATE INDEX audit_events_refusals ON audit_events (at) WHERE action = 'call_refused';

-- Old events, and tokens that ended long ago, are deleted once a day, by one replica.
INSERT INTO shared_tasks (name) VALUES ('access');
