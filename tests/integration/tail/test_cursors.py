"""Cursors of tails: which of them are valid, and for how long."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from uuid import UUID

import pytest

from runstream_service.database.pool import Database
from runstream_service.query.tail import commit_reader, tail
from runstream_service.query.tail.cursor import Cursor, Snapshot
from tests.integration.tail.conftest import Code, drop, meek_database, rotate
from tests.support.rpc import reason_of
from tests.support.tail import ManualCommit, TailReplica, new_series, tail_replica


async def test_a_cursor_from_before_a_drop_is_too_old(
    replica: TailReplica, database: Database, run_id: UUID, loss: int, manual: ManualCommit
) -> None:
    cursor = await (await replica.follow(run_id).opened()).leave()
    await manual.write(loss, [1])
    await rotate(database)
    await drop(database, 1)
    error = await replica.follow(run_id, cursor=cursor).ended()
    assert reason_of(error) == (Code.OUT_OF_RANGE, "CURSOR_TOO_OLD", "cursor")


async def test_a_partition_that_is_dropped_between_look_and_rows_ends_the_stream(
    replica: TailReplica,
    database: Database,
    run_id: UUID,
    loss: int,
    manual: ManualCommit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cursor = await (await replica.follow(run_id).opened()).leave()
    await manual.write(loss, [1])
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
    replica: TailReplica, run_id: UUID, loss: int, manual: ManualCommit
) -> None:
    """Transaction ids that were lost in a failover are given out again: those commits would be taken for told."""
    cursor = Cursor.decode(await (await replica.follow(run_id).opened()).leave())
    await manual.write(loss, [1])
    for lineage in ("0123456789abcdef", "0" * 16):
        other = dataclasses.replace(cursor, lineage=lineage)
        error = await replica.follow(run_id, cursor=other.encode()).ended()
        assert reason_of(error) == (Code.OUT_OF_RANGE, "CURSOR_TOO_OLD", "cursor")
    of_earlier_release = f"1;{cursor.epoch};;{cursor.snapshot}".encode()
    error = await replica.follow(run_id, cursor=of_earlier_release).ended()
    assert reason_of(error) == (Code.OUT_OF_RANGE, "CURSOR_TOO_OLD", "cursor")
    assert await (await replica.follow(run_id, cursor=cursor.encode()).opened()).got(1) == [1]


async def test_streams_of_another_lineage_end_and_the_others_go_on(
    replica: TailReplica, run_id: UUID, loss: int, manual: ManualCommit
) -> None:
    old, new = await replica.follow(run_id).opened(), await replica.follow(run_id).opened()
    await manual.write(loss, [1])
    await asyncio.gather(old.got(1), new.got(1))
    (stream, _) = sorted(replica.tail._streams, key=lambda one: id(one))
    stream.cursor = dataclasses.replace(stream.cursor, lineage="0123456789abcdef")
    await manual.write(loss, [2])
    ended, _ = await asyncio.wait([old.task, new.task], return_when=asyncio.FIRST_COMPLETED, timeout=30)
    assert ended == {old.task} or ended == {new.task}
    left, gone = (new, old) if ended == {old.task} else (old, new)
    assert reason_of(await gone.ended())[1] == "CURSOR_TOO_OLD"
    assert await left.got(2) == [1, 2]


async def test_a_role_that_may_not_ask_for_the_lineage_has_a_new_one_after_each_restart(
    database: Database, database_url: str, run_id: UUID, loss: int, manual: ManualCommit
) -> None:
    await database.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    await database.execute("CREATE ROLE meek LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO meek")
    try:
        async with meek_database(database_url) as meek, tail_replica(meek) as replica:
            caller = await replica.follow(run_id).opened()
            await manual.write(loss, [1])
            assert await caller.got(1) == [1]
            again = await replica.follow(run_id, cursor=await caller.leave()).opened()
            await manual.write(loss, [2])
            assert await again.got(1) == [2]
    finally:
        await database.execute("DROP OWNED BY meek; DROP ROLE meek")
        await database.execute("GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC")


async def test_names_that_others_clear_meanwhile_are_not_missed(
    replica: TailReplica, database: Database, run_id: UUID, manual: ManualCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "_MAX_CACHED_NAMES", -1)  # clears them each time
    together = await replica.follow(run_id).opened()
    start = together.cursor
    keys = [f"key{number}" for number in range(12)]
    for number, key in enumerate(keys):
        await manual.write(await new_series(database, run_id, key), [number])
    alone = [replica.follow(run_id, keys=[key], cursor=start) for key in keys]
    for number in range(12, 20):
        await manual.write(await new_series(database, run_id, "more"), [number])
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
    replica: TailReplica, database: Database, run_id: UUID, loss: int, manual: ManualCommit
) -> None:
    not_found = (Code.NOT_FOUND, "RUN_NOT_FOUND", "run_id")
    assert reason_of(await replica.follow(uuid.uuid4()).ended()) == not_found
    caller = await replica.follow(run_id).opened()
    await database.execute("UPDATE runs SET purge_epoch = 1")
    await manual.write(loss, [1])
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
