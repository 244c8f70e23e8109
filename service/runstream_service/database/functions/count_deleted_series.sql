-- Trigger on series: subtracts deleted series from series_counts. Locks the counts in the order of their key, so that two
-- callers cannot deadlock.
CREATE OR REPLACE FUNCTION count_deleted_series() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM series_counts c
      WHERE (c.run_id, c.rank) IN (SELECT d.run_id, d.rank FROM deleted_series d)
      ORDER BY c.run_id, c.rank FOR UPDATE;
    UPDATE series_counts c SET series_count = c.series_count - d.series_count
      FROM (SELECT run_id, rank, count(*) AS series_count FROM deleted_series GROUP BY run_id, rank) d
     WHERE c.run_id = d.run_id AND c.rank = d.rank;
    RETURN NULL;
END $$;
