"""`runstream bench --auth`: what it costs the service to ask who calls.

Both services run at the same time on one PostgreSQL, and have the same load in turns, so that both find the machine as
busy with other things.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import psutil
import uvloop

from runstream_bench import report
from runstream_bench.load import Metadata, push
from runstream_bench.paired import PairedFigures, print_pairs
from runstream_bench.progress import say
from runstream_bench.raw_http import Connection
from runstream_bench.server_process import RunstreamProcess
from runstream_bench.service import service, temporary_postgres
from runstream_bench.session import AGENTS, DIRECT, NO_ROLL_UP
from runstream_bench.usage import cpu_seconds
from runstream_service.auth.access import Access
from runstream_service.auth.operator import operator_in
from runstream_service.core.caller import Role
from runstream_service.database.pool import Database

OFF, ON = "off", "on"
KINDS = (OFF, ON)
LOADS = (DIRECT, AGENTS)
_CALLS = 500  # of runs/get, of each pair


@dataclass(frozen=True, slots=True)
class _Services:
    """A service of each kind, and a token for the one that authenticates."""

    of: dict[str, RunstreamProcess]
    database: Database
    token: str

    def metadata(self, kind: str) -> Metadata:
        """The metadata that calls over gRPC send."""
        return [("authorization", f"Bearer {self.token}")] if kind == ON else []


def run(*, seconds: float, pairs: int, as_json: bool) -> int:
    """Measures and prints. Returns the exit code: 1 if a point was refused."""
    values = uvloop.run(measure(seconds, pairs))
    if as_json:
        sys.stdout.write(report.as_json(values) + "\n")
    else:
        print_pairs("runstream bench --auth", KINDS, _ROWS, values)
    return 0 if values["rows_exact"] else 1


async def measure(seconds: float, pairs: int) -> dict[str, float | bool]:
    """The figures of all rounds."""
    figures, refused = PairedFigures(KINDS), 0
    async with _services() as services:
        for number in range(pairs + 1):
            measured = figures if number else PairedFigures(KINDS)  # the first round warms up
            say(f"pair {number} of {pairs}" if number else "warming up")
            # In every other pair, the second service comes first.
            for kind in KINDS if number % 2 else reversed(KINDS):
                refused += await _ingest(measured, kind, services, seconds if number else min(seconds, 1.0))
                await services.database.execute("TRUNCATE hot_batches, commits")
            await _runs_get(measured, services)
    return {**figures.values(), "rows_exact": refused == 0}


@contextlib.asynccontextmanager
async def _services() -> AsyncIterator[_Services]:
    async with contextlib.AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(temporary_postgres())
        of = {}
        for kind in KINDS:
            log = postgres.data_dir / f"service-{kind}.log"
            one = service(postgres.url, log, *NO_ROLL_UP, "--auth", kind)
            of[kind] = await stack.enter_async_context(one)
        database = await Database.open(postgres.url)
        stack.push_async_callback(database.close)
        access = Access.of(database, is_on=True)
        made = await access.tokens.create(await operator_in(access, "default"), "bench", Role.WRITE)
        yield _Services(of, database, made.text)


async def _ingest(figures: PairedFigures, kind: str, services: _Services, seconds: float) -> int:
    """Measures points a second over gRPC, and their CPU time; returns how many points were refused."""
    one, refused = services.of[kind], 0
    process = psutil.Process(one.pid)
    for load in LOADS:
        before = cpu_seconds(process)
        outcome = await push(one.grpc_address, load, seconds, metadata=services.metadata(kind))
        cpu_s = cpu_seconds(process) - before
        figures.add(f"points_per_s_{load.name}", kind, outcome.points_per_s)
        figures.add(f"service_cpu_s_per_million_points_{load.name}", kind, cpu_s / outcome.points_acknowledged * 1e6)
        refused += outcome.points_refused
    return refused


async def _runs_get(figures: PairedFigures, services: _Services) -> None:
    """Measures the median time of runs/get by one caller, which asks both services in turns."""
    async with contextlib.AsyncExitStack() as stack:
        connections = {
            kind: await stack.enter_async_context(Connection.to(services.of[kind].http_url, token=services.token))
            for kind in KINDS
        }
        created = await connections[ON].call("/api/2.0/mlflow/runs/create", {"experiment_id": "0"})
        path = f"/api/2.0/mlflow/runs/get?run_id={created['run']['info']['run_id']}"
        took_ms: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(_CALLS):
            for kind, connection in connections.items():
                request = connection.get(path)
                begun = time.perf_counter()
                await connection.ask(request)
                took_ms[kind].append((time.perf_counter() - begun) * 1_000)
                await asyncio.sleep(0)
    for kind in KINDS:
        figures.add("runs_get_ms", kind, statistics.median(took_ms[kind]))


_ROWS = (
    *((f"points/s, {load.name}", f"points_per_s_{load.name}", 0) for load in LOADS),
    *(
        (f"CPU of the service, s/million points, {load.name}", f"service_cpu_s_per_million_points_{load.name}", 2)
        for load in LOADS
    ),
    ("runs/get, ms", "runs_get_ms", 2),
)
