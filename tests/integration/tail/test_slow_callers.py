"""Tails whose caller is slow, whose commits are large, whose reader ends, and with everything else at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import UUID

import grpc
import pytest
from prometheus_client import CollectorRegistry

from runstream.v1 import query_pb2, query_pb2_grpc
from runstream_service.database.commit_notifier import CommitNotifier
from runstream_service.database.pool import Database
from runstream_service.query.reading.series import Series
from runstream_service.query.tail import commit_reader, messages, tail
from runstream_service.query.tail.commit_reader import SeriesPoints
from runstream_service.query.tail.cursor import Cursor, Snapshot
from runstream_service.query.tail.metrics import TailMetrics
from tests.integration.ingest.conftest import Stream, acknowledged, running_replica
from tests.support.callers import ANYONE
from tests.support.hot import put_selected
from tests.support.rolling import roll_up
from tests.support.tail import ManualCommit, TailReplica, new_series, tail_replica
from tests.support.tasks import end

# -- the end of the reader and the notifier --------------------------------------------------------------------------


class WatchedNotifier(CommitNotifier):
    """Says when somebody waits for a commit."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.waiting = asyncio.Event()

    async def wait(self, timeout_s: float) -> None:
        self.waiting.set()
        await super().wait(timeout_s)


async def cancelled_after(commit: Callable[[], None], task: asyncio.Task[None], *, later: int) -> BaseException | None:
    """How a task ends that is cancelled some turns of the event loop after a commit."""
    for _ in range(10):
        await asyncio.sleep(0)  # whatever it awaits has begun to wait
    commit()
    for _ in range(later):
        await asyncio.sleep(0)
    (raised,) = await end(task)
    return raised


async def test_the_reader_ends_when_it_is_cancelled_just_as_a_commit_comes(database: Database, run_id: UUID) -> None:
    async def ignore(*_: object) -> None:
        pass

    for later in range(5):
        notifier = WatchedNotifier(database)
        reader = tail.Tail(database, notifier, TailMetrics(CollectorRegistry()))
        running = asyncio.create_task(reader.run())
        call = asyncio.create_task(reader.read(ANYONE, tail.TailQuery(run_id=run_id.hex), ignore))
        await asyncio.wait_for(notifier.waiting.wait(), 30)
        raised = await cancelled_after(notifier._notified.set, running, later=later)
        assert isinstance(raised, asyncio.CancelledError)
        await end(call)


async def test_the_notifier_ends_when_it_is_cancelled_just_as_a_commit_comes(database: Database) -> None:
    for later in range(5):
        notifier = CommitNotifier(database)
        running = asyncio.create_task(notifier.run())
        await notifier.wait(30)  # it listens
        raised = await cancelled_after(notifier.notify, running, later=later)
        assert isinstance(raised, asyncio.CancelledError)


# -- amounts ---------------------------------------------------------------------------------------------------------


async def test_a_slow_caller_reads_on_alone_and_misses_nothing(
    replica: TailReplica, run_id: UUID, loss: int, manual: ManualCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "MAX_QUEUED_POINTS", 5_000)
    monkeypatch.setattr(commit_reader, "PORTION_POINTS", 5_000)
    steps: list[int] = []
    cursors: list[Cursor] = []
    go_on = asyncio.Event()

    # Called without gRPC in between, whose buffers would hide how slow it is.
    async def emit(entries: list[tuple[Series, SeriesPoints]], cursor: Cursor) -> None:
        assert sum(len(points) for _, points in entries) <= 5_000
        steps.extend(step for _, points in entries for step in points.step.tolist())
        if cursors:
            await go_on.wait()
        cursors.append(cursor)

    slow = asyncio.create_task(replica.tail.read(ANYONE, tail.TailQuery(run_id=run_id.hex), emit))
    quick = await replica.follow(run_id).opened()
    total = 0
    for _ in range(20):
        await manual.write(loss, range(total, total + 3_000))
        total += 3_000
        await quick.reached(total)
    assert await quick.got(total) == list(range(total))
    assert len(steps) <= 5_000
    assert replica.metric("runstream_tail_fell_behind_total") >= 1
    go_on.set()
    while len(steps) < total:
        await asyncio.sleep(0.01)
    await manual.write(loss, [total])
    await quick.got(total + 1)
    while len(steps) < total + 1:
        await asyncio.sleep(0.01)
    await replica.polled()
    assert steps == list(range(total + 1))
    slow.cancel()


