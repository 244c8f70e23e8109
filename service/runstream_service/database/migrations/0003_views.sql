-- when: before
-- What purge and retention look for, and a view of all points for people, Grafana and BI tools.

CREATE INDEX runs_deleted ON runs (deleted_at) WHERE lifecycle = 'deleted' AND purge_epoch IS NULL;
CREATE INDEX runs_to_purge ON runs (purge_epoch) WHERE purge_epoch IS NOT NULL;

-- Every point once. Two whole SELECTs, so that conditions on run and key reach the index of metric_segments in each: into
-- a UNION that is joined with series afterwards, PostgreSQL would not bring them. Conditions on step, time and value
-- come after the arrays are unpacked: name the run or the series.
CREATE VIEW metric_points AS
SELECT e.name AS experiment, r.run_id, r.name AS run_name, s.key, s.rank, s.attempt,
       coalesce(p.step, g.first_step + (p.position - 1) * g.step_stride) AS step,
       coalesce(p.time, g.min_time + p.time_offset * interval '1 microsecond') AS time,
       p.value
  FROM series s
  JOIN runs r USING (run_id)
  JOIN experiments e USING (experiment_id)
  JOIN metric_segments g USING (series_id)
 CROSS JOIN LATERAL unnest(
       coalesce(g.values_double, g.values_real::double precision[]), g.steps, g.time_offsets, g.times
       ) WITH ORDINALITY AS p (value, step, time_offset, time, position)
 WHERE s.purge_epoch IS NULL AND r.purge_epoch IS NULL
   AND g.epoch <= (SELECT visible_epoch FROM watermark)
UNION ALL
SELECT e.name, r.run_id, r.name, s.key, s.rank, s.attempt, h.step, h.time, h.value
  FROM series s
  JOIN runs r USING (run_id)
  JOIN experiments e USING (experiment_id)
  JOIN metric_points_hot h USING (series_id)
 WHERE s.purge_epoch IS NULL AND r.purge_epoch IS NULL
   AND h.epoch > (SELECT visible_epoch FROM watermark);

COMMENT ON VIEW metric_points IS 'Every point, rolled up or not. Ask for a run_id, and for a key if you can.';
