"""IngestService.Append over real gRPC: statuses, acks, ends."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from runstream.v1 import ingest_pb2, ingest_pb2_grpc
from runstream_service.auth.anonymous import Anonymous
from runstream_service.core.stream_lifetime import StreamLifetime
from runstream_service.ingest.limits import MAX_BATCH_POINTS, MAX_MESSAGE_BYTES
from runstream_service.monitoring.metrics import Metrics
from runstream_service.rpc.ingest_servicer import ingest_handler
from runstream_service.rpc.interceptor import CallInterceptor
from runstream_service.server.frontend import GRPC_OPTIONS
from tests.integration.ingest.conftest import TIME, Replica


@contextlib.asynccontextmanager
async def serving(replica: Replica, lifetime: StreamLifetime | None = None, **timeouts: float) -> AsyncIterator[str]:
    server = grpc.aio.server(interceptors=[CallInterceptor(Metrics(version="test"), Anonymous())], options=GRPC_OPTIONS)
    server.add_generic_rpc_handlers((ingest_handler(replica.pipeline, lifetime, **timeouts),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@pytest.fixture
async def address(replica) -> AsyncIterator[str]:
    async with serving(replica) as where:
        yield where


@pytest.fixture
async def channel(address) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(address) as opened:
        yield opened


class Producer:
    """The client's side of one stream."""

    def __init__(self, channel: grpc.aio.Channel, run_id: UUID, producer: UUID | None = None) -> None:
        self.call = ingest_pb2_grpc.IngestServiceStub(channel).Append()
        self.run_id = run_id
        self.producer = producer or uuid4()

    async def open(self, first_unacked: int = 1, rank: int = 0) -> ingest_pb2.Opened:
        await self.send(
            open=ingest_pb2.Open(
                run_id=self.run_id.hex, producer_id=self.producer.bytes, rank=rank, first_unacked=first_unacked
            )
        )
        response: ingest_pb2.AppendResponse = await self.call.read()
        return response.opened

    async def declare(self, *keys: str) -> None:
        series = [ingest_pb2.SeriesDeclaration(series_index=index, key=key) for index, key in enumerate(keys)]
        await self.send(declare=ingest_pb2.Declare(series=series))

    async def batch(self, number: int, values: list[float], index: int = 0, **changes) -> None:
        count = len(values)
        columns = {
            "point_count": count,
            "series_index": [index] * count,
            "step": [1000 * number + position for position in range(count)],
            "time_unix_us": [TIME] * count,
            "value": values,
        }
        await self.send(batch=ingest_pb2.Batch(number=number, **{**columns, **changes}))

    async def send(self, **message) -> None:
        await self.call.write(ingest_pb2.AppendRequest(**message))

    async def ack(self, number: int) -> list[ingest_pb2.Refusal]:
        """Read acks up to `number`; what was refused on the way."""
        refusals = []
        while True:
            response = await self.call.read()
            assert response is not grpc.aio.EOF, await self.call.details()
            refusals += response.ack.refusals
            if response.ack.committed_number >= number:
                return refusals

    async def end(self) -> tuple[grpc.StatusCode, str, str]:
        """Status code, reason and field with which the stream ended."""
        with contextlib.suppress(grpc.aio.AioRpcError):
            while await self.call.read() is not grpc.aio.EOF:
                pass
        code = await self.call.code()
        status = rpc_status.from_call(_Finished(code, await self.call.details(), await self.call.trailing_metadata()))
        info = error_details_pb2.ErrorInfo()
        if status is not None:
            assert status.details[0].Unpack(info)
        return code, info.reason, info.metadata.get("field", "")


class _Finished:
    """A call that has ended, in the form that grpc_status reads."""

    def __init__(self, code, details, metadata) -> None:
        self._parts = code, details, tuple(metadata)

    def code(self):
        return self._parts[0]

    def details(self):
        return self._parts[1]

    def trailing_metadata(self):
        return self._parts[2]


