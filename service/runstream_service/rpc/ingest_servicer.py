"""IngestService: decodes, calls the pipeline, encodes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import grpc
import structlog

from runstream.v1 import ingest_pb2
from runstream_service.concurrency.tasks import abandon
from runstream_service.core.stream_lifetime import StreamLifetime
from runstream_service.errors.core import CoreError, Draining, MessageTooLarge, OpenExpected, OpenTimeout
from runstream_service.ingest.append_producer import Acknowledged, Ended, Opened
from runstream_service.ingest.append_stream import AppendStream
from runstream_service.ingest.decode import decode
from runstream_service.ingest.limits import (
    MAX_BATCH_POINTS,
    MAX_MESSAGE_BYTES,
    MAX_PRODUCERS_PER_STREAM,
    MAX_SERIES_PER_PRODUCER,
)
from runstream_service.rpc import status
from runstream_service.rpc.caller import caller_of
from runstream_service.rpc.unread import WRITE_TIMEOUT_S, WriteTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runstream_service.ingest.append_producer import Update
    from runstream_service.ingest.pipeline import IngestPipeline
    from runstream_service.ingest.refusals import Refusal

    Context = grpc.aio.ServicerContext[bytes, bytes]

log = structlog.get_logger()

SERVICE = "runstream.v1.IngestService"

# A call takes a place among --max-streams before its first message. A call that sends none must not keep the place.
FIRST_MESSAGE_TIMEOUT_S = 20.0
# How long a stream that is sent to another replica waits for the commit of the batches that it has received. Batches
# that are not acknowledged by then are sent again on the next stream, and stored once.
LAST_ACKS_TIMEOUT_S = 5.0


def ingest_handler(
    pipeline: IngestPipeline,
    lifetime: StreamLifetime | None = None,
    *,
    first_message_timeout_s: float = FIRST_MESSAGE_TIMEOUT_S,
    last_acks_timeout_s: float = LAST_ACKS_TIMEOUT_S,
    write_timeout_s: float = WRITE_TIMEOUT_S,
) -> grpc.GenericRpcHandler:
    """The service's handler. It receives and returns bytes: batches are decoded by columns (ingest/decode.py), and
    bytes that are no message get a clear status instead of gRPC's own INTERNAL."""
    servicer = IngestServicer(
        pipeline,
        lifetime or StreamLifetime(),
        first_message_timeout_s=first_message_timeout_s,
        last_acks_timeout_s=last_acks_timeout_s,
        write_timeout_s=write_timeout_s,
    )
    return grpc.method_handlers_generic_handler(
        SERVICE, {"Append": grpc.stream_stream_rpc_method_handler(servicer.append)}
    )


