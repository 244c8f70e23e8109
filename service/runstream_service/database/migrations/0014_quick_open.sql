-- when: before
-- open_producer of 0008, without a flush of the log of its own.

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
      FROM experiments e
     WHERE r.run_id = in_run_id AND r.ended_as_silent AND r.lifecycle = 'active'
       AND e.experiment_id = r.experiment_id AND e.workspace_id = in_workspace_id;
    -- FOR SHARE: a deletion of the run comes wholly before (and is seen) or wholly after (and fences this producer).
    SELECT CASE r.lifecycle WHEN 'active' THEN 'ok' ELSE 'deleted' END INTO run_state
      FROM runs r JOIN experiments e USING (experiment_id)
     WHERE r.run_id = in_run_id AND e.workspace_id = in_workspace_id
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
