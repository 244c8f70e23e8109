"""Starts a PostgreSQL and a service in a process of its own, and runs the rounds one after the other."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from runstream_bench.load import Load, Outcome, push
from runstream_bench.metrics_cost import metrics_cost
from runstream_bench.raw_copy import raw_copy
from runstream_bench.service import service, temporary_postgres
from runstream_bench.usage import Meter, Usage
from runstream_service.database.pool import Database

DIRECT = Load(streams=200, batch_points=250)
# The same 200 producers, eight a node, whose points an agent of the node brings to the service.
AGENTS = Load(streams=25, producers=8, batch_points=250, connections=25)
SATURATING = (DIRECT, AGENTS, Load(streams=20, batch_points=1_000))
LIGHT = Load(streams=20, batch_points=100, pause_s=1.0)

NO_ROLL_UP = ("--epoch-points", "100000000", "--epoch-seconds", "86400", "--hot-points-max", "10000000000")

_SAMPLE_EVERY_S = 0.1

# The steps of one series are 0, 1, ... n - 1, so these sums tell a lost point from a doubled one.
# OFFSET 0: points are unpacked before they are joined. Otherwise each carries its batch along, and to sort fifteen
# million of them takes 66 GB of temporary files.
STORED = """
    SELECT s.rank, count(*) AS points, sum(h.step) AS steps, sum(h.step::numeric * h.step) AS squares
      FROM (SELECT series_id, step FROM metric_points_hot WHERE run_id = $1::uuid OFFSET 0) h
      JOIN series s USING (series_id)
     GROUP BY s.rank, s.key
"""


@dataclass(slots=True)
class Memory:
    """Resident memory of the service, sampled while it works; megabytes."""

    samples_mb: list[float] = field(default_factory=list)

    async def watch(self, process: psutil.Process) -> None:
        """Samples until cancelled."""
        while True:
            self.samples_mb.append(process.memory_info().rss / 1e6)
            await asyncio.sleep(_SAMPLE_EVERY_S)


@dataclass(slots=True)
class Pair:
    """Raw COPY and the service, one after the other; points per second."""

    raw_copy: float
    ingest: float
    usage: Usage  # of the service
    points: int
    commits: int


class Session:
    """One service on one PostgreSQL."""

    def __init__(self, parts: Started) -> None:
        self._parts = parts
        self._database = parts.database
        self._address = parts.address
        self.memory = parts.memory
        self.rows_exact = True

    async def pair(self, load: Load, seconds: float) -> Pair:
        """One round of COPY alone and one of the service."""
        yardstick = await self._database.connect_writer()
        try:
            raw = await raw_copy(yardstick, load, seconds)
        finally:
            await yardstick.close()
        before = await self._parts.meter.read()
        outcome = await push(self._address, load, seconds)
        usage = (await self._parts.meter.read()).since(before)
        commits = await self._database.fetchval("SELECT count(*) FROM commits")
        await self._check_and_clear(load, outcome)
        return Pair(raw, outcome.points_per_s, usage, outcome.points_acknowledged, commits)

    async def ack_latencies_s(self, seconds: float) -> list[float]:
        """The times from sending a batch to reading its ack, under the light load."""
        outcome = await push(self._address, LIGHT, seconds)
        await self._check_and_clear(LIGHT, outcome)
        return outcome.ack_latencies_s

    async def metrics_cost(self, seconds: float) -> dict[str, float]:
        """What counting costs the service; metrics_cost.py measures it."""
        cost = await metrics_cost(self._parts.database_url, self._parts.directory, seconds)
        await self._clear()
        return cost

    async def log_cost(self) -> dict[str, float]:
        """What log() costs its caller; log_cost.py measures it."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "runstream_bench.log_cost", self._address, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"log_cost ended with {process.returncode}")
        costs: dict[str, float] = json.loads(output)
        self.rows_exact &= costs.pop("log_points_lost") == 0
        await self._clear()
        return costs

    async def _check_and_clear(self, load: Load, outcome: Outcome) -> None:
        self.rows_exact &= outcome.points_refused == 0 and await self._is_exact(load, outcome)
        await self._clear()

    async def _is_exact(self, load: Load, outcome: Outcome) -> bool:
        """Whether the table holds each acknowledged point once, and no other."""
        rows = await self._database.fetch(STORED, outcome.run_id)
        stored = sorted((row["rank"], row["points"], int(row["steps"]), int(row["squares"])) for row in rows)
        expected = []
        for rank, batches in enumerate(outcome.batches_acknowledged):
            n = batches * load.batch_points // load.keys
            series = (rank, n, n * (n - 1) // 2, (n - 1) * n * (2 * n - 1) // 6)
            expected += [series] * (load.keys if n else 0)
        return stored == expected

    async def _clear(self) -> None:
        """Frees the disk: a round stores some gigabytes."""
        await self._database.execute("TRUNCATE hot_batches, commits")


@dataclass(frozen=True, slots=True)
class Started:
    """A fresh PostgreSQL and a fresh service on it."""

    directory: Path
    database: Database
    database_url: str
    address: str
    http: str
    memory: Memory
    meter: Meter


@contextlib.asynccontextmanager
async def session(say: Callable[[str], None]) -> AsyncIterator[Session]:
    """A session in which nothing is rolled up: what it costs to take points is measured, and what becomes of them
    later is `--storage`'s."""
    async with started(say, *NO_ROLL_UP) as parts:
        yield Session(parts)


@contextlib.asynccontextmanager
async def started(say: Callable[[str], None], *options: str) -> AsyncIterator[Started]:
    """Starts both, with further options of `runstream serve`; they are gone afterwards."""
    say("starting PostgreSQL and the service")
    async with (
        temporary_postgres() as postgres,
        service(postgres.url, postgres.data_dir / "service.log", *options) as one,
    ):
        assert postgres.pid is not None
        database = await Database.open(postgres.url)
        process, memory = psutil.Process(one.pid), Memory()
        meter = Meter(process, psutil.Process(postgres.pid), database)
        watcher = asyncio.create_task(memory.watch(process))
        try:
            yield Started(postgres.data_dir, database, postgres.url, one.grpc_address, one.http_url, memory, meter)
        finally:
            watcher.cancel()
            await database.close()
