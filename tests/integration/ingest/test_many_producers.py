"""Many producers on one Append stream, over real gRPC: none holds up the others; if one fails, it ends alone."""

from __future__ import annotations

import asyncio
import contextlib
from uuid import UUID, uuid4

import grpc
import pytest

from runstream.v1 import ingest_pb2
from runstream_service.ingest import append_stream
from runstream_service.ingest.limits import MAX_BATCHES_PER_MESSAGE, MAX_PRODUCERS_PER_STREAM
from tests.integration.ingest.agents import Agent, batch_set, connected, two_of
from tests.integration.ingest.agents import agent as agent
from tests.integration.ingest.agents import channel as channel
from tests.integration.ingest.conftest import new_run, running_replica
from tests.integration.ingest.test_append import Producer, serving
from tests.support.polling import until


async def test_one_message_has_batches_of_many_and_half_closing_brings_all_acks(agent, run_id, stored):
    for index in range(8):
        await agent.open(index, run_id, rank=index)
    await agent.until(lambda: len(agent.opened) == 8)
    assert {opened.max_producers for opened in agent.opened.values()} == {MAX_PRODUCERS_PER_STREAM}
    for index in range(8):
        await agent.declare(index, "loss")
    await agent.batches(*((index, 1 + at, [float(index)] * 3) for index in range(8) for at in range(4)))
    await agent.call.done_writing()
    assert await agent.call.code() is grpc.StatusCode.OK
    await agent.until(lambda: agent.acknowledged == dict.fromkeys(range(8), 4))
    assert sorted(value for _, value in await stored()) == [float(index) for index in range(8) for _ in range(12)]


async def _fenced(agent, database):
    await database.execute("UPDATE producers SET session = session + 1 WHERE rank = 0")
    await agent.batches((0, 1, [1.0]))


async def _gap(agent, database):
    await agent.batches((0, 2, [1.0]))


async def _undeclared(agent, database):
    series = batch_set((0, 1, [1.0]))
    series.series_index[0] = 7
    await agent.send(batches=series)


async def _two_keys(agent, database):
    await agent.declare(0, "accuracy")


async def _after_close(agent, database):
    async with database.transaction() as connection:
        await connection.execute("LOCK TABLE producers IN ACCESS EXCLUSIVE MODE")
        await agent.batches((0, 1, [1.0]))
        await agent.send(close=ingest_pb2.Close(producer_index=0))
        await agent.batches((0, 2, [1.0]))
        await agent.until(lambda: 0 in agent.ended)


@pytest.mark.parametrize(
    ("misbehave", "reason"),
    [
        (_fenced, "FENCED"),
        (_gap, "SEQUENCE_GAP"),
        (_undeclared, "UNDECLARED_SERIES"),
        (_two_keys, "INVALID_FIELD"),
        (_after_close, "OPEN_EXPECTED"),
    ],
)
async def test_the_failure_of_one_producer_ends_it_alone(database, agent, run_id, misbehave, reason):
    await two_of(agent, run_id)
    await agent.batches((1, 1, [1.0]))
    await misbehave(agent, database)
    assert await agent.reason(0) == reason
    await agent.batches((0, 1, [5.0]), (1, 2, [2.0]))  # what is sent for it before the client knows is ignored
    await agent.acks(p1=2)


@pytest.mark.parametrize("why", ["RUN_NOT_FOUND", "RUN_DELETED", "INVALID_FIELD", "LEDGER_BEHIND"])
async def test_an_open_that_fails_ends_its_producer_alone(database, agent, run_id, why):
    bad_run = uuid4() if why == "RUN_NOT_FOUND" else await new_run(database)
    if why == "RUN_DELETED":
        await database.execute("UPDATE runs SET lifecycle = 'deleted' WHERE run_id = $1", bad_run)
    producer = UUID(int=0) if why == "INVALID_FIELD" else uuid4()
    # The very first producer of the stream, too.
    await agent.open(0, bad_run, producer, first_unacked=9 if why == "LEDGER_BEHIND" else 1)
    assert await agent.reason(0) == why
    await agent.ready(1, run_id)
    await agent.batches((1, 1, [1.0]))
    await agent.acks(p1=1)


