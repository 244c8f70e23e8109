"""QueryService: decodes, calls the reads, encodes columns as blocks (see packed.proto)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from runstream.v1 import packed_pb2, query_pb2
from runstream_service.query.history import HistoryQuestion
from runstream_service.rpc.caller import caller_of

if TYPE_CHECKING:
    from runstream_service.query.history import History, Series
    from runstream_service.query.latest import Latest
    from runstream_service.query.rows import Piece

Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = "runstream.v1.QueryService"


def query_handler(history: History, latest: Latest) -> grpc.GenericRpcHandler:
    """The service's handler. Not the generated one: History answers PackedHistoryResponse, the same bytes."""
    servicer = QueryServicer(history, latest)
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "History": grpc.unary_stream_rpc_method_handler(
            servicer.history,
            request_deserializer=query_pb2.HistoryRequest.FromString,
            response_serializer=packed_pb2.PackedHistoryResponse.SerializeToString,
        ),
        "Latest": grpc.unary_unary_rpc_method_handler(
            servicer.latest,
            request_deserializer=query_pb2.LatestRequest.FromString,
            response_serializer=query_pb2.LatestResponse.SerializeToString,
        ),
    }
    return grpc.method_handlers_generic_handler(SERVICE, handlers)


class QueryServicer:
    """One method an RPC; their contract is in query.proto."""

    def __init__(self, history: History, latest: Latest) -> None:
        self._history = history
        self._latest = latest

    async def history(self, request: query_pb2.HistoryRequest, context: Context) -> None:
        """Streams pieces as they come out of PostgreSQL; a slow caller is waited for."""
        question = HistoryQuestion(
            run_id=request.run_id,
            keys=list(request.keys),
            **{
                name: getattr(request, name)
                for name in ("rank", "attempt", "min_step", "max_step")
                if request.HasField(name)
            },
        )

        async def emit(series: Series, piece: Piece) -> None:
            await context.write(_packed(series, piece))

        await self._history.read(caller_of(context), question, emit)

    async def latest(self, request: query_pb2.LatestRequest, context: Context) -> query_pb2.LatestResponse:
        """Answers all latest points at once."""
        points = await self._latest.read(caller_of(context), list(request.run_ids), list(request.keys))
        return query_pb2.LatestResponse(
            points=[
                query_pb2.LatestPoint(
                    series=_series(point.series), step=point.step, time_unix_us=point.time_unix_us, value=point.value
                )
                for point in points
            ]
        )


def _packed(series: Series, piece: Piece) -> packed_pb2.PackedHistoryResponse:
    return packed_pb2.PackedHistoryResponse(
        series=_series(series).SerializeToString(),
        point_count=len(piece.step),
        step=piece.step.astype("<i8", copy=False).tobytes(),
        time_unix_us=piece.time_unix_us.astype("<i8", copy=False).tobytes(),
        value=piece.value.astype("<f8", copy=False).tobytes(),
    )


def _series(series: Series) -> query_pb2.Series:
    return query_pb2.Series(run_id=series.run_id, key=series.key, rank=series.rank, attempt=series.attempt)
