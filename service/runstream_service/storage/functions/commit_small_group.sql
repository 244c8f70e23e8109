-- The function that commit_small_points replaced. Only replicas of older code call it.
--
-- A whole group commit in one statement. Arguments and result as of begin_group_commit; and the points: the row of the
-- result that each belongs to (from 1), the number of its batch (1 for writes), series, step, time, value.
CREATE OR REPLACE FUNCTION commit_small_group(
    producer_ids uuid[], sessions int[], first_numbers bigint[], last_numbers bigint[],
    batch_producers int[], batch_numbers bigint[], batch_points int[],
    write_ids uuid[], write_runs uuid[], write_generations int[], write_points int[],
    point_owners int[], point_numbers bigint[],
    point_series bigint[], point_steps bigint[], point_times timestamptz[], point_values double precision[]
) RETURNS TABLE (epoch int, commit_no int, verdict text, committed_before bigint) LANGUAGE plpgsql AS $$
DECLARE
    the_epoch int;
    the_commit_no int;
    verdicts text[];
    standings bigint[];
BEGIN
    SELECT min(g.epoch), min(g.commit_no), array_agg(g.verdict ORDER BY g.position),
           array_agg(g.committed_before ORDER BY g.position)
      INTO the_epoch, the_commit_no, verdicts, standings
      FROM begin_group_commit(
               producer_ids, sessions, first_numbers, last_numbers, batch_producers, batch_numbers, batch_points,
               write_ids, write_runs, write_generations, write_points)
           WITH ORDINALITY AS g (epoch, commit_no, verdict, committed_before, position);
    -- Write to the partition itself: attaching and dropping partitions needs the lock of the parent.
    EXECUTE format(
        'INSERT INTO metric_points_hot_%s '
        'SELECT $1, $2, p.series_id, p.step, p.time, p.value '
        '  FROM unnest($3, $4, $5, $6, $7, $8) AS p (owner, number, series_id, step, time, value) '
        ' WHERE $9[p.owner] = ''advanced'' AND p.number > $10[p.owner]', the_epoch)
      USING the_epoch, the_commit_no, point_owners, point_numbers, point_series, point_steps, point_times, point_values,
            verdicts, standings;
    RETURN QUERY
    SELECT the_epoch, the_commit_no, a.verdict, a.committed_before
      FROM unnest(verdicts, standings) WITH ORDINALITY AS a (verdict, committed_before, position) ORDER BY a.position;
END $$;
