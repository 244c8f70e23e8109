"""Rules that every table has to follow."""

from __future__ import annotations

from runstream_service.database.pool import Database

# The columns of each foreign key, for which no index begins with them in any order. An index of the rows that have a
# value is enough: no other row refers to anything.
WITHOUT_INDEX = """
SELECT c.conrelid::regclass::text AS "table", c.conname AS constraint
  FROM pg_constraint c
 WHERE c.contype = 'f'
   AND NOT EXISTS (
       SELECT FROM pg_index i
        WHERE i.indrelid = c.conrelid AND i.indisvalid
          AND (i.indpred IS NULL
               OR pg_get_expr(i.indpred, i.indrelid) = (SELECT format('(%I IS NOT NULL)', a.attname) FROM pg_attribute a
                                                         WHERE a.attrelid = c.conrelid AND a.attnum = c.conkey[1]))
          AND (SELECT array_agg(k ORDER BY k) FROM unnest((i.indkey::int2[])[0:cardinality(c.conkey) - 1]) k)
              = (SELECT array_agg(k ORDER BY k) FROM unnest(c.conkey) k))
"""


async def test_every_foreign_key_has_an_index_for_its_cascade(database: Database) -> None:
    """Otherwise each deletion of a row of the other table scans this one."""
    assert await database.fetchval("SELECT count(*) FROM pg_constraint WHERE contype = 'f'") > 10
    assert [tuple(row) for row in await database.fetch(WITHOUT_INDEX)] == []
    async with database.transaction() as connection:  # as PostgreSQL looks for rows that refer to a deleted one
        await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan")
        await connection.execute(
            "PREPARE referring AS SELECT 1 FROM ONLY runs x WHERE $1::bigint = files_experiment_id FOR KEY SHARE OF x"
        )
        plan = await connection.fetch("EXPLAIN EXECUTE referring (1)")
    assert any("runs_by_files" in row[0] for row in plan)
    await database.execute("DROP INDEX logged_model_metrics_by_run")
    assert [row["table"] for row in await database.fetch(WITHOUT_INDEX)] == ["logged_model_metrics"]