async def test_a_producer_that_has_ended_is_opened_again_on_the_same_stream(database, agent, run_id, stored):
    producer = await agent.ready(0, run_id)
    await agent.batches((0, 1, [1.0]))
    await agent.acks(p0=1)
    await agent.batches((0, 3, [3.0]))
    assert await agent.reason(0) == "SEQUENCE_GAP"
    await agent.ready(1, run_id, producer)
    assert agent.opened[1].committed_number == 1
    await agent.batches((1, 1, [1.0]), (1, 2, [2.0]), (1, 3, [3.0]))
    await agent.acks(p1=3)
    assert [value for _, value in await stored()] == [1.0, 2.0, 3.0]


async def test_a_producer_opened_on_another_stream_is_fenced_here(channel, agent, run_id):
    producer = await agent.ready(0, run_id)
    await agent.ready(1, run_id, rank=1)
    other = Agent(channel)
    await other.ready(0, run_id, producer)
    assert await agent.reason(0) == "FENCED"
    await agent.batches((1, 1, [1.0]))
    await agent.acks(p1=1)
    await other.batches((0, 1, [1.0]))
    await other.acks(p0=1)


async def test_after_a_broken_stream_everything_is_sent_again_and_stored_once(channel, run_id, stored):
    producers = [uuid4() for _ in range(4)]
    first = Agent(channel)
    for index, producer in enumerate(producers):
        await first.ready(index, run_id, producer, rank=index)
    await first.batches(*((index, 1, [float(index)]) for index in range(4)))
    await first.acks(p0=1, p1=1)
    await first.batches(*((index, 2, [10.0 + index]) for index in range(4)))
    first.call.cancel()
    second = Agent(channel)
    for index, producer in enumerate(producers):
        await second.ready(index, run_id, producer, rank=index)
    await second.batches(*((index, at + 1, [10.0 * at + index]) for index in range(4) for at in (0, 1)))
    await second.batches(*((index, 3, [20.0 + index]) for index in range(4)))
    await second.acks(p0=3, p1=3, p2=3, p3=3)
    assert sorted(value for _, value in await stored()) == sorted(
        float(10 * at + index) for at in range(3) for index in range(4)
    )


async def test_draining_acknowledges_what_was_received_of_all(replica, agent, run_id, stored):
    await two_of(agent, run_id)
    await agent.batches((0, 1, [1.0]), (1, 1, [1.0]))
    await agent.acks(p0=1, p1=1)
    await agent.batches((0, 2, [2.0]), (1, 2, [2.0]))
    while replica.metric("runstream_points_received_total", protocol="grpc") < 4:
        await asyncio.sleep(0.001)
    replica.pipeline.drain()
    await agent.acks(p0=2, p1=2)
    assert await agent.call.code() is grpc.StatusCode.UNAVAILABLE
    assert not agent.ended
    assert len(await stored()) == 4


async def test_a_stream_has_a_most_of_producers_and_closing_one_makes_room(monkeypatch, agent, run_id):
    monkeypatch.setattr(append_stream, "MAX_PRODUCERS_PER_STREAM", 2)
    await two_of(agent, run_id)
    await agent.open(2, run_id, rank=2)
    assert await agent.reason(2) == "OVERLOADED"
    await agent.batches((0, 1, [1.0]))
    await agent.send(close=ingest_pb2.Close(producer_index=0))
    await agent.acks(p0=1)
    await agent.ready(3, run_id, rank=3)
    await agent.batches((1, 1, [1.0]), (3, 1, [1.0]))
    await agent.acks(p1=1, p3=1)


async def test_a_replica_has_a_most_of_producers_however_many_streams_carry_them(database, run_id):
    async with running_replica(database, max_producers=2) as replica, connected(replica) as channel:
        first, second = Agent(channel), Agent(channel)
        await first.ready(0, run_id)
        await second.ready(0, run_id, rank=1)
        await second.open(1, run_id, rank=2)
        assert await second.reason(1) == "OVERLOADED"
        single = Producer(channel, run_id)
        with contextlib.suppress(grpc.aio.AioRpcError):
            await single.open()
        assert (await single.end())[1] == "OVERLOADED"
        first.call.cancel()
        while replica.metric("runstream_producers_open") > 1:
            await asyncio.sleep(0.001)
        await second.ready(2, run_id, rank=2)


