"""A database to roll up, the points that should be in it, and ways to kill a replica in the middle of a step."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry

from runstream_service.database.pool import Connection, Database
from runstream_service.rollup import epochs, rollup
from runstream_service.rollup.merge import SegmentMerger
from runstream_service.rollup.metrics import RollupMetrics
from runstream_service.rollup.partitions import PartitionDropper
from tests.support.hot import copy_batches
from tests.support.points import Point, columns

# The statement of docs/storage.md, and the hot points in addition.
POINTS_OF_SEGMENTS = """
SELECT s.series_id, coalesce(p.step, s.first_step + (p.i - 1) * s.step_stride) AS step,
       coalesce(p.time, s.min_time + coalesce(p.time_offset, (p.i - 1) * s.time_stride + p.time_residual)
                                     * interval '1 microsecond') AS time,
       coalesce(p.real_value, p.double_value) AS value
  FROM metric_segments s,
       unnest(s.steps, s.time_residuals, s.time_offsets, s.times, s.values_real, s.values_double)
           WITH ORDINALITY AS p (step, time_residual, time_offset, time, real_value, double_value, i)
"""
ALL_POINTS = f"""
{POINTS_OF_SEGMENTS} WHERE s.epoch <= (SELECT visible_epoch FROM watermark)
UNION ALL
SELECT series_id, step, time, value FROM metric_points_hot
 WHERE epoch > (SELECT visible_epoch FROM watermark)