async def test_a_caller_that_never_reads_gives_its_place_up(
    database: Database, run_id: UUID, loss: int, manual: ManualCommit
) -> None:
    small_window = (("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0))
    async with (
        tail_replica(database, write_timeout_s=0.5) as replica,
        grpc.aio.insecure_channel(replica.address, options=small_window) as channel,
    ):
        deaf = query_pb2_grpc.QueryServiceStub(channel).Tail(query_pb2.TailRequest(run_id=run_id.hex))
        await deaf.read()
        assert replica.metric("runstream_tail_streams") == 1
        give_up = asyncio.get_running_loop().time() + 60
        begin = 0
        while replica.metric("runstream_tail_streams"):
            assert asyncio.get_running_loop().time() < give_up
            await manual.write(loss, range(begin, begin := begin + 5_000))
            await asyncio.sleep(0.05)


async def test_a_large_commit_comes_in_parts_that_each_have_a_cursor(
    replica: TailReplica, database: Database, run_id: UUID, manual: ManualCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "_MAX_BYTES", 3_000)
    first = await new_series(database, run_id, "key0")
    for number in range(1, 7):
        assert await new_series(database, run_id, f"key{number}") == first + number
    start = await (await replica.follow(run_id).opened()).leave()
    await manual.connection.execute("BEGIN")
    await manual.connection.execute(put_selected(f"SELECT {first} + n % 7, n, now(), n FROM generate_series(0, 69) n"))
    await manual.commit()
    await manual.write(first, [70])
    whole = await replica.follow(run_id, cursor=start).opened()
    assert await whole.got(71) == list(range(71))
    assert len(whole.marks) > 4
    for cursor, sent in whole.marks:
        rest = await replica.follow(run_id, cursor=cursor).opened()
        await rest.got(71 - sent)
        assert sorted([*whole.points[:sent], *rest.points]) == sorted(whole.points)


# -- with everything else --------------------------------------------------------------------------------------------


async def test_snapshots_see_what_postgresql_says_they_see(database: Database) -> None:
    for text in ("10:20:10,14,19", "5:5:", "7:9:8"):
        snapshot = Snapshot.parse(text)
        rows = await database.fetch(
            "SELECT n, pg_visible_in_snapshot(n::text::xid8, $1::text::pg_snapshot) FROM generate_series(1, 30) n", text
        )
        assert [snapshot.sees(xid) for xid, _ in rows] == [visible for _, visible in rows]


async def test_no_gap_and_no_repeat_while_writers_roll_up_and_reconnects_go_on(
    replica: TailReplica, database: Database, run_id: UUID
) -> None:
    batches, streams = 40, 6
    async with tail_replica(database) as other, running_replica(database, writers=3) as ingest:
        opened = [await ingest.open(run_id, rank=rank) for rank in range(streams)]
        caller = await replica.follow(run_id).opened()

        async def write(stream: Stream) -> None:
            for number in range(1, batches + 1):
                await ingest.send(stream, number, [float(number)] * 5)
                await acknowledged(stream, number)
                await asyncio.sleep(0.05)

        writing = asyncio.gather(*map(write, opened))
        found: list[tuple[str, int, int, int, float]] = []
        hops = 0
        while not writing.done():
            await roll_up(database)
            await asyncio.sleep(0.05)
            hops += 1
            cursor = await caller.leave()
            found += caller.points
            caller = replica.follow(run_id, cursor=cursor) if hops % 2 else other.follow(run_id, cursor=cursor)
            await caller.opened()
        await writing
        await caller.got(streams * batches * 5 - len(found))
        found += caller.points
    assert hops > 2
    steps = [1000 * number + position for number in range(1, batches + 1) for position in range(5)]
    assert sorted(point[1:4] for point in found) == [(rank, 0, step) for rank in range(streams) for step in steps]
