-- name: visible_epoch
-- The watermark W. Segments of epochs <= W and hot batches of epochs > W together contain every point once.
SELECT visible_epoch FROM watermark;

-- name: dropped_epoch
-- The highest epoch whose hot batches are gone. Read in a new snapshot: if it is above W, points may have been missed.
SELECT dropped_epoch FROM watermark;

-- name: series_of_run
-- The series of a run, perhaps only of some keys ($3), a rank ($4), an attempt ($5), in the order in which callers get them.
SELECT s.series_id, s.key, s.rank, s.attempt
  FROM series s JOIN runs r USING (run_id) JOIN experiments e USING (experiment_id)
 WHERE e.workspace_id = $1 AND s.run_id = $2 AND s.purge_epoch IS NULL AND r.purge_epoch IS NULL
   AND ($3::text[] IS NULL OR s.key = ANY ($3))
   AND ($4::int IS NULL OR s.rank = $4)
   AND ($5::int IS NULL OR s.attempt = $5)
 ORDER BY s.key COLLATE "C", s.rank, s.attempt;

-- name: runs_found
-- The runs of $2 that are in the workspace $1, even deleted ones, but not those that are being purged.
SELECT r.run_id
  FROM runs r JOIN experiments e USING (experiment_id)
 WHERE e.workspace_id = $1 AND r.run_id = ANY ($2::uuid[]) AND r.purge_epoch IS NULL;

-- name: series_of_runs
-- The series of several runs, perhaps only of some keys ($3), a rank ($4), an attempt ($5), in the order in which callers
-- get them. At most $6.
SELECT s.series_id, s.run_id, s.key, s.rank, s.attempt
  FROM unnest($2::uuid[]) WITH ORDINALITY AS w (run_id, position)
  JOIN runs r USING (run_id) JOIN experiments e USING (experiment_id) JOIN series s USING (run_id)
 WHERE e.workspace_id = $1 AND s.purge_epoch IS NULL AND r.purge_epoch IS NULL
   AND ($3::text[] IS NULL OR s.key = ANY ($3))
   AND ($4::int IS NULL OR s.rank = $4)
   AND ($5::int IS NULL OR s.attempt = $5)
 ORDER BY w.position, s.key COLLATE "C", s.rank, s.attempt
 LIMIT $6;

-- name: series_of_runs_by_key
-- The series of series_of_runs, ordered by key, then by run.
SELECT s.series_id, s.run_id, s.key, s.rank, s.attempt
  FROM unnest($2::uuid[]) WITH ORDINALITY AS w (run_id, position)
  JOIN runs r USING (run_id) JOIN experiments e USING (experiment_id) JOIN series s USING (run_id)
 WHERE e.workspace_id = $1 AND s.purge_epoch IS NULL AND r.purge_epoch IS NULL
   AND ($3::text[] IS NULL OR s.key = ANY ($3))
   AND ($4::int IS NULL OR s.rank = $4)
   AND ($5::int IS NULL OR s.attempt = $5)
 ORDER BY s.key COLLATE "C", w.position, s.rank, s.attempt
 LIMIT $6;

-- name: count_curves_of_runs
-- How many curves series_of_runs has: combinations of run, key and rank.
SELECT count(DISTINCT (s.run_id, s.key, s.rank))
  FROM runs r JOIN experiments e USING (experiment_id) JOIN series s USING (run_id)
 WHERE e.workspace_id = $1 AND r.run_id = ANY ($2::uuid[]) AND s.purge_epoch IS NULL AND r.purge_epoch IS NULL
   AND ($3::text[] IS NULL OR s.key = ANY ($3))
   AND ($4::int IS NULL OR s.rank = $4)
   AND ($5::int IS NULL OR s.attempt = $5);

-- name: series_with_hashes
-- COPY. All series of the runs $2, perhaps only of some keys ($3), at most $5, with the position of their run in $2, and two
-- hashes of their key ($4: seed).
SELECT w.position, hashtextextended(s.key, $4::bigint), hashtextextended(s.key, $4::bigint + 1),
       s.series_id, s.rank, s.attempt
  FROM unnest($2::uuid[]) WITH ORDINALITY AS w (run_id, position)
  JOIN runs r USING (run_id) JOIN experiments e USING (experiment_id) JOIN series s USING (run_id)
 WHERE e.workspace_id = $1 AND s.purge_epoch IS NULL AND r.purge_epoch IS NULL
   AND ($3::text[] IS NULL OR s.key = ANY ($3))
 LIMIT $5;

-- name: latest_of_series
-- COPY. The latest and best values, as of roll-up, of the series with ids from $1[i] to $2[i]. The ids are an array that the
-- planner does not see, so they are looked up in one scan of the index. As constants, planning would take as long as the
-- scan; a join would take twice as long.
SELECT l.series_id, l.step, l.time, l.value, l.min_value, l.min_step, l.max_value, l.max_step
  FROM latest_values l
 WHERE l.series_id = ANY (ARRAY(SELECT generate_series(w.low, w.high) FROM unnest($1, $2) AS w (low, high)));

