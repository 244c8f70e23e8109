-- name: visible_epoch
-- The watermark W. Segments of epochs <= W and hot rows of epochs > W contain every point once.
SELECT visible_epoch FROM watermark;

-- name: dropped_epoch
-- The highest epoch whose hot rows are gone. Read in a new snapshot: if it is above W, rows may have been missed.
SELECT dropped_epoch FROM watermark;

-- name: series_of_run
-- The series of a run, perhaps only of some keys ($3), a rank ($4), an attempt ($5), in the order of answers.
SELECT s.series_id, s.key, s.rank, s.attempt
  FROM series s JOIN runs r USING (run_id) JOIN experiments e USING (experiment_id)
 WHERE e.workspace_id = $1 AND s.run_id = $2 AND s.purge_epoch IS NULL AND r.purge_epoch IS NULL
   AND ($3::text[] IS NULL OR s.key = ANY ($3))
   AND ($4::int IS NULL OR s.rank = $4)
   AND ($5::int IS NULL OR s.attempt = $5)
 ORDER BY s.key COLLATE "C", s.rank, s.attempt;

-- name: runs_found
-- Those of some runs that the workspace has, even deleted ones, but not those that are being purged.
SELECT r.run_id
  FROM runs r JOIN experiments e USING (experiment_id)
 WHERE e.workspace_id = $1 AND r.run_id = ANY ($2::uuid[]) AND r.purge_epoch IS NULL;

-- name: series_of_runs
-- The series of several runs, perhaps only of some keys ($3), a rank ($4), an attempt ($5), in the order of answers. At
-- most $6.
SELECT s.series_id, s.run_id, s.key, s.rank, s.attempt
  FROM unnest($2::uuid[]) WITH ORDINALITY AS w (run_id, position)
  JOIN runs r USING (run_id) JOIN experiments e USING (experiment_id) JOIN series s USING (run_id)
 WHERE e.workspace_id = $1 AND s.purge_epoch IS NULL AND r.purge_epoch IS NULL
   AND ($3::text[] IS NULL OR s.key = ANY ($3))
   AND ($4::int IS NULL OR s.rank = $4)
   AND ($5::int IS NULL OR s.attempt = $5)
 ORDER BY w.position, s.key COLLATE "C", s.rank, s.attempt
 LIMIT $6;

-- name: hot_points
-- COPY. Hot rows of the series $1 above the watermark $2, with steps from $3 to $4. Unsorted: numpy sorts faster. $5: a few
-- spans of h.series_id that have all of $1. The index is scanned once a span; + 0 keeps that from being once a series.
SELECT h.series_id, h.step, h.time, h.value
  FROM metric_points_hot h
 WHERE h.epoch > $2 AND ($5) AND h.series_id + 0 = ANY ($1) AND h.step BETWEEN $3 AND $4;

-- name: any_hot
-- Whether there is any hot row above the watermark $1.
SELECT EXISTS (SELECT 1 FROM metric_points_hot WHERE epoch > $1);

-- name: segments_in_order
-- COPY. Segments of the series $1 up to the watermark $2 that have steps from $3 to $4, in the order of $1, then of their
-- beginnings.
SELECT s.ctid, w.position, s.first_step, s.min_time, s.point_count, coalesce(s.step_stride, -1),
       coalesce(s.time_stride, 0), s.steps, s.time_residuals, s.time_offsets, s.times, s.values_real, s.values_double
  FROM unnest($1) WITH ORDINALITY AS w (series_id, position) JOIN metric_segments s USING (series_id)
 WHERE s.series_id = ANY ($1) AND s.epoch <= $2 AND s.first_step <= $4 AND s.last_step >= $3
 ORDER BY w.position, s.first_step, s.min_time;

-- name: segment_summaries
-- COPY. The summaries of the segments of the series $1 up to the watermark $2 that have steps from $3 to $4, without
-- their arrays.
SELECT s.ctid, s.series_id, s.first_step, s.last_step, s.min_time, s.max_time, s.point_count, s.finite_count,
       coalesce(s.min_value, 'NaN'), coalesce(s.max_value, 'NaN'), coalesce(s.sum_value, 0),
       s.first_value, s.last_value, s.time_ordered, coalesce(s.step_stride, -1)
  FROM metric_segments s
 WHERE s.series_id = ANY ($1) AND s.epoch <= $2 AND s.first_step <= $4 AND s.last_step >= $3;

-- name: segments_at
-- COPY. The segments of the series $1 at the places $2 (from segment_summaries in the same snapshot), with
-- times if $3, with steps if $4: arrays that are not needed are not even fetched.
SELECT s.ctid, s.series_id, s.first_step, s.min_time, s.point_count, coalesce(s.step_stride, -1),
       coalesce(s.time_stride, 0),
       CASE WHEN $4 THEN s.steps END,
       CASE WHEN $3 THEN s.time_residuals END,
       CASE WHEN $3 THEN s.time_offsets END,
       CASE WHEN $3 THEN s.times END,
       s.values_real, s.values_double
  FROM metric_segments s
 WHERE s.series_id = ANY ($1) AND s.ctid = ANY ($2);

