-- when: before
-- How many series a run has, so that there can be a bound: a key with the step in it makes one for each step.

-- By rank, so that the ranks of a job which declare their series at the same time do not wait for one row. Series that are
-- marked for a purge count until they are gone.
CREATE TABLE series_counts (
    run_id uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
    rank int NOT NULL,
    series_count bigint NOT NULL,
    PRIMARY KEY (run_id, rank)
);

-- By statement, so it costs each caller of resolve_series one row. In order of the key, so that nobody waits in a circle.
CREATE FUNCTION count_new_series() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO series_counts AS c (run_id, rank, series_count)
    SELECT n.run_id, n.rank, count(*) FROM new_series n GROUP BY n.run_id, n.rank ORDER BY n.run_id, n.rank
    ON CONFLICT (run_id, rank) DO UPDATE SET series_count = c.series_count + excluded.series_count;
    RETURN NULL;
END $$;

CREATE FUNCTION count_deleted_series() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM series_counts c
      WHERE (c.run_id, c.rank) IN (SELECT d.run_id, d.rank FROM deleted_series d)
      ORDER BY c.run_id, c.rank FOR UPDATE;
    UPDATE series_counts c SET series_count = c.series_count - d.series_count
      FROM (SELECT run_id, rank, count(*) AS series_count FROM deleted_series GROUP BY run_id, rank) d
     WHERE c.run_id = d.run_id AND c.rank = d.rank;
    RETURN NULL;
END $$;

-- The triggers first: they wait for those who make series now, and keep others out until the count is there.
CREATE TRIGGER count_new AFTER INSERT ON series
    REFERENCING NEW TABLE AS new_series FOR EACH STATEMENT EXECUTE FUNCTION count_new_series();
CREATE TRIGGER count_deleted AFTER DELETE ON series
    REFERENCING OLD TABLE AS deleted_series FOR EACH STATEMENT EXECUTE FUNCTION count_deleted_series();

INSERT INTO series_counts (run_id, rank, series_count)
SELECT run_id, rank, count(*) FROM series GROUP BY run_id, rank;

-- resolve_series of 0002 with a bound: keys for which the run has no room get no series. It stays for replicas that run the
-- code of before.
CREATE FUNCTION resolve_series(in_run_id uuid, in_rank int, in_attempt int, keys text[], max_series bigint)
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
