-- when: before
-- What purge needs: indexes of what it looks for and of what its cascades look for, purged experiments, files to delete.

-- Deleting a run deletes the metrics that it logged for models.
CREATE INDEX logged_model_metrics_by_run ON logged_model_metrics (run_id);
CREATE INDEX logged_models_deleted ON logged_models (deleted_at) WHERE deleted_at IS NOT NULL;

-- The workspace of experiments that are being purged. No caller is in it, so they are out of every answer and their names
-- are free, while their runs wait until roll-up has passed their points.
INSERT INTO workspaces (workspace_id, name) VALUES (0, 'purged');

-- Files and directories whose run, model or experiment is gone, written in the transaction that deleted its row. They are
-- deleted afterwards, by a step that is repeated until it is done.
CREATE TABLE purged_artifacts (
    path text PRIMARY KEY,                          -- below the root of the artifact store
    recorded_at timestamptz NOT NULL DEFAULT now(),
    not_before timestamptz NOT NULL DEFAULT now()   -- later after a failure, and while a registered version needs them
);
CREATE INDEX purged_artifacts_due ON purged_artifacts (not_before);

-- Work that one replica does for all of them: the replica that moves due_at does it.
CREATE TABLE shared_tasks (
    name text PRIMARY KEY,
    due_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO shared_tasks (name) VALUES ('retention');
