"""Many producers on one Append stream, over real gRPC: none holds up the others; if one fails, it ends alone."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from uuid import UUID, uuid4

import grpc
import pytest

from runstream.v1 import ingest_pb2, ingest_pb2_grpc, status_pb2
from runstream_service.ingest import append_stream
from runstream_service.ingest.limits import MAX_BATCHES_PER_MESSAGE, MAX_PRODUCERS_PER_STREAM
from tests.integration.ingest.conftest import TIME, Replica, new_run, running_replica
from tests.integration.ingest.test_append import Producer, serving


class Agent:
    """The client's side of one stream of many producers. It reads all the time."""

    def __init__(self, channel: grpc.aio.Channel, *, reads: bool = True) -> None:
        self.call = ingest_pb2_grpc.IngestServiceStub(channel).Append()
        self.opened: dict[int, ingest_pb2.Opened] = {}
        self.acknowledged: dict[int, int] = {}
        self.refused: dict[int, int] = {}
        self.ended: dict[int, status_pb2.RpcStatus] = {}
        self.is_over = False
        self._changed = asyncio.Condition()
        self._reading = asyncio.create_task(self._read()) if reads else None

    async def _read(self) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
            while (response := await self.call.read()) is not grpc.aio.EOF:
                async with self._changed:
                    self._take(response)
                    self._changed.notify_all()
        async with self._changed:
            self.is_over = True
            self._changed.notify_all()

    def _take(self, response: ingest_pb2.AppendResponse) -> None:
        kind = response.WhichOneof("message")
        if kind == "opened":
            assert response.opened.producer_index not in self.opened
            self.opened[response.opened.producer_index] = response.opened
        elif kind == "acks":
            for ack in response.acks.acks:
                assert ack.producer_index not in self.ended, "ProducerEnded is the last message about a producer"
                assert ack.committed_number >= self.acknowledged.get(ack.producer_index, 0)
                self.acknowledged[ack.producer_index] = ack.committed_number
                for refusal in ack.refusals:
                    self.refused[ack.producer_index] = self.refused.get(ack.producer_index, 0) + refusal.point_count
        else:
            assert kind == "ended", f"{kind} is not for streams of many producers"
            self.ended[response.ended.producer_index] = response.ended.status

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what was read makes it true."""
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(lambda: condition() or self.is_over), 30)
        assert condition(), f"the stream is over: {await self.call.details()}"

    async def send(self, **message) -> None:
        await self.call.write(ingest_pb2.AppendRequest(**message))

    async def open(
        self, index: int, run_id: UUID, producer: UUID | None = None, *, rank: int = 0, first_unacked: int = 1
    ) -> UUID:
        """Send Open, and do not wait for the answer."""
        producer = producer or uuid4()
        await self.send(
            open=ingest_pb2.Open(
                run_id=run_id.hex,
                producer_id=producer.bytes,
                rank=rank,
                first_unacked=first_unacked,
                producer_index=index,
                multiplexed=True,
            )
        )
        return producer

    async def declare(self, index: int, *keys: str) -> None:
        series = [ingest_pb2.SeriesDeclaration(series_index=at, key=key) for at, key in enumerate(keys)]
        await self.send(declare=ingest_pb2.Declare(series=series, producer_index=index))

    async def ready(self, index: int, run_id: UUID, producer: UUID | None = None, *, rank: int = 0) -> UUID:
        """Open a producer, and declare its series 0."""
        producer = await self.open(index, run_id, producer, rank=rank)
        await self.until(lambda: index in self.opened)
        await self.declare(index, "loss")
        return producer

    async def batches(self, *batches: tuple[int, int, list[float]]) -> None:
        """Send (producer, number, values) in one message."""
        await self.send(batches=batch_set(*batches))

    async def acks(self, **numbers: int) -> None:
        """Wait for these: p0=3 is number 3 of producer 0."""
        wanted = {int(name[1:]): number for name, number in numbers.items()}
        await self.until(lambda: all(self.committed(index) >= number for index, number in wanted.items()))

    def committed(self, index: int) -> int:
        """What the client knows to be committed: by Opened, or by an Ack after it."""
        return max(self.opened[index].committed_number, self.acknowledged.get(index, 0))

    async def reason(self, index: int) -> str:
        """Why a producer has ended."""
        await self.until(lambda: index in self.ended)
        info = status_pb2.ErrorInfo.FromString(self.ended[index].details[0].value)
        return info.reason


def batch_set(*batches: tuple[int, int, list[float]]) -> ingest_pb2.BatchSet:
    """(producer, number, values); steps tell where a point came from: 1000 x number + position."""
    counts = [len(values) for _, _, values in batches]
    return ingest_pb2.BatchSet(
        producer_index=[producer for producer, _, _ in batches],
        number=[number for _, number, _ in batches],
        point_count=counts,
        series_index=[0] * sum(counts),
        step=[1000 * number + position for _, number, values in batches for position in range(len(values))],
        time_unix_us=[TIME] * sum(counts),
        value=[value for _, _, values in batches for value in values],
    )


@contextlib.asynccontextmanager
async def connected(replica: Replica, **timeouts: float) -> AsyncIterator[grpc.aio.Channel]:
    async with serving(replica, None, **timeouts) as address, grpc.aio.insecure_channel(address) as channel:
        yield channel


@pytest.fixture
async def channel(replica: Replica) -> AsyncIterator[grpc.aio.Channel]:
    async with connected(replica) as opened:
        yield opened


@pytest.fixture
async def agent(channel) -> Agent:
    return Agent(channel)


async def two_of(agent: Agent, run_id: UUID) -> None:
    """Two producers that are ready."""
    for index in (0, 1):
        await agent.ready(index, run_id, rank=index)


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
    async with running_replica(database, max_queued_points=1_000) as replica, connected(replica) as channel:
        agent = Agent(channel)
        await two_of(agent, run_id)
        async with database.transaction() as connection:
            await connection.execute("LOCK TABLE producers IN ACCESS EXCLUSIVE MODE")
            for number in range(1, 11):
                await agent.batches((0, number, [0.0] * 900))
            while replica.metric("runstream_batches_received_total", protocol="grpc") < 4:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.1)
            assert replica.metric("runstream_batches_received_total", protocol="grpc") == 4
            assert replica.pipeline._held_points.held == 2_700
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


class _Source:
    """A producer and its batches: number n has the one value 100 x rank + n."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.producer = uuid4()
        self.index: int | None = None  # on the stream of now
        self.sent = 0
        self.acknowledged = 0

    def values(self, upto: int) -> list[float]:
        return [float(100 * self.rank + number) for number in range(1, upto + 1)]