"""


class KilledError(Exception):
    """The replica was killed in the middle of a step."""


async def terminate(killer: Database, connection: Connection) -> bool:
    """Ends the backend of a connection; False if it had ended before. The types are written out because Citus has a
    function of the same name."""
    statement = "SELECT pg_terminate_backend($1::int, 10000::bigint)"
    return bool(await killer.fetchval(statement, connection.get_server_pid()))


class Fragile:
    """A connection that dies after `survives` statements: the last of them is executed and answered."""

    def __init__(self, connection: Connection, survives: int, killer: Database) -> None:
        self._connection = connection
        self._left = survives
        self._killer = killer

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._connection, name)
        if name not in ("execute", "fetch", "fetchrow", "fetchval", "copy_from_query", "copy_to_table"):
            return method

        async def count(*arguments: Any, **options: Any) -> Any:
            answer = await method(*arguments, **options)
            self._left -= 1
            if self._left == 0:
                assert await terminate(self._killer, self._connection)
                self._connection.terminate()
                raise KilledError
            return answer

        return count


Step = Callable[[Connection], Awaitable[Any]]


class RollupEnvironment:
    """One database to roll up. `expected` has the points that are stored in it; `connection` is that of one replica."""

    def __init__(self, database: Database, connection: Connection, run_id: UUID) -> None:
        self.database = database
        self.connection = connection
        self.run_id = run_id
        self.expected: list[Point] = []
        self.registry = CollectorRegistry()
        self.metrics = RollupMetrics(self.registry)
        self._readers: list[Connection] = []  # connections that are free

    def close(self) -> None:
        """Closes its connections."""
        for connection in (self.connection, *self._readers):
            connection.terminate()

    # Writing ----------------------------------------------------------------------------------------------------------

    async def new_series(self, count: int = 1, run_id: UUID | None = None) -> list[int]:
        rows = await self.database.fetch(
            "INSERT INTO series (run_id, key, rank, attempt) SELECT $1, gen_random_uuid()::text, 0, 0 "
            "FROM generate_series(1, $2) RETURNING series_id",
            run_id or self.run_id,
            count,
        )
        return sorted(row["series_id"] for row in rows)

    async def append(self, points: list[Point], writer: Connection | None = None) -> None:
        """Commit a group as writer.py does."""
        async with self.appending(points, writer):
            pass

    @contextlib.asynccontextmanager
    async def appending(self, points: list[Point], writer: Connection | None = None) -> AsyncIterator[None]:
        """Copy a group, and commit it at the end."""
        writer = writer or self.connection
        producer = uuid4()
        await self.database.execute(
            "INSERT INTO producers (producer_id, run_id, rank, attempt) VALUES ($1, $2, 0, 0)", producer, self.run_id
        )
        async with writer.transaction(isolation="read_committed"):
            ((epoch, commit_no, verdict, _),) = await writer.fetch(
                "SELECT * FROM begin_group_commit($1, $2, $3, $4, $5, $6, $7, '{}', '{}', '{}', '{}')",
                [producer], [1], [1], [1], [1], [1], [len(points)],
            )  # fmt: skip
            assert verdict == "advanced"
            await copy_batches(writer, columns(points), epoch, commit_no)
            yield
        self.expected += points

    # Reading ----------------------------------------------------------------------------------------------------------

    async def stored(self) -> Counter[tuple[int, int, int, str]]:
        """All points that a reader sees, in one snapshot."""
        free = [reader for reader in self._readers if not reader.is_closed()]
        reader = free.pop() if free else await self.database.connect_rollup()
        self._readers = free
        rows = await reader.fetch(ALL_POINTS)
        self._readers.append(reader)
        return counted(rows)

    async def check(self) -> None:
        """Check that every point is stored exactly once."""
        stored, expected = await self.stored(), counted(self.expected)
        assert stored == expected, f"missing {expected - stored}, too many {stored - expected}"

    async def hot_rows(self) -> int:
        count: int = await self.database.fetchval("SELECT count(*) FROM metric_points_hot")
        return count

    async def states(self) -> dict[int, str]:
        rows = await self.database.fetch("SELECT epoch, state FROM epochs ORDER BY epoch")
        return {row["epoch"]: row["state"] for row in rows}

    async def latest(self) -> dict[int, tuple[int, int, str]]:
        rows = await self.connection.fetch("SELECT series_id, step, time, value FROM latest_values")
        return {series: (step, time, repr(value)) for series, step, time, value in rows}

    async def best(self) -> dict[int, tuple[float, int, float, int]]:
        """The least and the greatest finite value of each series, each with its first step."""
        rows = await self.connection.fetch(
            "SELECT series_id, min_value, min_step, max_value, max_step FROM latest_values"
        )
        return {series: tuple(best) for series, *best in rows}

    def expected_best(self) -> dict[int, tuple[float, int, float, int]]:
        """The least and the greatest finite value of each series, from the points that were appended."""
        found = {}
        for series in {point[0] for point in self.expected}:
            finite = [(value, step) for one, step, _, value in self.expected if one == series and math.isfinite(value)]
            (low, low_step), (high, high_step) = (
                (min(finite), min(((-value, step) for value, step in finite)))
                if finite
                else ((math.inf, 0), (math.inf, 0))
            )
            found[series] = (low, low_step, -high, high_step)
        return found

    async def counts(self) -> list[int]:
        """Points of the segments, in the order of series and steps."""
        rows = await self.database.fetch("SELECT point_count FROM metric_segments ORDER BY series_id, first_step")
        return [row["point_count"] for row in rows]

    # Steps ------------------------------------------------------------------------------------------------------------

    def steps(self) -> dict[str, Step]:
        """The steps of roll-up, without their waiting times."""
        return {
            "rotate": lambda connection: epochs.rotate(connection, max_points=1, max_age_s=0),
            "seal": epochs.seal,
            "roll": lambda connection: rollup.roll(connection, self.metrics),
            "publish": epochs.publish,
            "drop": PartitionDropper(0).drop,
            "merge": SegmentMerger(self.metrics).merge,
        }

    async def cycle(self, connection: Any = None, *, until: str = "merge") -> None:
        """Run all steps, each until it has nothing left to do."""
        for name, step in self.steps().items():
            while True:
                did = await step(connection or self.connection)
                if not did or name in ("rotate", "seal"):
                    break
            if name == until:
                return

    @contextlib.asynccontextmanager
    async def replica(self) -> AsyncIterator[Connection]:
        """Another replica's connection."""
        connection = await self.database.connect_rollup()
        try:
            yield connection
        finally:
            connection.terminate()

    async def killed(self, do: Callable[[Any], Awaitable[Any]], survives: int) -> bool:
        """Do something on a connection that dies after `survives` statements; says whether it died."""
        async with self.replica() as connection:
            try:
                await do(Fragile(connection, survives, self.database))
            except KilledError:
                return True
        return False


def counted(rows: list[Any]) -> Counter[tuple[int, int, int, str]]:
    """Values as text, so that NaN are equal, and -0.0 and 0.0 are different."""
    return Counter((series, step, time, repr(value)) for series, step, time, value in rows)


def line(series: int, first: int, count: int, *, value: float = 0.5) -> list[Point]:
    """Consecutive points of a series."""
    return [(series, step, 1_000_000 * step, value) for step in range(first, first + count)]


async def new_run(database: Database) -> UUID:
    run_id = uuid4()
    await database.execute(
        "INSERT INTO runs (run_id, experiment_id, name, started_at) VALUES ($1, 0, 'test', now())", run_id
    )
    return run_id


@pytest.fixture
async def env(database: Database) -> AsyncIterator[RollupEnvironment]:
    connection = await database.connect_rollup()
    made = RollupEnvironment(database, connection, await new_run(database))
    yield made
    made.close()
