-- name: database
-- The database server. Fails with 42P01 (no such table) if the database is not one of runstream.
SELECT current_setting('server_version') AS version,
       current_setting('max_connections')::int AS max_connections,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
       current_setting('synchronous_standby_names') AS synchronous_standby_names,
       (SELECT max(version) FROM schema_migrations) AS schema_version;

-- name: connections
-- The connections of replicas. A user does not see the names of other users' connections unless it may read all statistics.
SELECT application_name, min(backend_start) AS since, count(*) AS connections
  FROM pg_stat_activity
 WHERE datname = current_database() AND application_name LIKE 'runstream%/%'
 GROUP BY application_name;

-- name: ingest
-- Points committed in the last minute. Rows of commits are kept for longer than that after roll-up.
SELECT coalesce(sum(point_count), 0)::bigint AS points FROM commits
 WHERE committed_at > now() - interval '1 minute';

-- name: epoch
-- The open epoch, the points in it, and the watermarks.
SELECT e.epoch, e.opened_at, coalesce(sum(c.point_count), 0)::bigint AS points, w.visible_epoch, w.dropped_epoch
  FROM epochs e LEFT JOIN commits c USING (epoch) CROSS JOIN watermark w
 WHERE e.state = 'open'
 GROUP BY e.epoch, w.visible_epoch, w.dropped_epoch;

-- name: producers
-- The newest producer of each rank of each running run (a rank that was restarted has older ones, too): how many there are,
-- how many opened a stream or committed in the last minute, and the one that has been silent longest.
WITH newest AS (
    SELECT DISTINCT ON (p.run_id, p.rank)
           p.run_id, p.rank, p.attempt, p.opened_at, p.committed_at, coalesce(p.committed_at, p.opened_at) AS heard_at
      FROM producers p JOIN runs r USING (run_id)
     WHERE r.status = 'running' AND r.lifecycle = 'active'
     ORDER BY p.run_id, p.rank, heard_at DESC
)
SELECT n.run_id, r.name AS run_name, e.name AS experiment, n.rank, n.attempt, n.opened_at, n.committed_at, n.heard_at,
       count(*) OVER () AS producers,
       (SELECT count(DISTINCT run_id) FROM newest) AS runs,
       count(*) FILTER (WHERE n.heard_at > now() - interval '1 minute') OVER () AS heard
  FROM newest n JOIN runs r USING (run_id) JOIN experiments e USING (experiment_id)
 ORDER BY n.heard_at
 LIMIT 1;
