-- when: before
-- When thousands of ranks join a run at once, each asks whether its rank has stored points before: by the rank, too, or
-- each would look at the producers of all. The index keeps its name, as nothing that used it has to know.
DROP INDEX producers_by_run;
CREATE INDEX producers_by_run ON producers (run_id, rank);
