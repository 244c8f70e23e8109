"""Reads run on a thread with an event loop of its own, and their callers notice nothing of it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from uuid import uuid4

import asyncpg
import pytest

from runstream_service.database.pool import Database
from runstream_service.errors.core import DatabaseUnavailable, InvalidField
from runstream_service.query.reading.read_transaction import ReadPool
from runstream_service.query.reading.reader_thread import ReaderThread, in_this_loop
from runstream_service.sharing.current import current_workspace, work_for
from runstream_service.sharing.urgent import UrgentWork
from runstream_service.stores import hot_store
from tests.support.tasks import end


@pytest.fixture
async def reader(database: Database) -> AsyncIterator[ReaderThread]:
    reader = await ReaderThread.start(lambda: database.open_for_reads(max_size=2))
    yield reader
    await reader.stop(within_s=1.0)
    await asyncio.wait_for(reader.ended(), 10)


@pytest.fixture
def read_pool(reader: ReaderThread) -> ReadPool:
    return ReadPool(reader.database, max_reads=2, thread=reader)


async def visible_epoch(read_pool: ReadPool) -> int:
    async with read_pool.transaction() as transaction:
        return transaction.visible_epoch


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_a_read_goes_on_while_the_loop_of_its_caller_is_held(read_pool: ReadPool) -> None:
    done = threading.Event()

    async def read() -> int:
        found = await visible_epoch(read_pool)
        done.set()
        return found

    reading = asyncio.ensure_future(read_pool.run(read()))
    await asyncio.sleep(0)  # it is handed over
    assert done.wait(10)  # holds this loop
    assert await reading == 0


async def test_a_read_is_urgent_until_it_ends_however_it_does(reader: ReaderThread) -> None:
    urgent = UrgentWork()
    read_pool = ReadPool(reader.database, max_reads=2, thread=reader, urgent=urgent)
    reading = asyncio.ensure_future(read_pool.run(visible_epoch(read_pool)))
    await asyncio.sleep(0)
    assert urgent.is_under_way
    assert await reading == 0
    assert not urgent.is_under_way
    reading = asyncio.ensure_future(read_pool.run(asyncio.sleep(30)))
    await asyncio.sleep(0)
    assert urgent.is_under_way
    reading.cancel()
    await asyncio.wait({reading})
    assert not urgent.is_under_way


async def test_what_a_read_emits_is_taken_in_the_loop_of_its_caller(read_pool: ReadPool) -> None:
    taken: list[tuple[int, bool]] = []
    own = asyncio.get_running_loop()

    async def emit(number: int) -> None:
        await asyncio.sleep(0)
        taken.append((number, asyncio.get_running_loop() is own))

    emit_here = in_this_loop(emit)

    async def read() -> None:
        for number in range(3):
            await emit_here(number)
            assert len(taken) == number + 1  # it waited

    await read_pool.run(read())
    await emit_here(3)
    assert taken == [(number, True) for number in range(4)]


async def test_errors_of_a_read_and_of_its_receiver_reach_the_caller(read_pool: ReadPool) -> None:
    async def fail() -> None:
        raise InvalidField("keys: no", field="keys")

    with pytest.raises(InvalidField, match="no"):
        await read_pool.run(fail())
    emit = in_this_loop(fail)

    async def read() -> None:
        await emit()

    with pytest.raises(InvalidField, match="no"):
        await read_pool.run(read())


async def test_cancelling_the_caller_ends_the_read_and_frees_its_connection(
    reader: ReaderThread, read_pool: ReadPool
) -> None:
    begun = threading.Event()

    async def read() -> None:
        async with read_pool.transaction() as transaction:
            begun.set()
            await transaction.fetch_sql("SELECT pg_sleep(60)")

    reading = asyncio.ensure_future(read_pool.run(read()))
    await until(begun.is_set)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await until(lambda: reader.database.in_use == 0)
    assert await read_pool.run(visible_epoch(read_pool)) == 0


async def test_a_read_on_the_thread_works_for_the_workspace_of_its_caller(reader: ReaderThread) -> None:
    async def whose() -> int:
        return current_workspace()

    async def ask(workspace_id: int) -> int:
        work_for(workspace_id)
        return await reader.run(whose())

    assert await asyncio.gather(*map(ask, (7, 8, 9))) == [7, 8, 9]


async def test_stopping_ends_the_reads_under_way(database: Database) -> None:
    reader = await ReaderThread.start(lambda: database.open_for_reads(max_size=2))
    read_pool = ReadPool(reader.database, max_reads=1, thread=reader)
    begun = threading.Event()

    async def read() -> None:
        async with read_pool.transaction() as transaction:
            begun.set()
            await transaction.fetch_sql("SELECT pg_sleep(60)")

    reading = asyncio.ensure_future(read_pool.run(read()))
    await until(begun.is_set)
    await reader.stop(within_s=0.1)
    await asyncio.wait_for(reader.ended(), 10)
    with pytest.raises((DatabaseUnavailable, asyncio.CancelledError)):
        await asyncio.wait_for(reading, 10)


async def test_the_thread_ends_without_an_error_when_nobody_waits_for_that_any_more(database: Database) -> None:
    reader = await ReaderThread.start(lambda: database.open_for_reads(max_size=1))
    waiting = asyncio.create_task(reader.ended())
    await asyncio.sleep(0)
    await end(waiting)
    await reader.stop(within_s=1.0)
    await asyncio.wait_for(reader.ended(), 10)


async def test_a_thread_without_a_database_does_not_start(database: Database) -> None:
    async def open_nothing() -> Database:
        return await Database.open("postgresql://postgres@127.0.0.1:1/x")

    with pytest.raises(DatabaseUnavailable):
        await ReaderThread.start(open_nothing)


async def test_a_connection_is_as_before_after_a_read_that_changed_settings_and_failed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool of the thread does not reset connections, which would take a round trip for each read."""
    reads = await database.open_for_reads(max_size=1)
    try:
        read_pool = ReadPool(reads, max_reads=1)
        settings = "SELECT name, setting FROM pg_settings WHERE name !~ '^(transaction|in_hot|is_superuser)' ORDER BY 1"
        before = await reads.fetch(settings)

        async def ignore(_data: bytes) -> None:
            pass

        async def read() -> None:
            async with read_pool.transaction() as transaction:
                await transaction.force_custom_plans()
                await transaction.prefer_hash_lookups()
                await transaction.stream_hot([uuid4()], [0], sink=ignore)
                monkeypatch.setattr(hot_store, "points_above", lambda *_: "SELECT 1 / 0 FROM hot_batches")
                await transaction.stream_hot([], [], sink=ignore)

        with pytest.raises(asyncpg.DivisionByZeroError):
            await read()
        assert await reads.fetch(settings) == before
        held = "SELECT count(*) FROM pg_locks WHERE relation = 'hot_batches'::regclass"
        assert await database.fetchval(held) == 0
    finally:
        await reads.close()
