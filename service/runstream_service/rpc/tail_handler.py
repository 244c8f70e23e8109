"""QueryService.Tail: decodes, calls the tail, encodes columns as blocks (see packed.proto)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from runstream.v1 import packed_pb2, query_pb2
from runstream_service.concurrency.deadlines import with_timeout
from runstream_service.query.tail.tail import TailQuery
from runstream_service.rpc.caller import caller_of
from runstream_service.rpc.unread import WRITE_TIMEOUT_S, stalled

if TYPE_CHECKING:
    from runstream_service.query.reading.series import Series
    from runstream_service.query.tail.commit_reader import SeriesPoints
    from runstream_service.query.tail.cursor import Cursor
    from runstream_service.query.tail.tail import Tail

Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = "runstream.v1.QueryService"


def tail_handler(tail: Tail, *, write_timeout_s: float = WRITE_TIMEOUT_S) -> grpc.GenericRpcHandler:
    """The handler of the method Tail; the other methods of the service are in query_servicer.py. A client that does not
    read a message within `write_timeout_s` gets ClientStalled."""

    async def serve(request: query_pb2.TailRequest, context: Context) -> None:
        query = TailQuery(
            run_id=request.run_id,
            keys=list(request.keys),
            rank=request.rank if request.HasField("rank") else None,
            cursor=request.cursor,
        )

        async def emit(entries: list[tuple[Series, SeriesPoints]], cursor: Cursor) -> None:
            packed = [_packed(series, points) for series, points in entries]
            response = packed_pb2.PackedTailResponse(series=packed, cursor=cursor.encode())
            try:
                await with_timeout(context.write(response), write_timeout_s)
            except TimeoutError:
                raise stalled(write_timeout_s) from None

        await tail.read(caller_of(context), query, emit)

    handler = grpc.unary_stream_rpc_method_handler(
        serve,
        request_deserializer=query_pb2.TailRequest.FromString,
        response_serializer=packed_pb2.PackedTailResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(SERVICE, {"Tail": handler})


def _packed(series: Series, points: SeriesPoints) -> packed_pb2.PackedHistoryResponse:
    name = query_pb2.Series(run_id=series.run_id, key=series.key, rank=series.rank, attempt=series.attempt)
    return packed_pb2.PackedHistoryResponse(
        series=name.SerializeToString(),
        point_count=len(points),
        step=points.step.astype("<i8", copy=False).tobytes(),
        time_unix_us=points.time_unix_us.astype("<i8", copy=False).tobytes(),
        value=points.value.astype("<f8", copy=False).tobytes(),
    )
