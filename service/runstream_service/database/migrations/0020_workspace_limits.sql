-- when: before
-- What a workspace may use. NULL: what the settings say; 0: no limit.
CREATE TABLE workspace_limits (
    workspace_id int PRIMARY KEY REFERENCES workspaces ON DELETE CASCADE,
    points_per_second bigint CHECK (points_per_second >= 0),
    streams bigint CHECK (streams >= 0),
    concurrent_reads bigint CHECK (concurrent_reads >= 0),
    series_per_run bigint CHECK (series_per_run >= 0),
    file_bytes bigint CHECK (file_bytes >= 0)
);

-- Which front ends serve a workspace that has limits: each gets an equal part of them. A row is renewed every few seconds.
CREATE TABLE workspace_front_ends (
    front_end uuid,
    workspace_id int,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (front_end, workspace_id)
);