-- name: points_at
-- COPY. Single points of the segments $2 of the series $1 (places from segment_summaries in the same snapshot): of
-- the segment i those at the positions $5[$3[i]] to $5[$4[i]], with their number in $5. An array that is stored outside of
-- its row is fetched again for each element that is taken; || '{}' fetches it once, and OFFSET 0 keeps that so.
SELECT p.number,
       coalesce(g.times[p.position],
                g.min_time + coalesce(g.time_offsets[p.position],
                                      (p.position - 1) * g.time_stride + g.time_residuals[p.position])
                           * interval '1 microsecond'),
       coalesce(g.values_double[p.position], g.values_real[p.position])
  FROM (SELECT w.first, w.last, s.min_time, s.time_stride,
               s.times || '{}' AS times, s.time_offsets || '{}' AS time_offsets,
               s.time_residuals || '{}' AS time_residuals,
               s.values_double || '{}' AS values_double, s.values_real || '{}' AS values_real
          FROM unnest($1, $2, $3, $4) AS w (series_id, place, first, last)
          JOIN metric_segments s ON s.series_id = w.series_id AND s.ctid = w.place
         WHERE s.series_id = ANY ($1) AND s.ctid = ANY ($2)
        OFFSET 0) g
 CROSS JOIN LATERAL (SELECT n AS number, ($5)[n] AS position FROM generate_series(g.first, g.last) n) p;

-- name: first_steps
-- The first step of each of the series $1 in segments up to the watermark $2.
SELECT s.series_id, min(s.first_step) FROM metric_segments s
 WHERE s.series_id = ANY ($1::bigint[]) AND s.epoch <= $2
 GROUP BY s.series_id;

-- name: latest_stored
-- COPY. All series of the runs $2, perhaps only of some keys ($3), at most $5, with the position of their run in $2, two
-- hashes of their key ($4: seed), and what roll-up stored as their latest point, if it did. A plain join: it is an index
-- lookup or a hash join, whatever the planner knows of the tables.
SELECT w.position, hashtextextended(s.key, $4::bigint), hashtextextended(s.key, $4::bigint + 1),
       s.series_id, s.rank, s.attempt,
       l.series_id IS NOT NULL, coalesce(l.step, 0), coalesce(l.time, 'epoch'), coalesce(l.value, 0)
  FROM unnest($2::uuid[]) WITH ORDINALITY AS w (run_id, position)
  JOIN runs r USING (run_id) JOIN experiments e USING (experiment_id) JOIN series s USING (run_id)
  LEFT JOIN latest_values l USING (series_id)
 WHERE e.workspace_id = $1 AND s.purge_epoch IS NULL AND r.purge_epoch IS NULL
   AND ($3::text[] IS NULL OR s.key = ANY ($3))
 LIMIT $5;

-- name: latest_stored_of_few
-- The same as latest_stored, at most $4, with keys as text, and times in microseconds since 1970.
SELECT s.series_id, w.position, s.key, s.rank, s.attempt,
       l.series_id IS NOT NULL, coalesce(l.step, 0), coalesce((extract(epoch FROM l.time) * 1000000)::bigint, 0),
       coalesce(l.value, 0)
  FROM unnest($2::uuid[]) WITH ORDINALITY AS w (run_id, position)
  JOIN runs r USING (run_id) JOIN experiments e USING (experiment_id) JOIN series s USING (run_id)
  LEFT JOIN latest_values l USING (series_id)
 WHERE e.workspace_id = $1 AND s.purge_epoch IS NULL AND r.purge_epoch IS NULL
   AND ($3::text[] IS NULL OR s.key = ANY ($3))
 LIMIT $4;

-- name: latest_of_keys
-- COPY. The series of the keys $1 of the runs $2, with the position of their key, and what roll-up stored as their latest
-- point, if it did. Latest values are found all at once: one after the other takes three times as long.
WITH found AS MATERIALIZED (
    SELECT s.run_id, array_position($1::text[], s.key)::bigint AS key, s.series_id, s.rank, s.attempt
      FROM series s
     WHERE s.run_id = ANY ($2::uuid[]) AND s.key = ANY ($1::text[]) AND s.purge_epoch IS NULL
)
SELECT f.run_id, f.key, f.series_id, f.rank, f.attempt,
       l.series_id IS NOT NULL, coalesce(l.step, 0), coalesce(l.time, 'epoch'), coalesce(l.value, 0)
  FROM found f
  LEFT JOIN latest_values l ON l.series_id = f.series_id AND l.series_id = ANY (ARRAY(SELECT series_id FROM found));

-- name: latest_of_keys_in_experiments
-- COPY. The same for all runs of the experiments $2 in the lifecycles $3.
WITH found AS MATERIALIZED (
    SELECT s.run_id, array_position($1::text[], s.key)::bigint AS key, s.series_id, s.rank, s.attempt
      FROM runs r JOIN series s USING (run_id)
     WHERE r.experiment_id = ANY ($2::bigint[]) AND r.lifecycle = ANY ($3::text[]) AND r.purge_epoch IS NULL
       AND s.key = ANY ($1::text[]) AND s.purge_epoch IS NULL
)
SELECT f.run_id, f.key, f.series_id, f.rank, f.attempt,
       l.series_id IS NOT NULL, coalesce(l.step, 0), coalesce(l.time, 'epoch'), coalesce(l.value, 0)
  FROM found f
  LEFT JOIN latest_values l ON l.series_id = f.series_id AND l.series_id = ANY (ARRAY(SELECT series_id FROM found));

-- name: values_of_key_in_experiments
-- COPY. The same for one key $1 without hot rows, the most frequent case.
WITH found AS MATERIALIZED (
    SELECT s.run_id, s.series_id, s.rank, s.attempt
      FROM runs r JOIN series s USING (run_id)
     WHERE r.experiment_id = ANY ($2::bigint[]) AND r.lifecycle = ANY ($3::text[]) AND r.purge_epoch IS NULL
       AND s.key = $1 AND s.purge_epoch IS NULL
)
SELECT f.run_id, f.rank, f.attempt, l.value
  FROM found f
  JOIN latest_values l ON l.series_id = f.series_id AND l.series_id = ANY (ARRAY(SELECT series_id FROM found));

-- name: keys_of_series
-- The keys of the series $1.
SELECT series_id, key FROM series WHERE series_id = ANY ($1::bigint[]);