async def test_a_failed_producer_gives_its_place_back(database, run_id):
    async with running_replica(database, max_producers=1) as replica, connected(replica) as channel:
        agent = Agent(channel)
        for index, one in enumerate([uuid4(), run_id, uuid4()]):
            await agent.open(index, one)
            await agent.until(lambda index=index: index in agent.opened or index in agent.ended)  # type: ignore[misc]
            if index in agent.opened:
                await agent.batches((index, 9, [1.0]))
                assert await agent.reason(index) == "SEQUENCE_GAP"
        assert replica.metric("runstream_producers_open") == 0


async def test_an_open_that_hangs_in_the_database_holds_up_nobody_and_ends_alone(database, run_id):
    async with running_replica(database, open_timeout_s=1.0) as replica, connected(replica) as channel:
        agent = Agent(channel)
        await agent.ready(0, run_id)
        locked = await new_run(database)
        async with database.transaction() as connection:
            await connection.execute("SELECT FROM runs WHERE run_id = $1 FOR UPDATE", locked)
            await agent.open(1, locked)
            await agent.batches((0, 1, [1.0]))
            await agent.acks(p0=1)
            assert 1 not in agent.ended
            await agent.ready(2, run_id, rank=2)
            await agent.batches((2, 1, [1.0]))
            await agent.acks(p2=1)
            assert await agent.reason(1) == "DATABASE_UNAVAILABLE"
        await agent.batches((0, 2, [1.0]))
        await agent.acks(p0=2)


async def test_a_declare_that_hangs_holds_up_only_its_own_producer_whose_batches_stay_in_order(
    database, agent, run_id, stored
):
    await two_of(agent, run_id)
    await agent.batches((0, 1, [0.0]), (1, 1, [0.0]))
    await agent.acks(p0=1, p1=1)
    async with database.transaction() as connection:
        await connection.execute("LOCK TABLE series IN ACCESS EXCLUSIVE MODE")
        await agent.declare(0, "loss", "accuracy")
        for number in (2, 3, 4):
            await agent.batches((0, number, [float(number)]), (1, number, [float(number)]))
        await agent.acks(p1=4)
        assert agent.acknowledged[0] == 1
    await agent.acks(p0=4)
    assert len(await stored()) == 8


async def test_a_noisy_producer_takes_turns_with_its_neighbours_on_the_stream(database, run_id):
    async with running_replica(database, max_queued_points=1_000) as replica, connected(replica) as channel:
        agent = Agent(channel)
        await two_of(agent, run_id)
        async with database.transaction() as connection:
            await connection.execute("LOCK TABLE producers IN ACCESS EXCLUSIVE MODE")
            for number in range(1, 31):
                await agent.batches((0, number, [0.0] * 900))
            await agent.batches((1, 1, [1.0] * 900))
            while replica.metric("runstream_batches_received_total", protocol="grpc") < 31:
                await asyncio.sleep(0.001)
        await agent.acks(p1=1)
        assert agent.acknowledged.get(0, 0) < 15, "it had to wait for all batches that were read before its own"
        await agent.acks(p0=30)


async def test_reading_ahead_is_bounded(monkeypatch, database, run_id):
    monkeypatch.setattr(append_stream, "READ_AHEAD_POINTS", 2_000)
    reader_waits = asyncio.Event()
    wait_for_room = append_stream.AppendStream.wait_for_room

    async def observed(stream: append_stream.AppendStream) -> None:
        if not stream.has_room:
            reader_waits.set()
        await wait_for_room(stream)
        reader_waits.clear()

    monkeypatch.setattr(append_stream.AppendStream, "wait_for_room", observed)
    async with running_replica(database, max_queued_points=1_000) as replica, connected(replica) as channel:
        agent = Agent(channel)
        await two_of(agent, run_id)
        async with database.transaction() as connection:
            await connection.execute("LOCK TABLE producers IN ACCESS EXCLUSIVE MODE")
            for number in range(1, 11):
                await agent.batches((0, number, [0.0] * 900))
            # The first batch waits in the writer for the lock, the next three in the stream. Once the reader waits,
            # it reads nothing more.
            await until(
                lambda: (
                    reader_waits.is_set()
                    and replica.metric("runstream_batches_received_total", protocol="grpc") == 4
                    and replica.pipeline._held_points.held == 2_700
                )
            )
        await agent.acks(p0=10)
        assert replica.pipeline._held_points.held == 0


