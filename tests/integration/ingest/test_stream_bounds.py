"""Streams are counted exactly and never more than --max-streams; none lasts longer than it can be served."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable
from uuid import uuid4

import grpc
import pytest

from runstream.v1 import ingest_pb2_grpc
from runstream_service.core.stream_lifetime import StreamLifetime
from tests.integration.ingest.conftest import running_replica
from tests.integration.ingest.test_append import Producer, serving

LONG_S = 60.0


@contextlib.asynccontextmanager
async def _connected(replica, lifetime=None, **timeouts) -> AsyncIterator[grpc.aio.Channel]:
    async with serving(replica, lifetime, **timeouts) as address, grpc.aio.insecure_channel(address) as channel:
        yield channel


async def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def _outcome(producer: Producer, **opening) -> str:
    """`open`, or the reason for which the stream ended."""
    with contextlib.suppress(grpc.aio.AioRpcError):
        await producer.open(**opening)
        return "open"
    return (await producer.end())[1]


async def test_streams_that_are_cancelled_while_they_open_leave_their_places(replica, run_id):
    chance = random.Random(5)

    async def open_and_cancel(channel: grpc.aio.Channel) -> None:
        producer = Producer(channel, run_id)
        opening = asyncio.create_task(producer.open())
        await asyncio.sleep(chance.uniform(0, 0.06))
        producer.call.cancel()
        opening.cancel()  # grpc.aio does not always notice that its own call was cancelled
        with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
            await opening

    async with _connected(replica) as channel:
        for _ in range(30):
            await asyncio.gather(*(open_and_cancel(channel) for _ in range(20)))
        await _until(lambda: replica.metric("runstream_streams_open") == 0)
    assert replica.metric("runstream_streams_ended_total", reason="CANCELLED") > 0


async def test_of_many_streams_that_open_at_once_exactly_as_many_get_in_as_may(database, run_id):
    async with running_replica(database, max_streams=7) as replica, _connected(replica) as channel:
        outcomes = await asyncio.gather(*(_outcome(Producer(channel, run_id), rank=rank) for rank in range(100)))
        assert (outcomes.count("open"), outcomes.count("OVERLOADED")) == (7, 93)
        assert replica.metric("runstream_streams_open") == replica.metric("runstream_streams_capacity") == 7
        await _until(lambda: replica.metric("runstream_streams_ended_total", reason="OVERLOADED") == 93)


async def test_a_client_that_connects_and_says_nothing_gives_its_place_up_soon(database, run_id):
    async with (
        running_replica(database, max_streams=1) as replica,
        _connected(replica, first_message_timeout_s=1.5) as channel,
    ):
        silent = ingest_pb2_grpc.IngestServiceStub(channel).Append()
        await silent.wait_for_connection()
        await _until(lambda: replica.metric("runstream_streams_open") == 1)
        assert await _outcome(Producer(channel, run_id)) == "OVERLOADED"
        assert await silent.code() is grpc.StatusCode.UNAVAILABLE
        await _until(lambda: replica.metric("runstream_streams_ended_total", reason="OPEN_TIMEOUT") == 1)
        assert await _outcome(Producer(channel, run_id)) == "open"


async def test_an_open_that_the_database_does_not_answer_ends(database, run_id):
    async with running_replica(database, open_timeout_s=0.3) as replica, _connected(replica) as channel:
        async with database.transaction() as connection:
            await connection.execute("LOCK TABLE producers IN ACCESS EXCLUSIVE MODE")
            assert await _outcome(Producer(channel, run_id)) == "DATABASE_UNAVAILABLE"
        await _until(lambda: replica.metric("runstream_streams_open") == 0)
        assert await _outcome(Producer(channel, run_id)) == "open"


async def test_a_declaration_that_the_database_does_not_answer_ends_its_stream(database, run_id):
    async with running_replica(database, declare_timeout_s=0.3) as replica, _connected(replica) as channel:
        producer = Producer(channel, run_id)
        await producer.open()
        async with database.transaction() as connection:
            await connection.execute("LOCK TABLE series IN ACCESS EXCLUSIVE MODE")
            await producer.declare("loss")
            assert (await producer.end())[1] == "DATABASE_UNAVAILABLE"


async def test_opens_that_wait_end_when_the_replica_has_lost_its_database(database, run_id):
    async with (
        running_replica(database, open_timeout_s=LONG_S, without_database_s=0.2) as replica,
        _connected(replica) as channel,
        database.transaction() as connection,
    ):
        await connection.execute("LOCK TABLE producers IN ACCESS EXCLUSIVE MODE")
        waiting = asyncio.create_task(_outcome(Producer(channel, run_id)))
        await _until(lambda: replica.metric("runstream_streams_open") == 1)
        await replica.pipeline.on_readiness(ready=False)
        assert await asyncio.wait_for(waiting, 10) == "DATABASE_UNAVAILABLE"


async def test_streams_of_a_replica_that_has_lost_its_database_are_sent_elsewhere(database, run_id, stored):
    """They end even if their batches are not committed: another replica takes these."""
    async with running_replica(database, without_database_s=0.2) as replica, _connected(replica) as channel:
        producer = Producer(channel, run_id)
        await producer.open()
        await producer.declare("loss")
        async with database.transaction() as connection:
            await connection.execute("LOCK TABLE producers IN ACCESS EXCLUSIVE MODE")
            await producer.batch(1, [1.0])
            await replica.pipeline.on_readiness(ready=False)
            assert await producer.end() == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE", "")
            assert await _outcome(Producer(channel, run_id)) == "DATABASE_UNAVAILABLE", "it takes no new ones either"
        await replica.pipeline.on_readiness(ready=True)
        again = Producer(channel, run_id, producer.producer)
        committed = (await again.open()).committed_number
        await again.declare("loss")
        for number in range(committed + 1, 3):
            await again.batch(number, [float(number)])
        await again.ack(2)
    assert [value for _, value in await stored()] == [1.0, 2.0]


async def test_a_database_that_comes_back_soon_costs_no_stream(database, run_id):
    async with running_replica(database, without_database_s=0.2) as replica, _connected(replica) as channel:
        producer = Producer(channel, run_id)
        await producer.open()
        await producer.declare("loss")
        await replica.pipeline.on_readiness(ready=False)
        await replica.pipeline.on_readiness(ready=True)
        await asyncio.sleep(0.4)
        await producer.batch(1, [1.0])
        await producer.ack(1)


async def test_an_old_stream_waits_only_a_moment_for_commits(database, replica, run_id, stored):
    async with _connected(replica, StreamLifetime(0.2), last_acks_timeout_s=0.2) as channel:
        producer = Producer(channel, run_id)
        await producer.open()
        await producer.declare("loss")
        async with database.transaction() as connection:
            await connection.execute("LOCK TABLE producers IN ACCESS EXCLUSIVE MODE")
            await producer.batch(1, [1.0])
            assert await producer.end() == (grpc.StatusCode.UNAVAILABLE, "DRAINING", "")
            await _until(lambda: replica.metric("runstream_streams_open") == 0)


@pytest.mark.parametrize(
    ("lifetime", "write_timeout_s", "reason"),
    [(StreamLifetime(2.0), 60.0, "DRAINING"), (StreamLifetime(), 1.0, "CLIENT_STALLED")],
    ids=["old", "never_old"],
)
async def test_a_client_that_never_reads_gives_its_place_up(replica, run_id, lifetime, write_timeout_s, reason):
    small_window = (("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0))
    async with (
        serving(replica, lifetime, last_acks_timeout_s=0.2, write_timeout_s=write_timeout_s) as address,
        grpc.aio.insecure_channel(address, options=small_window) as channel,
    ):
        deaf = Producer(channel, run_id)
        await deaf.open()
        await deaf.declare("k" * 251)
        for number in range(1, 501):  # the acks of the refused points fill the window
            await deaf.batch(number, [1.0])
            await asyncio.sleep(0.001)
        await _until(lambda: replica.metric("runstream_streams_open") == 0)
        await _until(lambda: replica.metric("runstream_streams_ended_total", reason=reason) == 1)
        first = await deaf.call.read()
        assert first.ack.committed_number < 500, "the client had room for all acks, so this shows nothing"


async def test_a_stream_that_was_fenced_after_its_last_batch_does_not_end_well(database, replica, run_id, stored):
    async with _connected(replica) as channel:
        producer = Producer(channel, run_id)
        await producer.open()
        await producer.declare("loss")
        async with database.transaction() as connection:
            await connection.execute("UPDATE producers SET session = session + 1")
            await producer.batch(1, [1.0])
            await producer.call.done_writing()
            await _until(lambda: replica.metric("runstream_queue_points") > 0)
        assert await producer.end() == (grpc.StatusCode.ABORTED, "FENCED", "open.producer_id")
    assert await stored() == []


@pytest.mark.parametrize("drained", [True, False])
async def test_after_draining_nothing_is_open(replica, run_id, drained):
    async with _connected(replica) as channel:
        producer = Producer(channel, run_id, uuid4())
        await producer.open()
        if drained:
            replica.pipeline.drain()
            assert (await producer.end())[1] == "DRAINING"
            assert await _outcome(Producer(channel, run_id)) == "DRAINING"
        else:
            producer.call.cancel()
        await _until(lambda: replica.metric("runstream_streams_open") == 0)


async def test_declarations_that_wait_for_their_turn_are_bounded_and_those_above_are_sent_again(database, run_id):
    keys = [f"key {number} {'x' * 200}" for number in range(200)]  # 43 kB
    async with (
        running_replica(database, max_openings=1, max_held_points=2_500) as replica,
        _connected(replica) as channel,
    ):
        producers = [Producer(channel, run_id) for _ in range(3)]
        for rank, producer in enumerate(producers):
            await producer.open(rank=rank)
        async with database.transaction() as connection:
            await connection.execute("LOCK TABLE series IN ACCESS EXCLUSIVE MODE")
            for producer in producers:
                await producer.declare(*keys)
            ended = [asyncio.create_task(producer.end()) for producer in producers]
            done, waiting = await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED, timeout=30)
            assert [(await one)[1] for one in done] == ["OVERLOADED"]
            assert len(waiting) == 2
        for producer in producers:
            producer.call.cancel()
        await asyncio.wait(ended, timeout=30)
