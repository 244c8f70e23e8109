-- Trigger on series: keeps series_counts. Per statement, so that each caller of resolve_series pays for one row. In the
-- order of the key, so that no two callers wait for each other in a circle.
CREATE OR REPLACE FUNCTION count_new_series() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO series_counts AS c (run_id, rank, series_count)
    SELECT n.run_id, n.rank, count(*) FROM new_series n GROUP BY n.run_id, n.rank ORDER BY n.run_id, n.rank
    ON CONFLICT (run_id, rank) DO UPDATE SET series_count = c.series_count + excluded.series_count;
    RETURN NULL;
END $$;
