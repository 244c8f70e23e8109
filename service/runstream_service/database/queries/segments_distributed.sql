-- name: series_with_old
-- As in segments.sql. The series are found first: the coordinator has them, and the workers have the segments.
SELECT DISTINCT g.series_id
  FROM metric_segments g
 WHERE g.max_time < $2
   AND g.series_id IN (SELECT s.series_id FROM series s WHERE s.run_id = ANY ($1::uuid[]) AND s.purge_epoch IS NULL)
 LIMIT $3;

-- name: pages
-- As in segments.sql.
SELECT citus_relation_size('metric_segments') / current_setting('block_size')::int;

-- name: size_bytes
-- As in segments.sql.
SELECT citus_total_relation_size('metric_segments');

-- name: count
-- As in segments.sql.
SELECT coalesce(sum(nullif(result::float8, -1)), 0)
  FROM run_command_on_shards('metric_segments', $command$SELECT reltuples FROM pg_class WHERE oid = '%s'::regclass$command$)
 WHERE success;
