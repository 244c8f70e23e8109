-- A whole group commit in one statement, for groups so small that round trips take longer than their points. The first
-- arguments and the result are those of begin_group_commit. The further arguments are rows of hot_batches, of which those
-- that begin_group_commit accepts are stored. For each: row_owners is the position of its producer or write in the result
-- (from 1), row_numbers the number of its batch (1 for writes), then come its columns.
CREATE OR REPLACE FUNCTION commit_batches(
    producer_ids uuid[], sessions int[], first_numbers bigint[], last_numbers bigint[],
    batch_producers int[], batch_numbers bigint[], batch_points int[],
    write_ids uuid[], write_runs uuid[], write_generations int[], write_points int[],
    row_owners int[], row_numbers bigint[],
    row_runs uuid[], first_series bigint[], first_steps bigint[], first_times timestamptz[], row_ranks int[],
    row_points bytea[]
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
        'INSERT INTO hot_batches_%s (epoch, commit_no, run_id, first_series, first_step, first_time, rank, points) '
        'SELECT $1, $2, r.run_id, r.first_series, r.first_step, r.first_time, r.rank, r.points '
        '  FROM unnest($3, $4, $5, $6, $7, $8, $9, $10) '
        '       AS r (owner, number, run_id, first_series, first_step, first_time, rank, points) '
        ' WHERE ($11)[r.owner] = ''advanced'' AND r.number > ($12)[r.owner]', the_epoch)
      USING the_epoch, the_commit_no, row_owners, row_numbers, row_runs, first_series, first_steps, first_times,
            row_ranks, row_points, verdicts, standings;
    RETURN QUERY
    SELECT the_epoch, the_commit_no, a.verdict, a.committed_before
      FROM unnest(verdicts, standings) WITH ORDINALITY AS a (verdict, committed_before, position) ORDER BY a.position;
END $$;
