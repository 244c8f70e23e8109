-- when: before
-- Times that are close to a straight line, as those of a steady loop are, in two bytes each instead of four.

ALTER TABLE metric_segments
    ADD time_stride bigint,            -- microseconds; null where time_residuals are
    ADD time_residuals smallint[];     -- point i has time min_time + i * time_stride + this; else time_offsets or times

ALTER TABLE metric_segments ALTER time_residuals SET STORAGE EXTERNAL;

-- As in 0003_views.sql, with the new form of times.
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
SELECT e.name, r.run_id, r.name, s.key, s.rank, s.attempt, h.step, h.time, h.value
  FROM series s
  JOIN runs r USING (run_id)
  JOIN experiments e USING (experiment_id)
  JOIN metric_points_hot h USING (series_id)
 WHERE s.purge_epoch IS NULL AND r.purge_epoch IS NULL
   AND h.epoch > (SELECT visible_epoch FROM watermark);
