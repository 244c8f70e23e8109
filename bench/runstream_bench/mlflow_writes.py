"""How fast points go in through MLflow's routes."""

from __future__ import annotations

import statistics
import uuid

import asyncpg

from runstream_bench.mlflow_load import API, Load, Outcome, run
from runstream_bench.mlflow_servers import Server
from runstream_bench.raw_http import Connection

Values = dict[str, float | bool]

_CROWD, _CROWD_POINTS, _CROWD_BATCH = 20, 1_000, 50


async def measure(server: Server, seconds: float) -> Values:
    """All loads, one after the other; `exact` says whether the table holds what was answered with 200."""
    values: Values = {}
    points = 0
    for metrics in (1_000, 50):
        warming, outcome = await _warm(server, metrics=metrics, callers=8, seconds=seconds)
        points += warming + outcome.points
        values[f"log_batch_{metrics}_points_per_s"] = outcome.points_per_s
    for callers in (1, 32):
        warming, outcome = await _warm(server, metrics=0, callers=callers, seconds=seconds)
        points += warming + outcome.points
        values[f"log_metric_{callers}_per_s"] = outcome.points_per_s
        values[f"log_metric_{callers}_median_ms"] = statistics.median(outcome.latencies_ms)
        values[f"log_metric_{callers}_p99_ms"] = _percentile(outcome.latencies_ms, 0.99)
    values["rss_mb"] = server.memory_mb()
    values["exact"] = await _stored(server) == points
    values["crowd_exact"] = await _crowd(server)
    return values


async def make_runs(server: Server, count: int) -> list[str]:
    """Creates `count` runs in a new experiment."""
    async with Connection.to(server.url) as connection:
        created = await connection.call(API + "experiments/create", {"name": f"bench {uuid.uuid4().hex}"})
        body = {"experiment_id": created["experiment_id"], "start_time": 1}
        return [(await connection.call(API + "runs/create", body))["run"]["info"]["run_id"] for _ in range(count)]


async def _warm(server: Server, *, metrics: int, callers: int, seconds: float) -> tuple[int, Outcome]:
    """Points of a short round, which says how many requests to make for the long one; and the long one."""
    requests = 4 if metrics else 20
    warming = Load(server.url, await make_runs(server, callers), metrics, requests, 5.0)
    short = await run(warming)
    needed = round(1.5 * seconds * short.points_per_s / callers / max(1, metrics)) + 4
    load = Load(server.url, await make_runs(server, callers), metrics, needed, seconds)
    return short.points, await run(load)


async def _crowd(server: Server) -> bool:
    """20 callers write one series of one run at once: no error, and each point is there once."""
    run_ids = await make_runs(server, 1) * _CROWD
    load = Load(server.url, run_ids, _CROWD_BATCH, _CROWD_POINTS // _CROWD_BATCH, 60.0, keys=1)
    before = await _stored(server)
    outcome = await run(load, failures=True)
    return (
        not outcome.errors
        and outcome.points == _CROWD * _CROWD_POINTS
        and await _stored(server) == before + outcome.points
    )


async def _stored(server: Server) -> int:
    connection = await asyncpg.connect(server.database_url)
    try:
        return int(await connection.fetchval(server.count_points))
    finally:
        await connection.close()


def _percentile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]
