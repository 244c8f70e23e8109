"""What roll-up costs: an epoch of two million points, rolled up by this process alone, in CPU seconds of it and of its
PostgreSQL backend together."""

from __future__ import annotations

import time
import uuid

import numpy as np
import psutil
from prometheus_client import CollectorRegistry

from runstream_service.bench.usage import cpu_seconds
from runstream_service.ingest import copy_binary
from runstream_service.rollup.metrics import RollupMetrics
from runstream_service.rollup.rollup import roll
from runstream_service.storage.database import Connection, Database
from runstream_service.storage.migrate import migrate

_SERIES, _STEPS, _STEPS_A_GROUP = 4_000, 500, 20

_MAKE_SERIES = """
INSERT INTO runs (run_id, experiment_id, name, started_at) VALUES ($1, 0, 'bench', now())
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
    """Fills an epoch as ingest does: in groups, each sorted by series."""
    run_id = uuid.uuid4()
    await connection.execute(_MAKE_SERIES, run_id)
    await connection.execute(
        "INSERT INTO series (run_id, key, rank, attempt) SELECT $1, 'metric/' || n, 0, 0 FROM generate_series(1, $2) n",
        run_id,
        _SERIES,
    )
    first_id = await connection.fetchval("SELECT min(series_id) FROM series")
    for group in range(_STEPS // _STEPS_A_GROUP):
        series = np.repeat(np.arange(_SERIES), _STEPS_A_GROUP) + first_id
        step = np.tile(np.arange(_STEPS_A_GROUP) + group * _STEPS_A_GROUP, _SERIES)
        times = 1_790_000_000_000_000 + step * 100_000 + (step * 7_919 + series) % 2_003
        values = np.sin(step * 0.001).astype(np.float32).astype(np.float64)
        encoded = copy_binary.encode(1, group + 1, series, step, times, values)
        await connection.copy_to_table(
            "metric_points_hot_1", source=copy_binary.chunks(encoded), columns=copy_binary.COLUMNS, format="binary"
        )
    await connection.execute("UPDATE epochs SET state = 'sealed', sealed_at = now() WHERE epoch = 1")
    await connection.execute("INSERT INTO epochs (epoch, state) VALUES (2, 'open')")
    await connection.execute("SELECT create_hot_partition(2)")
