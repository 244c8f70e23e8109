-- when: before
-- What MLflow's clients keep beside points: tags of experiments, datasets, logged models, the model registry.

-- null: mlflow-artifacts:/<experiment id>, that is, below this service's own artifact store. Runs and models lie below it.
ALTER TABLE experiments ADD artifact_location text;
-- Which runs were deleted together with their experiment is not kept: restoring it brings all of them back, as in MLflow.

CREATE TABLE experiment_tags (
    experiment_id bigint NOT NULL REFERENCES experiments ON DELETE CASCADE,
    key text NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (experiment_id, key)
);

-- Raised with every deletion of series. An HTTP metric write says under which generation it looked its series up: what a
-- producer's session is for streams.
ALTER TABLE runs ADD series_generation int NOT NULL DEFAULT 0;

-- HTTP metric writes of the last hour, by a hash of (run, body): clients repeat a request whose answer they did not see.
CREATE TABLE http_writes (
    write_id uuid PRIMARY KEY,
    written_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX http_writes_by_time ON http_writes USING brin (written_at);

-- Group commits with metric writes ------------------------------------------------------------------------------------

-- Begins a group commit, as begin_group of 0001 does, of batches of producers and of HTTP metric writes (step 3 of the order
-- in docs/ingest.md). begin_group stays for replicas that run the code of before; an `after` migration of the next release
-- is to drop it.
--
-- For producers and batches see begin_group. write_ids[k] asks to store write_points[k] points of run write_runs[k], whose
-- series were looked up under generation write_generations[k]; no id comes twice.
-- Answers one row a producer, in the order asked, then one row a write: 'advanced', 'duplicate' (its id was here within the
-- hour), 'missing' or 'deleted' (its run), or 'stale' (series of its run were deleted since it looked them up).
CREATE FUNCTION begin_group_commit(
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
        PERFORM pg_advisory_xact_lock_shared(1920298867, open_epoch);
        -- The second look, in a new statement: between the first and the lock the epoch may have been sealed, and rows
        -- that land in a sealed epoch are read by nobody.
        PERFORM 1 FROM epochs e WHERE e.epoch = open_epoch AND e.state = 'open';
        EXIT WHEN FOUND;
    END LOOP;

    IF cardinality(write_ids) > 0 THEN
        -- Runs before producers, as whoever deletes runs or series locks them, and in order: so nobody waits in a circle.
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

-- A whole group commit in one statement, for groups so small that round trips cost more than their rows. Arguments and
-- answer as of begin_group_commit; and the points: the row in the answer that each belongs to (from 1), its batch's number
-- (1 for writes), series, step, time, value.
CREATE FUNCTION commit_small_group(
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
    -- Into the partition itself: the parent's lock is for whoever attaches and drops partitions.
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

-- Searches by metrics: the series of a key in many runs, from the index alone.
CREATE INDEX series_by_key ON series (key, run_id) INCLUDE (series_id, rank, attempt) WHERE purge_epoch IS NULL;

-- Datasets ------------------------------------------------------------------------------------------------------------

CREATE TABLE datasets (
    dataset_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    experiment_id bigint NOT NULL REFERENCES experiments ON DELETE CASCADE,
    name text NOT NULL,
    digest text NOT NULL,
    source_type text NOT NULL,
    source text NOT NULL,
    schema text,
    profile text,
    UNIQUE (experiment_id, name, digest)
);

CREATE TABLE run_datasets (
    run_id uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
    dataset_id bigint NOT NULL REFERENCES datasets ON DELETE CASCADE,
    tags jsonb NOT NULL DEFAULT '{}', -- key -> value, such as mlflow.data.context
    PRIMARY KEY (run_id, dataset_id)
);
CREATE INDEX run_datasets_by_dataset ON run_datasets (dataset_id);

-- Logged models -------------------------------------------------------------------------------------------------------

CREATE TABLE logged_models (
    model_id text PRIMARY KEY, -- m- and 32 hex digits
    experiment_id bigint NOT NULL REFERENCES experiments ON DELETE CASCADE,
    name text NOT NULL,
    model_type text NOT NULL DEFAULT '',
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'ready', 'failed')),
    status_message text NOT NULL DEFAULT '',
    source_run_id uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);
CREATE INDEX logged_models_by_creation ON logged_models (experiment_id, created_at DESC);
CREATE INDEX logged_models_by_run ON logged_models (source_run_id);

CREATE TABLE logged_model_params (
    model_id text NOT NULL REFERENCES logged_models ON DELETE CASCADE,
    key text NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (model_id, key)
);

CREATE TABLE logged_model_tags (
    model_id text NOT NULL REFERENCES logged_models ON DELETE CASCADE,
    key text NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (model_id, key)
);

-- Metrics that a run logged for a model, perhaps on a dataset. A handful a model; the run's series has them as points too.
CREATE TABLE logged_model_metrics (
    model_id text NOT NULL REFERENCES logged_models ON DELETE CASCADE,
    run_id uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
    key text NOT NULL,
    step bigint NOT NULL,
    time timestamptz NOT NULL,
    value double precision NOT NULL,
    dataset_name text NOT NULL DEFAULT '',
    dataset_digest text NOT NULL DEFAULT '',
    PRIMARY KEY (model_id, key, time, step, run_id, dataset_name, dataset_digest, value)
);

CREATE VIEW logged_model_details AS
SELECT m.*, e.workspace_id, e.artifact_location,
       ARRAY(SELECT t.key FROM logged_model_tags t WHERE t.model_id = m.model_id ORDER BY t.key COLLATE "C") AS tag_keys,
       ARRAY(SELECT t.value FROM logged_model_tags t WHERE t.model_id = m.model_id ORDER BY t.key COLLATE "C") AS tag_values,
       ARRAY(SELECT p.key FROM logged_model_params p WHERE p.model_id = m.model_id ORDER BY p.key COLLATE "C") AS param_keys,
       ARRAY(SELECT p.value FROM logged_model_params p WHERE p.model_id = m.model_id ORDER BY p.key COLLATE "C") AS param_values
  FROM logged_models m JOIN experiments e USING (experiment_id);

CREATE TABLE run_model_inputs (
    run_id uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
    model_id text NOT NULL,
    PRIMARY KEY (run_id, model_id)
);

CREATE TABLE run_model_outputs (
    run_id uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
    model_id text NOT NULL,
    step bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (run_id, model_id)
);

-- Model registry ------------------------------------------------------------------------------------------------------

CREATE TABLE registered_models (
    registered_model_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workspace_id int NOT NULL REFERENCES workspaces,
    name text NOT NULL,
    description text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    next_version int NOT NULL DEFAULT 1, -- the number of a deleted version is not given again
    UNIQUE (workspace_id, name)
);

CREATE TABLE registered_model_tags (
    registered_model_id bigint NOT NULL REFERENCES registered_models ON DELETE CASCADE,
    key text NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (registered_model_id, key)
);

CREATE TABLE model_versions (
    registered_model_id bigint NOT NULL REFERENCES registered_models ON DELETE CASCADE,
    version int NOT NULL,
    description text,                 -- null: an update said nothing; MLflow's clients can tell that from an empty one
    stage text NOT NULL DEFAULT 'None' CHECK (stage IN ('None', 'Staging', 'Production', 'Archived')),
    source text NOT NULL,             -- as the caller said it
    storage_location text NOT NULL,   -- where its files are
    run_id text NOT NULL DEFAULT '',  -- may be a run of another server
    run_link text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (registered_model_id, version)
);
CREATE INDEX model_versions_by_run ON model_versions (run_id) WHERE run_id <> '';

CREATE TABLE model_version_tags (
    registered_model_id bigint NOT NULL,
    version int NOT NULL,
    key text NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (registered_model_id, version, key),
    FOREIGN KEY (registered_model_id, version) REFERENCES model_versions ON DELETE CASCADE
);

CREATE TABLE registered_model_aliases (
    registered_model_id bigint NOT NULL,
    alias text NOT NULL,
    version int NOT NULL,
    PRIMARY KEY (registered_model_id, alias),
    FOREIGN KEY (registered_model_id, version) REFERENCES model_versions ON DELETE CASCADE
);
CREATE INDEX registered_model_aliases_by_version ON registered_model_aliases (registered_model_id, version);

-- The two with all that an answer says of them, and to search in.
CREATE VIEW registered_model_details AS
SELECT m.*,
       ARRAY(SELECT t.key FROM registered_model_tags t WHERE t.registered_model_id = m.registered_model_id ORDER BY t.key)
           AS tag_keys,
       ARRAY(SELECT t.value FROM registered_model_tags t WHERE t.registered_model_id = m.registered_model_id ORDER BY t.key)
           AS tag_values,
       ARRAY(SELECT a.alias FROM registered_model_aliases a
              WHERE a.registered_model_id = m.registered_model_id ORDER BY a.alias) AS aliases,
       ARRAY(SELECT a.version FROM registered_model_aliases a
              WHERE a.registered_model_id = m.registered_model_id ORDER BY a.alias) AS alias_versions
  FROM registered_models m;

CREATE VIEW model_version_details AS
SELECT m.workspace_id, m.name, v.*,
       ARRAY(SELECT t.key FROM model_version_tags t
              WHERE t.registered_model_id = v.registered_model_id AND t.version = v.version ORDER BY t.key) AS tag_keys,
       ARRAY(SELECT t.value FROM model_version_tags t
              WHERE t.registered_model_id = v.registered_model_id AND t.version = v.version ORDER BY t.key) AS tag_values,
       ARRAY(SELECT a.alias FROM registered_model_aliases a
              WHERE a.registered_model_id = v.registered_model_id AND a.version = v.version ORDER BY a.alias) AS aliases
  FROM registered_models m JOIN model_versions v USING (registered_model_id);
