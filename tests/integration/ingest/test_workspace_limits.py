"""Limits of workspaces hold within seconds of their change, for streams, writes over HTTP, reads and files."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry

from runstream_service.artifacts.files_of_caller import FilesOfCaller
from runstream_service.auth.access import Access
from runstream_service.core.caller import Caller
from runstream_service.database.pool import Database
from runstream_service.errors.core import FileTooLarge, Forbidden, InvalidField, LimitReached, TooManySeries
from runstream_service.ingest.http_writes import HttpIngest
from runstream_service.limits.limited_reads import LimitedReads
from runstream_service.limits.metrics import LimitMetrics
from runstream_service.limits.workspace_limits import NAMES, Limits, WorkspaceLimits
from runstream_service.query.reading.read_transaction import ReadPool
from runstream_service.sharing.current import work_for
from tests.integration.ingest.conftest import acknowledged, new_run, running_replica
from tests.integration.ingest.test_http_writes import points
from tests.support.callers import ANYONE, caller_in
from tests.support.polling import until


class _Limited:
    """A database in which the default workspace may have limits, as one front end sees it."""

    def __init__(self, database: Database, settings: Limits | None = None) -> None:
        self.database = database
        self.registry = CollectorRegistry()
        self.limits = WorkspaceLimits(settings or Limits(), LimitMetrics(self.registry))
        self._stored = Access.of(database, is_on=True).limits

    async def set(self, **limits: int) -> None:
        await self._stored.set(ANYONE, "default", limits)
        await self.limits.refresh(self.database)

    def refused(self, limit: str) -> float:
        return self.registry.get_sample_value("runstream_limit_refusals_total", {"limit": limit}) or 0.0


@pytest.fixture
async def limited(database: Database) -> _Limited:
    return _Limited(database)


async def test_limits_are_set_for_a_workspace_by_an_admin_and_those_that_are_not_set_are_as_the_settings_say(database):
    limited = _Limited(database, Limits(streams=7, file_bytes=99))
    await limited.set(points_per_second=100, streams=0)
    assert limited.limits.of(1) == Limits(points_per_second=100, streams=0, file_bytes=99)
    assert limited.limits.of(2) == Limits(streams=7, file_bytes=99)
    stored = Access.of(database, is_on=True).limits
    assert await stored.get(ANYONE, "default") == {"points_per_second": 100, "streams": 0}
    with pytest.raises(Forbidden):
        await stored.set(replace(ANYONE, role=caller_in(1).role), "default", {})
    with pytest.raises(InvalidField, match=r"limits.streams: -1 is not from 0 \(no limit\)"):
        await stored.set(ANYONE, "default", {"streams": -1})
    assert await database.fetchval("SELECT action FROM audit_events ORDER BY event_id DESC LIMIT 1") == "limits_changed"


async def test_a_limit_is_divided_among_the_front_ends_that_serve_the_workspace(database):
    ends = [_Limited(database, Limits(points_per_second=900)) for _ in range(3)]
    for end in ends[:2]:
        end.limits.used(1)
    for _ in range(2):
        for end in ends:
            await end.limits.refresh(database)
    assert [end.limits.part_of(1).points_per_second for end in ends] == [450, 450, 450]
    ends[1].limits._active.clear()  # its last stream has ended a while ago
    for end in reversed(ends):
        await end.limits.refresh(database)
    assert ends[0].limits.part_of(1).points_per_second == 900


async def test_while_the_database_does_not_answer_the_known_limits_stay(database, limited):
    await limited.set(streams=3)
    await database.close()
    await limited.limits.refresh(database)
    assert limited.limits.of(1).streams == 3


async def test_streams_wait_for_their_points_per_second_and_lose_nothing(database, limited, run_id, stored):
    await limited.set(points_per_second=1_000)
    async with running_replica(database, limits=limited.limits) as replica:
        stream = await replica.open(run_id)
        for number in range(1, 8):  # a burst of 5,000 points, and about 1,000 more with each second
            await asyncio.wait_for(replica.send(stream, number, [float(number)] * 1_000), 20)
        assert (await acknowledged(stream, 7)) == []
        assert (limited.registry.get_sample_value(
            "runstream_limit_wait_seconds_total", {"limit": "points_per_second"}
        ) or 0) > 0.5  # fmt: skip
    assert len(await stored()) == 7_000


async def test_a_stream_that_would_wait_very_long_gets_an_error(database, limited, run_id):
    await limited.set(points_per_second=1)
    async with running_replica(database, limits=limited.limits) as replica:
        stream = await replica.open(run_id)
        await replica.send(stream, 1, [0.0] * 1_000)
        with pytest.raises(
            LimitReached, match="workspace 'default' has reached its limit of 1 points per second"
        ) as told:
            await replica.send(stream, 2, [0.0] * 1_000)
        assert told.value.retry_after_s == 60
        assert limited.refused("points_per_second") == 1


async def test_a_write_over_http_above_the_points_per_second_is_told_when_to_retry(database, limited, run_id):
    await limited.set(points_per_second=10)
    async with running_replica(database, limits=limited.limits) as replica:
        writes = HttpIngest(database, replica.pipeline)
        await writes.write(ANYONE, points(run_id, [1.0] * 100))
        with pytest.raises(LimitReached, match="10 points per second") as told:
            await writes.write(ANYONE, points(run_id, [1.0] * 100))
        assert 1 <= told.value.retry_after_s <= 10
        other = caller_in(2)
        await database.execute(
            "INSERT INTO workspaces (workspace_id, name) OVERRIDING SYSTEM VALUE VALUES (2, 'workspace-2')"
        )
        run = await _run_in(database, other)
        await writes.write(other, points(run, [1.0] * 10))


async def _run_in(database: Database, caller: Caller) -> UUID:
    run = await new_run(database)
    experiment = await database.fetchval(
        "INSERT INTO experiments (workspace_id, name) VALUES ($1, 'theirs') RETURNING experiment_id",
        caller.workspace_id,
    )
    await database.execute("UPDATE runs SET experiment_id = $1 WHERE run_id = $2", experiment, run)
    return run


async def test_a_workspace_has_no_more_streams_than_its_limit_until_that_is_raised(database, limited):
    await limited.set(streams=2)
    async with running_replica(database, limits=limited.limits) as replica:
        with contextlib.ExitStack() as open_streams:
            for _ in range(2):
                open_streams.enter_context(replica.pipeline.slot(1))
            with pytest.raises(LimitReached, match="limit of 2 open streams"):
                open_streams.enter_context(replica.pipeline.slot(1))
            open_streams.enter_context(replica.pipeline.slot(2))
            await limited.set(streams=3)
            open_streams.enter_context(replica.pipeline.slot(1))
        assert limited.refused("streams") == 1


async def test_a_full_replica_ends_a_stream_of_the_workspace_with_most_for_one_that_has_fewer(database, run_id):
    async with running_replica(database, max_streams=3) as replica:
        with contextlib.ExitStack() as open_streams:
            for _ in range(3):
                open_streams.enter_context(replica.pipeline.slot(1))
            streams = [await replica.open(run_id) for _ in range(3)]
            open_streams.enter_context(replica.pipeline.slot(2))
            assert sum(stream.failed.done() for stream in streams) == 1
            (ended,) = [stream.failed.result() for stream in streams if stream.failed.done()]
            assert "makes room for another workspace" in str(ended)
            with pytest.raises(Exception, match="the most this replica takes"):
                open_streams.enter_context(replica.pipeline.slot(1))


@contextlib.asynccontextmanager
async def _read(pool: ReadPool, workspace_id: int = 1) -> AsyncIterator[None]:
    work_for(workspace_id)
    async with pool.transaction():
        yield


async def test_reads_above_the_limit_wait_and_those_of_another_workspace_do_not(database, limited):
    await limited.set(concurrent_reads=1)
    reads = LimitedReads(limited.limits)
    pools = [ReadPool(database, max_reads=5, limited=reads) for _ in range(2)]
    end, order = asyncio.Event(), list[str]()

    async def read(name: str, pool: ReadPool, workspace_id: int) -> None:
        async with _read(pool, workspace_id):
            order.append(name)
            await end.wait()

    tasks = [asyncio.ensure_future(read("first", pools[0], 1))]
    await until(lambda: order == ["first"])
    tasks.append(asyncio.ensure_future(read("second", pools[1], 1)))
    tasks.append(asyncio.ensure_future(read("other", pools[1], 2)))
    await until(lambda: "other" in order)
    assert order == ["first", "other"], "the limit is that of all reads"
    end.set()
    await asyncio.gather(*tasks)
    async with reads.slot():
        pass
    work_for(1)
    async with reads.slot():
        with pytest.raises(LimitReached, match="limit of 1 reads at a time"):
            async with reads.slot(wait_s=0.01):
                pass


async def test_the_series_of_a_run_are_bounded_by_the_limit_of_its_workspace_over_http_too(database, limited, run_id):
    await limited.set(series_per_run=2)
    async with running_replica(database, limits=limited.limits) as replica:
        writes = HttpIngest(database, replica.pipeline)
        for key in "ab":
            await writes.write(ANYONE, points(run_id, [1.0], key=key))
        with pytest.raises(TooManySeries, match="the run has 2 series"):
            await writes.write(ANYONE, points(run_id, [1.0], key="c"))
        stream = await replica.open(run_id, rank=1)
        await replica.send(stream, 1, [1.0])
        (refusal,) = await acknowledged(stream, 1)
        assert refusal.reason.value == "too_many_series"


class _Store:
    """Reads an upload, and stores nothing."""

    async def write(self, path: str, chunks: AsyncIterator[bytes], *, size: int | None = None) -> None:
        async for _ in chunks:
            pass


async def _chunks(*sizes: int) -> AsyncIterator[bytes]:
    for size in sizes:
        yield b"x" * size


@pytest.mark.parametrize("size", [None, 11])
async def test_a_file_above_the_limit_is_refused_whether_its_size_is_announced_or_not(database, limited, size):
    await limited.set(file_bytes=10)
    files = FilesOfCaller(_Store(), database, limited.limits)  # type: ignore[arg-type]
    await files.write(ANYONE, "0/run/artifacts/small", _chunks(5, 5), size=None if size is None else 10)
    with pytest.raises(FileTooLarge, match=r"'0/run/artifacts/large' is not stored: .* limit of 10 bytes in a file"):
        await files.write(ANYONE, "0/run/artifacts/large", _chunks(5, 6), size=size)
    assert limited.refused("file_bytes") == 1


def test_each_limit_has_a_column_and_a_field():
    from runstream.v1 import access_pb2

    assert tuple(access_pb2.WorkspaceLimits.DESCRIPTOR.fields_by_name) == NAMES
