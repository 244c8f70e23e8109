"""How many series a run may have, over gRPC and over HTTP; keys that PostgreSQL does not take."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from runstream.v1 import ingest_pb2
from runstream_service.errors.core import InvalidField, TooManySeries
from runstream_service.ingest.decode import Batch
from runstream_service.ingest.http_writes import HttpIngest
from runstream_service.ingest.refusals import Reason
from tests.integration.ingest.conftest import TIME, acknowledged, new_run, running_replica
from tests.integration.ingest.test_http_writes import points
from tests.support.callers import ANYONE


async def _declare(replica, stream, keys) -> None:
    series = [ingest_pb2.SeriesDeclaration(series_index=index, key=key) for index, key in enumerate(keys)]
    await replica.pipeline.opener.declare(stream.producer, ingest_pb2.Declare(series=series))


async def _send_one_of_each(replica, stream, number, count) -> None:
    column = np.arange(count)
    batch = Batch(number, column.astype("<u4"), column.astype("<i8"), np.full(count, TIME, "<i8"), column.astype("<f8"))
    await replica.take(stream, batch)


async def test_series_above_the_bound_of_the_run_are_refused_point_by_point(database, run_id, stored):
    async with running_replica(database, max_series_per_run=5) as replica:
        first, second = await replica.open(run_id), await replica.open(run_id, rank=1)  # one series each: loss
        await _declare(replica, first, ["loss", *"abcdef"])
        await _send_one_of_each(replica, first, 1, 7)
        (refusal,) = await acknowledged(first, 1)
        assert (refusal.reason, refusal.points) == (Reason.TOO_MANY_SERIES, 3)
        assert "--max-series-per-run" in refusal.example
        await _declare(replica, second, ["loss", "more"])
        await _send_one_of_each(replica, second, 1, 2)
        assert [r.points for r in await acknowledged(second, 1)] == [1]
        assert replica.metric("runstream_points_refused_total", reason="too_many_series") == 4
        other = await replica.open(await new_run(database))
        await _declare(replica, other, ["loss", "a"])
        await _send_one_of_each(replica, other, 1, 2)
        assert await acknowledged(other, 1) == [], "each run has its own bound"
    assert await database.fetchval("SELECT count(*) FROM series WHERE run_id = $1", run_id) == 5


async def test_a_request_that_would_make_too_many_series_is_refused_whole_and_known_series_go_on(database, run_id):
    async with running_replica(database, max_series_per_run=3) as replica:
        writes = HttpIngest(database, replica.pipeline)
        for key in "abc":
            await writes.write(ANYONE, points(run_id, [1.0], key=key))
        with pytest.raises(TooManySeries, match="--max-series-per-run"):
            await writes.write(ANYONE, points(run_id, [1.0, 2.0], key="d"))
        assert replica.metric("runstream_points_refused_total", reason="too_many_series") == 2
        await writes.write(ANYONE, points(run_id, [2.0], key="a"))
    assert await database.fetchval("SELECT count(*) FROM series") == 3


async def test_many_that_make_series_at_once_keep_the_bound(database, run_id):
    async with running_replica(database, max_series_per_run=100) as replica:
        streams = [await replica.open(run_id, rank=rank) for rank in range(8)]
        await asyncio.gather(
            *(_declare(replica, stream, ["loss", *(f"key {n}" for n in range(40))]) for stream in streams)
        )
    assert await database.fetchval("SELECT count(*) FROM series") == 100


async def test_series_that_are_gone_make_room(database, run_id):
    async with running_replica(database, max_series_per_run=2) as replica:
        stream = await replica.open(run_id)
        await _declare(replica, stream, ["loss", "a", "b"])
        await database.execute("DELETE FROM series WHERE key = 'a'")  # as a purge does
        again = await replica.open(run_id, stream.producer_id)
        await _declare(replica, again, ["loss", "b"])
        await _send_one_of_each(replica, again, 1, 2)
        assert await acknowledged(again, 1) == []
    await database.execute("DELETE FROM runs")
    assert await database.fetchval("SELECT count(*) FROM series_counts") == 0


async def test_a_key_that_postgres_does_not_take_costs_only_its_own_points(database, run_id, stored):
    await database.execute("ALTER TABLE series ADD CHECK (key NOT LIKE '%bad%')")
    async with running_replica(database) as replica:
        stream = await replica.open(run_id)
        await _declare(replica, stream, ["loss", *(f"k{n}" for n in range(50)), "bad one", "bad two", "z"])
        await _send_one_of_each(replica, stream, 1, 54)
        (refusal,) = await acknowledged(stream, 1)
        assert (refusal.reason, refusal.points) == (Reason.DATABASE, 2)
        assert "bad" in refusal.example
        with pytest.raises(InvalidField, match="bad"):
            await HttpIngest(database, replica.pipeline).write(ANYONE, points(run_id, [1.0], key="bad"))
    assert len(await stored()) == 52