-- name: latest_stored_of_few
-- All series of the runs $2, perhaps only of some keys ($3), at most $4, with the position of their run in $2, their key, and
-- their latest and best values as of roll-up, if there are any; times in microseconds since 1970. A plain join is enough: the
-- planner chooses an index lookup or a hash join, both fast, even with outdated statistics.
SELECT s.series_id, w.position, s.key, s.rank, s.attempt,
       l.series_id IS NOT NULL, coalesce(l.step, 0), coalesce((extract(epoch FROM l.time) * 1000000)::bigint, 0),
       coalesce(l.value, 0),
       coalesce(l.min_value, 'Infinity'), coalesce(l.min_step, 0), coalesce(l.max_value, '-Infinity'),
       coalesce(l.max_step, 0)
  FROM unnest($2::uuid[]) WITH ORDINALITY AS w (run_id, position)
  JOIN runs r USING (run_id) JOIN experiments e USING (experiment_id) JOIN series s USING (run_id)
  LEFT JOIN latest_values l USING (series_id)
 WHERE e.workspace_id = $1 AND s.purge_epoch IS NULL AND r.purge_epoch IS NULL
   AND ($3::text[] IS NULL OR s.key = ANY ($3))
 LIMIT $4;

-- name: latest_of_keys
-- COPY. The series of the keys $1 of the runs $2, with the position of their key, and their latest point as of roll-up, if
-- there is one. Latest values are looked up all at once: one by one takes three times as long.
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
-- COPY. What latest_of_keys returns, for all runs of the experiments $2 in the lifecycles $3.
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

-- name: best_of_keys
-- COPY. The series of the keys $1 of the runs $2, with the position of their key, and their best values.
WITH found AS MATERIALIZED (
    SELECT s.run_id, array_position($1::text[], s.key)::bigint AS key, s.series_id, s.rank
      FROM series s
     WHERE s.run_id = ANY ($2::uuid[]) AND s.key = ANY ($1::text[]) AND s.purge_epoch IS NULL
)
SELECT f.run_id, f.key, f.series_id, f.rank, coalesce(l.min_value, 'Infinity'), coalesce(l.max_value, '-Infinity')
  FROM found f
  LEFT JOIN latest_values l ON l.series_id = f.series_id AND l.series_id = ANY (ARRAY(SELECT series_id FROM found));

-- name: best_of_keys_in_experiments
-- COPY. What best_of_keys returns, for all runs of the experiments $2 in the lifecycles $3.
WITH found AS MATERIALIZED (
    SELECT s.run_id, array_position($1::text[], s.key)::bigint AS key, s.series_id, s.rank
      FROM runs r JOIN series s USING (run_id)
     WHERE r.experiment_id = ANY ($2::bigint[]) AND r.lifecycle = ANY ($3::text[]) AND r.purge_epoch IS NULL
       AND s.key = ANY ($1::text[]) AND s.purge_epoch IS NULL
)
SELECT f.run_id, f.key, f.series_id, f.rank, coalesce(l.min_value, 'Infinity'), coalesce(l.max_value, '-Infinity')
  FROM found f
  LEFT JOIN latest_values l ON l.series_id = f.series_id AND l.series_id = ANY (ARRAY(SELECT series_id FROM found));

-- name: values_of_key_in_experiments
-- COPY. The latest values of one key $1 of the runs of the experiments $2 in the lifecycles $3. Only for when there are no hot
-- points, the most frequent case.
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

-- name: keys_of_recent_runs
-- The keys of the $3 newest active runs of the experiment $2 (null: of all), and how many of the runs have each; at most $4
-- keys of a kind. Metrics of rank 0 or without a rank only: other ranks log the same keys, and there may be thousands.
WITH recent AS MATERIALIZED (
    SELECT r.run_id
      FROM runs r JOIN experiments e USING (experiment_id)
     WHERE e.workspace_id = $1 AND ($2::bigint IS NULL OR r.experiment_id = $2)
       AND r.lifecycle = 'active' AND r.purge_epoch IS NULL
     ORDER BY r.started_at DESC LIMIT $3
)
(SELECT 'metric', s.key, count(DISTINCT s.run_id) FROM series s JOIN recent USING (run_id)
  WHERE s.rank <= 0 AND s.purge_epoch IS NULL GROUP BY s.key ORDER BY 3 DESC, 2 LIMIT $4)
UNION ALL
(SELECT 'param', p.key, count(*) FROM params p JOIN recent USING (run_id) GROUP BY p.key ORDER BY 3 DESC, 2 LIMIT $4)
UNION ALL
(SELECT 'tag', t.key, count(*) FROM tags t JOIN recent USING (run_id) GROUP BY t.key ORDER BY 3 DESC, 2 LIMIT $4);

-- name: first_keys_of_runs
-- The first $3 metric keys, by name, of each of the runs $2.
SELECT run_id, key
  FROM (SELECT s.run_id, s.key, row_number() OVER (PARTITION BY s.run_id ORDER BY s.key COLLATE "C") AS place
          FROM runs r JOIN experiments e USING (experiment_id) JOIN series s USING (run_id)
         WHERE e.workspace_id = $1 AND r.run_id = ANY ($2::uuid[]) AND s.purge_epoch IS NULL AND r.purge_epoch IS NULL
         GROUP BY s.run_id, s.key) of_runs
 WHERE place <= $3;
