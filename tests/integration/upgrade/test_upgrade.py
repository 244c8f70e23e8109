"""A database of an older release, with points in every state of an epoch, has each of them once after the upgrade."""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from runstream.v1 import query_pb2
from runstream_service.database.migrate import migrate, packaged_migrations
from runstream_service.database.pool import Connection, Database
from runstream_service.rollup import epochs, rollup
from runstream_service.rollup.metrics import RollupMetrics
from runstream_service.rollup.partitions import PartitionDropper
from tests.integration.ingest.conftest import acknowledged, running_replica
from tests.integration.upgrade.make_dump import DELETED, FINISHED, OVER_HTTP, RUNNING
from tests.support.rpc import serve_on

VERSION_16 = Path(__file__).with_name("version_16.sql")
STATES = {1: "dropped", 2: "visible", 3: "rolled", 4: "sealed", 5: "open"}
# Of three runs and the one over HTTP; one is deleted, and one is gone.
SERIES = 3 + 3 * 3 + 3 + 1 - 2

# As numbers and bits: a driver's times do not reach as far, and NaN is not equal to itself.
POINTS = """
SELECT run_id, key, rank, attempt, step, (extract(epoch FROM time) * 1000000)::bigint AS time, float8send(value) AS bits
  FROM metric_points
"""
HOT_POINTS = "SELECT epoch, count(*) FROM metric_points_hot GROUP BY epoch"

Series = tuple[UUID, str, int, int]  # run, key, rank, attempt
Best = tuple[float, int, float, int]  # the least value and its first step, the greatest and its
Point = tuple[int, int, bytes]  # step, microseconds since 1970, the bits of the value


@dataclass
class Upgraded:
    """A database of this release that was one of the older one, and what it had in it then."""

    database: Database
    points: Counter[tuple[Any, ...]]
    hot: dict[int, int]  # by epoch

    def by_series(self) -> dict[Series, list[Point]]:
        found: dict[Series, list[Point]] = {}
        for point in self.points.elements():
            found.setdefault(point[:4], []).append(point[4:])
        return found

    def latest(self) -> dict[Series, Point]:
        return {series: max(points, key=_latest_last) for series, points in self.by_series().items()}

    async def check(self) -> None:
        """Every point once, in the view and in answers; and the latest ones."""
        stored = await _points(self.database)
        assert stored == self.points, f"missing {self.points - stored}, too many {stored - self.points}"
        async with serve_on(self.database) as services:
            history: Counter[tuple[Any, ...]] = Counter()
            latest: dict[Series, Point] = {}
            best: dict[Series, Best] = {}
            for run in (FINISHED, RUNNING, OVER_HTTP, DELETED):
                async for piece in services.query.History(query_pb2.HistoryRequest(run_id=run.hex)):
                    history.update((*_series(run, piece.series), *point) for point in _columns(piece))
                async for piece in services.query.Latest(query_pb2.LatestRequest(run_ids=[run.hex])):
                    keys = [piece.keys[index] for index in piece.key_index]
                    whose = zip(keys, piece.rank, piece.attempt, strict=True)
                    names = [(run, *one) for one in whose]
                    latest |= dict(zip(names, _columns(piece), strict=True))
                    columns = (piece.min_value, piece.min_step, piece.max_value, piece.max_step)
                    best |= dict(zip(names, zip(*columns, strict=True), strict=True))
        assert history == self.points
        assert latest == self.latest()
        assert best == {series: _best(points) for series, points in self.by_series().items()}


def _series(run: UUID, series: Any) -> Series:
    return run, series.key, series.rank, series.attempt


def _columns(piece: Any) -> list[Point]:
    bits = [struct.pack(">d", value) for value in piece.value]
    return list(zip(piece.step, piece.time_unix_us, bits, strict=True))


def _best(points: list[Point]) -> Best:
    values = [(struct.unpack(">d", bits)[0], step) for step, _, bits in points]
    low, low_step = min((value, step) for value, step in values if math.isfinite(value))
    high, high_step = min((-value, step) for value, step in values if math.isfinite(value))
    return low, low_step, -high, high_step


def _latest_last(point: Point) -> tuple[int, int, float]:
    (value,) = struct.unpack(">d", point[2])
    return (*point[:2], 0.0 if math.isnan(value) else value)


async def _points(database: Database) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(row) for row in await database.fetch(POINTS))


