"""What is read in the benchmark of MLflow's routes: 10,000 runs to search, one with many metrics, long histories."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

import asyncpg

from runstream_bench.mlflow_load import API, Load, run
from runstream_bench.mlflow_servers import Server
from runstream_bench.mlflow_writes import make_runs
from runstream_bench.raw_http import Connection
from runstream_bench.storage_data import rolled_up
from runstream_service.database.pool import Database

RUNS, KEYS = 10_000, 20
MANY_KEYS = 50
HISTORY_POINTS = 25_000
SERIES, SERIES_POINTS = 20, 100_000
_CALLERS = 16
_KEY = "train/metric_0"

# The value of metric m<k> of run n, the same in Python and in SQL.
_MODULUS, _RUN_FACTOR, _KEY_FACTOR = 10_007, 7_919, 104_729


@dataclass(slots=True)
class Filled:
    """Where the filled data is."""

    experiment_id: str
    wide_run: str
    long_run: str
    series_runs: list[str] = field(default_factory=list)
    key: str = _KEY


async def through_http(server: Server, scale: float) -> Filled:
    """Fills a server through its own routes; returns when everything is rolled up."""
    filled = await _begin(server)
    await _log(server, [filled.long_run], HISTORY_POINTS)
    await _log(server, filled.series_runs, round(SERIES_POINTS * scale))
    numbers = iter(range(round(RUNS * scale)))
    await asyncio.gather(*(_make_searched(server, filled.experiment_id, numbers) for _ in range(_CALLERS)))
    database = await Database.open(server.database_url)
    try:
        await rolled_up(database)
        await database.execute("ANALYZE")
    finally:
        await database.close()
    return filled


async def into_tables_of_mlflow(server: Server, scale: float) -> Filled:
    """Fills the tables of stock MLflow by SQL: its routes would take a quarter of an hour."""
    filled = await _begin(server)
    database = await asyncpg.connect(server.database_url)
    try:
        await database.execute(_SERIES_OF_MLFLOW, [filled.long_run], _KEY, HISTORY_POINTS)
        await database.execute(_SERIES_OF_MLFLOW, filled.series_runs, _KEY, round(SERIES_POINTS * scale))
        await database.execute(_RUNS_OF_MLFLOW, int(filled.experiment_id), round(RUNS * scale))
        for statement in (_PARAMS_OF_MLFLOW, *(_METRICS_OF_MLFLOW.format(table) for table in _METRIC_TABLES)):
            await database.execute(statement, int(filled.experiment_id), KEYS)
        await database.execute("ANALYZE")
    finally:
        await database.close()
    return filled


async def _begin(server: Server) -> Filled:
    wide, long = await make_runs(server, 2)
    metrics = [{"key": f"metric_{key}", "value": key / 7, "timestamp": 1, "step": 1} for key in range(MANY_KEYS)]
    async with Connection.to(server.url) as connection:
        created = await connection.call(API + "experiments/create", {"name": f"searched {uuid.uuid4().hex}"})
        await connection.call(API + "runs/log-batch", {"run_id": wide, "metrics": metrics})
    return Filled(created["experiment_id"], wide_run=wide, long_run=long, series_runs=await make_runs(server, SERIES))


async def _log(server: Server, run_ids: list[str], points: int) -> None:
    batch = min(1_000, points)
    await run(Load(server.url, run_ids, batch, points // batch, 600.0, keys=1))


async def _make_searched(server: Server, experiment_id: str, numbers: Iterator[int]) -> None:
    async with Connection.to(server.url) as connection:
        for number in numbers:
            body = {"experiment_id": experiment_id, "run_name": f"run {number}", "start_time": number}
            run_id = (await connection.call(API + "runs/create", body))["run"]["info"]["run_id"]
            metrics = [
                {"key": f"m{key}", "value": _value(number, key), "timestamp": 1, "step": 0} for key in range(KEYS)
            ]
            params = [{"key": f"p{key}", "value": f"value {number % 97}"} for key in range(KEYS)]
            body = {"run_id": run_id, "metrics": metrics, "params": params}
            await connection.ask(connection.post(API + "runs/log-batch", json.dumps(body).encode()))


def _value(number: int, key: int) -> float:
    return (number * _RUN_FACTOR + key * _KEY_FACTOR) % _MODULUS / _MODULUS


_METRIC_TABLES = ("metrics", "latest_metrics")
_SERIES_OF_MLFLOW = """
INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan)
SELECT $2, random(), 1790000000000 + 20 * step, run_uuid, step, false
  FROM unnest($1::text[]) run_uuid, generate_series(0, $3::int - 1) step
"""
_RUNS_OF_MLFLOW = """
INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time,
                  source_version, lifecycle_stage, artifact_uri, experiment_id)
SELECT md5('searched ' || n), 'run ' || n, 'UNKNOWN', '', '', '', 'RUNNING', n,
       '', 'active', 'mlflow-artifacts:/' || $1::int || '/' || md5('searched ' || n) || '/artifacts', $1::int
  FROM generate_series(0, $2::int - 1) n
"""
_PARAMS_OF_MLFLOW = """
INSERT INTO params (key, value, run_uuid)
SELECT 'p' || k, 'value ' || start_time % 97, run_uuid
  FROM runs, generate_series(0, $2::int - 1) k WHERE experiment_id = $1
"""
_METRICS_OF_MLFLOW = f"""
INSERT INTO {{}} (key, value, timestamp, run_uuid, step, is_nan)
SELECT 'm' || k, (start_time * {_RUN_FACTOR} + k * {_KEY_FACTOR}) % {_MODULUS} / {_MODULUS}.0, 1, run_uuid, 0, false
  FROM runs, generate_series(0, $2::int - 1) k WHERE experiment_id = $1
"""  # noqa: S608 - our own numbers
