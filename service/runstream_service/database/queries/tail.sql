-- name: new_commits
-- The snapshot of this transaction; the highest dropped epoch D; the lowest epoch that may still be written to; and the
-- commits of epoch $1 and later that this snapshot sees and the snapshot $2 does not, in the order in which they began.
SELECT pg_current_snapshot()::text AS snapshot, w.dropped_epoch, unsealed.epoch, new.*
  FROM watermark w
 CROSS JOIN LATERAL (
       SELECT min(e.epoch) AS epoch FROM epochs e WHERE e.epoch > w.visible_epoch AND e.state IN ('open', 'closing')
       ) unsealed
 CROSS JOIN LATERAL (
       SELECT array_agg(c.commit_no ORDER BY c.xid) AS commit_nos, array_agg(c.xid::text::bigint ORDER BY c.xid) AS xids,
              array_agg(c.epoch ORDER BY c.xid) AS commit_epochs, array_agg(c.point_count ORDER BY c.xid) AS point_counts
         FROM commits c
        WHERE c.epoch >= $1 AND NOT pg_visible_in_snapshot(c.xid, $2::text::pg_snapshot) AND c.point_count > 0
       ) new;

-- name: series
-- The series of a run, perhaps only of some keys ($3) or a rank ($4); no row if there is no such run.
SELECT ARRAY(
           SELECT s.series_id
             FROM series s
            WHERE s.run_id = r.run_id AND s.purge_epoch IS NULL
              AND ($3::text[] IS NULL OR s.key = ANY ($3))
              AND ($4::int IS NULL OR s.rank = $4)
       ) AS series_ids
  FROM runs r JOIN experiments e USING (experiment_id)
 WHERE e.workspace_id = $1 AND r.run_id = $2 AND r.purge_epoch IS NULL;

-- name: names
-- The runs, keys, ranks and attempts of the series $1.
SELECT series_id, run_id, key, rank, attempt FROM series WHERE series_id = ANY ($1::bigint[]);

-- name: lineage
-- The lineage of the database: the ids of its cluster, its timeline and the database itself. Fails on a standby.
SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()),
                 left(pg_walfile_name(pg_current_wal_lsn()), 8),
                 (SELECT oid FROM pg_database WHERE datname = current_database()));
