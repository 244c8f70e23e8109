-- when: before
-- Views of the page that people saved for their workspace: what is shown, as the path and the query of its address.
CREATE TABLE saved_views (
    view_id uuid PRIMARY KEY,
    workspace_id int NOT NULL REFERENCES workspaces ON DELETE CASCADE,
    name text NOT NULL,
    state text NOT NULL,
    owner text NOT NULL, -- the principal that saved it first
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (workspace_id, name)
);
