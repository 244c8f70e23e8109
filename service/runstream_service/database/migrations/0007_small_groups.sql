-- when: before
-- commit_small_group of 0004 with less for each point: its owner and number follow from the batches and writes, so they are
-- not sent, and where all of a group is new, as nearly always, points go from their arrays into the table without a
-- tuplestore and a look at whose they are. (Measured, groups of 400 points: 0.77 of PostgreSQL's CPU time and 0.72 of the
-- service's.) commit_small_group stays for replicas that run the code of before.

-- Arguments and answer as of begin_group_commit; and the points of all batches, then of all writes, in the order of those.
CREATE FUNCTION commit_small_points(
    producer_ids uuid[], sessions int[], first_numbers bigint[], last_numbers bigint[],
    batch_producers int[], batch_numbers bigint[], batch_points int[],
    write_ids uuid[], write_runs uuid[], write_generations int[], write_points int[],
    point_series bigint[], point_steps bigint[], point_times timestamptz[], point_values double precision[]
) RETURNS TABLE (epoch int, commit_no int, verdict text, committed_before bigint) LANGUAGE plpgsql AS $$
DECLARE
    the_epoch int;
    the_commit_no int;
    verdicts text[];
    standings bigint[];
    is_all_new boolean;
    is_new boolean[];
BEGIN
    -- Writes come after the producers, have no first number, and nothing of them was committed before.
    SELECT min(g.epoch), min(g.commit_no), array_agg(g.verdict ORDER BY g.position),
           array_agg(g.committed_before ORDER BY g.position),
           bool_and(g.verdict = 'advanced' AND g.committed_before < coalesce(first_numbers[g.position], 1))
      INTO the_epoch, the_commit_no, verdicts, standings, is_all_new
      FROM begin_group_commit(
               producer_ids, sessions, first_numbers, last_numbers, batch_producers, batch_numbers, batch_points,
               write_ids, write_runs, write_generations, write_points)
           WITH ORDINALITY AS g (epoch, commit_no, verdict, committed_before, position);
    -- Into the partition itself: the parent's lock is for whoever attaches and drops partitions.
    IF is_all_new THEN
        EXECUTE format(
            'INSERT INTO metric_points_hot_%s SELECT $1, $2, unnest($3), unnest($4), unnest($5), unnest($6)', the_epoch)
          USING the_epoch, the_commit_no, point_series, point_steps, point_times, point_values;
    ELSE
        SELECT array_agg(i.is_new ORDER BY i.place)
          INTO is_new
          FROM (SELECT b.place, b.points,
                       verdicts[b.producer] = 'advanced' AND b.number > standings[b.producer] AS is_new
                  FROM unnest(batch_producers, batch_numbers, batch_points)
                       WITH ORDINALITY AS b (producer, number, points, place)
                UNION ALL
                SELECT cardinality(batch_points) + w.place, w.points,
                       verdicts[cardinality(producer_ids) + w.place] = 'advanced'
                  FROM unnest(write_points) WITH ORDINALITY AS w (points, place)) i
         CROSS JOIN generate_series(1, i.points);
        EXECUTE format(
            'INSERT INTO metric_points_hot_%s '
            'SELECT $1, $2, p.series_id, p.step, p.time, p.value '
            '  FROM unnest($3, $4, $5, $6, $7) AS p (series_id, step, time, value, is_new) WHERE p.is_new', the_epoch)
          USING the_epoch, the_commit_no, point_series, point_steps, point_times, point_values, is_new;
    END IF;
    RETURN QUERY
    SELECT the_epoch, the_commit_no, a.verdict, a.committed_before
      FROM unnest(verdicts, standings) WITH ORDINALITY AS a (verdict, committed_before, position) ORDER BY a.position;
END $$;
