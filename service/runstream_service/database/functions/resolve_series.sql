-- Returns the series of some keys, and creates missing ones while the run has fewer than max_series: keys beyond that are
-- not in the result. Keys are sorted, so that two callers cannot deadlock.
CREATE OR REPLACE FUNCTION resolve_series(in_run_id uuid, in_rank int, in_attempt int, keys text[], max_series bigint)
RETURNS TABLE (key text, series_id bigint) LANGUAGE plpgsql AS $$
DECLARE
    missing text[];
    room bigint;
BEGIN
    -- Against a deletion of series in between: the INSERT would see the old one still there, the SELECT would not.
    PERFORM 1 FROM runs r WHERE r.run_id = in_run_id FOR KEY SHARE;
    missing := ARRAY(
        SELECT DISTINCT k.key FROM unnest(keys) AS k (key)
         WHERE NOT EXISTS (
             SELECT 1 FROM series s
              WHERE s.run_id = in_run_id AND s.key = k.key AND s.rank = in_rank AND s.attempt = in_attempt
                AND s.purge_epoch IS NULL)
         ORDER BY k.key);
    IF cardinality(missing) > 0 THEN
        SELECT max_series - coalesce(sum(c.series_count), 0) INTO room FROM series_counts c WHERE c.run_id = in_run_id;
        -- Others may be making series of this run that do not show yet. Far from the bound that does not matter; near it
        -- they take turns.
        IF room < greatest(max_series / 10, 2 * cardinality(missing)) THEN
            PERFORM pg_advisory_xact_lock(hashtextextended('runstream series of ' || in_run_id, 0));
            SELECT max_series - coalesce(sum(c.series_count), 0) INTO room FROM series_counts c WHERE c.run_id = in_run_id;
        END IF;
        INSERT INTO series (run_id, key, rank, attempt)
        SELECT in_run_id, m.key, in_rank, in_attempt
          FROM unnest(missing) WITH ORDINALITY AS m (key, position)
         WHERE m.position <= room
         ORDER BY m.key
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN QUERY
    SELECT s.key, s.series_id FROM series s
     WHERE s.run_id = in_run_id AND s.rank = in_rank AND s.attempt = in_attempt AND s.key = ANY (keys)
       AND s.purge_epoch IS NULL;
END $$;
