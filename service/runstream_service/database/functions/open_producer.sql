-- Opens a producer: raises its session, so that only its newest stream can write, whichever replica holds the older ones.
-- run_state: 'missing', 'deleted', 'foreign' (the producer belongs to another run, rank or attempt) or 'ok'.
--
-- A run that was ended because its producers were silent is set to running again. That comes first: the lock on the run
-- below is shared, and two ranks that both hold it and then want to change the run would wait for each other forever.
--
-- The experiment is looked up in a subquery, not joined: a statement that has waited for the lock looks at the new row of
-- the run, but at the old rows of what is joined with it, and would not find a run that was moved to another experiment.
CREATE OR REPLACE FUNCTION open_producer(
    in_workspace_id int, in_run_id uuid, in_producer_id uuid, in_rank int, in_attempt int,
    OUT run_state text, OUT session int, OUT committed_number bigint
) LANGUAGE plpgsql AS $$
BEGIN
    -- Until the end of this transaction. A flush of the log for each Open is what thousands of them would wait for. What a
    -- crash takes back with it is not needed: the database is then another incarnation, in which every stream is opened
    -- again before it writes. And the first commit of the stream flushes this one, too.
    PERFORM set_config('synchronous_commit', 'off', true);
    UPDATE runs r SET status = 'running', ended_at = NULL, end_recorded_at = NULL, ended_as_silent = false
     WHERE r.run_id = in_run_id AND r.ended_as_silent AND r.lifecycle = 'active'
       AND (SELECT e.workspace_id FROM experiments e WHERE e.experiment_id = r.experiment_id) = in_workspace_id;
    -- FOR SHARE: a deletion of the run comes wholly before (and is seen) or wholly after (and fences this producer).
    SELECT CASE r.lifecycle WHEN 'active' THEN 'ok' ELSE 'deleted' END INTO run_state
      FROM runs r
     WHERE r.run_id = in_run_id
       AND (SELECT e.workspace_id FROM experiments e WHERE e.experiment_id = r.experiment_id) = in_workspace_id
       FOR SHARE OF r;
    IF run_state IS DISTINCT FROM 'ok' THEN
        run_state := coalesce(run_state, 'missing');
        RETURN;
    END IF;
    INSERT INTO producers AS p (producer_id, run_id, rank, attempt)
    VALUES (in_producer_id, in_run_id, in_rank, in_attempt)
    ON CONFLICT (producer_id) DO UPDATE SET session = p.session + 1, opened_at = now()
     WHERE p.run_id = in_run_id AND p.rank = in_rank AND p.attempt = in_attempt
    RETURNING p.session, p.committed_number INTO session, committed_number;
    IF session IS NULL THEN
        run_state := 'foreign';
    END IF;
END $$;
