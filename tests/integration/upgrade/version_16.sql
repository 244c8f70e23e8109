-- A database of schema version 16, by tests/integration/upgrade/make_dump.py.


SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;

CREATE FUNCTION public.begin_group(producer_ids uuid[], sessions integer[], first_numbers bigint[], last_numbers bigint[], batch_producers integer[], batch_numbers bigint[], batch_points integer[]) RETURNS TABLE(epoch integer, commit_no integer, verdict text, committed_before bigint)
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.begin_group_commit(producer_ids uuid[], sessions integer[], first_numbers bigint[], last_numbers bigint[], batch_producers integer[], batch_numbers bigint[], batch_points integer[], write_ids uuid[], write_runs uuid[], write_generations integer[], write_points integer[]) RETURNS TABLE(epoch integer, commit_no integer, verdict text, committed_before bigint)
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.commit_small_group(producer_ids uuid[], sessions integer[], first_numbers bigint[], last_numbers bigint[], batch_producers integer[], batch_numbers bigint[], batch_points integer[], write_ids uuid[], write_runs uuid[], write_generations integer[], write_points integer[], point_owners integer[], point_numbers bigint[], point_series bigint[], point_steps bigint[], point_times timestamp with time zone[], point_values double precision[]) RETURNS TABLE(epoch integer, commit_no integer, verdict text, committed_before bigint)
    LANGUAGE plpgsql
    AS $_$
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
END $_$;

CREATE FUNCTION public.commit_small_points(producer_ids uuid[], sessions integer[], first_numbers bigint[], last_numbers bigint[], batch_producers integer[], batch_numbers bigint[], batch_points integer[], write_ids uuid[], write_runs uuid[], write_generations integer[], write_points integer[], point_series bigint[], point_steps bigint[], point_times timestamp with time zone[], point_values double precision[]) RETURNS TABLE(epoch integer, commit_no integer, verdict text, committed_before bigint)
    LANGUAGE plpgsql
    AS $_$
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
    -- Write to the partition itself: attaching and dropping partitions needs the lock of the parent.
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
END $_$;

CREATE FUNCTION public.count_deleted_series() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM 1 FROM series_counts c
      WHERE (c.run_id, c.rank) IN (SELECT d.run_id, d.rank FROM deleted_series d)
      ORDER BY c.run_id, c.rank FOR UPDATE;
    UPDATE series_counts c SET series_count = c.series_count - d.series_count
      FROM (SELECT run_id, rank, count(*) AS series_count FROM deleted_series GROUP BY run_id, rank) d
     WHERE c.run_id = d.run_id AND c.rank = d.rank;
    RETURN NULL;
END $$;

CREATE FUNCTION public.count_new_series() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO series_counts AS c (run_id, rank, series_count)
    SELECT n.run_id, n.rank, count(*) FROM new_series n GROUP BY n.run_id, n.rank ORDER BY n.run_id, n.rank
    ON CONFLICT (run_id, rank) DO UPDATE SET series_count = c.series_count + excluded.series_count;
    RETURN NULL;
END $$;

CREATE FUNCTION public.create_hot_partition(new_epoch integer) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    EXECUTE format('CREATE TABLE metric_points_hot_%s (LIKE metric_points_hot) WITH (autovacuum_enabled = false)', new_epoch);
    EXECUTE format('ALTER TABLE metric_points_hot_%s REPLICA IDENTITY FULL', new_epoch);
    EXECUTE format('ALTER TABLE metric_points_hot ATTACH PARTITION metric_points_hot_%s FOR VALUES IN (%s)', new_epoch, new_epoch);
END $$;

CREATE FUNCTION public.open_producer(in_workspace_id integer, in_run_id uuid, in_producer_id uuid, in_rank integer, in_attempt integer, OUT run_state text, OUT session integer, OUT committed_number bigint) RETURNS record
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.resolve_series(in_run_id uuid, in_rank integer, in_attempt integer, keys text[]) RETURNS TABLE(key text, series_id bigint)
    LANGUAGE plpgsql
    AS $$
BEGIN
    -- Against a deletion of series in between: the INSERT would see the old one still there, the SELECT would not.
    PERFORM 1 FROM runs r WHERE r.run_id = in_run_id FOR KEY SHARE;
    INSERT INTO series (run_id, key, rank, attempt)
    SELECT in_run_id, k.key, in_rank, in_attempt
      FROM (SELECT DISTINCT unnest(keys) AS key) k
     WHERE NOT EXISTS (
         SELECT 1 FROM series s
          WHERE s.run_id = in_run_id AND s.key = k.key AND s.rank = in_rank AND s.attempt = in_attempt
            AND s.purge_epoch IS NULL)
     ORDER BY k.key
    ON CONFLICT DO NOTHING;
    RETURN QUERY
    SELECT s.key, s.series_id FROM series s
     WHERE s.run_id = in_run_id AND s.rank = in_rank AND s.attempt = in_attempt AND s.key = ANY (keys)
       AND s.purge_epoch IS NULL;
END $$;

CREATE FUNCTION public.resolve_series(in_run_id uuid, in_rank integer, in_attempt integer, keys text[], max_series bigint) RETURNS TABLE(key text, series_id bigint)
    LANGUAGE plpgsql
    AS $$
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

CREATE SEQUENCE public.commit_numbers
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
    CYCLE;

CREATE TABLE public.commits (
    commit_no integer NOT NULL,
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    epoch integer NOT NULL,
    point_count integer NOT NULL,
    committed_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.datasets (
    dataset_id bigint NOT NULL,
    experiment_id bigint NOT NULL,
    name text NOT NULL,
    digest text NOT NULL,
    source_type text NOT NULL,
    source text NOT NULL,
    schema text,
    profile text
);

ALTER TABLE public.datasets ALTER COLUMN dataset_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.datasets_dataset_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.epochs (
    epoch integer NOT NULL,
    state text NOT NULL,
    opened_at timestamp with time zone DEFAULT now() NOT NULL,
    sealed_at timestamp with time zone,
    rolled_at timestamp with time zone,
    visible_at timestamp with time zone,
    dropped_at timestamp with time zone,
    point_count bigint,
    segment_count integer,
    CONSTRAINT epochs_state_check CHECK ((state = ANY (ARRAY['open'::text, 'closing'::text, 'sealed'::text, 'rolled'::text, 'visible'::text, 'dropped'::text])))
);

CREATE TABLE public.experiment_tags (
    experiment_id bigint NOT NULL,
    key text NOT NULL,
    value text NOT NULL
);

CREATE TABLE public.experiments (
    experiment_id bigint NOT NULL,
    workspace_id integer NOT NULL,
    name text NOT NULL,
    lifecycle text DEFAULT 'active'::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    retention_days integer,
    artifact_location text,
    CONSTRAINT experiments_lifecycle_check CHECK ((lifecycle = ANY (ARRAY['active'::text, 'deleted'::text]))),
    CONSTRAINT experiments_retention_days_check CHECK ((retention_days > 0))
);

ALTER TABLE public.experiments ALTER COLUMN experiment_id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.experiments_experiment_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.http_writes (
    write_id uuid NOT NULL,
    written_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.latest_values (
    series_id bigint NOT NULL,
    step bigint NOT NULL,
    "time" timestamp with time zone NOT NULL,
    value double precision NOT NULL
)
WITH (fillfactor='70');

CREATE TABLE public.logged_model_params (
    model_id text NOT NULL,
    key text NOT NULL,
    value text NOT NULL
);

CREATE TABLE public.logged_model_tags (
    model_id text NOT NULL,
    key text NOT NULL,
    value text NOT NULL
);

CREATE TABLE public.logged_models (
    model_id text NOT NULL,
    experiment_id bigint NOT NULL,
    name text NOT NULL,
    model_type text DEFAULT ''::text NOT NULL,
    status text DEFAULT 'pending'::text NOT NULL,
    status_message text DEFAULT ''::text NOT NULL,
    source_run_id uuid,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    deleted_at timestamp with time zone,
    CONSTRAINT logged_models_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'ready'::text, 'failed'::text])))
);

CREATE VIEW public.logged_model_details AS
 SELECT m.model_id,
    m.experiment_id,
    m.name,
    m.model_type,
    m.status,
    m.status_message,
    m.source_run_id,
    m.created_at,
    m.updated_at,
    m.deleted_at,
    e.workspace_id,
    e.artifact_location,
    ARRAY( SELECT t.key
           FROM public.logged_model_tags t
          WHERE (t.model_id = m.model_id)
          ORDER BY (t.key COLLATE "C")) AS tag_keys,
    ARRAY( SELECT t.value
           FROM public.logged_model_tags t
          WHERE (t.model_id = m.model_id)
          ORDER BY (t.key COLLATE "C")) AS tag_values,
    ARRAY( SELECT p.key
           FROM public.logged_model_params p
          WHERE (p.model_id = m.model_id)
          ORDER BY (p.key COLLATE "C")) AS param_keys,
    ARRAY( SELECT p.value
           FROM public.logged_model_params p
          WHERE (p.model_id = m.model_id)
          ORDER BY (p.key COLLATE "C")) AS param_values
   FROM (public.logged_models m
     JOIN public.experiments e USING (experiment_id));

CREATE TABLE public.logged_model_metrics (
    model_id text NOT NULL,
    run_id uuid NOT NULL,
    key text NOT NULL,
    step bigint NOT NULL,
    "time" timestamp with time zone NOT NULL,
    value double precision NOT NULL,
    dataset_name text DEFAULT ''::text NOT NULL,
    dataset_digest text DEFAULT ''::text NOT NULL
);

CREATE TABLE public.metric_points_hot (
    epoch integer NOT NULL,
    commit_no integer NOT NULL,
    series_id bigint NOT NULL,
    step bigint NOT NULL,
    "time" timestamp with time zone NOT NULL,
    value double precision NOT NULL
)
PARTITION BY LIST (epoch);

CREATE TABLE public.metric_segments (
    series_id bigint NOT NULL,
    epoch integer NOT NULL,
    first_step bigint NOT NULL,
    last_step bigint NOT NULL,
    min_time timestamp with time zone NOT NULL,
    max_time timestamp with time zone NOT NULL,
    point_count integer NOT NULL,
    finite_count integer NOT NULL,
    min_value double precision,
    max_value double precision,
    sum_value double precision,
    first_value double precision NOT NULL,
    last_value double precision NOT NULL,
    time_ordered boolean NOT NULL,
    step_stride bigint,
    steps bigint[],
    time_offsets integer[],
    times timestamp with time zone[],
    values_real real[],
    values_double double precision[],
    time_stride bigint,
    time_residuals smallint[]
)
WITH (autovacuum_vacuum_scale_factor='0.05', toast.autovacuum_vacuum_scale_factor='0.05');
ALTER TABLE ONLY public.metric_segments ALTER COLUMN steps SET STORAGE EXTERNAL;
ALTER TABLE ONLY public.metric_segments ALTER COLUMN time_offsets SET STORAGE EXTERNAL;
ALTER TABLE ONLY public.metric_segments ALTER COLUMN times SET STORAGE EXTERNAL;
ALTER TABLE ONLY public.metric_segments ALTER COLUMN values_real SET STORAGE EXTERNAL;
ALTER TABLE ONLY public.metric_segments ALTER COLUMN values_double SET STORAGE EXTERNAL;
ALTER TABLE ONLY public.metric_segments ALTER COLUMN time_residuals SET STORAGE EXTERNAL;

ALTER TABLE ONLY public.metric_segments REPLICA IDENTITY FULL;

CREATE TABLE public.runs (
    run_id uuid NOT NULL,
    experiment_id bigint NOT NULL,
    name text NOT NULL,
    status text DEFAULT 'running'::text NOT NULL,
    lifecycle text DEFAULT 'active'::text NOT NULL,
    user_name text DEFAULT ''::text NOT NULL,
    started_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    deleted_at timestamp with time zone,
    purge_epoch integer,
    series_generation integer DEFAULT 0 NOT NULL,
    attempt integer DEFAULT 0 NOT NULL,
    end_recorded_at timestamp with time zone,
    ended_as_silent boolean DEFAULT false NOT NULL,
    first_run_id uuid,
    launch_number integer DEFAULT 0 NOT NULL,
    CONSTRAINT runs_lifecycle_check CHECK ((lifecycle = ANY (ARRAY['active'::text, 'deleted'::text]))),
    CONSTRAINT runs_status_check CHECK ((status = ANY (ARRAY['running'::text, 'scheduled'::text, 'finished'::text, 'failed'::text, 'killed'::text])))
);

CREATE TABLE public.series (
    series_id bigint NOT NULL,
    run_id uuid NOT NULL,
    key text NOT NULL,
    rank integer NOT NULL,
    attempt integer NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    purge_epoch integer,
    CONSTRAINT series_attempt_check CHECK ((attempt >= 0)),
    CONSTRAINT series_rank_check CHECK ((rank >= '-1'::integer))
);

CREATE TABLE public.watermark (
    only_row boolean DEFAULT true NOT NULL,
    visible_epoch integer NOT NULL,
    dropped_epoch integer NOT NULL,
    CONSTRAINT watermark_check CHECK ((dropped_epoch <= visible_epoch)),
    CONSTRAINT watermark_only_row_check CHECK (only_row)
);

CREATE VIEW public.metric_points AS
 SELECT e.name AS experiment,
    r.run_id,
    r.name AS run_name,
    s.key,
    s.rank,
    s.attempt,
    COALESCE(p.step, (g.first_step + ((p."position" - 1) * g.step_stride))) AS step,
    COALESCE(p."time", (g.min_time + ((COALESCE((p.time_offset)::bigint, (((p."position" - 1) * g.time_stride) + p.time_residual)))::double precision * '00:00:00.000001'::interval))) AS "time",
    p.value
   FROM ((((public.series s
     JOIN public.runs r USING (run_id))
     JOIN public.experiments e USING (experiment_id))
     JOIN public.metric_segments g USING (series_id))
     CROSS JOIN LATERAL UNNEST(COALESCE(g.values_double, (g.values_real)::double precision[]), g.steps, g.time_residuals, g.time_offsets, g.times) WITH ORDINALITY p(value, step, time_residual, time_offset, "time", "position"))
  WHERE ((s.purge_epoch IS NULL) AND (r.purge_epoch IS NULL) AND (g.epoch <= ( SELECT watermark.visible_epoch
           FROM public.watermark)))
UNION ALL
 SELECT e.name AS experiment,
    r.run_id,
    r.name AS run_name,
    s.key,
    s.rank,
    s.attempt,
    h.step,
    h."time",
    h.value
   FROM (((public.series s
     JOIN public.runs r USING (run_id))
     JOIN public.experiments e USING (experiment_id))
     JOIN public.metric_points_hot h USING (series_id))
  WHERE ((s.purge_epoch IS NULL) AND (r.purge_epoch IS NULL) AND (h.epoch > ( SELECT watermark.visible_epoch
           FROM public.watermark)));

COMMENT ON VIEW public.metric_points IS 'Every point, rolled up or not. Ask for a run_id, and for a key if you can.';

CREATE TABLE public.metric_points_hot_2 (
    epoch integer CONSTRAINT metric_points_hot_epoch_not_null NOT NULL,
    commit_no integer CONSTRAINT metric_points_hot_commit_no_not_null NOT NULL,
    series_id bigint CONSTRAINT metric_points_hot_series_id_not_null NOT NULL,
    step bigint CONSTRAINT metric_points_hot_step_not_null NOT NULL,
    "time" timestamp with time zone CONSTRAINT metric_points_hot_time_not_null NOT NULL,
    value double precision CONSTRAINT metric_points_hot_value_not_null NOT NULL
)
WITH (autovacuum_enabled='false');

ALTER TABLE ONLY public.metric_points_hot_2 REPLICA IDENTITY FULL;

CREATE TABLE public.metric_points_hot_3 (
    epoch integer CONSTRAINT metric_points_hot_epoch_not_null NOT NULL,
    commit_no integer CONSTRAINT metric_points_hot_commit_no_not_null NOT NULL,
    series_id bigint CONSTRAINT metric_points_hot_series_id_not_null NOT NULL,
    step bigint CONSTRAINT metric_points_hot_step_not_null NOT NULL,
    "time" timestamp with time zone CONSTRAINT metric_points_hot_time_not_null NOT NULL,
    value double precision CONSTRAINT metric_points_hot_value_not_null NOT NULL
)
WITH (autovacuum_enabled='false');

