-- The points of hot batches, for dashboards and operators. It also has points of epochs that are rolled up and not dropped
-- yet. A query should name a run.
CREATE OR REPLACE VIEW metric_points_hot AS
SELECT b.epoch, b.commit_no, p.series_id, p.step, p.time, p.value, b.run_id, b.rank
  FROM hot_batches b CROSS JOIN LATERAL hot_points(b.first_series, b.first_step, b.first_time, b.points) p;
