"""Tail over real gRPC: commits are made by hand, so that they can be held open, reordered, rolled up and dropped."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import uuid
from collections.abc import AsyncIterator, Callable
from uuid import UUID

import grpc
import pytest
from prometheus_client import CollectorRegistry

from runstream.v1 import query_pb2, query_pb2_grpc
from runstream_service.query.reading.series import Series
from runstream_service.query.tail import commit_reader, messages, tail
from runstream_service.query.tail.commit_reader import SeriesPoints
from runstream_service.query.tail.cursor import Cursor, Snapshot
from runstream_service.query.tail.metrics import TailMetrics
from runstream_service.storage.commit_notifier import CommitNotifier
from runstream_service.storage.database import Database
from tests.integration.ingest.conftest import Stream, acknowledged, running_replica
from tests.support.callers import ANYONE
from tests.support.hot import put_selected
from tests.support.rolling import roll_up
from tests.support.rpc import reason_of
from tests.support.tail import HandMade, TailReplica, new_series, tail_replica
from tests.support.tasks import end

Code = grpc.StatusCode


@pytest.fixture
async def run_id(database: Database) -> UUID:
    run_id = uuid.uuid4()
    await database.execute(
        "INSERT INTO runs (run_id, experiment_id, name, started_at) VALUES ($1, 0, 'test', now())", run_id
    )
    return run_id


@pytest.fixture
async def loss(database: Database, run_id: UUID) -> int:
    return await new_series(database, run_id, "loss")


@pytest.fixture
async def replica(database: Database) -> AsyncIterator[TailReplica]:
    async with tail_replica(database) as running:
        yield running


@pytest.fixture
async def hand(database_url: str) -> AsyncIterator[HandMade]:
    async with HandMade.connect(database_url) as made:
        yield made


@pytest.fixture
async def other_hand(database_url: str) -> AsyncIterator[HandMade]:
    async with HandMade.connect(database_url) as made:
        yield made


@contextlib.asynccontextmanager
async def meek_database(url: str) -> AsyncIterator[Database]:
    opened = await Database.open(url.replace("postgres@", "meek@"))
    try:
        yield opened
    finally:
        await opened.close()


async def rotate(database: Database, *, roll: bool = True) -> int:
    """Closes the open epoch, opens the next, and makes the old one visible as if it had been rolled up."""
    old = await database.fetchval("SELECT epoch FROM epochs WHERE state = 'open'")
    await database.execute(f"UPDATE epochs SET state = '{'visible' if roll else 'closing'}' WHERE epoch = {old}")
    await database.execute("INSERT INTO epochs (epoch, state) VALUES ($1, 'open')", old + 1)
    await database.execute("SELECT create_hot_partition($1)", old + 1)
    if roll:
        await database.execute("UPDATE watermark SET visible_epoch = $1", old)
    return int(old) + 1


async def listening(database: Database, *, other_than: int = 0) -> int:
    """The process of PostgreSQL that notifies for this replica."""
    give_up = asyncio.get_running_loop().time() + 30
    while True:
        pid = await database.fetchval(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle' AND pid <> $1 "
            "AND application_name = 'runstream-bell' AND query ~ '^(LISTEN|NOTIFY) '",
            other_than,
        )
        if pid is not None:
            return int(pid)
        assert asyncio.get_running_loop().time() < give_up, "nobody listens"
        await asyncio.sleep(0.01)


async def drop(database: Database, epoch: int) -> None:
    await database.execute(
        f"BEGIN; DROP TABLE hot_batches_{epoch}; DELETE FROM commits WHERE epoch <= {epoch}; "
        f"UPDATE watermark SET dropped_epoch = {epoch}; COMMIT"
    )


# -- what comes ------------------------------------------------------------------------------------------------------


async def test_first_answer_comes_at_once_and_later_points_as_they_are_committed(
    replica: TailReplica, run_id: UUID, loss: int, hand: HandMade
) -> None:
    await hand.write(loss, [1, 2])
    caller = await replica.follow(run_id).opened()
    assert caller.points == []
    await hand.write(loss, [3], values=[float("inf")])
    assert await caller.got(1) == [3]
    assert caller.points == [("loss", 0, 0, 3, float("inf"))]
    await hand.write(loss, [4, 5, 4])
    assert await caller.got(4) == [3, 4, 4, 5]


async def test_filters_by_key_and_rank_and_by_run(
    replica: TailReplica, database: Database, run_id: UUID, loss: int, hand: HandMade
) -> None:
    other_run = uuid.uuid4()
    await database.execute(
        "INSERT INTO runs (run_id, experiment_id, name, started_at) VALUES ($1, 0, 'other', now())", other_run
    )
    by_key = await replica.follow(run_id, keys=["loss", "nothing"]).opened()
    by_rank = await replica.follow(run_id, rank=1).opened()
    whole = await replica.follow(run_id).opened()
    await hand.write(loss, [1])
    await hand.write(await new_series(database, run_id, "loss", rank=1), [2])
    await hand.write(await new_series(database, run_id, "acc", rank=1), [3])
    await hand.write(await new_series(database, other_run, "loss"), [4])
    assert await whole.got(3) == [1, 2, 3]
    assert await by_key.got(2) == [1, 2]
    assert await by_rank.got(2) == [2, 3]


async def test_series_that_come_up_later_are_followed(
    replica: TailReplica, database: Database, run_id: UUID, hand: HandMade
) -> None:
    caller = await replica.follow(run_id).opened()
    for number in range(3):
        await hand.write(await new_series(database, run_id, f"key{number}"), [number])
        await caller.got(number + 1)
    assert [point[0] for point in caller.points] == ["key0", "key1", "key2"]


async def test_deleted_series_are_out_at_once_and_begin_anew(
    replica: TailReplica, database: Database, run_id: UUID, loss: int, hand: HandMade
) -> None:
    caller = await replica.follow(run_id).opened()
    await hand.write(loss, [1])
    await caller.got(1)
    await database.execute("UPDATE series SET purge_epoch = 1")
    await hand.write(loss, [2])
    anew = await new_series(database, run_id, "loss")
    assert anew != loss
    await hand.write(anew, [3])
    assert await caller.got(2) == [1, 3]


async def test_without_notifications_points_come_within_two_seconds(
    replica: TailReplica, run_id: UUID, loss: int, hand: HandMade
) -> None:
    caller = await replica.follow(run_id).opened()
    await hand.begin(loss, [1])
    await hand.connection.execute("COMMIT")
    await caller.until(lambda: len(caller.points) == 1, timeout_s=3)


async def test_the_notifier_works_again_after_its_connection_was_cut(
    replica: TailReplica, database: Database, monkeypatch: pytest.MonkeyPatch, run_id: UUID, loss: int, hand: HandMade
) -> None:
    monkeypatch.setattr(tail, "_POLL_AT_LEAST_EVERY_S", 60.0)
    caller = await replica.follow(run_id).opened()
    killed = await listening(database)
    assert await database.fetchval("SELECT pg_terminate_backend($1::int)", killed)
    assert await listening(database, other_than=killed) != killed
    await hand.write(loss, [1])
    assert await caller.got(1) == [1]


# -- each point once -------------------------------------------------------------------------------------------------


async def test_groups_that_commit_in_the_opposite_order_of_their_numbers(
    replica: TailReplica, run_id: UUID, loss: int, hand: HandMade, other_hand: HandMade
) -> None:
    caller = await replica.follow(run_id).opened()
    await hand.begin(loss, [1])
    await other_hand.begin(loss, [2])
    await other_hand.commit()
    await caller.reached(1)
    cursor = await caller.leave()
    again = await replica.follow(run_id, cursor=cursor).opened()
    await hand.commit()
    assert await again.got(1) == [1]
    assert caller.points == [("loss", 0, 0, 2, 2.0)]


async def test_no_gap_and_no_repeat_across_a_reconnect_to_another_replica(
    replica: TailReplica, database: Database, run_id: UUID, loss: int, hand: HandMade, other_hand: HandMade
) -> None:
    async with tail_replica(database) as other:
        caller = await replica.follow(run_id).opened()
        cursor, steps, step = caller.cursor, [], 0
        for turn in range(12):
            await other_hand.begin(loss, [1000 + turn])
            for _ in range(3):
                step += 1
                await hand.write(loss, [step])
            if turn % 2:
                await caller.reached(1)
            await caller.leave()
            steps += [point[3] for point in caller.points]
            cursor = caller.cursor
            await other_hand.commit()
            caller = await (other, replica)[turn % 2].follow(run_id, cursor=cursor).opened()
        missing = step + 12 - len(steps)
        steps += await caller.got(missing)
        assert sorted(steps) == [*range(1, step + 1), *range(1000, 1012)]


async def test_a_cursor_stays_good_across_rotate_and_roll_up(
    replica: TailReplica, database: Database, run_id: UUID, loss: int, hand: HandMade
) -> None:
    caller = await replica.follow(run_id).opened()
    cursor = await caller.leave()
    await hand.write(loss, [1])
    hand.epoch = await rotate(database)
    await hand.write(loss, [2])
    hand.epoch = await rotate(database)
    await hand.write(loss, [3])
    caller = await replica.follow(run_id, cursor=cursor).opened()
    assert await caller.got(3) == [1, 2, 3]


async def test_a_stream_goes_on_across_rotate_roll_up_and_drop(
    replica: TailReplica, database: Database, run_id: UUID, loss: int, hand: HandMade
) -> None:
    caller = await replica.follow(run_id).opened()
    for step in range(6):
        await hand.write(loss, [step])
        await caller.reached(step + 1)
        hand.epoch = await rotate(database)
        if step >= 2:
            await drop(database, hand.epoch - 2)
    assert await caller.got(6) == list(range(6))


async def test_a_commit_of_a_closing_epoch_comes_after_those_of_the_next(
    replica: TailReplica, database: Database, run_id: UUID, loss: int, hand: HandMade, other_hand: HandMade
) -> None:
    caller = await replica.follow(run_id).opened()
    await other_hand.begin(loss, [1])
    hand.epoch = await rotate(database, roll=False)
    await hand.write(loss, [2])
    await caller.got(1)
    cursor = await caller.leave()
    await other_hand.commit()
    again = await replica.follow(run_id, cursor=cursor).opened()
    assert await again.got(1) == [1]


# -- cursors ---------------------------------------------------------------------------------------------------------


async def test_a_cursor_from_before_a_drop_is_too_old(
    replica: TailReplica, database: Database, run_id: UUID, loss: int, hand: HandMade
) -> None:
    cursor = await (await replica.follow(run_id).opened()).leave()
    await hand.write(loss, [1])
    await rotate(database)
    await drop(database, 1)
    error = await replica.follow(run_id, cursor=cursor).ended()
    assert reason_of(error) == (Code.OUT_OF_RANGE, "CURSOR_TOO_OLD", "cursor")


async def test_a_partition_that_is_dropped_between_look_and_rows_ends_the_stream(
    replica: TailReplica, database: Database, run_id: UUID, loss: int, hand: HandMade, monkeypatch: pytest.MonkeyPatch
) -> None:
    cursor = await (await replica.follow(run_id).opened()).leave()
    await hand.write(loss, [1])
    await rotate(database)
    scan = commit_reader.CommitReader.scan

    async def scan_and_drop(self, connection, since):
        seen = await scan(self, connection, since)
        if seen.commits:
            await drop(database, 1)
        return seen

    monkeypatch.setattr(commit_reader.CommitReader, "scan", scan_and_drop)
    error = await replica.follow(run_id, cursor=cursor).ended()
    assert reason_of(error) == (Code.OUT_OF_RANGE, "CURSOR_TOO_OLD", "cursor")


async def test_a_cursor_from_the_future_is_of_another_database(replica: TailReplica, run_id: UUID) -> None:
    now = Cursor.decode(await (await replica.follow(run_id).opened()).leave())
    future = dataclasses.replace(now, snapshot=Snapshot(900_000_000, 900_000_000))
    error = await replica.follow(run_id, cursor=future.encode()).ended()
    assert reason_of(error) == (Code.OUT_OF_RANGE, "CURSOR_TOO_OLD", "cursor")


async def test_a_cursor_of_another_lineage_of_the_database_is_too_old(
    replica: TailReplica, run_id: UUID, loss: int, hand: HandMade
) -> None:
    """Transaction ids that were lost in a failover are given out again: those commits would be taken for told."""
    cursor = Cursor.decode(await (await replica.follow(run_id).opened()).leave())
    await hand.write(loss, [1])
    for lineage in ("0123456789abcdef", "0" * 16):
        other = dataclasses.replace(cursor, lineage=lineage)
        error = await replica.follow(run_id, cursor=other.encode()).ended()
        assert reason_of(error) == (Code.OUT_OF_RANGE, "CURSOR_TOO_OLD", "cursor")
    of_earlier_release = f"1;{cursor.epoch};;{cursor.snapshot}".encode()
    error = await replica.follow(run_id, cursor=of_earlier_release).ended()
    assert reason_of(error) == (Code.OUT_OF_RANGE, "CURSOR_TOO_OLD", "cursor")
    assert await (await replica.follow(run_id, cursor=cursor.encode()).opened()).got(1) == [1]


async def test_streams_of_another_lineage_end_and_those_beside_them_go_on(
    replica: TailReplica, run_id: UUID, loss: int, hand: HandMade
) -> None:
    old, new = await replica.follow(run_id).opened(), await replica.follow(run_id).opened()
    await hand.write(loss, [1])
    await asyncio.gather(old.got(1), new.got(1))
    (stream, _) = sorted(replica.tail._streams, key=lambda one: id(one))
    stream.cursor = dataclasses.replace(stream.cursor, lineage="0123456789abcdef")
    await hand.write(loss, [2])
    ended, _ = await asyncio.wait([old.task, new.task], return_when=asyncio.FIRST_COMPLETED, timeout=30)
    assert ended == {old.task} or ended == {new.task}
    left, gone = (new, old) if ended == {old.task} else (old, new)
    assert reason_of(await gone.ended())[1] == "CURSOR_TOO_OLD"
    assert await left.got(2) == [1, 2]


async def test_a_role_that_may_not_ask_for_the_lineage_has_a_new_one_after_each_restart(
    database: Database, database_url: str, run_id: UUID, loss: int, hand: HandMade
) -> None:
    await database.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    await database.execute("CREATE ROLE meek LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO meek")
    try:
        async with meek_database(database_url) as meek, tail_replica(meek) as replica:
            caller = await replica.follow(run_id).opened()
            await hand.write(loss, [1])
            assert await caller.got(1) == [1]
            again = await replica.follow(run_id, cursor=await caller.leave()).opened()
            await hand.write(loss, [2])
            assert await again.got(1) == [2]
    finally:
        await database.execute("DROP OWNED BY meek; DROP ROLE meek")
        await database.execute("GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC")


async def test_names_that_others_clear_meanwhile_are_not_missed(
    replica: TailReplica, database: Database, run_id: UUID, hand: HandMade, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "_MAX_CACHED_NAMES", -1)  # clears them each time
    together = await replica.follow(run_id).opened()
    start = together.cursor
    keys = [f"key{number}" for number in range(12)]
    for number, key in enumerate(keys):
        await hand.write(await new_series(database, run_id, key), [number])
    alone = [replica.follow(run_id, keys=[key], cursor=start) for key in keys]
    for number in range(12, 20):
        await hand.write(await new_series(database, run_id, "more"), [number])
    for number, caller in enumerate(alone):
        assert await caller.got(1) == [number]
    assert await together.got(20) == list(range(20))


@pytest.mark.parametrize(
    "cursor",
    [
        b"x",
        b"2;1;;5:5:",
        b"3;0123456789abcdef;1;;5:5:",
        b"1;1;;5:4:",
        b"1;1;;5:9:7,6",
        b"1;1;;5:9:9",
        b"1;1;;a:b:",
        b"\xff",
        b"1;" * 99,
    ],
)
async def test_what_is_no_cursor_is_refused(replica: TailReplica, run_id: UUID, cursor: bytes) -> None:
    error = await replica.follow(run_id, cursor=cursor).ended()
    assert reason_of(error) == (Code.INVALID_ARGUMENT, "INVALID_FIELD", "cursor")


async def test_unknown_and_purged_runs_are_not_found(
    replica: TailReplica, database: Database, run_id: UUID, loss: int, hand: HandMade
) -> None:
    not_found = (Code.NOT_FOUND, "RUN_NOT_FOUND", "run_id")
    assert reason_of(await replica.follow(uuid.uuid4()).ended()) == not_found
    caller = await replica.follow(run_id).opened()
    await database.execute("UPDATE runs SET purge_epoch = 1")
    await hand.write(loss, [1])
    assert reason_of(await caller.ended()) == not_found
    assert caller.points == []


async def test_a_quiet_stream_gets_newer_cursors(
    replica: TailReplica, run_id: UUID, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    monkeypatch.setattr(tail, "CURSOR_EVERY_S", 0.2)
    caller = await replica.follow(run_id).opened()
    first = caller.cursor
    await database.execute("UPDATE runs SET name = 'other'")  # takes a transaction id
    await caller.until(lambda: caller.answers > 3 and caller.cursor != first)
    assert caller.points == []


async def test_drain_ends_streams_and_refuses_new_ones(replica: TailReplica, run_id: UUID) -> None:
    caller = await replica.follow(run_id).opened()
    replica.tail.drain()
    assert reason_of(await caller.ended())[:2] == (Code.UNAVAILABLE, "DRAINING")
    assert reason_of(await replica.follow(run_id).ended())[:2] == (Code.UNAVAILABLE, "DRAINING")


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


async def test_a_slow_caller_reads_on_by_itself_and_misses_nothing(
    replica: TailReplica, run_id: UUID, loss: int, hand: HandMade, monkeypatch: pytest.MonkeyPatch
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
        await hand.write(loss, range(total, total + 3_000))
        total += 3_000
        await asyncio.sleep(0.05)
    assert await quick.got(total) == list(range(total))
    assert len(steps) <= 5_000
    assert replica.metric("runstream_tail_fell_behind_total") >= 1
    go_on.set()
    while len(steps) < total:
        await asyncio.sleep(0.01)
    await hand.write(loss, [total])
    await quick.got(total + 1)
    while len(steps) < total + 1:
        await asyncio.sleep(0.01)
    await replica.polled()
    assert steps == list(range(total + 1))
    slow.cancel()


async def test_a_caller_that_never_reads_gives_its_place_up(
    database: Database, run_id: UUID, loss: int, hand: HandMade
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
            await hand.write(loss, range(begin, begin := begin + 5_000))
            await asyncio.sleep(0.05)


async def test_a_large_commit_comes_in_parts_that_each_have_a_cursor(
    replica: TailReplica, database: Database, run_id: UUID, hand: HandMade, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "_MAX_BYTES", 3_000)
    first = await new_series(database, run_id, "key0")
    for number in range(1, 7):
        assert await new_series(database, run_id, f"key{number}") == first + number
    start = await (await replica.follow(run_id).opened()).leave()
    await hand.connection.execute("BEGIN")
    await hand.connection.execute(put_selected(f"SELECT {first} + n % 7, n, now(), n FROM generate_series(0, 69) n"))
    await hand.commit()
    await hand.write(first, [70])
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