async def test_what_waits_is_dropped_with_its_stream(database, run_id, stored):
    async with running_replica(database, max_queued_points=1_000) as replica, connected(replica) as channel:
        agent = Agent(channel)
        await two_of(agent, run_id)
        async with database.transaction() as connection:
            await connection.execute("LOCK TABLE producers IN ACCESS EXCLUSIVE MODE")
            for number in range(1, 6):
                await agent.batches((0, number, [1.0] * 900))
            while replica.metric("runstream_batches_received_total", protocol="grpc") < 5:
                await asyncio.sleep(0.001)
            agent.call.cancel()
            while replica.metric("runstream_streams_open"):
                await asyncio.sleep(0.001)
            assert replica.pipeline._held_points.held == 0
            assert replica.metric("runstream_producers_open") == 0
        while replica.metric("runstream_queue_points"):
            await asyncio.sleep(0.001)
    assert len(await stored()) == 900


async def _unopened(agent, run_id):
    await agent.batches((5, 1, [1.0]))


async def _index_again(agent, run_id):
    await agent.open(0, run_id, rank=3)


async def _too_many_batches(agent, run_id):
    await agent.batches(*((0, 1 + at, []) for at in range(MAX_BATCHES_PER_MESSAGE + 1)))


async def _column_of_another_length(agent, run_id):
    message = batch_set((0, 1, [1.0, 2.0]))
    del message.step[1]
    await agent.send(batches=message)


@pytest.mark.parametrize(
    ("misbehave", "code"),
    [
        (_unopened, "INVALID_ARGUMENT"),
        (_index_again, "INVALID_ARGUMENT"),
        (_too_many_batches, "RESOURCE_EXHAUSTED"),
        (_column_of_another_length, "INVALID_ARGUMENT"),
    ],
)
async def test_what_is_wrong_with_the_stream_itself_ends_all_of_it(agent, run_id, misbehave, code):
    await two_of(agent, run_id)
    await misbehave(agent, run_id)
    assert await agent.call.code() is grpc.StatusCode[code]


async def test_a_batch_before_opened_ends_its_producer_on_a_stream_of_many_and_waits_on_one_of_one(
    database, channel, agent, run_id
):
    async with database.transaction() as connection:
        await connection.execute("SELECT FROM runs WHERE run_id = $1 FOR UPDATE", run_id)
        await agent.open(0, run_id)
        await agent.batches((0, 1, [1.0]))
        assert await agent.reason(0) == "OPEN_EXPECTED"
        single = Producer(channel, run_id)
        await single.send(open=ingest_pb2.Open(run_id=run_id.hex, producer_id=single.producer.bytes))
        await single.declare("loss")
        await single.batch(1, [1.0])
    await single.ack(1)


async def test_refused_points_are_reported_for_their_producer(agent, run_id):
    for index in (0, 1):
        await agent.open(index, run_id, rank=index)
        await agent.until(lambda index=index: index in agent.opened)
    await agent.declare(0, "k" * 251)
    await agent.declare(1, "loss")
    await agent.batches((0, 1, [1.0, 2.0]), (1, 1, [1.0]))
    await agent.acks(p0=1, p1=1)
    assert agent.refused == {0: 2}


async def test_a_client_that_never_reads_gives_its_place_up(replica, run_id):
    small_window = (("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0))
    async with (
        serving(replica, None, last_acks_timeout_s=0.2, write_timeout_s=1.0) as address,
        grpc.aio.insecure_channel(address, options=small_window) as channel,
        grpc.aio.insecure_channel(address) as other_channel,
    ):
        deaf, other = Agent(channel, reads=False), Agent(other_channel)
        for index in range(600):  # each Open is answered
            await deaf.open(index, uuid4())
        await other.ready(0, run_id)
        await other.batches((0, 1, [1.0]))
        await other.acks(p0=1)
        while replica.metric("runstream_streams_open") > 1:
            await asyncio.sleep(0.01)
        assert replica.metric("runstream_streams_ended_total", reason="CLIENT_STALLED") == 1
        assert replica.metric("runstream_producers_open") == 1


async def test_a_status_arrives_although_a_message_was_being_written(channel, run_id):
    """gRPC refuses to send a status while a message is being written; the client would wait forever."""
    for _ in range(30):
        producer = Producer(channel, run_id)
        await producer.open()
        await producer.declare("loss")
        await producer.batch(1, [1.0])
        await producer.batch(3, [1.0])
        assert (await asyncio.wait_for(producer.end(), 10))[1] == "SEQUENCE_GAP"
