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
