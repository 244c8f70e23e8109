-- name: series_of_run
-- The series of a run, perhaps only of some keys ($3), a rank ($4), an attempt ($5), in the order of answers.
SELECT s.series_id, s.key, s.rank, s.attempt
  FROM series s JOIN runs r USING (run_id) JOIN experiments e USING (experiment_id)
 WHERE e.workspace_id = $1 AND s.run_id = $2
   AND ($3::text[] IS NULL OR s.key = ANY ($3))
   AND ($4::int IS NULL OR s.rank = $4)
   AND ($5::int IS NULL OR s.attempt = $5)
 ORDER BY s.key COLLATE "C", s.rank, s.attempt;

-- name: run_exists
-- Whether the workspace has the run, also a deleted one.
SELECT true FROM runs r JOIN experiments e USING (experiment_id) WHERE e.workspace_id = $1 AND r.run_id = $2;

-- name: history
-- All points of some series, in the order of $1. The position stands for the series: 4 bytes, and ready to split by.
-- One statement is one snapshot, so the watermark and the rows belong together.
SELECT wanted.position::int, h.step, h.time, h.value
  FROM unnest($1::bigint[]) WITH ORDINALITY AS wanted (series_id, position) JOIN metric_points_hot h USING (series_id)
 WHERE h.epoch > (SELECT visible_epoch FROM watermark)
   AND h.series_id = ANY ($1::bigint[])
   AND h.step BETWEEN $2::bigint AND $3::bigint
 ORDER BY wanted.position, h.step, h.time;

-- name: series_of_runs
-- The series of several runs, perhaps only of some keys ($3), in the order of answers. Unknown runs have none.
SELECT s.series_id, s.run_id, s.key, s.rank, s.attempt
  FROM series s JOIN runs r USING (run_id) JOIN experiments e USING (experiment_id)
 WHERE e.workspace_id = $1 AND s.run_id = ANY ($2::uuid[])
   AND ($3::text[] IS NULL OR s.key = ANY ($3))
 ORDER BY s.run_id, s.key COLLATE "C", s.rank, s.attempt;

-- name: latest
-- The greatest (step, time, value) of each series, where NaN compares as 0.
SELECT DISTINCT ON (h.series_id) h.series_id, h.step, h.time, h.value
  FROM metric_points_hot h
 WHERE h.epoch > (SELECT visible_epoch FROM watermark)
   AND h.series_id = ANY ($1::bigint[])
 ORDER BY h.series_id, h.step DESC, h.time DESC, CASE WHEN h.value = 'NaN' THEN 0 ELSE h.value END DESC;
