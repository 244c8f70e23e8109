"""How fast MLflow's routes answer reads, and how fast artifacts go up and down."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import time
from collections.abc import Iterator

from runstream_bench.mlflow_fill import Filled
from runstream_bench.mlflow_load import API
from runstream_bench.mlflow_servers import Server
from runstream_bench.mlflow_writes import Values
from runstream_bench.raw_http import Connection

_TIMES = 15
_BUCKETS = 320  # as many as the UI asks for
_ARTIFACT_MB = 256
_PART = os.urandom(1 << 20)


async def measure(server: Server, filled: Filled) -> Values:
    """Medians of warm answers, whole, in milliseconds."""
    search = {
        "experiment_ids": [filled.experiment_id],
        "filter": "metrics.m3 > 0.5",
        "order_by": ["metrics.m5 DESC"],
    }
    wanted = "&".join(f"run_ids={run_id}" for run_id in filled.series_runs)
    history = f"metrics/get-history?run_id={filled.long_run}&metric_key={filled.key}&max_results=25000"
    interval = f"metrics/get-history-bulk-interval?{wanted}&metric_key={filled.key}&max_results={_BUCKETS}"
    async with Connection.to(server.url) as connection:
        requests = {
            # The pages of the UI and of the client.
            "search_100_ms": connection.post(API + "runs/search", json.dumps({**search, "max_results": 100}).encode()),
            "search_1000_ms": connection.post(
                API + "runs/search", json.dumps({**search, "max_results": 1_000}).encode()
            ),
            "get_run_ms": connection.get(API + f"runs/get?run_id={filled.wide_run}"),
            "history_25k_ms": connection.get(API + history),
            "bulk_interval_ms": connection.get("/ajax-api/2.0/mlflow/" + interval),
        }
        return {name: await _median_ms(connection, request) for name, request in requests.items()}


async def artifacts(server: Server, scale: float) -> Values:
    """One long file up and down; megabytes a second, and by how many megabytes the server grew meanwhile."""
    parts = max(1, round(_ARTIFACT_MB * scale))
    length = parts << 20
    path = f"{API.replace('mlflow/', 'mlflow-artifacts/')}artifacts/0/bench/artifacts/long.bin"
    before = server.memory_mb()
    most = [before]
    watching = asyncio.create_task(_watch(server, most))
    async with Connection.to(server.url) as connection:
        begun = time.perf_counter()
        await connection.upload(path, _repeated(parts), length)
        uploaded = time.perf_counter()
        received = await connection.download(path)
        downloaded = time.perf_counter()
    watching.cancel()
    return {
        "upload_mb_per_s": length / 1e6 / (uploaded - begun),
        "download_mb_per_s": length / 1e6 / (downloaded - uploaded),
        "artifact_growth_mb": max(most) - before,
        "artifact_exact": received == length,
    }


async def _median_ms(connection: Connection, request: bytes) -> float:
    taken = []
    for number in range(_TIMES + 2):
        begun = time.perf_counter()
        await connection.ask(request)
        taken.append(1000 * (time.perf_counter() - begun))
        if number > 2 and sum(taken) > 10_000:
            break  # three answers are enough where each takes seconds
    return statistics.median(taken[2:])


async def _watch(server: Server, most: list[float]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            most.append(server.memory_mb())
            await asyncio.sleep(0.1)


def _repeated(parts: int) -> Iterator[bytes]:
    for _ in range(parts):
        yield _PART