ALTER TABLE ONLY public.metric_points_hot_3 REPLICA IDENTITY FULL;

CREATE TABLE public.metric_points_hot_4 (
    epoch integer CONSTRAINT metric_points_hot_epoch_not_null NOT NULL,
    commit_no integer CONSTRAINT metric_points_hot_commit_no_not_null NOT NULL,
    series_id bigint CONSTRAINT metric_points_hot_series_id_not_null NOT NULL,
    step bigint CONSTRAINT metric_points_hot_step_not_null NOT NULL,
    "time" timestamp with time zone CONSTRAINT metric_points_hot_time_not_null NOT NULL,
    value double precision CONSTRAINT metric_points_hot_value_not_null NOT NULL
)
WITH (autovacuum_enabled='false');

ALTER TABLE ONLY public.metric_points_hot_4 REPLICA IDENTITY FULL;

CREATE TABLE public.metric_points_hot_5 (
    epoch integer CONSTRAINT metric_points_hot_epoch_not_null NOT NULL,
    commit_no integer CONSTRAINT metric_points_hot_commit_no_not_null NOT NULL,
    series_id bigint CONSTRAINT metric_points_hot_series_id_not_null NOT NULL,
    step bigint CONSTRAINT metric_points_hot_step_not_null NOT NULL,
    "time" timestamp with time zone CONSTRAINT metric_points_hot_time_not_null NOT NULL,
    value double precision CONSTRAINT metric_points_hot_value_not_null NOT NULL
)
WITH (autovacuum_enabled='false');

ALTER TABLE ONLY public.metric_points_hot_5 REPLICA IDENTITY FULL;

CREATE TABLE public.model_version_tags (
    registered_model_id bigint NOT NULL,
    version integer NOT NULL,
    key text NOT NULL,
    value text NOT NULL
);

CREATE TABLE public.model_versions (
    registered_model_id bigint NOT NULL,
    version integer NOT NULL,
    description text,
    stage text DEFAULT 'None'::text NOT NULL,
    source text NOT NULL,
    storage_location text NOT NULL,
    run_id text DEFAULT ''::text NOT NULL,
    run_link text DEFAULT ''::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT model_versions_stage_check CHECK ((stage = ANY (ARRAY['None'::text, 'Staging'::text, 'Production'::text, 'Archived'::text])))
);

CREATE TABLE public.registered_model_aliases (
    registered_model_id bigint NOT NULL,
    alias text NOT NULL,
    version integer NOT NULL
);

CREATE TABLE public.registered_models (
    registered_model_id bigint NOT NULL,
    workspace_id integer NOT NULL,
    name text NOT NULL,
    description text DEFAULT ''::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    next_version integer DEFAULT 1 NOT NULL
);

CREATE VIEW public.model_version_details AS
 SELECT m.workspace_id,
    m.name,
    v.registered_model_id,
    v.version,
    v.description,
    v.stage,
    v.source,
    v.storage_location,
    v.run_id,
    v.run_link,
    v.created_at,
    v.updated_at,
    ARRAY( SELECT t.key
           FROM public.model_version_tags t
          WHERE ((t.registered_model_id = v.registered_model_id) AND (t.version = v.version))
          ORDER BY t.key) AS tag_keys,
    ARRAY( SELECT t.value
           FROM public.model_version_tags t
          WHERE ((t.registered_model_id = v.registered_model_id) AND (t.version = v.version))
          ORDER BY t.key) AS tag_values,
    ARRAY( SELECT a.alias
           FROM public.registered_model_aliases a
          WHERE ((a.registered_model_id = v.registered_model_id) AND (a.version = v.version))
          ORDER BY a.alias) AS aliases
   FROM (public.registered_models m
     JOIN public.model_versions v USING (registered_model_id));

CREATE TABLE public.params (
    run_id uuid NOT NULL,
    key text NOT NULL,
    value text NOT NULL
);

CREATE TABLE public.producers (
    producer_id uuid NOT NULL,
    run_id uuid NOT NULL,
    rank integer NOT NULL,
    attempt integer NOT NULL,
    session integer DEFAULT 1 NOT NULL,
    committed_number bigint DEFAULT 0 NOT NULL,
    opened_at timestamp with time zone DEFAULT now() NOT NULL,
    committed_at timestamp with time zone
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='1000');