class IngestServicer:
    """One call of `append` is one stream."""

    def __init__(
        self,
        pipeline: IngestPipeline,
        lifetime: StreamLifetime,
        *,
        first_message_timeout_s: float,
        last_acks_timeout_s: float,
        write_timeout_s: float,
    ) -> None:
        self._pipeline = pipeline
        self._lifetime = lifetime
        self._first_message_timeout_s = first_message_timeout_s
        self._last_acks_timeout_s = last_acks_timeout_s
        self._write_timeout_s = write_timeout_s

    async def append(self, _requests: Any, context: Context) -> None:
        """Serve one Append stream from its start to its status."""
        reason = "CANCELLED"  # the client went away, unless one of the cases below applies
        with contextlib.ExitStack() as slot:
            try:
                slot.enter_context(self._pipeline.slot(caller_of(context).workspace_id))
                await self._stream(context)
                reason = "OK"
            except grpc.aio.InternalError as error:
                raise asyncio.CancelledError from error  # the client went away, noticed by a write
            except Exception as error:
                reason = error.reason if isinstance(error, CoreError) else "INTERNAL"
                await status.abort(context, error)
            finally:
                self._pipeline.metrics.stream_ended(reason)

    async def _stream(self, context: Context) -> None:
        caller, request = caller_of(context), await self._open_request(context)
        with (
            AppendStream(self._pipeline, caller, multiplexed=request.multiplexed) as stream,
            self._lifetime.limit(caller, stream.fail),
        ):
            stream.take(request)
            await self._serve(stream, context)

    async def _open_request(self, context: Context) -> ingest_pb2.Open:
        """The first message, decoded. A client that sends none must neither keep its place nor delay a shutdown.

        Raises OpenTimeout, OpenExpected if the message is not Open, and while the service shuts down Draining."""
        reading = asyncio.create_task(_next_message(context))
        ends: set[asyncio.Future[Any]] = {reading, self._pipeline.not_accepting}
        try:
            await asyncio.wait(ends, timeout=self._first_message_timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                raise (
                    self._pipeline.not_accepting_error()
                    if self._pipeline.not_accepting.done()
                    else OpenTimeout(
                        f"no message arrived within {self._first_message_timeout_s:g} s; a stream begins with open",
                        field="open",
                    )
                )
            message = reading.result()
        finally:
            abandon(reading)
        request = None if message is None else decode(message)
        if not isinstance(request, ingest_pb2.Open):
            raise OpenExpected("message: the first message of a stream must be open", field="open")
        return request

    async def _serve(self, stream: AppendStream, context: Context) -> None:
        """Read and answer concurrently until the client half-closes or the stream fails."""
        half_closed = asyncio.Event()
        reader = asyncio.create_task(_read(stream, context))
        answering = asyncio.create_task(self._answer(stream, context, half_closed))
        try:
            await _first_of(reader, answering, stream.failed)
            if reader.done() and not stream.failed.done():
                reader.result()  # raises if the client has left
                half_closed.set()
                stream.wake()
                # Its last batches may still fail, for example because the producer is fenced.
                await _first_of(answering, stream.failed)
            if stream.failed.done():
                abandon(reader)
                await self._fail(stream, answering, half_closed)
            answering.result()
        finally:
            abandon(reader, answering)

    async def _answer(self, stream: AppendStream, context: Context, last: asyncio.Event) -> None:
        """Send the client acknowledgements and errors; ends when `last` is set and all batches are acknowledged."""
        write_timeout = WriteTimeout(stream.fail, self._write_timeout_s)
        while (updates := await stream.next_updates(last)) is not None:
            for response in _responses(updates, multiplexed=stream.multiplexed):
                with write_timeout:
                    await context.write(response.SerializeToString())

    async def _fail(self, stream: AppendStream, answering: asyncio.Task[None], last: asyncio.Event) -> None:
        """Raise the stream's error. A stream that is sent to another replica gets its last acks first, so that its
        client has little to send again; but only those that are committed, and read by the client, within the timeout.
        """
        error = stream.failed.result()
        if isinstance(error, Draining):
            last.set()
            stream.wake()
            await asyncio.wait({answering}, timeout=self._last_acks_timeout_s)
        # gRPC does not send the status while a message is being written: the client would wait for it forever.
        stream.drop_waiting()
        stream.stop_updates()
        await asyncio.wait({answering}, timeout=self._last_acks_timeout_s)
        if answering.done():
            answering.result()
        raise error


async def _read(stream: AppendStream, context: Context) -> None:
    try:
        while True:
            if not stream.has_room:
                await stream.wait_for_room()
            if (message := await _next_message(context)) is None:
                return
            if not stream.try_take_turn():
                await stream.wait_for_turn()
            stream.take(decode(message))
    except Exception as error:
        stream.fail(error)


def _responses(updates: Sequence[Update], *, multiplexed: bool) -> Iterator[ingest_pb2.AppendResponse]:
    """Updates in their order, except that acks of several producers share a message. A producer's last update is its
    end, and its opening comes before its acks, so neither is moved across another of the same producer."""
    acks = ingest_pb2.Acks()
    ended = []
    for update in updates:
        if isinstance(update, Opened):
            yield ingest_pb2.AppendResponse(opened=_opened(update))
        elif isinstance(update, Ended):
            ended.append(update)
        elif multiplexed:
            acks.acks.append(_ack(update))
        else:
            yield ingest_pb2.AppendResponse(ack=_ack(update))
    if acks.acks:
        yield ingest_pb2.AppendResponse(acks=acks)
    for one in ended:
        yield ingest_pb2.AppendResponse(
            ended=ingest_pb2.ProducerEnded(producer_index=one.producer_index, status=status.rpc_status(one.error))
        )


def _opened(update: Opened) -> ingest_pb2.Opened:
    return ingest_pb2.Opened(
        committed_number=update.committed_number,
        max_batch_points=MAX_BATCH_POINTS,
        max_message_bytes=MAX_MESSAGE_BYTES,
        max_series=MAX_SERIES_PER_PRODUCER,
        producer_index=update.producer_index,
        max_producers=MAX_PRODUCERS_PER_STREAM,
    )


def _ack(update: Acknowledged) -> ingest_pb2.Ack:
    return ingest_pb2.Ack(
        committed_number=update.committed_number,
        refusals=[_refusal(refusal) for refusal in update.refusals],
        producer_index=update.producer_index,
    )


async def _first_of(*ends: asyncio.Future[Any]) -> None:
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)


async def _next_message(context: Context) -> bytes | None:
    """The client's next message; None when it half-closed."""
    message: Any = await context.read()
    if message is grpc.aio.EOF:
        return None
    if len(message) > MAX_MESSAGE_BYTES:
        raise MessageTooLarge(
            f"message: has {len(message):,} bytes; at most {MAX_MESSAGE_BYTES:,} are allowed. Send smaller batches",
            field="message",
        )
    return bytes(message)


def _refusal(refusal: Refusal) -> ingest_pb2.Refusal:
    return ingest_pb2.Refusal(
        reason=f"REFUSAL_REASON_{refusal.reason.name}", point_count=refusal.points, example=refusal.example
    )
