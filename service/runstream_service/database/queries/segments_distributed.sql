-- name: series_with_old
-- Does what series_with_old of segments.sql does. The series are found first: they are on the coordinator, the segments on
-- the workers.
SELECT DISTINCT g.series_id
  FROM metric_segments g
 WHERE g.max_time < $2
   AND g.series_id IN (SELECT s.series_id FROM series s WHERE s.run_id = ANY ($1::uuid[]) AND s.purge_epoch IS NULL)
 LIMIT $3;

-- name: pages
-- How many pages of PostgreSQL the segments take on all workers, without their arrays.
SELECT citus_relation_size('metric_segments') / current_setting('block_size')::int;

-- name: size_bytes
-- Bytes on the disks of all workers, with indexes and arrays.
SELECT citus_total_relation_size('metric_segments');

-- name: count
-- The workers' estimates of the number of segments, added up.
SELECT coalesce(sum(nullif(result::float8, -1)), 0)
  FROM run_command_on_shards('metric_segments', $command$SELECT reltuples FROM pg_class WHERE oid = '%s'::regclass$command$)
 WHERE success;