CREATE TABLE public.purged_artifacts (
    path text NOT NULL,
    recorded_at timestamp with time zone DEFAULT now() NOT NULL,
    not_before timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.registered_model_tags (
    registered_model_id bigint NOT NULL,
    key text NOT NULL,
    value text NOT NULL
);

CREATE VIEW public.registered_model_details AS
 SELECT registered_model_id,
    workspace_id,
    name,
    description,
    created_at,
    updated_at,
    next_version,
    ARRAY( SELECT t.key
           FROM public.registered_model_tags t
          WHERE (t.registered_model_id = m.registered_model_id)
          ORDER BY t.key) AS tag_keys,
    ARRAY( SELECT t.value
           FROM public.registered_model_tags t
          WHERE (t.registered_model_id = m.registered_model_id)
          ORDER BY t.key) AS tag_values,
    ARRAY( SELECT a.alias
           FROM public.registered_model_aliases a
          WHERE (a.registered_model_id = m.registered_model_id)
          ORDER BY a.alias) AS aliases,
    ARRAY( SELECT a.version
           FROM public.registered_model_aliases a
          WHERE (a.registered_model_id = m.registered_model_id)
          ORDER BY a.alias) AS alias_versions
   FROM public.registered_models m;

ALTER TABLE public.registered_models ALTER COLUMN registered_model_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.registered_models_registered_model_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.run_connections (
    run_id uuid NOT NULL,
    seen_up_s double precision NOT NULL,
    seen_at timestamp with time zone
)
WITH (fillfactor='50');

CREATE TABLE public.run_datasets (
    run_id uuid NOT NULL,
    dataset_id bigint NOT NULL,
    tags jsonb DEFAULT '{}'::jsonb NOT NULL
);

CREATE TABLE public.run_model_inputs (
    run_id uuid NOT NULL,
    model_id text NOT NULL
);

CREATE TABLE public.run_model_outputs (
    run_id uuid NOT NULL,
    model_id text NOT NULL,
    step bigint DEFAULT 0 NOT NULL
);

CREATE TABLE public.schema_migrations (
    version integer NOT NULL,
    name text NOT NULL,
    when_text text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL,
    sha256 text NOT NULL,
    CONSTRAINT schema_migrations_when_text_check CHECK ((when_text = ANY (ARRAY['before'::text, 'after'::text])))
);

CREATE TABLE public.series_counts (
    run_id uuid NOT NULL,
    rank integer NOT NULL,
    series_count bigint NOT NULL
);

ALTER TABLE public.series ALTER COLUMN series_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.series_series_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.service_time (
    only_row boolean DEFAULT true NOT NULL,
    up_s double precision NOT NULL,
    beat_at timestamp with time zone NOT NULL,
    judged_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    CONSTRAINT service_time_only_row_check CHECK (only_row)
);

CREATE TABLE public.shared_tasks (
    name text NOT NULL,
    due_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.tags (
    run_id uuid NOT NULL,
    key text NOT NULL,
    value text NOT NULL
);

CREATE TABLE public.workspaces (
    workspace_id integer NOT NULL,
    name text NOT NULL
);

ALTER TABLE public.workspaces ALTER COLUMN workspace_id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.workspaces_workspace_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE ONLY public.metric_points_hot ATTACH PARTITION public.metric_points_hot_2 FOR VALUES IN (2);

ALTER TABLE ONLY public.metric_points_hot ATTACH PARTITION public.metric_points_hot_3 FOR VALUES IN (3);

ALTER TABLE ONLY public.metric_points_hot ATTACH PARTITION public.metric_points_hot_4 FOR VALUES IN (4);

ALTER TABLE ONLY public.metric_points_hot ATTACH PARTITION public.metric_points_hot_5 FOR VALUES IN (5);

INSERT INTO public.commits VALUES
	(6, '800', 2, 36, '2026-11-28 13:21:48.943509+00'),
	(7, '801', 2, 9, '2026-11-28 13:21:48.9475+00'),
	(8, '802', 2, 56, '2026-11-28 13:21:48.979353+00'),
	(9, '803', 2, 14, '2026-11-28 13:21:48.982184+00'),
	(10, '805', 2, 3, '2026-11-28 13:21:49.036605+00'),
	(11, '810', 3, 36, '2026-11-28 13:21:49.212188+00'),
	(12, '811', 3, 9, '2026-11-28 13:21:49.240828+00'),
	(13, '812', 3, 36, '2026-11-28 13:21:49.24992+00'),
	(14, '813', 3, 9, '2026-11-28 13:21:49.255474+00'),
	(15, '815', 3, 3, '2026-11-28 13:21:49.272619+00'),
	(16, '819', 4, 36, '2026-11-28 13:21:49.376254+00'),
	(17, '820', 4, 9, '2026-11-28 13:21:49.380533+00'),
	(18, '821', 4, 56, '2026-11-28 13:21:49.395219+00'),
	(19, '822', 4, 14, '2026-11-28 13:21:49.419365+00'),
	(20, '824', 4, 3, '2026-11-28 13:21:49.44187+00'),
	(21, '827', 5, 36, '2026-11-28 13:21:49.463748+00'),
	(22, '828', 5, 9, '2026-11-28 13:21:49.466704+00'),
	(23, '829', 5, 36, '2026-11-28 13:21:49.477931+00'),
	(24, '830', 5, 252, '2026-11-28 13:21:49.482087+00'),
	(25, '832', 5, 3, '2026-11-28 13:21:49.491751+00');

INSERT INTO public.epochs VALUES
	(1, 'dropped', '2026-11-28 13:21:45.979975+00', '2026-11-28 13:21:48.424901+00', '2026-11-28 13:21:48.77023+00', '2026-11-28 13:21:48.792071+00', '2026-11-28 13:21:48.808209+00', 93, 16),
	(2, 'visible', '2026-11-28 13:21:48.37789+00', '2026-11-28 13:21:49.072746+00', '2026-11-28 13:21:49.187313+00', '2026-11-28 13:21:49.195782+00', NULL, 118, 16),
	(3, 'rolled', '2026-11-28 13:21:49.042716+00', '2026-11-28 13:21:49.302481+00', '2026-11-28 13:21:49.369002+00', NULL, NULL, 93, 16),
	(5, 'open', '2026-11-28 13:21:49.451836+00', NULL, NULL, NULL, NULL, NULL, NULL),
	(4, 'sealed', '2026-11-28 13:21:49.290929+00', '2026-11-28 13:21:49.462252+00', NULL, NULL, NULL, NULL, NULL);

INSERT INTO public.experiments VALUES
	(0, 1, 'Default', 'active', '2026-11-28 13:21:45.979975+00', '2026-11-28 13:21:45.979975+00', NULL, NULL);

INSERT INTO public.http_writes VALUES
	('00000000-0000-0000-0000-000000000064', '2026-11-28 13:21:48.33673+00'),
	('00000000-0000-0000-0000-000000000065', '2026-11-28 13:21:49.036605+00'),
	('00000000-0000-0000-0000-000000000066', '2026-11-28 13:21:49.272619+00'),
	('00000000-0000-0000-0000-000000000067', '2026-11-28 13:21:49.44187+00'),
	('00000000-0000-0000-0000-000000000068', '2026-11-28 13:21:49.491751+00');

INSERT INTO public.latest_values VALUES
	(1, 9223372036854775807, '9999-12-31 23:59:59.999999+00', '-0'),
	(4, 9223372036854775807, '9999-12-31 23:59:59.999999+00', '-0'),
	(7, 9223372036854775807, '9999-12-31 23:59:59.999999+00', '-0'),
	(10, 9223372036854775807, '9999-12-31 23:59:59.999999+00', '-0'),
	(13, 9223372036854775807, '9999-12-31 23:59:59.999999+00', '-0'),
	(2, 62, '2026-02-02 02:40:06.002+00', 0.5),
	(3, 62, '2026-02-02 02:40:06.002+00', 0.5),
	(5, 62, '2026-02-02 02:40:06.002+00', 0.5),
	(6, 62, '2026-02-02 02:40:06.002+00', 0.5),
	(8, 62, '2026-02-02 02:40:06.002007+00', 1.5),
	(9, 62, '2026-02-02 02:40:06.002007+00', 1.5),
	(11, 62, '2026-02-02 02:40:06.002014+00', 2.5),
	(12, 62, '2026-02-02 02:40:06.002014+00', 2.5),
	(14, 62, '2026-02-02 02:40:06.002+00', 0.5),
	(15, 62, '2026-02-02 02:40:06.002+00', 0.5),
	(16, 100, '2026-02-02 02:40:00.000006+00', 2);

INSERT INTO public.metric_points_hot_2 VALUES
	(2, 6, 1, 30, '2026-02-02 02:40:03+00', 0),
	(2, 6, 3, 30, '2026-02-02 02:40:03+00', 0),
	(2, 6, 2, 30, '2026-02-02 02:40:03+00', 0),
	(2, 6, 1, 31, '2026-02-02 02:40:03.001+00', 0.25),
	(2, 6, 3, 31, '2026-02-02 02:40:03.001+00', 0.25),
	(2, 6, 2, 31, '2026-02-02 02:40:03.001+00', 0.25),
	(2, 6, 1, 32, '2026-02-02 02:40:03.002+00', 0.5),
	(2, 6, 3, 32, '2026-02-02 02:40:03.002+00', 0.5),
	(2, 6, 2, 32, '2026-02-02 02:40:03.002+00', 0.5),
	(2, 6, 4, 30, '2026-02-02 02:40:03+00', 0),
	(2, 6, 6, 30, '2026-02-02 02:40:03+00', 0),
	(2, 6, 5, 30, '2026-02-02 02:40:03+00', 0),
	(2, 6, 4, 31, '2026-02-02 02:40:03.001+00', 0.25),
	(2, 6, 6, 31, '2026-02-02 02:40:03.001+00', 0.25),
	(2, 6, 5, 31, '2026-02-02 02:40:03.001+00', 0.25),
	(2, 6, 4, 32, '2026-02-02 02:40:03.002+00', 0.5),
	(2, 6, 6, 32, '2026-02-02 02:40:03.002+00', 0.5),
	(2, 6, 5, 32, '2026-02-02 02:40:03.002+00', 0.5),
	(2, 6, 10, 30, '2026-02-02 02:40:03.000014+00', 2),
	(2, 6, 12, 30, '2026-02-02 02:40:03.000014+00', 2),
	(2, 6, 11, 30, '2026-02-02 02:40:03.000014+00', 2),
	(2, 6, 10, 31, '2026-02-02 02:40:03.001014+00', 2.25),
	(2, 6, 12, 31, '2026-02-02 02:40:03.001014+00', 2.25),
	(2, 6, 11, 31, '2026-02-02 02:40:03.001014+00', 2.25),
	(2, 6, 10, 32, '2026-02-02 02:40:03.002014+00', 2.5),
	(2, 6, 12, 32, '2026-02-02 02:40:03.002014+00', 2.5),
	(2, 6, 11, 32, '2026-02-02 02:40:03.002014+00', 2.5),
	(2, 6, 13, 30, '2026-02-02 02:40:03+00', 0),
	(2, 6, 15, 30, '2026-02-02 02:40:03+00', 0),
	(2, 6, 14, 30, '2026-02-02 02:40:03+00', 0),
	(2, 6, 13, 31, '2026-02-02 02:40:03.001+00', 0.25),
	(2, 6, 15, 31, '2026-02-02 02:40:03.001+00', 0.25),
	(2, 6, 14, 31, '2026-02-02 02:40:03.001+00', 0.25),
	(2, 6, 13, 32, '2026-02-02 02:40:03.002+00', 0.5),
	(2, 6, 15, 32, '2026-02-02 02:40:03.002+00', 0.5),
	(2, 6, 14, 32, '2026-02-02 02:40:03.002+00', 0.5),
	(2, 7, 7, 30, '2026-02-02 02:40:03.000007+00', 1),
	(2, 7, 9, 30, '2026-02-02 02:40:03.000007+00', 1),
	(2, 7, 8, 30, '2026-02-02 02:40:03.000007+00', 1),
	(2, 7, 7, 31, '2026-02-02 02:40:03.001007+00', 1.25),
	(2, 7, 9, 31, '2026-02-02 02:40:03.001007+00', 1.25),
	(2, 7, 8, 31, '2026-02-02 02:40:03.001007+00', 1.25),
	(2, 7, 7, 32, '2026-02-02 02:40:03.002007+00', 1.5),
	(2, 7, 9, 32, '2026-02-02 02:40:03.002007+00', 1.5),
	(2, 7, 8, 32, '2026-02-02 02:40:03.002007+00', 1.5),
	(2, 8, 1, 40, '2026-02-02 02:40:04+00', 0),
	(2, 8, 3, 40, '2026-02-02 02:40:04+00', 0),
	(2, 8, 2, 40, '2026-02-02 02:40:04+00', 0),
	(2, 8, 1, 41, '2026-02-02 02:40:04.001+00', 0.25),
	(2, 8, 3, 41, '2026-02-02 02:40:04.001+00', 0.25),
	(2, 8, 2, 41, '2026-02-02 02:40:04.001+00', 0.25),
	(2, 8, 1, 42, '2026-02-02 02:40:04.002+00', 0.5),
	(2, 8, 3, 42, '2026-02-02 02:40:04.002+00', 0.5),
	(2, 8, 2, 42, '2026-02-02 02:40:04.002+00', 0.5),
	(2, 8, 1, -9223372036854775808, '0001-01-01 00:00:00+00', 'NaN'),
	(2, 8, 1, 9223372036854775807, '9999-12-31 23:59:59.999999+00', '-0'),
	(2, 8, 1, 4611686018427387904, '2026-02-02 02:40:00+00', 5e-324),
	(2, 8, 1, 7, '2026-02-02 02:40:00.000001+00', 'Infinity'),
	(2, 8, 1, 7, '2026-02-02 02:40:00.000001+00', '-Infinity'),
	(2, 8, 4, 40, '2026-02-02 02:40:04+00', 0),
	(2, 8, 6, 40, '2026-02-02 02:40:04+00', 0),
	(2, 8, 5, 40, '2026-02-02 02:40:04+00', 0),
	(2, 8, 4, 41, '2026-02-02 02:40:04.001+00', 0.25),
	(2, 8, 6, 41, '2026-02-02 02:40:04.001+00', 0.25),
	(2, 8, 5, 41, '2026-02-02 02:40:04.001+00', 0.25),
	(2, 8, 4, 42, '2026-02-02 02:40:04.002+00', 0.5),
	(2, 8, 6, 42, '2026-02-02 02:40:04.002+00', 0.5),
	(2, 8, 5, 42, '2026-02-02 02:40:04.002+00', 0.5),
	(2, 8, 4, -9223372036854775808, '0001-01-01 00:00:00+00', 'NaN'),
	(2, 8, 4, 9223372036854775807, '9999-12-31 23:59:59.999999+00', '-0'),
	(2, 8, 4, 4611686018427387904, '2026-02-02 02:40:00+00', 5e-324),
	(2, 8, 4, 7, '2026-02-02 02:40:00.000001+00', 'Infinity'),
	(2, 8, 4, 7, '2026-02-02 02:40:00.000001+00', '-Infinity'),
	(2, 8, 10, 40, '2026-02-02 02:40:04.000014+00', 2),
	(2, 8, 12, 40, '2026-02-02 02:40:04.000014+00', 2),
	(2, 8, 11, 40, '2026-02-02 02:40:04.000014+00', 2),
	(2, 8, 10, 41, '2026-02-02 02:40:04.001014+00', 2.25),
	(2, 8, 12, 41, '2026-02-02 02:40:04.001014+00', 2.25),
	(2, 8, 11, 41, '2026-02-02 02:40:04.001014+00', 2.25),
	(2, 8, 10, 42, '2026-02-02 02:40:04.002014+00', 2.5),
	(2, 8, 12, 42, '2026-02-02 02:40:04.002014+00', 2.5),
	(2, 8, 11, 42, '2026-02-02 02:40:04.002014+00', 2.5),
	(2, 8, 10, -9223372036854775808, '0001-01-01 00:00:00+00', 'NaN'),
	(2, 8, 10, 9223372036854775807, '9999-12-31 23:59:59.999999+00', '-0'),
	(2, 8, 10, 4611686018427387904, '2026-02-02 02:40:00+00', 5e-324),
	(2, 8, 10, 7, '2026-02-02 02:40:00.000001+00', 'Infinity'),
	(2, 8, 10, 7, '2026-02-02 02:40:00.000001+00', '-Infinity'),
	(2, 8, 13, 40, '2026-02-02 02:40:04+00', 0),
	(2, 8, 15, 40, '2026-02-02 02:40:04+00', 0),
	(2, 8, 14, 40, '2026-02-02 02:40:04+00', 0),
	(2, 8, 13, 41, '2026-02-02 02:40:04.001+00', 0.25),
	(2, 8, 15, 41, '2026-02-02 02:40:04.001+00', 0.25),
	(2, 8, 14, 41, '2026-02-02 02:40:04.001+00', 0.25),
	(2, 8, 13, 42, '2026-02-02 02:40:04.002+00', 0.5),
	(2, 8, 15, 42, '2026-02-02 02:40:04.002+00', 0.5),
	(2, 8, 14, 42, '2026-02-02 02:40:04.002+00', 0.5),
	(2, 8, 13, -9223372036854775808, '0001-01-01 00:00:00+00', 'NaN'),
	(2, 8, 13, 9223372036854775807, '9999-12-31 23:59:59.999999+00', '-0'),
	(2, 8, 13, 4611686018427387904, '2026-02-02 02:40:00+00', 5e-324),
	(2, 8, 13, 7, '2026-02-02 02:40:00.000001+00', 'Infinity'),
	(2, 8, 13, 7, '2026-02-02 02:40:00.000001+00', '-Infinity'),
	(2, 9, 7, 40, '2026-02-02 02:40:04.000007+00', 1),
	(2, 9, 9, 40, '2026-02-02 02:40:04.000007+00', 1),
	(2, 9, 8, 40, '2026-02-02 02:40:04.000007+00', 1),
	(2, 9, 7, 41, '2026-02-02 02:40:04.001007+00', 1.25),
	(2, 9, 9, 41, '2026-02-02 02:40:04.001007+00', 1.25),
	(2, 9, 8, 41, '2026-02-02 02:40:04.001007+00', 1.25),
	(2, 9, 7, 42, '2026-02-02 02:40:04.002007+00', 1.5),
	(2, 9, 9, 42, '2026-02-02 02:40:04.002007+00', 1.5),
	(2, 9, 8, 42, '2026-02-02 02:40:04.002007+00', 1.5),
	(2, 9, 7, -9223372036854775808, '0001-01-01 00:00:00+00', 'NaN'),
	(2, 9, 7, 9223372036854775807, '9999-12-31 23:59:59.999999+00', '-0'),
	(2, 9, 7, 4611686018427387904, '2026-02-02 02:40:00+00', 5e-324),
	(2, 9, 7, 7, '2026-02-02 02:40:00.000001+00', 'Infinity'),
	(2, 9, 7, 7, '2026-02-02 02:40:00.000001+00', '-Infinity'),
	(2, 10, 16, 0, '2026-02-02 02:40:00+00', 0.1),
	(2, 10, 16, 1, '2026-02-02 02:40:00+00', 'NaN'),
	(2, 10, 16, 100, '2026-02-02 02:40:00.000003+00', 1);

INSERT INTO public.metric_points_hot_3 VALUES
	(3, 11, 1, 50, '2026-02-02 02:40:05+00', 0),
	(3, 11, 3, 50, '2026-02-02 02:40:05+00', 0),
	(3, 11, 2, 50, '2026-02-02 02:40:05+00', 0),
	(3, 11, 1, 51, '2026-02-02 02:40:05.001+00', 0.25),
	(3, 11, 3, 51, '2026-02-02 02:40:05.001+00', 0.25),
	(3, 11, 2, 51, '2026-02-02 02:40:05.001+00', 0.25),
	(3, 11, 1, 52, '2026-02-02 02:40:05.002+00', 0.5),
	(3, 11, 3, 52, '2026-02-02 02:40:05.002+00', 0.5),
	(3, 11, 2, 52, '2026-02-02 02:40:05.002+00', 0.5),
	(3, 11, 4, 50, '2026-02-02 02:40:05+00', 0),
	(3, 11, 6, 50, '2026-02-02 02:40:05+00', 0),
	(3, 11, 5, 50, '2026-02-02 02:40:05+00', 0),
	(3, 11, 4, 51, '2026-02-02 02:40:05.001+00', 0.25),
	(3, 11, 6, 51, '2026-02-02 02:40:05.001+00', 0.25),
	(3, 11, 5, 51, '2026-02-02 02:40:05.001+00', 0.25),
	(3, 11, 4, 52, '2026-02-02 02:40:05.002+00', 0.5),
	(3, 11, 6, 52, '2026-02-02 02:40:05.002+00', 0.5),
	(3, 11, 5, 52, '2026-02-02 02:40:05.002+00', 0.5),
	(3, 11, 10, 50, '2026-02-02 02:40:05.000014+00', 2),
	(3, 11, 12, 50, '2026-02-02 02:40:05.000014+00', 2),
	(3, 11, 11, 50, '2026-02-02 02:40:05.000014+00', 2),
	(3, 11, 10, 51, '2026-02-02 02:40:05.001014+00', 2.25),
	(3, 11, 12, 51, '2026-02-02 02:40:05.001014+00', 2.25),
	(3, 11, 11, 51, '2026-02-02 02:40:05.001014+00', 2.25),
	(3, 11, 10, 52, '2026-02-02 02:40:05.002014+00', 2.5),
	(3, 11, 12, 52, '2026-02-02 02:40:05.002014+00', 2.5),
	(3, 11, 11, 52, '2026-02-02 02:40:05.002014+00', 2.5),
	(3, 11, 13, 50, '2026-02-02 02:40:05+00', 0),
	(3, 11, 15, 50, '2026-02-02 02:40:05+00', 0),
	(3, 11, 14, 50, '2026-02-02 02:40:05+00', 0),
	(3, 11, 13, 51, '2026-02-02 02:40:05.001+00', 0.25),
	(3, 11, 15, 51, '2026-02-02 02:40:05.001+00', 0.25),
	(3, 11, 14, 51, '2026-02-02 02:40:05.001+00', 0.25),
	(3, 11, 13, 52, '2026-02-02 02:40:05.002+00', 0.5),
	(3, 11, 15, 52, '2026-02-02 02:40:05.002+00', 0.5),
	(3, 11, 14, 52, '2026-02-02 02:40:05.002+00', 0.5),
	(3, 12, 7, 50, '2026-02-02 02:40:05.000007+00', 1),
	(3, 12, 9, 50, '2026-02-02 02:40:05.000007+00', 1),
	(3, 12, 8, 50, '2026-02-02 02:40:05.000007+00', 1),
	(3, 12, 7, 51, '2026-02-02 02:40:05.001007+00', 1.25),
	(3, 12, 9, 51, '2026-02-02 02:40:05.001007+00', 1.25),
	(3, 12, 8, 51, '2026-02-02 02:40:05.001007+00', 1.25),
	(3, 12, 7, 52, '2026-02-02 02:40:05.002007+00', 1.5),
	(3, 12, 9, 52, '2026-02-02 02:40:05.002007+00', 1.5),
	(3, 12, 8, 52, '2026-02-02 02:40:05.002007+00', 1.5),
	(3, 13, 1, 60, '2026-02-02 02:40:06+00', 0),
	(3, 13, 3, 60, '2026-02-02 02:40:06+00', 0),
	(3, 13, 2, 60, '2026-02-02 02:40:06+00', 0),
	(3, 13, 1, 61, '2026-02-02 02:40:06.001+00', 0.25),
	(3, 13, 3, 61, '2026-02-02 02:40:06.001+00', 0.25),
	(3, 13, 2, 61, '2026-02-02 02:40:06.001+00', 0.25),
	(3, 13, 1, 62, '2026-02-02 02:40:06.002+00', 0.5),
	(3, 13, 3, 62, '2026-02-02 02:40:06.002+00', 0.5),
	(3, 13, 2, 62, '2026-02-02 02:40:06.002+00', 0.5),
	(3, 13, 4, 60, '2026-02-02 02:40:06+00', 0),
	(3, 13, 6, 60, '2026-02-02 02:40:06+00', 0),
	(3, 13, 5, 60, '2026-02-02 02:40:06+00', 0),
	(3, 13, 4, 61, '2026-02-02 02:40:06.001+00', 0.25),
	(3, 13, 6, 61, '2026-02-02 02:40:06.001+00', 0.25),
	(3, 13, 5, 61, '2026-02-02 02:40:06.001+00', 0.25),
	(3, 13, 4, 62, '2026-02-02 02:40:06.002+00', 0.5),
	(3, 13, 6, 62, '2026-02-02 02:40:06.002+00', 0.5),
	(3, 13, 5, 62, '2026-02-02 02:40:06.002+00', 0.5),
	(3, 13, 10, 60, '2026-02-02 02:40:06.000014+00', 2),
	(3, 13, 12, 60, '2026-02-02 02:40:06.000014+00', 2),
	(3, 13, 11, 60, '2026-02-02 02:40:06.000014+00', 2),
	(3, 13, 10, 61, '2026-02-02 02:40:06.001014+00', 2.25),
	(3, 13, 12, 61, '2026-02-02 02:40:06.001014+00', 2.25),
	(3, 13, 11, 61, '2026-02-02 02:40:06.001014+00', 2.25),
	(3, 13, 10, 62, '2026-02-02 02:40:06.002014+00', 2.5),
	(3, 13, 12, 62, '2026-02-02 02:40:06.002014+00', 2.5),
	(3, 13, 11, 62, '2026-02-02 02:40:06.002014+00', 2.5),
	(3, 13, 13, 60, '2026-02-02 02:40:06+00', 0),
	(3, 13, 15, 60, '2026-02-02 02:40:06+00', 0),
	(3, 13, 14, 60, '2026-02-02 02:40:06+00', 0),
	(3, 13, 13, 61, '2026-02-02 02:40:06.001+00', 0.25),
	(3, 13, 15, 61, '2026-02-02 02:40:06.001+00', 0.25),
	(3, 13, 14, 61, '2026-02-02 02:40:06.001+00', 0.25),
	(3, 13, 13, 62, '2026-02-02 02:40:06.002+00', 0.5),
	(3, 13, 15, 62, '2026-02-02 02:40:06.002+00', 0.5),
	(3, 13, 14, 62, '2026-02-02 02:40:06.002+00', 0.5),
	(3, 14, 7, 60, '2026-02-02 02:40:06.000007+00', 1),
	(3, 14, 9, 60, '2026-02-02 02:40:06.000007+00', 1),
	(3, 14, 8, 60, '2026-02-02 02:40:06.000007+00', 1),
	(3, 14, 7, 61, '2026-02-02 02:40:06.001007+00', 1.25),
	(3, 14, 9, 61, '2026-02-02 02:40:06.001007+00', 1.25),
	(3, 14, 8, 61, '2026-02-02 02:40:06.001007+00', 1.25),
	(3, 14, 7, 62, '2026-02-02 02:40:06.002007+00', 1.5),
	(3, 14, 9, 62, '2026-02-02 02:40:06.002007+00', 1.5),
	(3, 14, 8, 62, '2026-02-02 02:40:06.002007+00', 1.5),
	(3, 15, 16, 0, '2026-02-02 02:40:00+00', 0.1),
	(3, 15, 16, 2, '2026-02-02 02:40:00+00', 'NaN'),
	(3, 15, 16, 100, '2026-02-02 02:40:00.000006+00', 2);

INSERT INTO public.metric_points_hot_4 VALUES
	(4, 16, 1, 70, '2026-02-02 02:40:07+00', 0),
	(4, 16, 3, 70, '2026-02-02 02:40:07+00', 0),
	(4, 16, 2, 70, '2026-02-02 02:40:07+00', 0),
	(4, 16, 1, 71, '2026-02-02 02:40:07.001+00', 0.25),
	(4, 16, 3, 71, '2026-02-02 02:40:07.001+00', 0.25),
	(4, 16, 2, 71, '2026-02-02 02:40:07.001+00', 0.25),
	(4, 16, 1, 72, '2026-02-02 02:40:07.002+00', 0.5),
	(4, 16, 3, 72, '2026-02-02 02:40:07.002+00', 0.5),
	(4, 16, 2, 72, '2026-02-02 02:40:07.002+00', 0.5),
	(4, 16, 4, 70, '2026-02-02 02:40:07+00', 0),
	(4, 16, 6, 70, '2026-02-02 02:40:07+00', 0),
	(4, 16, 5, 70, '2026-02-02 02:40:07+00', 0),
	(4, 16, 4, 71, '2026-02-02 02:40:07.001+00', 0.25),
	(4, 16, 6, 71, '2026-02-02 02:40:07.001+00', 0.25),
	(4, 16, 5, 71, '2026-02-02 02:40:07.001+00', 0.25),
	(4, 16, 4, 72, '2026-02-02 02:40:07.002+00', 0.5),
	(4, 16, 6, 72, '2026-02-02 02:40:07.002+00', 0.5),
	(4, 16, 5, 72, '2026-02-02 02:40:07.002+00', 0.5),
	(4, 16, 10, 70, '2026-02-02 02:40:07.000014+00', 2),
	(4, 16, 12, 70, '2026-02-02 02:40:07.000014+00', 2),
	(4, 16, 11, 70, '2026-02-02 02:40:07.000014+00', 2),
	(4, 16, 10, 71, '2026-02-02 02:40:07.001014+00', 2.25),
	(4, 16, 12, 71, '2026-02-02 02:40:07.001014+00', 2.25),
	(4, 16, 11, 71, '2026-02-02 02:40:07.001014+00', 2.25),
	(4, 16, 10, 72, '2026-02-02 02:40:07.002014+00', 2.5),
	(4, 16, 12, 72, '2026-02-02 02:40:07.002014+00', 2.5),
	(4, 16, 11, 72, '2026-02-02 02:40:07.002014+00', 2.5),
	(4, 16, 13, 70, '2026-02-02 02:40:07+00', 0),
	(4, 16, 15, 70, '2026-02-02 02:40:07+00', 0),
	(4, 16, 14, 70, '2026-02-02 02:40:07+00', 0),
	(4, 16, 13, 71, '2026-02-02 02:40:07.001+00', 0.25),
	(4, 16, 15, 71, '2026-02-02 02:40:07.001+00', 0.25),
	(4, 16, 14, 71, '2026-02-02 02:40:07.001+00', 0.25),
	(4, 16, 13, 72, '2026-02-02 02:40:07.002+00', 0.5),
	(4, 16, 15, 72, '2026-02-02 02:40:07.002+00', 0.5),
	(4, 16, 14, 72, '2026-02-02 02:40:07.002+00', 0.5),
	(4, 17, 7, 70, '2026-02-02 02:40:07.000007+00', 1),
	(4, 17, 9, 70, '2026-02-02 02:40:07.000007+00', 1),
	(4, 17, 8, 70, '2026-02-02 02:40:07.000007+00', 1),
	(4, 17, 7, 71, '2026-02-02 02:40:07.001007+00', 1.25),
	(4, 17, 9, 71, '2026-02-02 02:40:07.001007+00', 1.25),
	(4, 17, 8, 71, '2026-02-02 02:40:07.001007+00', 1.25),
	(4, 17, 7, 72, '2026-02-02 02:40:07.002007+00', 1.5),
	(4, 17, 9, 72, '2026-02-02 02:40:07.002007+00', 1.5),
	(4, 17, 8, 72, '2026-02-02 02:40:07.002007+00', 1.5),
	(4, 18, 1, 80, '2026-02-02 02:40:08+00', 0),
	(4, 18, 3, 80, '2026-02-02 02:40:08+00', 0),
	(4, 18, 2, 80, '2026-02-02 02:40:08+00', 0),
	(4, 18, 1, 81, '2026-02-02 02:40:08.001+00', 0.25),
	(4, 18, 3, 81, '2026-02-02 02:40:08.001+00', 0.25),
	(4, 18, 2, 81, '2026-02-02 02:40:08.001+00', 0.25),
	(4, 18, 1, 82, '2026-02-02 02:40:08.002+00', 0.5),
	(4, 18, 3, 82, '2026-02-02 02:40:08.002+00', 0.5),
	(4, 18, 2, 82, '2026-02-02 02:40:08.002+00', 0.5),
	(4, 18, 1, -9223372036854775808, '0001-01-01 00:00:00+00', 'NaN'),
	(4, 18, 1, 9223372036854775807, '9999-12-31 23:59:59.999999+00', '-0'),
	(4, 18, 1, 4611686018427387904, '2026-02-02 02:40:00+00', 5e-324),
	(4, 18, 1, 7, '2026-02-02 02:40:00.000001+00', 'Infinity'),
	(4, 18, 1, 7, '2026-02-02 02:40:00.000001+00', '-Infinity'),
	(4, 18, 4, 80, '2026-02-02 02:40:08+00', 0),
	(4, 18, 6, 80, '2026-02-02 02:40:08+00', 0),
	(4, 18, 5, 80, '2026-02-02 02:40:08+00', 0),
	(4, 18, 4, 81, '2026-02-02 02:40:08.001+00', 0.25),
	(4, 18, 6, 81, '2026-02-02 02:40:08.001+00', 0.25),
	(4, 18, 5, 81, '2026-02-02 02:40:08.001+00', 0.25),
	(4, 18, 4, 82, '2026-02-02 02:40:08.002+00', 0.5),
	(4, 18, 6, 82, '2026-02-02 02:40:08.002+00', 0.5),
	(4, 18, 5, 82, '2026-02-02 02:40:08.002+00', 0.5),
	(4, 18, 4, -9223372036854775808, '0001-01-01 00:00:00+00', 'NaN'),
	(4, 18, 4, 9223372036854775807, '9999-12-31 23:59:59.999999+00', '-0'),
	(4, 18, 4, 4611686018427387904, '2026-02-02 02:40:00+00', 5e-324),
	(4, 18, 4, 7, '2026-02-02 02:40:00.000001+00', 'Infinity'),
	(4, 18, 4, 7, '2026-02-02 02:40:00.000001+00', '-Infinity'),
	(4, 18, 10, 80, '2026-02-02 02:40:08.000014+00', 2),
	(4, 18, 12, 80, '2026-02-02 02:40:08.000014+00', 2),
	(4, 18, 11, 80, '2026-02-02 02:40:08.000014+00', 2),
	(4, 18, 10, 81, '2026-02-02 02:40:08.001014+00', 2.25),
	(4, 18, 12, 81, '2026-02-02 02:40:08.001014+00', 2.25),
	(4, 18, 11, 81, '2026-02-02 02:40:08.001014+00', 2.25),
	(4, 18, 10, 82, '2026-02-02 02:40:08.002014+00', 2.5),
	(4, 18, 12, 82, '2026-02-02 02:40:08.002014+00', 2.5),
	(4, 18, 11, 82, '2026-02-02 02:40:08.002014+00', 2.5),
	(4, 18, 10, -9223372036854775808, '0001-01-01 00:00:00+00', 'NaN'),
	(4, 18, 10, 9223372036854775807, '9999-12-31 23:59:59.999999+00', '-0'),
	(4, 18, 10, 4611686018427387904, '2026-02-02 02:40:00+00', 5e-324),
	(4, 18, 10, 7, '2026-02-02 02:40:00.000001+00', 'Infinity'),
	(4, 18, 10, 7, '2026-02-02 02:40:00.000001+00', '-Infinity'),
	(4, 18, 13, 80, '2026-02-02 02:40:08+00', 0),
	(4, 18, 15, 80, '2026-02-02 02:40:08+00', 0),
	(4, 18, 14, 80, '2026-02-02 02:40:08+00', 0),
	(4, 18, 13, 81, '2026-02-02 02:40:08.001+00', 0.25),
	(4, 18, 15, 81, '2026-02-02 02:40:08.001+00', 0.25),
	(4, 18, 14, 81, '2026-02-02 02:40:08.001+00', 0.25),
	(4, 18, 13, 82, '2026-02-02 02:40:08.002+00', 0.5),
	(4, 18, 15, 82, '2026-02-02 02:40:08.002+00', 0.5),
	(4, 18, 14, 82, '2026-02-02 02:40:08.002+00', 0.5),
	(4, 18, 13, -9223372036854775808, '0001-01-01 00:00:00+00', 'NaN'),
	(4, 18, 13, 9223372036854775807, '9999-12-31 23:59:59.999999+00', '-0'),
	(4, 18, 13, 4611686018427387904, '2026-02-02 02:40:00+00', 5e-324),
	(4, 18, 13, 7, '2026-02-02 02:40:00.000001+00', 'Infinity'),
	(4, 18, 13, 7, '2026-02-02 02:40:00.000001+00', '-Infinity'),
	(4, 19, 7, 80, '2026-02-02 02:40:08.000007+00', 1),
	(4, 19, 9, 80, '2026-02-02 02:40:08.000007+00', 1),
	(4, 19, 8, 80, '2026-02-02 02:40:08.000007+00', 1),
	(4, 19, 7, 81, '2026-02-02 02:40:08.001007+00', 1.25),
	(4, 19, 9, 81, '2026-02-02 02:40:08.001007+00', 1.25),
	(4, 19, 8, 81, '2026-02-02 02:40:08.001007+00', 1.25),
	(4, 19, 7, 82, '2026-02-02 02:40:08.002007+00', 1.5),
	(4, 19, 9, 82, '2026-02-02 02:40:08.002007+00', 1.5),
	(4, 19, 8, 82, '2026-02-02 02:40:08.002007+00', 1.5),
	(4, 19, 7, -9223372036854775808, '0001-01-01 00:00:00+00', 'NaN'),
	(4, 19, 7, 9223372036854775807, '9999-12-31 23:59:59.999999+00', '-0'),
	(4, 19, 7, 4611686018427387904, '2026-02-02 02:40:00+00', 5e-324),
	(4, 19, 7, 7, '2026-02-02 02:40:00.000001+00', 'Infinity'),
	(4, 19, 7, 7, '2026-02-02 02:40:00.000001+00', '-Infinity'),
	(4, 20, 16, 0, '2026-02-02 02:40:00+00', 0.1),
	(4, 20, 16, 3, '2026-02-02 02:40:00+00', 'NaN'),
	(4, 20, 16, 100, '2026-02-02 02:40:00.000002+00', 3);

INSERT INTO public.metric_points_hot_5 VALUES
	(5, 21, 1, 90, '2026-02-02 02:40:09+00', 0),
	(5, 21, 3, 90, '2026-02-02 02:40:09+00', 0),
	(5, 21, 2, 90, '2026-02-02 02:40:09+00', 0),
	(5, 21, 1, 91, '2026-02-02 02:40:09.001+00', 0.25),
	(5, 21, 3, 91, '2026-02-02 02:40:09.001+00', 0.25),
	(5, 21, 2, 91, '2026-02-02 02:40:09.001+00', 0.25),
	(5, 21, 1, 92, '2026-02-02 02:40:09.002+00', 0.5),
	(5, 21, 3, 92, '2026-02-02 02:40:09.002+00', 0.5),
	(5, 21, 2, 92, '2026-02-02 02:40:09.002+00', 0.5),
	(5, 21, 4, 90, '2026-02-02 02:40:09+00', 0),
	(5, 21, 6, 90, '2026-02-02 02:40:09+00', 0),
	(5, 21, 5, 90, '2026-02-02 02:40:09+00', 0),
	(5, 21, 4, 91, '2026-02-02 02:40:09.001+00', 0.25),
	(5, 21, 6, 91, '2026-02-02 02:40:09.001+00', 0.25),
	(5, 21, 5, 91, '2026-02-02 02:40:09.001+00', 0.25),
	(5, 21, 4, 92, '2026-02-02 02:40:09.002+00', 0.5),
	(5, 21, 6, 92, '2026-02-02 02:40:09.002+00', 0.5),
	(5, 21, 5, 92, '2026-02-02 02:40:09.002+00', 0.5),
	(5, 21, 10, 90, '2026-02-02 02:40:09.000014+00', 2),
	(5, 21, 12, 90, '2026-02-02 02:40:09.000014+00', 2),
	(5, 21, 11, 90, '2026-02-02 02:40:09.000014+00', 2),
	(5, 21, 10, 91, '2026-02-02 02:40:09.001014+00', 2.25),
	(5, 21, 12, 91, '2026-02-02 02:40:09.001014+00', 2.25),
	(5, 21, 11, 91, '2026-02-02 02:40:09.001014+00', 2.25),
	(5, 21, 10, 92, '2026-02-02 02:40:09.002014+00', 2.5),
	(5, 21, 12, 92, '2026-02-02 02:40:09.002014+00', 2.5),
	(5, 21, 11, 92, '2026-02-02 02:40:09.002014+00', 2.5),
	(5, 21, 13, 90, '2026-02-02 02:40:09+00', 0),
	(5, 21, 15, 90, '2026-02-02 02:40:09+00', 0),
	(5, 21, 14, 90, '2026-02-02 02:40:09+00', 0),
	(5, 21, 13, 91, '2026-02-02 02:40:09.001+00', 0.25),
	(5, 21, 15, 91, '2026-02-02 02:40:09.001+00', 0.25),
	(5, 21, 14, 91, '2026-02-02 02:40:09.001+00', 0.25),
	(5, 21, 13, 92, '2026-02-02 02:40:09.002+00', 0.5),
	(5, 21, 15, 92, '2026-02-02 02:40:09.002+00', 0.5),
	(5, 21, 14, 92, '2026-02-02 02:40:09.002+00', 0.5),
	(5, 22, 7, 90, '2026-02-02 02:40:09.000007+00', 1),
	(5, 22, 9, 90, '2026-02-02 02:40:09.000007+00', 1),
	(5, 22, 8, 90, '2026-02-02 02:40:09.000007+00', 1),
	(5, 22, 7, 91, '2026-02-02 02:40:09.001007+00', 1.25),
	(5, 22, 9, 91, '2026-02-02 02:40:09.001007+00', 1.25),
	(5, 22, 8, 91, '2026-02-02 02:40:09.001007+00', 1.25),
	(5, 22, 7, 92, '2026-02-02 02:40:09.002007+00', 1.5),
	(5, 22, 9, 92, '2026-02-02 02:40:09.002007+00', 1.5),
	(5, 22, 8, 92, '2026-02-02 02:40:09.002007+00', 1.5),
	(5, 23, 1, 100, '2026-02-02 02:40:10+00', 0),
	(5, 23, 3, 100, '2026-02-02 02:40:10+00', 0),
	(5, 23, 2, 100, '2026-02-02 02:40:10+00', 0),
	(5, 23, 1, 101, '2026-02-02 02:40:10.001+00', 0.25),
	(5, 23, 3, 101, '2026-02-02 02:40:10.001+00', 0.25),
	(5, 23, 2, 101, '2026-02-02 02:40:10.001+00', 0.25),
	(5, 23, 1, 102, '2026-02-02 02:40:10.002+00', 0.5),
	(5, 23, 3, 102, '2026-02-02 02:40:10.002+00', 0.5),
	(5, 23, 2, 102, '2026-02-02 02:40:10.002+00', 0.5),
	(5, 23, 4, 100, '2026-02-02 02:40:10+00', 0),
	(5, 23, 6, 100, '2026-02-02 02:40:10+00', 0),
	(5, 23, 5, 100, '2026-02-02 02:40:10+00', 0),
	(5, 23, 4, 101, '2026-02-02 02:40:10.001+00', 0.25),
	(5, 23, 6, 101, '2026-02-02 02:40:10.001+00', 0.25),
	(5, 23, 5, 101, '2026-02-02 02:40:10.001+00', 0.25),
	(5, 23, 4, 102, '2026-02-02 02:40:10.002+00', 0.5),
	(5, 23, 6, 102, '2026-02-02 02:40:10.002+00', 0.5),
	(5, 23, 5, 102, '2026-02-02 02:40:10.002+00', 0.5),
	(5, 23, 10, 100, '2026-02-02 02:40:10.000014+00', 2),
	(5, 23, 12, 100, '2026-02-02 02:40:10.000014+00', 2),
	(5, 23, 11, 100, '2026-02-02 02:40:10.000014+00', 2),
	(5, 23, 10, 101, '2026-02-02 02:40:10.001014+00', 2.25),
	(5, 23, 12, 101, '2026-02-02 02:40:10.001014+00', 2.25),
	(5, 23, 11, 101, '2026-02-02 02:40:10.001014+00', 2.25),
	(5, 23, 10, 102, '2026-02-02 02:40:10.002014+00', 2.5),
	(5, 23, 12, 102, '2026-02-02 02:40:10.002014+00', 2.5),
	(5, 23, 11, 102, '2026-02-02 02:40:10.002014+00', 2.5),
	(5, 23, 13, 100, '2026-02-02 02:40:10+00', 0),
	(5, 23, 15, 100, '2026-02-02 02:40:10+00', 0),
	(5, 23, 14, 100, '2026-02-02 02:40:10+00', 0),
	(5, 23, 13, 101, '2026-02-02 02:40:10.001+00', 0.25),
	(5, 23, 15, 101, '2026-02-02 02:40:10.001+00', 0.25),
	(5, 23, 14, 101, '2026-02-02 02:40:10.001+00', 0.25),
	(5, 23, 13, 102, '2026-02-02 02:40:10.002+00', 0.5),
	(5, 23, 15, 102, '2026-02-02 02:40:10.002+00', 0.5),
	(5, 23, 14, 102, '2026-02-02 02:40:10.002+00', 0.5),
	(5, 24, 7, 100, '2026-02-02 02:40:10.000007+00', 1),
	(5, 24, 9, 100, '2026-02-02 02:40:10.000007+00', 1),
	(5, 24, 8, 100, '2026-02-02 02:40:10.000007+00', 1),
	(5, 24, 7, 101, '2026-02-02 02:40:10.001007+00', 1.25),
	(5, 24, 9, 101, '2026-02-02 02:40:10.001007+00', 1.25),
	(5, 24, 8, 101, '2026-02-02 02:40:10.001007+00', 1.25),
	(5, 24, 7, 102, '2026-02-02 02:40:10.002007+00', 1.5),
	(5, 24, 9, 102, '2026-02-02 02:40:10.002007+00', 1.5),
	(5, 24, 8, 102, '2026-02-02 02:40:10.002007+00', 1.5),
	(5, 24, 7, 103, '2026-02-02 02:40:10.003007+00', 1.75),
	(5, 24, 9, 103, '2026-02-02 02:40:10.003007+00', 1.75),
	(5, 24, 8, 103, '2026-02-02 02:40:10.003007+00', 1.75),
	(5, 24, 7, 104, '2026-02-02 02:40:10.004007+00', 2),
	(5, 24, 9, 104, '2026-02-02 02:40:10.004007+00', 2),
	(5, 24, 8, 104, '2026-02-02 02:40:10.004007+00', 2),
	(5, 24, 7, 105, '2026-02-02 02:40:10.005007+00', 2.25),
	(5, 24, 9, 105, '2026-02-02 02:40:10.005007+00', 2.25),
	(5, 24, 8, 105, '2026-02-02 02:40:10.005007+00', 2.25),
	(5, 24, 7, 106, '2026-02-02 02:40:10.006007+00', 2.5),
	(5, 24, 9, 106, '2026-02-02 02:40:10.006007+00', 2.5),
	(5, 24, 8, 106, '2026-02-02 02:40:10.006007+00', 2.5),
	(5, 24, 7, 107, '2026-02-02 02:40:10.007007+00', 2.75),
	(5, 24, 9, 107, '2026-02-02 02:40:10.007007+00', 2.75),
	(5, 24, 8, 107, '2026-02-02 02:40:10.007007+00', 2.75),
	(5, 24, 7, 108, '2026-02-02 02:40:10.008007+00', 3),
	(5, 24, 9, 108, '2026-02-02 02:40:10.008007+00', 3),
	(5, 24, 8, 108, '2026-02-02 02:40:10.008007+00', 3),
	(5, 24, 7, 109, '2026-02-02 02:40:10.009007+00', 3.25),
	(5, 24, 9, 109, '2026-02-02 02:40:10.009007+00', 3.25),
	(5, 24, 8, 109, '2026-02-02 02:40:10.009007+00', 3.25),
	(5, 24, 7, 110, '2026-02-02 02:40:10.010007+00', 3.5),
	(5, 24, 9, 110, '2026-02-02 02:40:10.010007+00', 3.5),
	(5, 24, 8, 110, '2026-02-02 02:40:10.010007+00', 3.5),
	(5, 24, 7, 111, '2026-02-02 02:40:10.011007+00', 3.75),
	(5, 24, 9, 111, '2026-02-02 02:40:10.011007+00', 3.75),
	(5, 24, 8, 111, '2026-02-02 02:40:10.011007+00', 3.75),
	(5, 24, 7, 112, '2026-02-02 02:40:10.012007+00', 4),
	(5, 24, 9, 112, '2026-02-02 02:40:10.012007+00', 4),
	(5, 24, 8, 112, '2026-02-02 02:40:10.012007+00', 4),
	(5, 24, 7, 113, '2026-02-02 02:40:10.013007+00', 4.25),
	(5, 24, 9, 113, '2026-02-02 02:40:10.013007+00', 4.25),
	(5, 24, 8, 113, '2026-02-02 02:40:10.013007+00', 4.25),
	(5, 24, 7, 114, '2026-02-02 02:40:10.014007+00', 4.5),
	(5, 24, 9, 114, '2026-02-02 02:40:10.014007+00', 4.5),
	(5, 24, 8, 114, '2026-02-02 02:40:10.014007+00', 4.5),
	(5, 24, 7, 115, '2026-02-02 02:40:10.015007+00', 4.75),
	(5, 24, 9, 115, '2026-02-02 02:40:10.015007+00', 4.75),
	(5, 24, 8, 115, '2026-02-02 02:40:10.015007+00', 4.75),
	(5, 24, 7, 116, '2026-02-02 02:40:10.016007+00', 5),
	(5, 24, 9, 116, '2026-02-02 02:40:10.016007+00', 5),
	(5, 24, 8, 116, '2026-02-02 02:40:10.016007+00', 5),
	(5, 24, 7, 117, '2026-02-02 02:40:10.017007+00', 5.25),
	(5, 24, 9, 117, '2026-02-02 02:40:10.017007+00', 5.25),
	(5, 24, 8, 117, '2026-02-02 02:40:10.017007+00', 5.25),
	(5, 24, 7, 118, '2026-02-02 02:40:10.018007+00', 5.5),
	(5, 24, 9, 118, '2026-02-02 02:40:10.018007+00', 5.5),
	(5, 24, 8, 118, '2026-02-02 02:40:10.018007+00', 5.5),
	(5, 24, 7, 119, '2026-02-02 02:40:10.019007+00', 5.75),
	(5, 24, 9, 119, '2026-02-02 02:40:10.019007+00', 5.75),
	(5, 24, 8, 119, '2026-02-02 02:40:10.019007+00', 5.75),
	(5, 24, 7, 120, '2026-02-02 02:40:10.020007+00', 6),
	(5, 24, 9, 120, '2026-02-02 02:40:10.020007+00', 6),
	(5, 24, 8, 120, '2026-02-02 02:40:10.020007+00', 6),
	(5, 24, 7, 121, '2026-02-02 02:40:10.021007+00', 6.25),
	(5, 24, 9, 121, '2026-02-02 02:40:10.021007+00', 6.25),
	(5, 24, 8, 121, '2026-02-02 02:40:10.021007+00', 6.25),
	(5, 24, 7, 122, '2026-02-02 02:40:10.022007+00', 6.5),
	(5, 24, 9, 122, '2026-02-02 02:40:10.022007+00', 6.5),
	(5, 24, 8, 122, '2026-02-02 02:40:10.022007+00', 6.5),
	(5, 24, 7, 123, '2026-02-02 02:40:10.023007+00', 6.75),
	(5, 24, 9, 123, '2026-02-02 02:40:10.023007+00', 6.75),
	(5, 24, 8, 123, '2026-02-02 02:40:10.023007+00', 6.75),
	(5, 24, 7, 124, '2026-02-02 02:40:10.024007+00', 7),
	(5, 24, 9, 124, '2026-02-02 02:40:10.024007+00', 7),
	(5, 24, 8, 124, '2026-02-02 02:40:10.024007+00', 7),
	(5, 24, 7, 125, '2026-02-02 02:40:10.025007+00', 7.25),
	(5, 24, 9, 125, '2026-02-02 02:40:10.025007+00', 7.25),
	(5, 24, 8, 125, '2026-02-02 02:40:10.025007+00', 7.25),
	(5, 24, 7, 126, '2026-02-02 02:40:10.026007+00', 7.5),
	(5, 24, 9, 126, '2026-02-02 02:40:10.026007+00', 7.5),
	(5, 24, 8, 126, '2026-02-02 02:40:10.026007+00', 7.5),
	(5, 24, 7, 127, '2026-02-02 02:40:10.027007+00', 7.75),
	(5, 24, 9, 127, '2026-02-02 02:40:10.027007+00', 7.75),
	(5, 24, 8, 127, '2026-02-02 02:40:10.027007+00', 7.75),
	(5, 24, 7, 128, '2026-02-02 02:40:10.028007+00', 8),
	(5, 24, 9, 128, '2026-02-02 02:40:10.028007+00', 8),
	(5, 24, 8, 128, '2026-02-02 02:40:10.028007+00', 8),
	(5, 24, 7, 129, '2026-02-02 02:40:10.029007+00', 8.25),
	(5, 24, 9, 129, '2026-02-02 02:40:10.029007+00', 8.25),
	(5, 24, 8, 129, '2026-02-02 02:40:10.029007+00', 8.25),
	(5, 24, 7, 130, '2026-02-02 02:40:10.030007+00', 8.5),
	(5, 24, 9, 130, '2026-02-02 02:40:10.030007+00', 8.5),
	(5, 24, 8, 130, '2026-02-02 02:40:10.030007+00', 8.5),
	(5, 24, 7, 131, '2026-02-02 02:40:10.031007+00', 8.75),
	(5, 24, 9, 131, '2026-02-02 02:40:10.031007+00', 8.75),
	(5, 24, 8, 131, '2026-02-02 02:40:10.031007+00', 8.75),
	(5, 24, 7, 132, '2026-02-02 02:40:10.032007+00', 9),
	(5, 24, 9, 132, '2026-02-02 02:40:10.032007+00', 9),
	(5, 24, 8, 132, '2026-02-02 02:40:10.032007+00', 9),
	(5, 24, 7, 133, '2026-02-02 02:40:10.033007+00', 9.25),
	(5, 24, 9, 133, '2026-02-02 02:40:10.033007+00', 9.25),
	(5, 24, 8, 133, '2026-02-02 02:40:10.033007+00', 9.25),
	(5, 24, 7, 134, '2026-02-02 02:40:10.034007+00', 9.5),
	(5, 24, 9, 134, '2026-02-02 02:40:10.034007+00', 9.5),
	(5, 24, 8, 134, '2026-02-02 02:40:10.034007+00', 9.5),
	(5, 24, 7, 135, '2026-02-02 02:40:10.035007+00', 9.75),
	(5, 24, 9, 135, '2026-02-02 02:40:10.035007+00', 9.75),
	(5, 24, 8, 135, '2026-02-02 02:40:10.035007+00', 9.75),
	(5, 24, 7, 136, '2026-02-02 02:40:10.036007+00', 10),
	(5, 24, 9, 136, '2026-02-02 02:40:10.036007+00', 10),
	(5, 24, 8, 136, '2026-02-02 02:40:10.036007+00', 10),
	(5, 24, 7, 137, '2026-02-02 02:40:10.037007+00', 10.25),
	(5, 24, 9, 137, '2026-02-02 02:40:10.037007+00', 10.25),
	(5, 24, 8, 137, '2026-02-02 02:40:10.037007+00', 10.25),
	(5, 24, 7, 138, '2026-02-02 02:40:10.038007+00', 10.5),
	(5, 24, 9, 138, '2026-02-02 02:40:10.038007+00', 10.5),
	(5, 24, 8, 138, '2026-02-02 02:40:10.038007+00', 10.5),
	(5, 24, 7, 139, '2026-02-02 02:40:10.039007+00', 10.75),
	(5, 24, 9, 139, '2026-02-02 02:40:10.039007+00', 10.75),
	(5, 24, 8, 139, '2026-02-02 02:40:10.039007+00', 10.75),
	(5, 24, 7, 140, '2026-02-02 02:40:10.040007+00', 11),
	(5, 24, 9, 140, '2026-02-02 02:40:10.040007+00', 11),
	(5, 24, 8, 140, '2026-02-02 02:40:10.040007+00', 11),
	(5, 24, 7, 141, '2026-02-02 02:40:10.041007+00', 11.25),
	(5, 24, 9, 141, '2026-02-02 02:40:10.041007+00', 11.25),
	(5, 24, 8, 141, '2026-02-02 02:40:10.041007+00', 11.25),
	(5, 24, 7, 142, '2026-02-02 02:40:10.042007+00', 11.5),
	(5, 24, 9, 142, '2026-02-02 02:40:10.042007+00', 11.5),
	(5, 24, 8, 142, '2026-02-02 02:40:10.042007+00', 11.5),
	(5, 24, 7, 143, '2026-02-02 02:40:10.043007+00', 11.75),
	(5, 24, 9, 143, '2026-02-02 02:40:10.043007+00', 11.75),
	(5, 24, 8, 143, '2026-02-02 02:40:10.043007+00', 11.75),
	(5, 24, 7, 144, '2026-02-02 02:40:10.044007+00', 12),
	(5, 24, 9, 144, '2026-02-02 02:40:10.044007+00', 12),
	(5, 24, 8, 144, '2026-02-02 02:40:10.044007+00', 12),
	(5, 24, 7, 145, '2026-02-02 02:40:10.045007+00', 12.25),
	(5, 24, 9, 145, '2026-02-02 02:40:10.045007+00', 12.25),
	(5, 24, 8, 145, '2026-02-02 02:40:10.045007+00', 12.25),
	(5, 24, 7, 146, '2026-02-02 02:40:10.046007+00', 12.5),
	(5, 24, 9, 146, '2026-02-02 02:40:10.046007+00', 12.5),
	(5, 24, 8, 146, '2026-02-02 02:40:10.046007+00', 12.5),
	(5, 24, 7, 147, '2026-02-02 02:40:10.047007+00', 12.75),
	(5, 24, 9, 147, '2026-02-02 02:40:10.047007+00', 12.75),
	(5, 24, 8, 147, '2026-02-02 02:40:10.047007+00', 12.75),
	(5, 24, 7, 148, '2026-02-02 02:40:10.048007+00', 13),
	(5, 24, 9, 148, '2026-02-02 02:40:10.048007+00', 13),
	(5, 24, 8, 148, '2026-02-02 02:40:10.048007+00', 13),
	(5, 24, 7, 149, '2026-02-02 02:40:10.049007+00', 13.25),
	(5, 24, 9, 149, '2026-02-02 02:40:10.049007+00', 13.25),
	(5, 24, 8, 149, '2026-02-02 02:40:10.049007+00', 13.25),
	(5, 24, 7, 150, '2026-02-02 02:40:10.050007+00', 13.5),
	(5, 24, 9, 150, '2026-02-02 02:40:10.050007+00', 13.5),
	(5, 24, 8, 150, '2026-02-02 02:40:10.050007+00', 13.5),
	(5, 24, 7, 151, '2026-02-02 02:40:10.051007+00', 13.75),
	(5, 24, 9, 151, '2026-02-02 02:40:10.051007+00', 13.75),
	(5, 24, 8, 151, '2026-02-02 02:40:10.051007+00', 13.75),
	(5, 24, 7, 152, '2026-02-02 02:40:10.052007+00', 14),
	(5, 24, 9, 152, '2026-02-02 02:40:10.052007+00', 14),
	(5, 24, 8, 152, '2026-02-02 02:40:10.052007+00', 14),
	(5, 24, 7, 153, '2026-02-02 02:40:10.053007+00', 14.25),
	(5, 24, 9, 153, '2026-02-02 02:40:10.053007+00', 14.25),
	(5, 24, 8, 153, '2026-02-02 02:40:10.053007+00', 14.25),
	(5, 24, 7, 154, '2026-02-02 02:40:10.054007+00', 14.5),
	(5, 24, 9, 154, '2026-02-02 02:40:10.054007+00', 14.5),
	(5, 24, 8, 154, '2026-02-02 02:40:10.054007+00', 14.5),
	(5, 24, 7, 155, '2026-02-02 02:40:10.055007+00', 14.75),
	(5, 24, 9, 155, '2026-02-02 02:40:10.055007+00', 14.75),
	(5, 24, 8, 155, '2026-02-02 02:40:10.055007+00', 14.75),
	(5, 24, 7, 156, '2026-02-02 02:40:10.056007+00', 15),
	(5, 24, 9, 156, '2026-02-02 02:40:10.056007+00', 15),
	(5, 24, 8, 156, '2026-02-02 02:40:10.056007+00', 15),
	(5, 24, 7, 157, '2026-02-02 02:40:10.057007+00', 15.25),
	(5, 24, 9, 157, '2026-02-02 02:40:10.057007+00', 15.25),
	(5, 24, 8, 157, '2026-02-02 02:40:10.057007+00', 15.25),
	(5, 24, 7, 158, '2026-02-02 02:40:10.058007+00', 15.5),
	(5, 24, 9, 158, '2026-02-02 02:40:10.058007+00', 15.5),
	(5, 24, 8, 158, '2026-02-02 02:40:10.058007+00', 15.5),
	(5, 24, 7, 159, '2026-02-02 02:40:10.059007+00', 15.75),
	(5, 24, 9, 159, '2026-02-02 02:40:10.059007+00', 15.75),
	(5, 24, 8, 159, '2026-02-02 02:40:10.059007+00', 15.75),
	(5, 24, 7, 160, '2026-02-02 02:40:10.060007+00', 16),
	(5, 24, 9, 160, '2026-02-02 02:40:10.060007+00', 16),
	(5, 24, 8, 160, '2026-02-02 02:40:10.060007+00', 16),
	(5, 24, 7, 161, '2026-02-02 02:40:10.061007+00', 16.25),
	(5, 24, 9, 161, '2026-02-02 02:40:10.061007+00', 16.25),
	(5, 24, 8, 161, '2026-02-02 02:40:10.061007+00', 16.25),
	(5, 24, 7, 162, '2026-02-02 02:40:10.062007+00', 16.5),
	(5, 24, 9, 162, '2026-02-02 02:40:10.062007+00', 16.5),
	(5, 24, 8, 162, '2026-02-02 02:40:10.062007+00', 16.5),
	(5, 24, 7, 163, '2026-02-02 02:40:10.063007+00', 16.75),
	(5, 24, 9, 163, '2026-02-02 02:40:10.063007+00', 16.75),
	(5, 24, 8, 163, '2026-02-02 02:40:10.063007+00', 16.75),
	(5, 24, 7, 164, '2026-02-02 02:40:10.064007+00', 17),
	(5, 24, 9, 164, '2026-02-02 02:40:10.064007+00', 17),
	(5, 24, 8, 164, '2026-02-02 02:40:10.064007+00', 17),
	(5, 24, 7, 165, '2026-02-02 02:40:10.065007+00', 17.25),
	(5, 24, 9, 165, '2026-02-02 02:40:10.065007+00', 17.25),
	(5, 24, 8, 165, '2026-02-02 02:40:10.065007+00', 17.25),
	(5, 24, 7, 166, '2026-02-02 02:40:10.066007+00', 17.5),
	(5, 24, 9, 166, '2026-02-02 02:40:10.066007+00', 17.5),
	(5, 24, 8, 166, '2026-02-02 02:40:10.066007+00', 17.5),
	(5, 24, 7, 167, '2026-02-02 02:40:10.067007+00', 17.75),
	(5, 24, 9, 167, '2026-02-02 02:40:10.067007+00', 17.75),
	(5, 24, 8, 167, '2026-02-02 02:40:10.067007+00', 17.75),
	(5, 24, 7, 168, '2026-02-02 02:40:10.068007+00', 18),
	(5, 24, 9, 168, '2026-02-02 02:40:10.068007+00', 18),
	(5, 24, 8, 168, '2026-02-02 02:40:10.068007+00', 18),
	(5, 24, 7, 169, '2026-02-02 02:40:10.069007+00', 18.25),
	(5, 24, 9, 169, '2026-02-02 02:40:10.069007+00', 18.25),
	(5, 24, 8, 169, '2026-02-02 02:40:10.069007+00', 18.25),
	(5, 24, 7, 170, '2026-02-02 02:40:10.070007+00', 18.5),
	(5, 24, 9, 170, '2026-02-02 02:40:10.070007+00', 18.5),
	(5, 24, 8, 170, '2026-02-02 02:40:10.070007+00', 18.5),
	(5, 24, 7, 171, '2026-02-02 02:40:10.071007+00', 18.75),
	(5, 24, 9, 171, '2026-02-02 02:40:10.071007+00', 18.75),
	(5, 24, 8, 171, '2026-02-02 02:40:10.071007+00', 18.75),
	(5, 24, 7, 172, '2026-02-02 02:40:10.072007+00', 19),
	(5, 24, 9, 172, '2026-02-02 02:40:10.072007+00', 19),
	(5, 24, 8, 172, '2026-02-02 02:40:10.072007+00', 19),
	(5, 24, 7, 173, '2026-02-02 02:40:10.073007+00', 19.25),
	(5, 24, 9, 173, '2026-02-02 02:40:10.073007+00', 19.25),
	(5, 24, 8, 173, '2026-02-02 02:40:10.073007+00', 19.25),
	(5, 24, 7, 174, '2026-02-02 02:40:10.074007+00', 19.5),
	(5, 24, 9, 174, '2026-02-02 02:40:10.074007+00', 19.5),
	(5, 24, 8, 174, '2026-02-02 02:40:10.074007+00', 19.5),
	(5, 24, 7, 175, '2026-02-02 02:40:10.075007+00', 19.75),
	(5, 24, 9, 175, '2026-02-02 02:40:10.075007+00', 19.75),
	(5, 24, 8, 175, '2026-02-02 02:40:10.075007+00', 19.75),
	(5, 24, 7, 176, '2026-02-02 02:40:10.076007+00', 20),
	(5, 24, 9, 176, '2026-02-02 02:40:10.076007+00', 20),
	(5, 24, 8, 176, '2026-02-02 02:40:10.076007+00', 20),
	(5, 24, 7, 177, '2026-02-02 02:40:10.077007+00', 20.25),
	(5, 24, 9, 177, '2026-02-02 02:40:10.077007+00', 20.25),
	(5, 24, 8, 177, '2026-02-02 02:40:10.077007+00', 20.25),
	(5, 24, 7, 178, '2026-02-02 02:40:10.078007+00', 20.5),
	(5, 24, 9, 178, '2026-02-02 02:40:10.078007+00', 20.5),
	(5, 24, 8, 178, '2026-02-02 02:40:10.078007+00', 20.5),
	(5, 24, 7, 179, '2026-02-02 02:40:10.079007+00', 20.75),
	(5, 24, 9, 179, '2026-02-02 02:40:10.079007+00', 20.75),
	(5, 24, 8, 179, '2026-02-02 02:40:10.079007+00', 20.75),
	(5, 24, 7, 180, '2026-02-02 02:40:10.080007+00', 21),
	(5, 24, 9, 180, '2026-02-02 02:40:10.080007+00', 21),
	(5, 24, 8, 180, '2026-02-02 02:40:10.080007+00', 21),
	(5, 24, 7, 181, '2026-02-02 02:40:10.081007+00', 21.25),
	(5, 24, 9, 181, '2026-02-02 02:40:10.081007+00', 21.25),
	(5, 24, 8, 181, '2026-02-02 02:40:10.081007+00', 21.25),
	(5, 24, 7, 182, '2026-02-02 02:40:10.082007+00', 21.5),
	(5, 24, 9, 182, '2026-02-02 02:40:10.082007+00', 21.5),
	(5, 24, 8, 182, '2026-02-02 02:40:10.082007+00', 21.5),
	(5, 24, 7, 183, '2026-02-02 02:40:10.083007+00', 21.75),
	(5, 24, 9, 183, '2026-02-02 02:40:10.083007+00', 21.75),
	(5, 24, 8, 183, '2026-02-02 02:40:10.083007+00', 21.75),
	(5, 25, 16, 0, '2026-02-02 02:40:00+00', 0.1),
	(5, 25, 16, 4, '2026-02-02 02:40:00+00', 'NaN'),
	(5, 25, 16, 100, '2026-02-02 02:40:00.000005+00', 4);

INSERT INTO public.metric_segments VALUES
	(1, 1, 10, 22, '2026-02-02 02:40:01+00', '2026-02-02 02:40:02.002+00', 6, 6, 0, 0.5, 1.5, 0, 0.5, true, NULL, '{10,11,12,20,21,22}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{0,0.25,0.5,0,0.25,0.5}', NULL, NULL, NULL),
	(2, 1, 10, 22, '2026-02-02 02:40:01+00', '2026-02-02 02:40:02.002+00', 6, 6, 0, 0.5, 1.5, 0, 0.5, true, NULL, '{10,11,12,20,21,22}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{0,0.25,0.5,0,0.25,0.5}', NULL, NULL, NULL),
	(3, 1, 10, 22, '2026-02-02 02:40:01+00', '2026-02-02 02:40:02.002+00', 6, 6, 0, 0.5, 1.5, 0, 0.5, true, NULL, '{10,11,12,20,21,22}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{0,0.25,0.5,0,0.25,0.5}', NULL, NULL, NULL),
	(4, 1, 10, 22, '2026-02-02 02:40:01+00', '2026-02-02 02:40:02.002+00', 6, 6, 0, 0.5, 1.5, 0, 0.5, true, NULL, '{10,11,12,20,21,22}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{0,0.25,0.5,0,0.25,0.5}', NULL, NULL, NULL),
	(5, 1, 10, 22, '2026-02-02 02:40:01+00', '2026-02-02 02:40:02.002+00', 6, 6, 0, 0.5, 1.5, 0, 0.5, true, NULL, '{10,11,12,20,21,22}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{0,0.25,0.5,0,0.25,0.5}', NULL, NULL, NULL),
	(6, 1, 10, 22, '2026-02-02 02:40:01+00', '2026-02-02 02:40:02.002+00', 6, 6, 0, 0.5, 1.5, 0, 0.5, true, NULL, '{10,11,12,20,21,22}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{0,0.25,0.5,0,0.25,0.5}', NULL, NULL, NULL),
	(7, 1, 10, 22, '2026-02-02 02:40:01.000007+00', '2026-02-02 02:40:02.002007+00', 6, 6, 1, 1.5, 7.5, 1, 1.5, true, NULL, '{10,11,12,20,21,22}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{1,1.25,1.5,1,1.25,1.5}', NULL, NULL, NULL),
	(8, 1, 10, 22, '2026-02-02 02:40:01.000007+00', '2026-02-02 02:40:02.002007+00', 6, 6, 1, 1.5, 7.5, 1, 1.5, true, NULL, '{10,11,12,20,21,22}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{1,1.25,1.5,1,1.25,1.5}', NULL, NULL, NULL),
	(9, 1, 10, 22, '2026-02-02 02:40:01.000007+00', '2026-02-02 02:40:02.002007+00', 6, 6, 1, 1.5, 7.5, 1, 1.5, true, NULL, '{10,11,12,20,21,22}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{1,1.25,1.5,1,1.25,1.5}', NULL, NULL, NULL),
	(10, 1, 10, 22, '2026-02-02 02:40:01.000014+00', '2026-02-02 02:40:02.002014+00', 6, 6, 2, 2.5, 13.5, 2, 2.5, true, NULL, '{10,11,12,20,21,22}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{2,2.25,2.5,2,2.25,2.5}', NULL, NULL, NULL),
	(11, 1, 10, 22, '2026-02-02 02:40:01.000014+00', '2026-02-02 02:40:02.002014+00', 6, 6, 2, 2.5, 13.5, 2, 2.5, true, NULL, '{10,11,12,20,21,22}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{2,2.25,2.5,2,2.25,2.5}', NULL, NULL, NULL),
	(12, 1, 10, 22, '2026-02-02 02:40:01.000014+00', '2026-02-02 02:40:02.002014+00', 6, 6, 2, 2.5, 13.5, 2, 2.5, true, NULL, '{10,11,12,20,21,22}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{2,2.25,2.5,2,2.25,2.5}', NULL, NULL, NULL),
	(13, 1, 10, 22, '2026-02-02 02:40:01+00', '2026-02-02 02:40:02.002+00', 6, 6, 0, 0.5, 1.5, 0, 0.5, true, NULL, '{10,11,12,20,21,22}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{0,0.25,0.5,0,0.25,0.5}', NULL, NULL, NULL),
	(14, 1, 10, 22, '2026-02-02 02:40:01+00', '2026-02-02 02:40:02.002+00', 6, 6, 0, 0.5, 1.5, 0, 0.5, true, NULL, '{10,11,12,20,21,22}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{0,0.25,0.5,0,0.25,0.5}', NULL, NULL, NULL),
	(15, 1, 10, 22, '2026-02-02 02:40:01+00', '2026-02-02 02:40:02.002+00', 6, 6, 0, 0.5, 1.5, 0, 0.5, true, NULL, '{10,11,12,20,21,22}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{0,0.25,0.5,0,0.25,0.5}', NULL, NULL, NULL),
	(16, 1, 0, 100, '2026-02-02 02:40:00+00', '2026-02-02 02:40:00+00', 3, 2, 0, 0.1, 0.1, 0.1, 0, true, NULL, '{0,0,100}', NULL, NULL, NULL, '{0.1,NaN,0}', 0, '{0,0,0}'),
	(1, 2, -9223372036854775808, 9223372036854775807, '0001-01-01 00:00:00+00', '9999-12-31 23:59:59.999999+00', 11, 8, -0, 0.5, 1.5, 'NaN', -0, false, NULL, '{-9223372036854775808,7,7,30,31,32,40,41,42,4611686018427387904,9223372036854775807}', NULL, '{"0001-01-01 00:00:00+00","2026-02-02 02:40:00.000001+00","2026-02-02 02:40:00.000001+00","2026-02-02 02:40:03+00","2026-02-02 02:40:03.001+00","2026-02-02 02:40:03.002+00","2026-02-02 02:40:04+00","2026-02-02 02:40:04.001+00","2026-02-02 02:40:04.002+00","2026-02-02 02:40:00+00","9999-12-31 23:59:59.999999+00"}', NULL, '{NaN,Infinity,-Infinity,0,0.25,0.5,0,0.25,0.5,5e-324,-0}', NULL, NULL),
	(2, 2, 30, 42, '2026-02-02 02:40:03+00', '2026-02-02 02:40:04.002+00', 6, 6, 0, 0.5, 1.5, 0, 0.5, true, NULL, '{30,31,32,40,41,42}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{0,0.25,0.5,0,0.25,0.5}', NULL, NULL, NULL),
	(3, 2, 30, 42, '2026-02-02 02:40:03+00', '2026-02-02 02:40:04.002+00', 6, 6, 0, 0.5, 1.5, 0, 0.5, true, NULL, '{30,31,32,40,41,42}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{0,0.25,0.5,0,0.25,0.5}', NULL, NULL, NULL),
	(4, 2, -9223372036854775808, 9223372036854775807, '0001-01-01 00:00:00+00', '9999-12-31 23:59:59.999999+00', 11, 8, -0, 0.5, 1.5, 'NaN', -0, false, NULL, '{-9223372036854775808,7,7,30,31,32,40,41,42,4611686018427387904,9223372036854775807}', NULL, '{"0001-01-01 00:00:00+00","2026-02-02 02:40:00.000001+00","2026-02-02 02:40:00.000001+00","2026-02-02 02:40:03+00","2026-02-02 02:40:03.001+00","2026-02-02 02:40:03.002+00","2026-02-02 02:40:04+00","2026-02-02 02:40:04.001+00","2026-02-02 02:40:04.002+00","2026-02-02 02:40:00+00","9999-12-31 23:59:59.999999+00"}', NULL, '{NaN,Infinity,-Infinity,0,0.25,0.5,0,0.25,0.5,5e-324,-0}', NULL, NULL),
	(5, 2, 30, 42, '2026-02-02 02:40:03+00', '2026-02-02 02:40:04.002+00', 6, 6, 0, 0.5, 1.5, 0, 0.5, true, NULL, '{30,31,32,40,41,42}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{0,0.25,0.5,0,0.25,0.5}', NULL, NULL, NULL),
	(6, 2, 30, 42, '2026-02-02 02:40:03+00', '2026-02-02 02:40:04.002+00', 6, 6, 0, 0.5, 1.5, 0, 0.5, true, NULL, '{30,31,32,40,41,42}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{0,0.25,0.5,0,0.25,0.5}', NULL, NULL, NULL),
	(7, 2, -9223372036854775808, 9223372036854775807, '0001-01-01 00:00:00+00', '9999-12-31 23:59:59.999999+00', 11, 8, -0, 1.5, 7.5, 'NaN', -0, false, NULL, '{-9223372036854775808,7,7,30,31,32,40,41,42,4611686018427387904,9223372036854775807}', NULL, '{"0001-01-01 00:00:00+00","2026-02-02 02:40:00.000001+00","2026-02-02 02:40:00.000001+00","2026-02-02 02:40:03.000007+00","2026-02-02 02:40:03.001007+00","2026-02-02 02:40:03.002007+00","2026-02-02 02:40:04.000007+00","2026-02-02 02:40:04.001007+00","2026-02-02 02:40:04.002007+00","2026-02-02 02:40:00+00","9999-12-31 23:59:59.999999+00"}', NULL, '{NaN,Infinity,-Infinity,1,1.25,1.5,1,1.25,1.5,5e-324,-0}', NULL, NULL),
	(8, 2, 30, 42, '2026-02-02 02:40:03.000007+00', '2026-02-02 02:40:04.002007+00', 6, 6, 1, 1.5, 7.5, 1, 1.5, true, NULL, '{30,31,32,40,41,42}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{1,1.25,1.5,1,1.25,1.5}', NULL, NULL, NULL),
	(9, 2, 30, 42, '2026-02-02 02:40:03.000007+00', '2026-02-02 02:40:04.002007+00', 6, 6, 1, 1.5, 7.5, 1, 1.5, true, NULL, '{30,31,32,40,41,42}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{1,1.25,1.5,1,1.25,1.5}', NULL, NULL, NULL),
	(10, 2, -9223372036854775808, 9223372036854775807, '0001-01-01 00:00:00+00', '9999-12-31 23:59:59.999999+00', 11, 8, -0, 2.5, 13.5, 'NaN', -0, false, NULL, '{-9223372036854775808,7,7,30,31,32,40,41,42,4611686018427387904,9223372036854775807}', NULL, '{"0001-01-01 00:00:00+00","2026-02-02 02:40:00.000001+00","2026-02-02 02:40:00.000001+00","2026-02-02 02:40:03.000014+00","2026-02-02 02:40:03.001014+00","2026-02-02 02:40:03.002014+00","2026-02-02 02:40:04.000014+00","2026-02-02 02:40:04.001014+00","2026-02-02 02:40:04.002014+00","2026-02-02 02:40:00+00","9999-12-31 23:59:59.999999+00"}', NULL, '{NaN,Infinity,-Infinity,2,2.25,2.5,2,2.25,2.5,5e-324,-0}', NULL, NULL),
	(11, 2, 30, 42, '2026-02-02 02:40:03.000014+00', '2026-02-02 02:40:04.002014+00', 6, 6, 2, 2.5, 13.5, 2, 2.5, true, NULL, '{30,31,32,40,41,42}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{2,2.25,2.5,2,2.25,2.5}', NULL, NULL, NULL),
	(12, 2, 30, 42, '2026-02-02 02:40:03.000014+00', '2026-02-02 02:40:04.002014+00', 6, 6, 2, 2.5, 13.5, 2, 2.5, true, NULL, '{30,31,32,40,41,42}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{2,2.25,2.5,2,2.25,2.5}', NULL, NULL, NULL),
	(13, 2, -9223372036854775808, 9223372036854775807, '0001-01-01 00:00:00+00', '9999-12-31 23:59:59.999999+00', 11, 8, -0, 0.5, 1.5, 'NaN', -0, false, NULL, '{-9223372036854775808,7,7,30,31,32,40,41,42,4611686018427387904,9223372036854775807}', NULL, '{"0001-01-01 00:00:00+00","2026-02-02 02:40:00.000001+00","2026-02-02 02:40:00.000001+00","2026-02-02 02:40:03+00","2026-02-02 02:40:03.001+00","2026-02-02 02:40:03.002+00","2026-02-02 02:40:04+00","2026-02-02 02:40:04.001+00","2026-02-02 02:40:04.002+00","2026-02-02 02:40:00+00","9999-12-31 23:59:59.999999+00"}', NULL, '{NaN,Infinity,-Infinity,0,0.25,0.5,0,0.25,0.5,5e-324,-0}', NULL, NULL),
	(14, 2, 30, 42, '2026-02-02 02:40:03+00', '2026-02-02 02:40:04.002+00', 6, 6, 0, 0.5, 1.5, 0, 0.5, true, NULL, '{30,31,32,40,41,42}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{0,0.25,0.5,0,0.25,0.5}', NULL, NULL, NULL),
	(15, 2, 30, 42, '2026-02-02 02:40:03+00', '2026-02-02 02:40:04.002+00', 6, 6, 0, 0.5, 1.5, 0, 0.5, true, NULL, '{30,31,32,40,41,42}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{0,0.25,0.5,0,0.25,0.5}', NULL, NULL, NULL),
	(16, 2, 0, 100, '2026-02-02 02:40:00+00', '2026-02-02 02:40:00.000003+00', 3, 2, 0.1, 1, 1.1, 0.1, 1, true, NULL, '{0,1,100}', NULL, NULL, NULL, '{0.1,NaN,1}', 1, '{0,-1,1}'),
	(1, 3, 50, 62, '2026-02-02 02:40:05+00', '2026-02-02 02:40:06.002+00', 6, 6, 0, 0.5, 1.5, 0, 0.5, true, NULL, '{50,51,52,60,61,62}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{0,0.25,0.5,0,0.25,0.5}', NULL, NULL, NULL),
	(2, 3, 50, 62, '2026-02-02 02:40:05+00', '2026-02-02 02:40:06.002+00', 6, 6, 0, 0.5, 1.5, 0, 0.5, true, NULL, '{50,51,52,60,61,62}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{0,0.25,0.5,0,0.25,0.5}', NULL, NULL, NULL),
	(3, 3, 50, 62, '2026-02-02 02:40:05+00', '2026-02-02 02:40:06.002+00', 6, 6, 0, 0.5, 1.5, 0, 0.5, true, NULL, '{50,51,52,60,61,62}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{0,0.25,0.5,0,0.25,0.5}', NULL, NULL, NULL),
	(4, 3, 50, 62, '2026-02-02 02:40:05+00', '2026-02-02 02:40:06.002+00', 6, 6, 0, 0.5, 1.5, 0, 0.5, true, NULL, '{50,51,52,60,61,62}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{0,0.25,0.5,0,0.25,0.5}', NULL, NULL, NULL),
	(5, 3, 50, 62, '2026-02-02 02:40:05+00', '2026-02-02 02:40:06.002+00', 6, 6, 0, 0.5, 1.5, 0, 0.5, true, NULL, '{50,51,52,60,61,62}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{0,0.25,0.5,0,0.25,0.5}', NULL, NULL, NULL),
	(6, 3, 50, 62, '2026-02-02 02:40:05+00', '2026-02-02 02:40:06.002+00', 6, 6, 0, 0.5, 1.5, 0, 0.5, true, NULL, '{50,51,52,60,61,62}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{0,0.25,0.5,0,0.25,0.5}', NULL, NULL, NULL),
	(7, 3, 50, 62, '2026-02-02 02:40:05.000007+00', '2026-02-02 02:40:06.002007+00', 6, 6, 1, 1.5, 7.5, 1, 1.5, true, NULL, '{50,51,52,60,61,62}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{1,1.25,1.5,1,1.25,1.5}', NULL, NULL, NULL),
	(8, 3, 50, 62, '2026-02-02 02:40:05.000007+00', '2026-02-02 02:40:06.002007+00', 6, 6, 1, 1.5, 7.5, 1, 1.5, true, NULL, '{50,51,52,60,61,62}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{1,1.25,1.5,1,1.25,1.5}', NULL, NULL, NULL),
	(9, 3, 50, 62, '2026-02-02 02:40:05.000007+00', '2026-02-02 02:40:06.002007+00', 6, 6, 1, 1.5, 7.5, 1, 1.5, true, NULL, '{50,51,52,60,61,62}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{1,1.25,1.5,1,1.25,1.5}', NULL, NULL, NULL),
	(10, 3, 50, 62, '2026-02-02 02:40:05.000014+00', '2026-02-02 02:40:06.002014+00', 6, 6, 2, 2.5, 13.5, 2, 2.5, true, NULL, '{50,51,52,60,61,62}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{2,2.25,2.5,2,2.25,2.5}', NULL, NULL, NULL),
	(11, 3, 50, 62, '2026-02-02 02:40:05.000014+00', '2026-02-02 02:40:06.002014+00', 6, 6, 2, 2.5, 13.5, 2, 2.5, true, NULL, '{50,51,52,60,61,62}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{2,2.25,2.5,2,2.25,2.5}', NULL, NULL, NULL),
	(12, 3, 50, 62, '2026-02-02 02:40:05.000014+00', '2026-02-02 02:40:06.002014+00', 6, 6, 2, 2.5, 13.5, 2, 2.5, true, NULL, '{50,51,52,60,61,62}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{2,2.25,2.5,2,2.25,2.5}', NULL, NULL, NULL),
	(13, 3, 50, 62, '2026-02-02 02:40:05+00', '2026-02-02 02:40:06.002+00', 6, 6, 0, 0.5, 1.5, 0, 0.5, true, NULL, '{50,51,52,60,61,62}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{0,0.25,0.5,0,0.25,0.5}', NULL, NULL, NULL),
	(14, 3, 50, 62, '2026-02-02 02:40:05+00', '2026-02-02 02:40:06.002+00', 6, 6, 0, 0.5, 1.5, 0, 0.5, true, NULL, '{50,51,52,60,61,62}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{0,0.25,0.5,0,0.25,0.5}', NULL, NULL, NULL),
	(15, 3, 50, 62, '2026-02-02 02:40:05+00', '2026-02-02 02:40:06.002+00', 6, 6, 0, 0.5, 1.5, 0, 0.5, true, NULL, '{50,51,52,60,61,62}', '{0,1000,2000,1000000,1001000,1002000}', NULL, '{0,0.25,0.5,0,0.25,0.5}', NULL, NULL, NULL),
	(16, 3, 0, 100, '2026-02-02 02:40:00+00', '2026-02-02 02:40:00.000006+00', 3, 2, 0.1, 2, 2.1, 0.1, 2, true, NULL, '{0,2,100}', NULL, NULL, NULL, '{0.1,NaN,2}', 3, '{0,-3,0}');

INSERT INTO public.producers VALUES
	('00000000-0000-0000-0000-0000000007d0', '00000000-0000-0000-0000-000000000002', 0, 0, 1, 10, '2026-11-28 13:21:47.170943+00', '2026-11-28 13:21:49.477931+00'),
	('00000000-0000-0000-0000-0000000007d2', '00000000-0000-0000-0000-000000000002', 2, 0, 1, 10, '2026-11-28 13:21:47.255868+00', '2026-11-28 13:21:49.477931+00'),
	('00000000-0000-0000-0000-0000000007d1', '00000000-0000-0000-0000-000000000002', 1, 0, 1, 10, '2026-11-28 13:21:47.205528+00', '2026-11-28 13:21:49.482087+00'),
	('00000000-0000-0000-0000-0000000003e8', '00000000-0000-0000-0000-000000000001', 0, 0, 2, 10, '2026-11-28 13:21:47.088758+00', '2026-11-28 13:21:49.477931+00'),
	('00000000-0000-0000-0000-000000000fa0', '00000000-0000-0000-0000-000000000004', 0, 0, 2, 10, '2026-11-28 13:21:47.276343+00', '2026-11-28 13:21:49.477931+00');

INSERT INTO public.runs VALUES
	('00000000-0000-0000-0000-000000000002', 0, 'run 2', 'running', 'active', '', '2026-11-28 13:21:47.062912+00', NULL, NULL, NULL, 0, 0, NULL, false, NULL, 0),
	('00000000-0000-0000-0000-000000000003', 0, 'run 3', 'running', 'active', '', '2026-11-28 13:21:47.066407+00', NULL, NULL, NULL, 0, 0, NULL, false, NULL, 0),
	('00000000-0000-0000-0000-000000000004', 0, 'run 4', 'running', 'deleted', '', '2026-11-28 13:21:47.074692+00', NULL, '2026-11-28 13:21:49.562712+00', NULL, 0, 0, NULL, false, NULL, 0),
	('00000000-0000-0000-0000-000000000001', 0, 'run 1', 'finished', 'active', '', '2026-11-28 13:21:47.039531+00', '2026-11-28 13:21:49.57388+00', NULL, NULL, 1, 0, NULL, false, NULL, 0);

INSERT INTO public.schema_migrations VALUES
	(1, 'initial', 'before', '2026-11-28 13:21:45.979975+00', '06fbe33276205a7a3210e06378b93884634a16cd60e78c610a8aaaf869ac1ae2'),
	(2, 'segments', 'before', '2026-11-28 13:21:46.310679+00', 'cc00e289c4f2bdbb2fd903a0a33b9dec762b20a846d3c4a7a917fd590fe95882'),
	(3, 'views', 'before', '2026-11-28 13:21:46.361964+00', '686c5ee91a79d30eb3a483771d86d6207ffc209528b14deb8a04321926570363'),
	(4, 'mlflow', 'before', '2026-11-28 13:21:46.410854+00', '3618566661e54b95f97a8e00801aac4d15f53b7ab7c35950547980f37ae15daa'),
	(5, 'compact_times', 'before', '2026-11-28 13:21:46.682783+00', '52a0cd6a738238076455e5be9388b10b658747b08eab3128aa89c9cf1f79d11a'),
	(6, 'hot_index', 'before', '2026-11-28 13:21:46.715552+00', '050223d0fc3aef065f512a165819119d032c4b21d0115572a69dd93a1d59f29f'),
	(7, 'small_groups', 'before', '2026-11-28 13:21:46.729648+00', 'c44cff1f250340769d848621f9563d33e6c5d6b286b2b02cff68e1b37cb223a4'),
	(8, 'launches', 'before', '2026-11-28 13:21:46.735375+00', '493d8c2a96cf341e8454a0a45874e71952569893611eb8455a3566652b2eca0c'),
	(9, 'purge', 'before', '2026-11-28 13:21:46.773839+00', '56e606b8cf59c41f63ee760480d96c15dfe6a32eefabc6c7c47d3f04eba61f6c'),
	(10, 'no_open_epoch', 'before', '2026-11-28 13:21:46.814663+00', '27ad3ff3b278ded869880cfc4f6429b9bce0fdb1121e3c175ece027ee47f65e6'),
	(11, 'series_per_run', 'before', '2026-11-28 13:21:46.82493+00', 'bebc1618f02e18841e223418099d3fafb8fe8dc6e69be86e342f014ef426e044'),
	(12, 'replica_identity', 'before', '2026-11-28 13:21:46.85527+00', '2d72e5f0e0ae36ea3ac1665a03e9065f87a79310ff786401671c9d7ca75081fe'),
	(13, 'producers_by_rank', 'before', '2026-11-28 13:21:46.872554+00', '4c4507787a64f8c7f929a1ce7fe6ac1db43cae80cc179f70e0e3c03848570d9e'),
	(14, 'quick_open', 'before', '2026-11-28 13:21:46.882363+00', '6fc20b11d87277a0a0fb6698f9c22efd618687196c0439002bb3b03d645e6eef'),
	(15, 'ledger_expiry', 'before', '2026-11-28 13:21:46.89763+00', '56cda91dd629cd58ed60ad324a55fabd46b8175c3df67e680506d1869f9b19bd'),
	(16, 'definitions', 'before', '2026-11-28 13:21:46.910562+00', '5a426a985cd2e68feb5b589c16d9f7d5df503473eab80d434b563fa16ae9f488');

INSERT INTO public.series OVERRIDING SYSTEM VALUE VALUES
	(1, '00000000-0000-0000-0000-000000000001', 'loss', 0, 0, '2026-11-28 13:21:47.117728+00', NULL),
	(3, '00000000-0000-0000-0000-000000000001', 'time of a step', 0, 0, '2026-11-28 13:21:47.155301+00', NULL),
	(4, '00000000-0000-0000-0000-000000000002', 'loss', 0, 0, '2026-11-28 13:21:47.17761+00', NULL),
	(5, '00000000-0000-0000-0000-000000000002', 'gone', 0, 0, '2026-11-28 13:21:47.191294+00', NULL),
	(6, '00000000-0000-0000-0000-000000000002', 'time of a step', 0, 0, '2026-11-28 13:21:47.191294+00', NULL),
	(7, '00000000-0000-0000-0000-000000000002', 'loss', 1, 0, '2026-11-28 13:21:47.23136+00', NULL),
	(8, '00000000-0000-0000-0000-000000000002', 'gone', 1, 0, '2026-11-28 13:21:47.247625+00', NULL),
	(9, '00000000-0000-0000-0000-000000000002', 'time of a step', 1, 0, '2026-11-28 13:21:47.247625+00', NULL),
	(10, '00000000-0000-0000-0000-000000000002', 'loss', 2, 0, '2026-11-28 13:21:47.26064+00', NULL),
	(11, '00000000-0000-0000-0000-000000000002', 'gone', 2, 0, '2026-11-28 13:21:47.269855+00', NULL),
	(12, '00000000-0000-0000-0000-000000000002', 'time of a step', 2, 0, '2026-11-28 13:21:47.269855+00', NULL),
	(14, '00000000-0000-0000-0000-000000000004', 'gone', 0, 0, '2026-11-28 13:21:47.296093+00', NULL),
	(15, '00000000-0000-0000-0000-000000000004', 'time of a step', 0, 0, '2026-11-28 13:21:47.296093+00', NULL),
	(16, '00000000-0000-0000-0000-000000000003', 'loss', -1, 0, '2026-11-28 13:21:48.315178+00', NULL),
	(2, '00000000-0000-0000-0000-000000000001', 'gone', 0, 0, '2026-11-28 13:21:47.155301+00', 5);

INSERT INTO public.series_counts VALUES
	('00000000-0000-0000-0000-000000000001', 0, 3),
	('00000000-0000-0000-0000-000000000002', 0, 3),
	('00000000-0000-0000-0000-000000000002', 1, 3),
	('00000000-0000-0000-0000-000000000002', 2, 3),
	('00000000-0000-0000-0000-000000000003', -1, 1),
	('00000000-0000-0000-0000-000000000004', 0, 2);

INSERT INTO public.service_time VALUES
	(true, 0, '2026-11-28 13:21:46.735375+00', '-infinity');

INSERT INTO public.shared_tasks VALUES
	('retention', '2026-11-28 13:21:46.773839+00'),
	('ledger', '2026-11-28 13:21:46.89763+00');

INSERT INTO public.watermark VALUES
	(true, 2, 1);

INSERT INTO public.workspaces VALUES
	(1, 'default'),
	(0, 'purged');

SELECT pg_catalog.setval('public.commit_numbers', 25, true);

SELECT pg_catalog.setval('public.datasets_dataset_id_seq', 1, false);

SELECT pg_catalog.setval('public.experiments_experiment_id_seq', 1, false);

SELECT pg_catalog.setval('public.registered_models_registered_model_id_seq', 1, false);

SELECT pg_catalog.setval('public.series_series_id_seq', 16, true);

SELECT pg_catalog.setval('public.workspaces_workspace_id_seq', 1, true);

ALTER TABLE ONLY public.commits
    ADD CONSTRAINT commits_pkey PRIMARY KEY (commit_no);

ALTER TABLE ONLY public.datasets
    ADD CONSTRAINT datasets_experiment_id_name_digest_key UNIQUE (experiment_id, name, digest);

ALTER TABLE ONLY public.datasets
    ADD CONSTRAINT datasets_pkey PRIMARY KEY (dataset_id);

ALTER TABLE ONLY public.epochs
    ADD CONSTRAINT epochs_pkey PRIMARY KEY (epoch);

ALTER TABLE ONLY public.experiment_tags
    ADD CONSTRAINT experiment_tags_pkey PRIMARY KEY (experiment_id, key);

ALTER TABLE ONLY public.experiments
    ADD CONSTRAINT experiments_pkey PRIMARY KEY (experiment_id);

ALTER TABLE ONLY public.experiments
    ADD CONSTRAINT experiments_workspace_id_name_key UNIQUE (workspace_id, name);

ALTER TABLE ONLY public.http_writes
    ADD CONSTRAINT http_writes_pkey PRIMARY KEY (write_id);

ALTER TABLE ONLY public.latest_values
    ADD CONSTRAINT latest_values_pkey PRIMARY KEY (series_id);

ALTER TABLE ONLY public.logged_model_metrics
    ADD CONSTRAINT logged_model_metrics_pkey PRIMARY KEY (model_id, key, "time", step, run_id, dataset_name, dataset_digest, value);

ALTER TABLE ONLY public.logged_model_params
    ADD CONSTRAINT logged_model_params_pkey PRIMARY KEY (model_id, key);

ALTER TABLE ONLY public.logged_model_tags
    ADD CONSTRAINT logged_model_tags_pkey PRIMARY KEY (model_id, key);

ALTER TABLE ONLY public.logged_models
    ADD CONSTRAINT logged_models_pkey PRIMARY KEY (model_id);

ALTER TABLE ONLY public.model_version_tags
    ADD CONSTRAINT model_version_tags_pkey PRIMARY KEY (registered_model_id, version, key);

ALTER TABLE ONLY public.model_versions
    ADD CONSTRAINT model_versions_pkey PRIMARY KEY (registered_model_id, version);

ALTER TABLE ONLY public.params
    ADD CONSTRAINT params_pkey PRIMARY KEY (run_id, key);

ALTER TABLE ONLY public.producers
    ADD CONSTRAINT producers_pkey PRIMARY KEY (producer_id);

ALTER TABLE ONLY public.purged_artifacts
    ADD CONSTRAINT purged_artifacts_pkey PRIMARY KEY (path);

ALTER TABLE ONLY public.registered_model_aliases
    ADD CONSTRAINT registered_model_aliases_pkey PRIMARY KEY (registered_model_id, alias);

ALTER TABLE ONLY public.registered_model_tags
    ADD CONSTRAINT registered_model_tags_pkey PRIMARY KEY (registered_model_id, key);

ALTER TABLE ONLY public.registered_models
    ADD CONSTRAINT registered_models_pkey PRIMARY KEY (registered_model_id);

ALTER TABLE ONLY public.registered_models
    ADD CONSTRAINT registered_models_workspace_id_name_key UNIQUE (workspace_id, name);

ALTER TABLE ONLY public.run_connections
    ADD CONSTRAINT run_connections_pkey PRIMARY KEY (run_id);

ALTER TABLE ONLY public.run_datasets
    ADD CONSTRAINT run_datasets_pkey PRIMARY KEY (run_id, dataset_id);

ALTER TABLE ONLY public.run_model_inputs
    ADD CONSTRAINT run_model_inputs_pkey PRIMARY KEY (run_id, model_id);

ALTER TABLE ONLY public.run_model_outputs
    ADD CONSTRAINT run_model_outputs_pkey PRIMARY KEY (run_id, model_id);

ALTER TABLE ONLY public.runs
    ADD CONSTRAINT runs_pkey PRIMARY KEY (run_id);

ALTER TABLE ONLY public.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (version);

ALTER TABLE ONLY public.series_counts
    ADD CONSTRAINT series_counts_pkey PRIMARY KEY (run_id, rank);

ALTER TABLE ONLY public.series
    ADD CONSTRAINT series_pkey PRIMARY KEY (series_id);

ALTER TABLE ONLY public.service_time
    ADD CONSTRAINT service_time_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY public.shared_tasks
    ADD CONSTRAINT shared_tasks_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.tags
    ADD CONSTRAINT tags_pkey PRIMARY KEY (run_id, key);

ALTER TABLE ONLY public.watermark
    ADD CONSTRAINT watermark_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY public.workspaces
    ADD CONSTRAINT workspaces_name_key UNIQUE (name);

ALTER TABLE ONLY public.workspaces
    ADD CONSTRAINT workspaces_pkey PRIMARY KEY (workspace_id);

CREATE INDEX commits_by_epoch ON public.commits USING btree (epoch);

CREATE UNIQUE INDEX epochs_one_open ON public.epochs USING btree (state) WHERE (state = 'open'::text);

CREATE INDEX http_writes_by_time ON public.http_writes USING brin (written_at);

CREATE INDEX logged_model_metrics_by_run ON public.logged_model_metrics USING btree (run_id);

CREATE INDEX logged_models_by_creation ON public.logged_models USING btree (experiment_id, created_at DESC);

CREATE INDEX logged_models_by_run ON public.logged_models USING btree (source_run_id);

CREATE INDEX logged_models_deleted ON public.logged_models USING btree (deleted_at) WHERE (deleted_at IS NOT NULL);

CREATE INDEX metric_points_hot_by_series ON ONLY public.metric_points_hot USING brin (series_id) WITH (pages_per_range='8');

CREATE INDEX metric_points_hot_2_series_id_idx ON public.metric_points_hot_2 USING brin (series_id) WITH (pages_per_range='8');

CREATE INDEX metric_points_hot_3_series_id_idx ON public.metric_points_hot_3 USING brin (series_id) WITH (pages_per_range='8');

CREATE INDEX metric_points_hot_4_series_id_idx ON public.metric_points_hot_4 USING brin (series_id) WITH (pages_per_range='8');

CREATE INDEX metric_points_hot_5_series_id_idx ON public.metric_points_hot_5 USING brin (series_id) WITH (pages_per_range='8');

CREATE INDEX metric_segments_by_series ON public.metric_segments USING btree (series_id, first_step);

CREATE INDEX metric_segments_small ON public.metric_segments USING btree (series_id) INCLUDE (epoch, point_count) WHERE (point_count < 800);

CREATE INDEX model_versions_by_run ON public.model_versions USING btree (run_id) WHERE (run_id <> ''::text);

CREATE INDEX producers_by_run ON public.producers USING btree (run_id, rank);

CREATE INDEX purged_artifacts_due ON public.purged_artifacts USING btree (not_before);

CREATE INDEX registered_model_aliases_by_version ON public.registered_model_aliases USING btree (registered_model_id, version);

CREATE INDEX run_datasets_by_dataset ON public.run_datasets USING btree (dataset_id);

CREATE UNIQUE INDEX runs_by_launch ON public.runs USING btree (first_run_id, launch_number) WHERE (first_run_id IS NOT NULL);

CREATE INDEX runs_by_start ON public.runs USING btree (experiment_id, started_at DESC, run_id);

CREATE INDEX runs_deleted ON public.runs USING btree (deleted_at) WHERE ((lifecycle = 'deleted'::text) AND (purge_epoch IS NULL));

CREATE INDEX runs_running ON public.runs USING btree (run_id) WHERE ((status = 'running'::text) AND (lifecycle = 'active'::text));

CREATE INDEX runs_to_purge ON public.runs USING btree (purge_epoch) WHERE (purge_epoch IS NOT NULL);

CREATE INDEX series_by_key ON public.series USING btree (key, run_id) INCLUDE (series_id, rank, attempt) WHERE (purge_epoch IS NULL);

CREATE INDEX series_by_run ON public.series USING btree (run_id);

CREATE UNIQUE INDEX series_live ON public.series USING btree (run_id, key, rank, attempt) WHERE (purge_epoch IS NULL);

CREATE INDEX series_to_purge ON public.series USING btree (purge_epoch) WHERE (purge_epoch IS NOT NULL);

ALTER INDEX public.metric_points_hot_by_series ATTACH PARTITION public.metric_points_hot_2_series_id_idx;

ALTER INDEX public.metric_points_hot_by_series ATTACH PARTITION public.metric_points_hot_3_series_id_idx;

ALTER INDEX public.metric_points_hot_by_series ATTACH PARTITION public.metric_points_hot_4_series_id_idx;

ALTER INDEX public.metric_points_hot_by_series ATTACH PARTITION public.metric_points_hot_5_series_id_idx;

CREATE TRIGGER count_deleted AFTER DELETE ON public.series REFERENCING OLD TABLE AS deleted_series FOR EACH STATEMENT EXECUTE FUNCTION public.count_deleted_series();

CREATE TRIGGER count_new AFTER INSERT ON public.series REFERENCING NEW TABLE AS new_series FOR EACH STATEMENT EXECUTE FUNCTION public.count_new_series();

ALTER TABLE ONLY public.datasets
    ADD CONSTRAINT datasets_experiment_id_fkey FOREIGN KEY (experiment_id) REFERENCES public.experiments(experiment_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.experiment_tags
    ADD CONSTRAINT experiment_tags_experiment_id_fkey FOREIGN KEY (experiment_id) REFERENCES public.experiments(experiment_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.experiments
    ADD CONSTRAINT experiments_workspace_id_fkey FOREIGN KEY (workspace_id) REFERENCES public.workspaces(workspace_id);

ALTER TABLE ONLY public.logged_model_metrics
    ADD CONSTRAINT logged_model_metrics_model_id_fkey FOREIGN KEY (model_id) REFERENCES public.logged_models(model_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.logged_model_metrics
    ADD CONSTRAINT logged_model_metrics_run_id_fkey FOREIGN KEY (run_id) REFERENCES public.runs(run_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.logged_model_params
    ADD CONSTRAINT logged_model_params_model_id_fkey FOREIGN KEY (model_id) REFERENCES public.logged_models(model_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.logged_model_tags
    ADD CONSTRAINT logged_model_tags_model_id_fkey FOREIGN KEY (model_id) REFERENCES public.logged_models(model_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.logged_models
    ADD CONSTRAINT logged_models_experiment_id_fkey FOREIGN KEY (experiment_id) REFERENCES public.experiments(experiment_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.model_version_tags
    ADD CONSTRAINT model_version_tags_registered_model_id_version_fkey FOREIGN KEY (registered_model_id, version) REFERENCES public.model_versions(registered_model_id, version) ON DELETE CASCADE;

ALTER TABLE ONLY public.model_versions
    ADD CONSTRAINT model_versions_registered_model_id_fkey FOREIGN KEY (registered_model_id) REFERENCES public.registered_models(registered_model_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.params
    ADD CONSTRAINT params_run_id_fkey FOREIGN KEY (run_id) REFERENCES public.runs(run_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.registered_model_aliases
    ADD CONSTRAINT registered_model_aliases_registered_model_id_version_fkey FOREIGN KEY (registered_model_id, version) REFERENCES public.model_versions(registered_model_id, version) ON DELETE CASCADE;

ALTER TABLE ONLY public.registered_model_tags
    ADD CONSTRAINT registered_model_tags_registered_model_id_fkey FOREIGN KEY (registered_model_id) REFERENCES public.registered_models(registered_model_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.registered_models
    ADD CONSTRAINT registered_models_workspace_id_fkey FOREIGN KEY (workspace_id) REFERENCES public.workspaces(workspace_id);

ALTER TABLE ONLY public.run_connections
    ADD CONSTRAINT run_connections_run_id_fkey FOREIGN KEY (run_id) REFERENCES public.runs(run_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.run_datasets
    ADD CONSTRAINT run_datasets_dataset_id_fkey FOREIGN KEY (dataset_id) REFERENCES public.datasets(dataset_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.run_datasets
    ADD CONSTRAINT run_datasets_run_id_fkey FOREIGN KEY (run_id) REFERENCES public.runs(run_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.run_model_inputs
    ADD CONSTRAINT run_model_inputs_run_id_fkey FOREIGN KEY (run_id) REFERENCES public.runs(run_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.run_model_outputs
    ADD CONSTRAINT run_model_outputs_run_id_fkey FOREIGN KEY (run_id) REFERENCES public.runs(run_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.runs
    ADD CONSTRAINT runs_experiment_id_fkey FOREIGN KEY (experiment_id) REFERENCES public.experiments(experiment_id);

ALTER TABLE ONLY public.series_counts
    ADD CONSTRAINT series_counts_run_id_fkey FOREIGN KEY (run_id) REFERENCES public.runs(run_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.series
    ADD CONSTRAINT series_run_id_fkey FOREIGN KEY (run_id) REFERENCES public.runs(run_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.tags
    ADD CONSTRAINT tags_run_id_fkey FOREIGN KEY (run_id) REFERENCES public.runs(run_id) ON DELETE CASCADE;

