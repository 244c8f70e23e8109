-- Hot batches as points: for dashboards, and for people who look after the service. It also has
-- the points of epochs that are rolled up and not dropped yet. Name a run.
CREATE OR REPLACE VIEW metric_points_hot AS
SELECT b.epoch, b.commit_no, p.series_id, p.step, p.time, p.value, b.run_id, b.rank
  FROM hot_batches b CROSS JOIN LATERAL hot_points(b.first_series, b.first_step, b.first_time, b.points) p;
