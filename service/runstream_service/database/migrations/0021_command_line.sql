-- when: before
-- People sign in on the command line with the browser: a code for a minute, and then a token of theirs.
ALTER TABLE tokens DROP CONSTRAINT tokens_kind_check;
ALTER TABLE tokens ADD CONSTRAINT tokens_kind_check CHECK (kind IN ('token', 'uri', 'login'));

CREATE TABLE command_line_codes (
    hash bytea PRIMARY KEY CHECK (length(hash) = 32),  -- SHA-256 of the code
    challenge text NOT NULL,
    machine text NOT NULL,
    workspace_id int NOT NULL REFERENCES workspaces ON DELETE CASCADE,
    principal text NOT NULL,
    role text NOT NULL,
    token_id bigint REFERENCES tokens ON DELETE CASCADE,  -- that the person signed in with
    expires_at timestamptz NOT NULL
);
CREATE INDEX command_line_codes_workspace ON command_line_codes (workspace_id);
CREATE INDEX command_line_codes_token ON command_line_codes (token_id);
CREATE INDEX command_line_codes_expiry ON command_line_codes (expires_at);
