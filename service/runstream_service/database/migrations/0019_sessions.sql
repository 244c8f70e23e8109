-- when: before
-- People who signed in with a browser. The text of a session is in their cookie alone; its hash finds it.
CREATE TABLE sessions (
    hash bytea PRIMARY KEY CHECK (length(hash) = 32),  -- SHA-256 of its text
    token_id bigint REFERENCES tokens ON DELETE CASCADE,  -- signed in with this token, and ends with it
    principal text NOT NULL,
    grants jsonb NOT NULL,  -- {"workspace": "role"}; {"*": "admin"}: all workspaces
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX sessions_token ON sessions (token_id);
CREATE INDEX sessions_expiry ON sessions (expires_at);
