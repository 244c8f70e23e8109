-- when: before
-- Ledger rows of producers that have been silent for 90 days are deleted, once a day, by one replica.
INSERT INTO shared_tasks (name) VALUES ('ledger');
