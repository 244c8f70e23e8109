-- Every point once, rolled up or not: for people, Grafana and BI tools.
--
-- Two whole SELECTs, so that conditions on run and key reach the indexes in each: PostgreSQL would not move them into a UNION
-- that is joined with series afterwards. Conditions on step, time and value are checked after the arrays are unpacked, so a
-- query should name the run or the series.
--
-- Hot batches have the points of all keys. OFFSET 0 keeps conditions on step, time and value until the wanted series are
-- known, so that those of other keys are not unpacked for them: with a condition on time, this takes a tenth of the time.
CREATE OR REPLACE VIEW metric_points AS
SELECT e.name AS experiment, r.run_id, r.name AS run_name, s.key, s.rank, s.attempt,
       coalesce(p.step, g.first_step + (p.position - 1) * g.step_stride) AS step,
       coalesce(
           p.time,
           g.min_time + coalesce(p.time_offset, (p.position - 1) * g.time_stride + p.time_residual)
                      * interval '1 microsecond'
       ) AS time,
       p.value
  FROM series s
  JOIN runs r USING (run_id)
  JOIN experiments e USING (experiment_id)
  JOIN metric_segments g USING (series_id)
 CROSS JOIN LATERAL unnest(
       coalesce(g.values_double, g.values_real::double precision[]),
       g.steps, g.time_residuals, g.time_offsets, g.times
       ) WITH ORDINALITY AS p (value, step, time_residual, time_offset, time, position)
 WHERE s.purge_epoch IS NULL AND r.purge_epoch IS NULL
   AND g.epoch <= (SELECT visible_epoch FROM watermark)
UNION ALL
SELECT e.name, r.run_id, r.name, s.key, s.rank, s.attempt, p.step, p.time, p.value
  FROM hot_batches b
  JOIN runs r USING (run_id)
  JOIN experiments e USING (experiment_id)
 CROSS JOIN LATERAL hot_points(b.first_series, b.first_step, b.first_time, b.points) h
  JOIN series s ON s.series_id = h.series_id AND s.run_id = b.run_id AND s.rank = b.rank
 CROSS JOIN LATERAL (SELECT s.series_id, h.step, h.time, h.value OFFSET 0) p
 WHERE s.purge_epoch IS NULL AND r.purge_epoch IS NULL
   AND b.epoch > (SELECT visible_epoch FROM watermark);

COMMENT ON VIEW metric_points IS 'Every point, rolled up or not. Ask for a run_id, and for a key if you can.';
