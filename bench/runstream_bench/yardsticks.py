"""Sizes for comparison: a table with a row per point and a btree, and MLflow's own table, in the same PostgreSQL."""

from __future__ import annotations

from runstream_service.database.pool import Database

POINTS = 500_000

_BTREE = """
CREATE TABLE yardstick_btree (
    series_id bigint NOT NULL, step bigint NOT NULL, time timestamptz NOT NULL, value double precision NOT NULL
);
CREATE INDEX ON yardstick_btree (series_id, step);
INSERT INTO yardstick_btree SELECT n % 1000, n / 1000, to_timestamp(n), random() FROM generate_series(1, {points}) n
"""

# mlflow/store/tracking/dbmodels/models.py, SqlMetric, as of MLflow 3: the primary key is nearly the whole row.
_MLFLOW = """
CREATE TABLE yardstick_mlflow (
    key varchar(250) NOT NULL, value double precision NOT NULL, timestamp bigint NOT NULL,
    run_uuid varchar(32) NOT NULL, step bigint NOT NULL DEFAULT 0, is_nan boolean NOT NULL DEFAULT false,
    PRIMARY KEY (key, timestamp, step, run_uuid, value, is_nan)
);
CREATE INDEX ON yardstick_mlflow (run_uuid);
CREATE INDEX ON yardstick_mlflow (run_uuid, key, step);
INSERT INTO yardstick_mlflow (key, value, timestamp, run_uuid, step)
SELECT 'train/metric_' || n % 20, random(), 1790000000000 + n, md5((n % 50)::text), n / 1000
  FROM generate_series(1, {points}) n
"""


async def bytes_per_point(database: Database) -> dict[str, float]:
    """Bytes per point of both tables, including indexes. Takes some seconds."""
    sizes = {}
    for name, script in (("btree_rows", _BTREE), ("mlflow", _MLFLOW)):
        await database.execute(script.format(points=POINTS))
        table = f"yardstick_{'btree' if name == 'btree_rows' else name}"
        sizes[name] = await database.fetchval("SELECT pg_total_relation_size($1::text::regclass)", table) / POINTS
        await database.execute(f"DROP TABLE {table}")
    return sizes
