-- The function that begin_group_commit replaced: without HTTP metric writes. Only replicas of older code call it.
--
-- producer_ids[i] asks to go from first_numbers[i] to last_numbers[i] in session sessions[i]. batch_producers[j] (an
-- index into producer_ids, from 1), batch_numbers[j] and batch_points[j] describe the single batches.
-- Returns a row per producer, in the order of producer_ids. verdict: 'advanced' (batches above `committed_before` may
-- be copied), 'duplicate' (all are committed already), 'fenced' or 'gap'.
CREATE OR REPLACE FUNCTION begin_group(
    producer_ids uuid[], sessions int[], first_numbers bigint[], last_numbers bigint[],
    batch_producers int[], batch_numbers bigint[], batch_points int[]
) RETURNS TABLE (epoch int, commit_no int, verdict text, committed_before bigint) LANGUAGE plpgsql AS $$
DECLARE
    open_epoch int;
    new_commit_no int;
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

    -- In producer order, so that two groups never wait for each other in a circle.
    PERFORM 1 FROM producers p WHERE p.producer_id = ANY (producer_ids) ORDER BY p.producer_id FOR UPDATE;

    new_commit_no := nextval('commit_numbers');
    INSERT INTO commits (commit_no, epoch, point_count)
    SELECT new_commit_no, open_epoch, coalesce(sum(b.points), 0)
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
END $$;
