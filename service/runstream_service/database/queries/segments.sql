-- name: in_order
-- COPY. Segments of the series $1 up to the watermark $2 that have steps from $3 to $4, in the order of $1, then of their
-- first points.
SELECT s.ctid, w.position, s.first_step, s.min_time, s.point_count, coalesce(s.step_stride, -1),
       coalesce(s.time_stride, 0), s.steps, s.time_residuals, s.time_offsets, s.times, s.values_real, s.values_double
  FROM unnest($1) WITH ORDINALITY AS w (series_id, position) JOIN metric_segments s USING (series_id)
 WHERE s.series_id = ANY ($1) AND s.epoch <= $2 AND s.first_step <= $4 AND s.last_step >= $3
 ORDER BY w.position, s.first_step, s.min_time;

-- name: summaries
-- COPY. The summaries of the segments of the series $1 up to the watermark $2 that have steps from $3 to $4, without
-- their arrays.
SELECT s.ctid, s.series_id, s.first_step, s.last_step, s.min_time, s.max_time, s.point_count, s.finite_count,
       coalesce(s.min_value, 'NaN'), coalesce(s.max_value, 'NaN'), coalesce(s.sum_value, 0),
       s.first_value, s.last_value, s.time_ordered, coalesce(s.step_stride, -1)
  FROM metric_segments s
 WHERE s.series_id = ANY ($1) AND s.epoch <= $2 AND s.first_step <= $4 AND s.last_step >= $3;

-- name: at
-- COPY. The segments of the series $1 with the ctids $2 (from summaries in the same snapshot), with
-- times if $3, with steps if $4: PostgreSQL does not fetch arrays that are not needed.
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
-- COPY. Single points of the segments $2 of the series $1 (ctids from summaries in the same snapshot): of segment i those at
-- the positions $5[$3[i]] to $5[$4[i]], with their index in $5. An array that is stored outside of its row would be fetched
-- again for each element; || '{}' fetches it once, and OFFSET 0 keeps the planner from undoing that.
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
          FROM unnest($1, $2, $3, $4) AS w (series_id, segment, first, last)
          JOIN metric_segments s ON s.series_id = w.series_id AND s.ctid = w.segment
         WHERE s.series_id = ANY ($1) AND s.ctid = ANY ($2)
        OFFSET 0) g
 CROSS JOIN LATERAL (SELECT n AS number, ($5)[n] AS position FROM generate_series(g.first, g.last) n) p;

-- name: first_steps
-- The first step of each of the series $1 in segments up to the watermark $2.
SELECT s.series_id, min(s.first_step) FROM metric_segments s
 WHERE s.series_id = ANY ($1::bigint[]) AND s.epoch <= $2
 GROUP BY s.series_id;

-- name: ctids
-- The ctids of up to $2 segments of the series $1.
SELECT array_agg(segment) FROM (SELECT ctid::text AS segment FROM metric_segments WHERE series_id = ANY ($1::bigint[]) LIMIT $2) s;

-- name: delete
-- Deletes the segments of the series $1 with the ctids $2; returns their number, and the number of their points. In a
-- distributed table, several shards may have a segment with the same ctid; all of these may be deleted.
WITH gone AS (
    DELETE FROM metric_segments
     WHERE series_id = ANY ($1::bigint[]) AND ctid = ANY ($2::text[]::tid[])
    RETURNING point_count
)
SELECT count(*) AS segments, coalesce(sum(point_count), 0)::bigint AS points FROM gone;

-- name: series_with_old
-- Up to $3 series of the runs $1 with segments all of whose points are older than $2.
SELECT s.series_id
  FROM series s
 WHERE s.run_id = ANY ($1::uuid[]) AND s.purge_epoch IS NULL
   AND EXISTS (SELECT FROM metric_segments g WHERE g.series_id = s.series_id AND g.max_time < $2)
 LIMIT $3;

-- name: old_ctids
-- The ctids of up to $3 segments of the series $1 all of whose points are older than $2.
SELECT array_agg(segment)
  FROM (SELECT ctid::text AS segment FROM metric_segments WHERE series_id = ANY ($1::bigint[]) AND max_time < $2 LIMIT $3) s;

-- name: delete_old
-- Deletes the segments of the series $1 with the ctids $3 all of whose points are older than $2; returns what delete returns.
WITH gone AS (
    DELETE FROM metric_segments
     WHERE series_id = ANY ($1::bigint[]) AND ctid = ANY ($3::text[]::tid[]) AND max_time < $2
    RETURNING point_count
)
SELECT count(*) AS segments, coalesce(sum(point_count), 0)::bigint AS points FROM gone;

-- name: pages
-- How many pages of PostgreSQL the segments take, without their arrays.
SELECT pg_relation_size('metric_segments') / current_setting('block_size')::int;

-- name: points_in_sample
-- Points in $1 percent of the pages of segments.
SELECT coalesce(sum(point_count), 0)::bigint FROM metric_segments TABLESAMPLE SYSTEM ($1);

-- name: small
-- Up to $3 series with ids above $1 that have small segments of epochs up to $2: how many segments, how many points in them,
-- and whether the run of the series has ended.
WITH small AS (
    SELECT series_id, count(*) AS segments, sum(point_count) AS points
      FROM metric_segments
     WHERE point_count < 800 AND epoch <= $2 AND series_id > $1
     GROUP BY series_id ORDER BY series_id LIMIT $3
)
SELECT small.series_id, small.segments, small.points::bigint AS points,
       coalesce((SELECT (SELECT r.status NOT IN ('running', 'scheduled') FROM runs r WHERE r.run_id = s.run_id)
                   FROM series s WHERE s.series_id = small.series_id), false) AS ended
  FROM small
 ORDER BY small.series_id;

-- name: neighbours
-- The segments of epochs up to $2 of the series $1, from the first small one of each series to its last.
SELECT m.series_id, m.first_step, m.point_count, m.epoch
  FROM (SELECT series_id, min(first_step) AS low, max(first_step) AS high
          FROM metric_segments
         WHERE series_id = ANY ($1::bigint[]) AND point_count < 800 AND epoch <= $2
         GROUP BY series_id) small
  JOIN metric_segments m ON m.series_id = small.series_id AND m.first_step BETWEEN small.low AND small.high
 WHERE m.epoch <= $2
 ORDER BY m.series_id, m.first_step;

-- name: take
-- COPY. Deletes the small segments of epochs up to $1 in some groups, and returns them as SegmentStream expects them, with
-- the number of the group in place of the position.
DELETE FROM metric_segments m USING (VALUES {groups}) AS g (number, series_id, low, high)
 WHERE m.series_id = g.series_id AND m.first_step BETWEEN g.low AND g.high
   AND m.point_count < 800 AND m.epoch <= $1
RETURNING m.ctid, g.number, m.first_step, m.min_time, m.point_count, coalesce(m.step_stride, -1),
          coalesce(m.time_stride, 0),
          m.steps, m.time_residuals, m.time_offsets, m.times, m.values_real, m.values_double;

-- name: size_bytes
-- Bytes on disk, with indexes and arrays.
SELECT coalesce(pg_total_relation_size(to_regclass('metric_segments')), 0);

-- name: count
-- PostgreSQL's estimate of the number of segments.
SELECT reltuples FROM pg_class WHERE oid = 'metric_segments'::regclass;
