-- Begins a group commit: steps 1 to 4 of the order in docs/ingest.md. The caller then copies the points in the same
-- transaction. READ COMMITTED is required: each statement must see what was committed before it began.
--
-- Batches of streams: producer producer_ids[i] brings the numbers first_numbers[i] to last_numbers[i], in its session
-- sessions[i]. Batch j is one of producer batch_producers[j] (an index into producer_ids, from 1), with number
-- batch_numbers[j] and batch_points[j] points.
-- Writes over HTTP: write write_ids[k] brings write_points[k] points of run write_runs[k], whose series were looked up
-- under generation write_generations[k]. No id appears twice.
--
-- Returns a row per producer, in the order of producer_ids, then a row per write, in the order of write_ids.
-- verdict of a producer: 'advanced' (batches above `committed_before` may be copied), 'duplicate' (all are committed
-- already), 'fenced' or 'gap'.
-- verdict of a write: 'advanced', 'duplicate' (its id was stored within the hour), 'missing' or 'deleted' (its run), or
-- 'stale' (series of its run were deleted since it looked them up).
CREATE OR REPLACE FUNCTION begin_group_commit(
    producer_ids uuid[], sessions int[], first_numbers bigint[], last_numbers bigint[],
    batch_producers int[], batch_numbers bigint[], batch_points int[],
    write_ids uuid[], write_runs uuid[], write_generations int[], write_points int[]
) RETURNS TABLE (epoch int, commit_no int, verdict text, committed_before bigint) LANGUAGE plpgsql AS $$
DECLARE
    open_epoch int;
    new_commit_no int;
    write_verdicts text[] := '{}';
    written_points bigint := 0;
BEGIN
    LOOP
        SELECT e.epoch INTO open_epoch FROM epochs e WHERE e.state = 'open';
        -- Of NULL there is neither a lock nor a second look: without this, the loop would go on at full speed.
        IF open_epoch IS NULL THEN
            RAISE EXCEPTION 'no epoch is open' USING ERRCODE = '57R01',
                HINT = 'Roll-up opens one within seconds. If it does not, its log says why.';
        END IF;
        PERFORM pg_advisory_xact_lock_shared(1920298867, open_epoch);
        -- The second look, in a new statement: between the first and the lock the epoch may have been sealed, and rows
        -- that land in a sealed epoch are read by nobody.
        PERFORM 1 FROM epochs e WHERE e.epoch = open_epoch AND e.state = 'open';
        EXIT WHEN FOUND;
    END LOOP;

    IF cardinality(write_ids) > 0 THEN
        -- Lock runs before producers and in order, as deletions of runs and series do, so that there is no deadlock.
        -- The lock keeps a deletion out until the points are committed, whose epoch its mark then covers.
        PERFORM 1 FROM runs r WHERE r.run_id = ANY (write_runs) ORDER BY r.run_id FOR SHARE;
        -- In a new statement, which sees what was committed while the locks were waited for. Ids in order, since two groups
        -- that bring the same write wait for each other here.
        WITH asked AS (
            SELECT * FROM unnest(write_ids, write_runs, write_generations, write_points)
                   WITH ORDINALITY AS w (write_id, run_id, generation, points, position)
        ), standing AS (
            SELECT a.*, CASE
                       WHEN r.run_id IS NULL OR r.purge_epoch IS NOT NULL THEN 'missing'
                       WHEN r.lifecycle <> 'active' THEN 'deleted'
                       WHEN r.series_generation <> a.generation THEN 'stale'
                   END AS refusal
              FROM asked a LEFT JOIN runs r USING (run_id)
        ), new AS (
            INSERT INTO http_writes (write_id)
            SELECT s.write_id FROM standing s WHERE s.refusal IS NULL ORDER BY s.write_id
            ON CONFLICT DO NOTHING
            RETURNING write_id
        )
        SELECT array_agg(coalesce(s.refusal, CASE WHEN n.write_id IS NULL THEN 'duplicate' ELSE 'advanced' END)
                         ORDER BY s.position),
               coalesce(sum(s.points) FILTER (WHERE n.write_id IS NOT NULL), 0)
          INTO write_verdicts, written_points
          FROM standing s LEFT JOIN new n USING (write_id);
    END IF;

    -- In producer order, so that two groups never wait for each other in a circle.
    PERFORM 1 FROM producers p WHERE p.producer_id = ANY (producer_ids) ORDER BY p.producer_id FOR UPDATE;

    new_commit_no := nextval('commit_numbers');
    INSERT INTO commits (commit_no, epoch, point_count)
    SELECT new_commit_no, open_epoch, coalesce(sum(b.points), 0) + written_points
      FROM unnest(batch_producers, batch_numbers, batch_points) AS b (producer, number, points)
      JOIN producers p ON p.producer_id = producer_ids[b.producer] AND p.session = sessions[b.producer]
     WHERE b.number > p.committed_number AND p.committed_number >= first_numbers[b.producer] - 1;

    RETURN QUERY
    WITH asked AS (
        SELECT * FROM unnest(producer_ids, sessions, first_numbers, last_numbers)
               WITH ORDINALITY AS a (producer_id, session, first_number, last_number, position)
    ), standing AS (
        SELECT a.*, p.committed_number,
               CASE
                   WHEN p.session IS DISTINCT FROM a.session THEN 'fenced'
                   WHEN p.committed_number >= a.last_number THEN 'duplicate'
                   WHEN p.committed_number >= a.first_number - 1 THEN 'advanced'
                   ELSE 'gap'
               END AS verdict
          FROM asked a LEFT JOIN producers p USING (producer_id)
    ), advanced AS (
        UPDATE producers p SET committed_number = s.last_number, committed_at = now()
          FROM standing s WHERE s.producer_id = p.producer_id AND s.verdict = 'advanced'
    )
    SELECT open_epoch, new_commit_no, s.verdict, s.committed_number FROM standing s ORDER BY s.position;

    RETURN QUERY
    SELECT open_epoch, new_commit_no, w.verdict, 0::bigint
      FROM unnest(write_verdicts) WITH ORDINALITY AS w (verdict, position) ORDER BY w.position;
END $$;
