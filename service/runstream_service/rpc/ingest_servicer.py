"""IngestService: decodes, calls the pipeline, encodes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import structlog

from runstream.v1 import ingest_pb2
from runstream_service.core.caller import ANYONE
from runstream_service.core.errors import CoreError, Draining, OpenExpected
from runstream_service.core.lifetime import Lifetime
from runstream_service.ingest.decode import Batch, decode
from runstream_service.ingest.limits import MAX_BATCH_POINTS, MAX_MESSAGE_BYTES, MAX_SERIES_PER_STREAM
from runstream_service.rpc import status

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from runstream_service.ingest.pipeline import IngestPipeline
    from runstream_service.ingest.refusals import Refusal
    from runstream_service.ingest.stream import ProducerStream

    Context = grpc.aio.ServicerContext[bytes, bytes]

log = structlog.get_logger()

SERVICE = "runstream.v1.IngestService"


def ingest_handler(pipeline: IngestPipeline, lifetime: Lifetime | None = None) -> grpc.GenericRpcHandler:
    """The service's handler. It takes and gives bytes: batches are decoded by columns (ingest/decode.py), and what is
    no message at all gets a clear status instead of gRPC's own INTERNAL."""
    append = IngestServicer(pipeline, lifetime or Lifetime()).append
    return grpc.method_handlers_generic_handler(SERVICE, {"Append": grpc.stream_stream_rpc_method_handler(append)})


class IngestServicer:
    """One call of `append` is one stream."""

    def __init__(self, pipeline: IngestPipeline, lifetime: Lifetime) -> None:
        self._pipeline = pipeline
        self._lifetime = lifetime

    async def append(self, _requests: Any, context: Context) -> None:
        """Serve one Append stream from Open to its status."""
        stream: ProducerStream | None = None
        reason = "CANCELLED"  # unless we get to the end ourselves: the client went away
        try:
            stream = await self._unless_draining(self._open(context))
            with self._lifetime.of(stream.fail):
                await self._serve(stream, context)
            reason = "OK"
        except CoreError as error:
            reason = error.reason
            await status.abort(context, error)
        except Exception as error:
            reason = "INTERNAL"
            await status.abort(context, error)
        finally:
            if stream is not None:
                self._pipeline.close(stream, reason)

    async def _unless_draining(self, opening: Coroutine[Any, Any, ProducerStream]) -> ProducerStream:
        """A client that connected and says nothing must not hold up a shutdown."""
        task = asyncio.create_task(opening)
        ends: set[asyncio.Future[Any]] = {task, self._pipeline.draining}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else self._pipeline.refuse_draining()
        finally:
            task.cancel()

    async def _open(self, context: Context) -> ProducerStream:
        message = await _next_message(context)
        request = None if message is None else decode(message)
        if not isinstance(request, ingest_pb2.Open):
            raise OpenExpected("message: the first message of a stream must be open", field="open")
        stream = await self._pipeline.open(ANYONE, request)
        opened = ingest_pb2.Opened(
            committed_number=stream.committed_number,
            max_batch_points=MAX_BATCH_POINTS,
            max_message_bytes=MAX_MESSAGE_BYTES,
            max_series=MAX_SERIES_PER_STREAM,
        )
        await context.write(ingest_pb2.AppendResponse(opened=opened).SerializeToString())
        return stream

    async def _serve(self, stream: ProducerStream, context: Context) -> None:
        """Read and acknowledge side by side until the client half-closes or the stream fails."""
        half_closed = asyncio.Event()
        reader = asyncio.create_task(self._read(stream, context))
        acknowledger = asyncio.create_task(_acknowledge(stream, context, half_closed))
        try:
            ends: set[asyncio.Future[Any]] = {reader, acknowledger, stream.failed}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if stream.failed.done():
                await self._end_failed(stream, reader, acknowledger, half_closed)
            if acknowledger.done():
                await acknowledger  # it cannot write any more; raises
            await reader
            half_closed.set()
            stream.wake()
            await acknowledger
        finally:
            reader.cancel()
            acknowledger.cancel()

    async def _read(self, stream: ProducerStream, context: Context) -> None:
        while (message := await _next_message(context)) is not None:
            request = decode(message)
            if isinstance(request, Batch):
                await self._pipeline.submit(stream, request)
            elif isinstance(request, ingest_pb2.Declare):
                await self._pipeline.declare(stream, request)
            else:
                raise OpenExpected("open: only the first message of a stream may be open", field="open")

    async def _end_failed(
        self, stream: ProducerStream, reader: asyncio.Task[None], acknowledger: asyncio.Task[None], last: asyncio.Event
    ) -> None:
        """End with the stream's error. A drained stream is first told of all that was received, so that its client has
        as little as possible to send again."""
        reader.cancel()
        error = stream.failed.result()
        if isinstance(error, Draining):
            last.set()
            stream.wake()
            await acknowledger
        raise error


async def _next_message(context: Context) -> bytes | None:
    """The client's next message; None when it half-closed."""
    message: Any = await context.read()
    return None if message is grpc.aio.EOF else message


async def _acknowledge(stream: ProducerStream, context: Context, last: asyncio.Event) -> None:
    """Send acks as commits come in; ends when `last` is set and all is told."""
    while (news := await stream.next_ack(last)) is not None:
        committed_number, refusals = news
        ack = ingest_pb2.Ack(committed_number=committed_number, refusals=[_refusal(r) for r in refusals])
        await context.write(ingest_pb2.AppendResponse(ack=ack).SerializeToString())


def _refusal(refusal: Refusal) -> ingest_pb2.Refusal:
    return ingest_pb2.Refusal(
        reason=f"REFUSAL_REASON_{refusal.reason.name}", point_count=refusal.points, example=refusal.example
    )