async def _hot(database: Database) -> dict[int, int]:
    """How many hot points each epoch has."""
    return {row["epoch"]: row["count"] for row in await database.fetch(HOT_POINTS)}


async def _states(database: Database) -> dict[int, str]:
    return {row["epoch"]: row["state"] for row in await database.fetch("SELECT epoch, state FROM epochs")}


@pytest.fixture
async def upgraded(database_url: str) -> AsyncIterator[Upgraded]:
    connection = await asyncpg.connect(database_url)
    await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await connection.execute(VERSION_16.read_text())
    await connection.close()
    database = await Database.open(database_url)
    before = await _points(database)
    hot = await _hot(database)
    assert await migrate(database) == len(packaged_migrations())
    yield Upgraded(database, before, hot)
    await database.close()


async def test_what_is_kept_of_version_16_is_worth_testing(upgraded):
    """Every run has points in every epoch, late ones among them, and there are points of what is deleted."""
    assert await _states(upgraded.database) == STATES
    assert len(upgraded.by_series()) == SERIES
    assert set(upgraded.hot) == {2, 3, 4, 5}
    assert upgraded.hot[5] > 250
    steps = [point[4] for point in upgraded.points]
    assert (min(steps), max(steps)) == (-(2**63), 2**63 - 1)
    assert await upgraded.database.fetchval("SELECT count(*) FROM series WHERE purge_epoch IS NOT NULL") > 0


async def test_every_point_is_there_once_after_the_migration(upgraded):
    await upgraded.check()
    assert await _states(upgraded.database) == STATES


async def test_hot_points_become_batches_unless_they_are_in_segments(upgraded):
    """Also those of series that are gone, since commits count them."""
    hot = await _hot(upgraded.database)
    assert hot == {epoch: upgraded.hot[epoch] for epoch in (3, 4, 5)}
    counted = await upgraded.database.fetch("SELECT epoch, sum(point_count) FROM commits GROUP BY epoch")
    assert {epoch: count for epoch, count in counted if epoch > 2} == hot
    longest = "SELECT max(length(points)) / 32 FROM hot_batches"
    assert await upgraded.database.fetchval(longest) == 250


async def test_roll_up_goes_on_from_every_state(upgraded):
    database = upgraded.database
    dropper = PartitionDropper(0)
    connection = await database.connect_rollup()
    try:
        assert await epochs.publish(connection) == 1
        await upgraded.check()
        assert await _rolled(connection) == 4
        await upgraded.check()
        assert await epochs.rotate(connection, max_points=1, max_age_s=0) == 5
        assert await epochs.seal(connection)
        assert await _rolled(connection) == 5
        await upgraded.check()
        assert await epochs.publish(connection) == 2
        await upgraded.check()
        assert [await dropper.drop(connection) for _ in range(5)] == [2, 3, 4, 5, None]
        await upgraded.check()
    finally:
        connection.terminate()
    assert await _states(database) == {**dict.fromkeys(STATES, "dropped"), 6: "open"}
    assert await _hot(database) == {}
    assert await database.fetchval("SELECT count(*) FROM commits") == 0
    assert await database.fetchval("SELECT count(*) FROM unpublished_latest_values") == 0
    tables = await database.fetch(
        "SELECT relname FROM pg_class WHERE relname ~ '^(hot_batches|metric_points_hot)_[0-9]+$'"
    )
    assert [row["relname"] for row in tables] == ["hot_batches_6"]


async def _rolled(connection: Connection) -> int | None:
    result = await rollup.roll(connection, RollupMetrics(CollectorRegistry()))
    return None if result is None else result.epoch


async def test_a_client_of_an_earlier_release_goes_on_where_it_was(upgraded):
    """Its ledger, its series and its epoch are as they were."""
    async with running_replica(upgraded.database) as replica:
        stream = await replica.open(RUNNING, UUID(int=1_000 * RUNNING.int), first_unacked=10)
        assert stream.committed_number == 10
        await replica.send(stream, 10, [-1.0])  # it lost the ack
        await replica.send(stream, 11, [0.5] * 300)
        await acknowledged(stream, 11)
    bits, time = struct.pack(">d", 0.5), 1_700_000_000_000_000
    upgraded.points.update((RUNNING, "loss", 0, 0, 11_000 + number, time, bits) for number in range(300))
    await upgraded.check()
    assert (await _hot(upgraded.database))[5] == upgraded.hot[5] + 300
