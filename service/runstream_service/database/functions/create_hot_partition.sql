-- Creates the partition of hot_batches for an epoch. CREATE and ATTACH rather than PARTITION OF, which would lock the
-- parent exclusively. A partition only grows and is dropped as a whole, so autovacuum has nothing to do there. It has no
-- primary key, so it needs a replica identity for logical replication (a publication of all tables).
CREATE OR REPLACE FUNCTION create_hot_partition(new_epoch int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'CREATE TABLE hot_batches_%s (LIKE hot_batches INCLUDING STORAGE INCLUDING INDEXES) '
        'WITH (autovacuum_enabled = false)', new_epoch);
    EXECUTE format('ALTER TABLE hot_batches_%s REPLICA IDENTITY FULL', new_epoch);
    EXECUTE format('ALTER TABLE hot_batches ATTACH PARTITION hot_batches_%s FOR VALUES IN (%s)', new_epoch, new_epoch);
END $$;