async def test_points_are_acknowledged_and_the_stream_ends_well(channel, run_id, stored):
    producer = Producer(channel, run_id)
    opened = await producer.open()
    assert (opened.committed_number, opened.max_batch_points, opened.max_message_bytes) == (
        0, MAX_BATCH_POINTS, MAX_MESSAGE_BYTES,
    )  # fmt: skip
    await producer.declare("loss")
    await producer.batch(1, [1.0, 2.0])
    await producer.ack(1)
    assert await stored() == [(1, 1.0), (1, 2.0)]
    await producer.batch(2, [3.0])
    await producer.call.done_writing()
    await producer.ack(2)
    assert await producer.end() == (grpc.StatusCode.OK, "", "")


async def _no_open(producer):
    await producer.declare("loss")


async def _nothing_but_an_end(producer):
    await producer.call.done_writing()


async def _empty_message(producer):
    await producer.send()


async def _second_open(producer):
    await producer.open()
    await producer.send(open=ingest_pb2.Open(run_id=producer.run_id.hex, producer_id=producer.producer.bytes))


async def _unknown_run(producer):
    producer.run_id = uuid4()
    await producer.open()


async def _bad_run_id(producer):
    await producer.send(open=ingest_pb2.Open(run_id="../etc/passwd", producer_id=producer.producer.bytes))


async def _bad_producer_id(producer):
    await producer.send(open=ingest_pb2.Open(run_id=producer.run_id.hex, producer_id=b"x"))


async def _rank_below_mlflows(producer):
    await producer.open(rank=-2)


async def _attempt_of_mlflows_rank(producer):
    asked = ingest_pb2.Open(run_id=producer.run_id.hex, producer_id=producer.producer.bytes, rank=-1, attempt=1)
    await producer.send(open=asked)


async def _undeclared_series(producer):
    await producer.open()
    await producer.declare("loss")
    await producer.batch(1, [1.0], index=5)


async def _columns_of_different_lengths(producer):
    await producer.open()
    await producer.declare("loss")
    await producer.batch(1, [1.0, 2.0], step=[1])


async def _gap(producer):
    await producer.open()
    await producer.declare("loss")
    await producer.batch(2, [1.0])


async def _an_index_with_two_keys(producer):
    await producer.open()
    await producer.declare("loss")
    await producer.declare("accuracy")


async def _restored_database(producer):
    await producer.open(first_unacked=9)


@pytest.mark.parametrize(
    ("misbehave", "code", "reason", "field"),
    [
        (_no_open, "INVALID_ARGUMENT", "OPEN_EXPECTED", "open"),
        (_nothing_but_an_end, "INVALID_ARGUMENT", "OPEN_EXPECTED", "open"),
        (_empty_message, "INVALID_ARGUMENT", "MALFORMED_MESSAGE", "message"),
        (_second_open, "INVALID_ARGUMENT", "OPEN_EXPECTED", "open"),
        (_unknown_run, "NOT_FOUND", "RUN_NOT_FOUND", "open.run_id"),
        (_bad_run_id, "INVALID_ARGUMENT", "INVALID_FIELD", "open.run_id"),
        (_bad_producer_id, "INVALID_ARGUMENT", "INVALID_FIELD", "open.producer_id"),
        (_rank_below_mlflows, "INVALID_ARGUMENT", "INVALID_FIELD", "open.rank"),
        (_attempt_of_mlflows_rank, "INVALID_ARGUMENT", "INVALID_FIELD", "open.attempt"),
        (_undeclared_series, "INVALID_ARGUMENT", "UNDECLARED_SERIES", "batch.series_index"),
        (_columns_of_different_lengths, "INVALID_ARGUMENT", "COLUMN_LENGTHS", "batch.step"),
        (_gap, "OUT_OF_RANGE", "SEQUENCE_GAP", "batch.number"),
        (_an_index_with_two_keys, "INVALID_ARGUMENT", "INVALID_FIELD", "declare.series.series_index"),
        (_restored_database, "DATA_LOSS", "LEDGER_BEHIND", "open.first_unacked"),
    ],
)
async def test_each_misuse_ends_the_stream_with_its_own_status(channel, run_id, misbehave, code, reason, field):
    producer = Producer(channel, run_id)
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        await misbehave(producer)
    assert await producer.end() == (grpc.StatusCode[code], reason, field)


