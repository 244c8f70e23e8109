-- Trigger on series: adds new series to series_counts. It runs once per statement, so that a call of resolve_series updates
-- one row. Rows are in the order of their key, so that two callers cannot deadlock.
CREATE OR REPLACE FUNCTION count_new_series() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO series_counts AS c (run_id, rank, series_count)
    SELECT n.run_id, n.rank, count(*) FROM new_series n GROUP BY n.run_id, n.rank ORDER BY n.run_id, n.rank
    ON CONFLICT (run_id, rank) DO UPDATE SET series_count = c.series_count + excluded.series_count;
    RETURN NULL;
END $$;
