-- name: advance
-- Advances the service time by the seconds since the last beat of any replica, at most $1; returns the new service time.
UPDATE service_time
   SET up_s = up_s + least(greatest(extract(epoch FROM clock_timestamp() - beat_at), 0), $1::float8),
       beat_at = greatest(beat_at, clock_timestamp())
RETURNING up_s;

-- name: revive
-- Sets the runs $1, which have streams, to running again if they were ended as silent.
UPDATE runs SET status = 'running', ended_at = NULL, end_recorded_at = NULL, ended_as_silent = false
 WHERE run_id IN (SELECT run_id FROM runs WHERE run_id = ANY ($1::uuid[]) AND ended_as_silent AND lifecycle = 'active'
                   ORDER BY run_id FOR NO KEY UPDATE);

-- name: note_seen
-- Records that the runs $1 have streams at service time $2. In the order of their ids, so that two replicas cannot deadlock.
INSERT INTO run_connections AS noted (run_id, seen_up_s, seen_at)
SELECT r.run_id, $2::float8, now() FROM runs r
 WHERE r.run_id = ANY ($1::uuid[]) AND r.status = 'running'
 ORDER BY r.run_id
   FOR KEY SHARE OF r
ON CONFLICT (run_id) DO UPDATE SET seen_up_s = greatest(noted.seen_up_s, excluded.seen_up_s), seen_at = now();

-- name: take_turn
-- Returns the service time to the first replica that asks within $1 seconds; no row to the others.
UPDATE service_time SET judged_at = clock_timestamp()
 WHERE judged_at <= clock_timestamp() - make_interval(secs => $1::float8)
RETURNING up_s;

-- name: forget
-- Deletes what was recorded of runs that are not running any more.
DELETE FROM run_connections noted USING runs r
 WHERE r.run_id = noted.run_id AND NOT (r.status = 'running' AND r.lifecycle = 'active');

-- name: note_missed
-- Records running runs that have producers and no record yet as seen at service time $1; at most $2 of them.
INSERT INTO run_connections (run_id, seen_up_s)
SELECT r.run_id, $1::float8 FROM runs r
 WHERE r.status = 'running' AND r.lifecycle = 'active'
   AND NOT EXISTS (SELECT FROM run_connections noted WHERE noted.run_id = r.run_id)
   AND EXISTS (SELECT FROM producers p WHERE p.run_id = r.run_id)
 ORDER BY r.run_id
 LIMIT $2
   FOR KEY SHARE OF r
ON CONFLICT (run_id) DO NOTHING;

-- name: end_silent
-- Ends runs of which no replica has had a stream since service time $1, and that committed nothing and opened no stream for
-- $2 seconds; at most $3 of them. Their end is the time of their last activity. Runs with points that came over HTTP (rank
-- -1) are left alone.
WITH silent AS (
    SELECT r.run_id, noted.seen_at, heard.at AS heard_at
      FROM run_connections noted JOIN runs r USING (run_id),
           LATERAL (SELECT max(greatest(p.opened_at, p.committed_at)) AS at FROM producers p WHERE p.run_id = r.run_id) heard
     WHERE noted.seen_up_s <= $1::float8 AND r.status = 'running' AND r.lifecycle = 'active'
       AND heard.at <= now() - make_interval(secs => $2::float8)
       AND NOT EXISTS (SELECT FROM series s WHERE s.run_id = r.run_id AND s.rank = -1)
     ORDER BY r.run_id
     LIMIT $3
       FOR NO KEY UPDATE OF r SKIP LOCKED
)
UPDATE runs r
   SET status = 'killed', ended_at = greatest(r.started_at, silent.seen_at, silent.heard_at), end_recorded_at = now(),
       ended_as_silent = true
  FROM silent
 WHERE r.run_id = silent.run_id
RETURNING r.run_id, r.name, r.experiment_id, r.ended_at;