async def test_a_deleted_run_ends_streams_and_takes_no_new_ones(database, channel, run_id):
    producer = Producer(channel, run_id)
    await producer.open()
    await producer.declare("loss")
    await database.execute("UPDATE runs SET lifecycle = 'deleted' WHERE run_id = $1", run_id)
    await database.execute("UPDATE producers SET session = session + 1 WHERE run_id = $1", run_id)
    await producer.batch(1, [1.0])
    assert await producer.end() == (grpc.StatusCode.ABORTED, "FENCED", "open.producer_id")
    again = Producer(channel, run_id, producer.producer)
    with contextlib.suppress(grpc.aio.AioRpcError):
        await again.open()
    assert await again.end() == (grpc.StatusCode.FAILED_PRECONDITION, "RUN_DELETED", "open.run_id")


async def test_bytes_that_are_no_message_end_the_stream_as_malformed(channel):
    call = channel.stream_stream("/runstream.v1.IngestService/Append")()
    await call.write(b"\xff\xff\xff\xff")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_message_above_the_bound_ends_only_its_own_stream(channel, run_id, stored):
    other, producer = Producer(channel, run_id), Producer(channel, run_id)
    for one, rank in ((other, 0), (producer, 1)):
        await one.open(rank=rank)
        await one.declare("loss")
    with contextlib.suppress(grpc.aio.AioRpcError):
        await producer.batch(1, [0.0] * (MAX_MESSAGE_BYTES // 8))
    code, reason, _ = await producer.end()
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE")
    await other.batch(1, [1.0])
    await other.ack(1)
    assert await stored() == [(1, 1.0)]


async def test_what_came_before_a_protocol_error_is_kept_and_the_rest_can_be_sent_again(channel, run_id, stored):
    producer = Producer(channel, run_id)
    await producer.open()
    await producer.declare("loss")
    await producer.batch(1, [1.0])
    await producer.ack(1)
    await producer.batch(3, [3.0])
    assert (await producer.end())[1] == "SEQUENCE_GAP"
    again = Producer(channel, run_id, producer.producer)
    assert (await again.open(first_unacked=2)).committed_number == 1
    await again.declare("loss")
    await again.batch(2, [2.0])
    await again.batch(3, [3.0])
    await again.ack(3)
    assert [value for _, value in await stored()] == [1.0, 2.0, 3.0]


async def test_refused_points_come_back_by_reason_with_a_count_and_the_rest_is_stored(channel, run_id, stored):
    producer = Producer(channel, run_id)
    await producer.open()
    await producer.declare("loss", "k" * 251, "bad\nkey")
    await producer.batch(
        1, [1.0, 2.0, 3.0, 4.0], series_index=[0, 1, 2, 0], time_unix_us=[TIME, TIME, TIME, 2**62]
    )  # fmt: skip
    refusals = {ingest_pb2.RefusalReason.Name(r.reason): r for r in await producer.ack(1)}
    assert {name: refusal.point_count for name, refusal in refusals.items()} == {
        "REFUSAL_REASON_KEY_TOO_LONG": 1,
        "REFUSAL_REASON_KEY_CONTROL_CHARACTER": 1,
        "REFUSAL_REASON_TIME_OUT_OF_RANGE": 1,
    }
    assert "bad\\nkey" in refusals["REFUSAL_REASON_KEY_CONTROL_CHARACTER"].example
    assert await stored() == [(1, 1.0)]


async def test_a_second_connection_of_a_producer_wins_and_the_silent_older_one_ends_as_fenced(channel, run_id):
    producer = uuid4()
    old = Producer(channel, run_id, producer)
    await old.open()
    new = Producer(channel, run_id, producer)
    await new.open()
    assert await old.end() == (grpc.StatusCode.ABORTED, "FENCED", "open.producer_id")
    await new.declare("loss")
    await new.batch(1, [1.0])
    await new.ack(1)


async def test_draining_acknowledges_what_was_received_and_sends_clients_elsewhere(replica, address, run_id, stored):
    async with grpc.aio.insecure_channel(address) as channel:
        producer = Producer(channel, run_id)
        await producer.open()
        await producer.declare("loss")
        await producer.batch(1, [1.0])
        await producer.ack(1)
        await producer.batch(2, [2.0])
        await asyncio.wait_for(_received(replica, 2), 10)
        replica.pipeline.drain()
        await producer.ack(2)
        assert await producer.end() == (grpc.StatusCode.UNAVAILABLE, "DRAINING", "")
    assert len(await stored()) == 2


async def test_an_old_stream_is_sent_elsewhere_when_what_was_received_is_acknowledged(
    database, replica, run_id, stored
):
    async with serving(replica, StreamLifetime(2.0)) as address, grpc.aio.insecure_channel(address) as channel:
        producer = Producer(channel, run_id)
        await producer.open()
        begun = time.monotonic()
        await producer.declare("loss")
        await producer.batch(1, [1.0])
        await producer.ack(1)
        async with database.acquire() as connection, connection.transaction():
            await connection.execute("LOCK TABLE producers IN ACCESS EXCLUSIVE MODE")
            await producer.batch(2, [2.0])
            (stream,) = replica.pipeline._streams
            await asyncio.wait_for(asyncio.shield(stream.failed), 10)
            assert 1.7 < time.monotonic() - begun < 10
        await producer.ack(2)
        assert await producer.end() == (grpc.StatusCode.UNAVAILABLE, "DRAINING", "")
        # Connections are older than streams when they go: what is opened again is on another one.
        again = Producer(channel, run_id, producer.producer)
        assert (await again.open(first_unacked=3)).committed_number == 2
    assert len(await stored()) == 2


async def test_a_client_that_connected_and_says_nothing_does_not_hold_up_a_shutdown(replica, channel):
    silent = ingest_pb2_grpc.IngestServiceStub(channel).Append()
    await silent.wait_for_connection()
    replica.pipeline.drain()
    assert await silent.code() is grpc.StatusCode.UNAVAILABLE


async def _received(replica: Replica, batches: int) -> None:
    """Wait until the service has read and queued this many batches."""
    while True:
        producers = list(replica.pipeline._producers.values())
        if producers and (producers[0]._received_number or 0) >= batches:
            return
        await asyncio.sleep(0.001)


async def test_a_client_that_vanishes_leaves_nothing_behind(replica, address, run_id, stored):
    channel = grpc.aio.insecure_channel(address)
    producer = Producer(channel, run_id)
    await producer.open()
    await producer.declare("loss")
    await producer.batch(1, [1.0])
    await producer.ack(1)
    assert replica.metric("runstream_streams_open") == 1
    await channel.close()
    async with grpc.aio.insecure_channel(address) as other:
        again = Producer(other, run_id, producer.producer)
        assert (await again.open(first_unacked=2)).committed_number == 1
        await again.call.done_writing()
        assert (await again.end())[0] is grpc.StatusCode.OK
    while replica.metric("runstream_streams_open"):
        await asyncio.sleep(0.001)


async def test_a_client_that_never_reads_its_acks_stops_only_itself(replica, address, run_id, stored):
    async with grpc.aio.insecure_channel(address) as deaf_channel, grpc.aio.insecure_channel(address) as channel:
        deaf = Producer(deaf_channel, run_id)
        await deaf.open()
        await deaf.declare("loss")

        async def shout() -> None:
            for number in range(1, 2_001):
                await deaf.batch(number, [0.0] * 10)

        shouting = asyncio.ensure_future(shout())
        polite = Producer(channel, run_id)
        await polite.open(rank=1)
        await polite.declare("loss")
        for number in range(1, 51):
            await polite.batch(number, [1.0])
            await polite.ack(number)
        await shouting
    assert sum(value for _, value in await stored()) == 50.0


async def test_hundreds_of_silent_streams_cost_the_others_nothing(replica, channel, run_id, stored):
    silent = [Producer(channel, run_id) for _ in range(300)]
    await asyncio.gather(*(producer.open(rank=rank) for rank, producer in enumerate(silent)))
    assert replica.metric("runstream_streams_open") == 300
    speaker = Producer(channel, run_id)
    await speaker.open(rank=300)
    await speaker.declare("loss")
    await speaker.batch(1, [1.0])
    await speaker.ack(1)
    assert await stored() == [(1, 1.0)]
