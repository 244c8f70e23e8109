"""What roll-up costs: an epoch of two million points, rolled up by this process alone, in CPU seconds of it and of its
PostgreSQL backend together."""

from __future__ import annotations

import time
import uuid

import numpy as np
import psutil
from prometheus_client import CollectorRegistry

from runstream_bench.usage import cpu_seconds
from runstream_service.database.migrate import migrate
from runstream_service.database.pool import Connection, Database
from runstream_service.rollup.metrics import RollupMetrics
from runstream_service.rollup.rollup import roll
from runstream_service.stores.hot_batches import BatchPoints, EncodedBatches
from runstream_service.stores.hot_store import HotStore

# 80 producers, each of which logs 50 keys a step and sends five steps a batch.
_PRODUCERS, _KEYS, _STEPS, _STEPS_A_BATCH = 80, 50, 500, 5
_BATCHES_A_GROUP = 4

_MAKE_RUN = "INSERT INTO runs (run_id, experiment_id, name, started_at) VALUES ($1, 0, 'bench', now())"
_MAKE_SERIES = """
INSERT INTO series (run_id, key, rank, attempt)
SELECT $1, 'metric/' || key, rank, 0
  FROM generate_series(0, $2::int - 1) AS rank, generate_series(1, $3::int) AS key ORDER BY rank, key
"""


async def points_per_s_core(server_url: str, database: Database) -> float:
    """Makes a database of its own next to the one it is given."""
    name = f"rollup_{uuid.uuid4().hex[:8]}"
    await database.execute(f"CREATE DATABASE {name}")
    own = await Database.open(server_url.replace("/runstream?", f"/{name}?"))
    try:
        await migrate(own)
        connection = await own.connect_rollup()
        try:
            await _fill(connection)
            return await _roll(connection)
        finally:
            await connection.close()
    finally:
        await own.close()
        await database.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def _roll(connection: Connection) -> float:
    backend = psutil.Process(connection.get_server_pid())
    before = time.process_time() + cpu_seconds(backend)
    rolled = await roll(connection, RollupMetrics(CollectorRegistry()))
    assert rolled is not None
    return rolled.points / (time.process_time() + cpu_seconds(backend) - before)


async def _fill(connection: Connection) -> None:
    """Fills an epoch as ingest does: in groups of a few batches of each producer."""
    run_id = uuid.uuid4()
    await connection.execute(_MAKE_RUN, run_id)
    await connection.execute(_MAKE_SERIES, run_id, _PRODUCERS, _KEYS)
    first_id = await connection.fetchval("SELECT min(series_id) FROM series")
    store = HotStore(connection)
    steps_a_group = _STEPS_A_BATCH * _BATCHES_A_GROUP
    for group in range(_STEPS // steps_a_group):
        batches = [
            _batch(run_id, rank, first_id + rank * _KEYS, group * steps_a_group + number * _STEPS_A_BATCH)
            for number in range(_BATCHES_A_GROUP)
            for rank in range(_PRODUCERS)
        ]
        await store.copy(1, EncodedBatches(batches).copy(1, group + 1, [True] * len(batches)))
        await connection.execute(
            "INSERT INTO commits (commit_no, epoch, point_count) VALUES ($1, 1, $2)",
            group + 1,
            sum(len(batch.value) for batch in batches),
        )
    await connection.execute("UPDATE epochs SET state = 'sealed', sealed_at = now() WHERE epoch = 1")
    await connection.execute("INSERT INTO epochs (epoch, state) VALUES (2, 'open')")
    await store.create_partition(2)


def _batch(run_id: uuid.UUID, rank: int, first_series: int, first_step: int) -> BatchPoints:
    series = np.tile(np.arange(_KEYS), _STEPS_A_BATCH) + first_series
    step = np.repeat(np.arange(_STEPS_A_BATCH), _KEYS) + first_step
    times = 1_790_000_000_000_000 + step * 100_000 + (step * 7_919 + rank) % 2_003
    values = np.sin(step * 0.001).astype(np.float32).astype(np.float64)
    return BatchPoints(run_id, rank, series, step, times, values)
