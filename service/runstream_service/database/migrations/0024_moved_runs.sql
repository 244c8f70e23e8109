-- when: before
-- Runs that were moved to another experiment, and their logged models: their files stay where they are, below the location
-- of the experiment that they were made in. Null: below that of the experiment that they are in. That experiment's row stays
-- as long as it is needed for this, even if it is purged otherwise.
ALTER TABLE runs ADD files_experiment_id bigint REFERENCES experiments;
ALTER TABLE logged_models ADD files_experiment_id bigint REFERENCES experiments;
CREATE INDEX runs_by_files ON runs (files_experiment_id) WHERE files_experiment_id IS NOT NULL;
CREATE INDEX logged_models_by_files ON logged_models (files_experiment_id) WHERE files_experiment_id IS NOT NULL;

-- Its lock on a run has to find the run that is being moved meanwhile.
-- install: open_producer 9ba3855984dd
-- install: logged_model_details 3f223ee2750e
