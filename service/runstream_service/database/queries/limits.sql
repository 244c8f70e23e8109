-- name: all_limits
-- The limits that workspaces have of their own.
SELECT workspace_id, name, points_per_second, streams, concurrent_reads, series_per_run, file_bytes
  FROM workspace_limits JOIN workspaces USING (workspace_id);

-- name: limits_of
-- The limits of one workspace.
SELECT points_per_second, streams, concurrent_reads, series_per_run, file_bytes
  FROM workspace_limits WHERE workspace_id = $1;

-- name: set_limits
-- Replaces the limits of a workspace.
INSERT INTO workspace_limits (workspace_id, points_per_second, streams, concurrent_reads, series_per_run, file_bytes)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (workspace_id) DO UPDATE
   SET points_per_second = EXCLUDED.points_per_second, streams = EXCLUDED.streams,
       concurrent_reads = EXCLUDED.concurrent_reads, series_per_run = EXCLUDED.series_per_run,
       file_bytes = EXCLUDED.file_bytes;

-- name: report_front_end
-- Records that front end $1 serves the workspaces $2, and no others any more. Deletes the rows of front ends that are gone;
-- rows that another front end is deleting are skipped.
WITH gone AS (
    DELETE FROM workspace_front_ends
     WHERE (front_end, workspace_id) IN (
           SELECT front_end, workspace_id FROM workspace_front_ends
            WHERE seen_at < now() - interval '1 minute' OR (front_end = $1 AND workspace_id <> ALL ($2::int[]))
              FOR UPDATE SKIP LOCKED)
)
INSERT INTO workspace_front_ends (front_end, workspace_id, seen_at)
SELECT $1, workspace_id, now() FROM unnest($2::int[]) AS served (workspace_id)
ON CONFLICT (front_end, workspace_id) DO UPDATE SET seen_at = EXCLUDED.seen_at;

-- name: front_ends
-- How many front ends serve each workspace.
SELECT workspace_id, name, count(*) AS front_ends
  FROM workspace_front_ends JOIN workspaces USING (workspace_id)
 WHERE seen_at > now() - interval '15 seconds'
 GROUP BY workspace_id, name;
