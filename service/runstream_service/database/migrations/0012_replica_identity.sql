-- when: before
-- Tables without a primary key get a replica identity: without one, PostgreSQL refuses to delete from a table that a
-- publication covers, such as one FOR ALL TABLES. It costs nothing unless wal_level is logical; then a deleted row is
-- written to the WAL once more.

ALTER TABLE metric_segments REPLICA IDENTITY FULL;

DO $$
DECLARE
    hot_partition regclass;
BEGIN
    FOR hot_partition IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'metric_points_hot'::regclass LOOP
        EXECUTE format('ALTER TABLE %s REPLICA IDENTITY FULL', hot_partition);
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION create_hot_partition(new_epoch int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE metric_points_hot_%s (LIKE metric_points_hot) WITH (autovacuum_enabled = false)', new_epoch);
    EXECUTE format('ALTER TABLE metric_points_hot_%s REPLICA IDENTITY FULL', new_epoch);
    EXECUTE format('ALTER TABLE metric_points_hot ATTACH PARTITION metric_points_hot_%s FOR VALUES IN (%s)', new_epoch, new_epoch);
END $$;