class _Walk:
    """What a client may do to its producers, in any order."""

    def __init__(self, seed: int, channel: grpc.aio.Channel, run_id: UUID) -> None:
        self.random = random.Random(seed)
        self.sources = [_Source(rank) for rank in range(5)]
        self._channel = channel
        self._run_id = run_id
        self._agent = Agent(channel)
        self._next_index = 0

    async def open(self, source: _Source) -> None:
        """Open it, or again under a new index, which fences the older one; then everything else is sent again."""
        index = source.index = self._next_index
        self._next_index += 1
        await self._agent.ready(index, self._run_id, source.producer, rank=source.rank)
        source.sent = source.acknowledged = self._agent.opened[index].committed_number

    async def send(self) -> None:
        """Some batches of some producers in one message."""
        batches: list[tuple[int, int, list[float]]] = []
        for source in self.random.sample(self.sources, self.random.randint(1, 5)):
            if source.index is None or source.index in self._agent.ended:
                await self.open(source)
            assert source.index is not None
            for _ in range(self.random.randint(0, 3)):
                source.sent += 1
                batches.append((source.index, source.sent, [float(100 * source.rank + source.sent)]))
        await self._agent.batches(*batches)

    async def reopen(self) -> None:
        await self.open(self.random.choice(self.sources))

    async def skip_a_number(self) -> None:
        """A gap, which ends the producer."""
        source = self.random.choice(self.sources)
        if source.index is not None:
            await self._agent.batches((source.index, source.sent + 2, [-1.0]))
            source.index = None

    async def close(self) -> None:
        source = self.random.choice(self.sources)
        if source.index is not None:
            await self._agent.send(close=ingest_pb2.Close(producer_index=source.index))
            source.index = None

    async def break_off(self) -> None:
        """The network ends the stream in the middle."""
        self._agent.call.cancel()
        self._agent, self._next_index = Agent(self._channel), 0
        for source in self.sources:
            source.index = None

    async def finish(self) -> None:
        """Bring everything that was ever sent, and wait for all acks."""
        highest = {source.rank: source.sent for source in self.sources}
        await self.break_off()
        for source in self.sources:
            await self.open(source)
            assert source.index is not None
            rest = range(source.sent + 1, highest[source.rank] + 1)
            await self._agent.batches(*((source.index, n, [float(100 * source.rank + n)]) for n in rest))
            source.sent = max(source.sent, highest[source.rank])
        await self._agent.acks(**{f"p{source.index}": source.sent for source in self.sources})
        await self._agent.call.done_writing()
        assert await self._agent.call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_a_client_does_to_its_producers_each_batch_is_stored_once(channel, run_id, stored, seed):
    walk = _Walk(seed, channel, run_id)
    steps = [walk.send] * 6 + [walk.reopen, walk.skip_a_number, walk.close, walk.break_off]
    for _ in range(40):
        await walk.random.choice(steps)()
    await walk.finish()
    assert sorted(value for _, value in await stored()) == sorted(
        value for source in walk.sources for value in source.values(source.sent)
    )
