-- when: before
-- What tells launches, restarts and late ranks apart, and which runs nobody works on any more.

ALTER TABLE runs
    -- The newest attempt whose rank 0 joined. An end that an older attempt reports is not taken.
    ADD COLUMN attempt int NOT NULL DEFAULT 0,
    -- When the end was recorded, by the database's clock; ended_at is what the caller said. Null while it runs, and for
    -- runs that ended before this column was there.
    ADD COLUMN end_recorded_at timestamptz,
    -- True if the service ended it because its producers were silent: the next one that opens a stream sets it to
    -- running again.
    ADD COLUMN ended_as_silent boolean NOT NULL DEFAULT false,
    -- For a launch whose launcher gave the id of an earlier launch: that id, and a number that grows from 1.
    ADD COLUMN first_run_id uuid,
    ADD COLUMN launch_number int NOT NULL DEFAULT 0;

CREATE UNIQUE INDEX runs_by_launch ON runs (first_run_id, launch_number) WHERE first_run_id IS NOT NULL;
CREATE INDEX runs_running ON runs (run_id) WHERE status = 'running' AND lifecycle = 'active';

-- Time during which the service was up: an outage must not make all producers look silent. One row. `judged_at` is when
-- a replica last looked for silent runs: one does it for all.
CREATE TABLE service_time (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    up_s double precision NOT NULL,
    beat_at timestamptz NOT NULL,
    judged_at timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO service_time (up_s, beat_at) VALUES (0, now());

-- When a replica last had an open stream of a running run: in service time, which decides, and by the clock.
CREATE TABLE run_connections (
    run_id uuid PRIMARY KEY REFERENCES runs ON DELETE CASCADE,
    seen_up_s double precision NOT NULL,
    seen_at timestamptz -- null: never seen, the row only says since when it is missed
) WITH (fillfactor = 50);

-- As before, and a run that was ended for its silence is running again. First of all, since the lock below is shared:
-- two ranks that hold it and then want to change the run would wait in a circle.
CREATE OR REPLACE FUNCTION open_producer(
    in_workspace_id int, in_run_id uuid, in_producer_id uuid, in_rank int, in_attempt int,
    OUT run_state text, OUT session int, OUT committed_number bigint
) LANGUAGE plpgsql AS $$
BEGIN
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
