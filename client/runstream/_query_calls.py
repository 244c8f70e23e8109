"""The calls with which `Client` reads points. Their responses hold columns as blocks of memory (packed.proto), which
become arrays; only `latest` makes an object of each point."""

from __future__ import annotations

import math
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc

from runstream import _status
from runstream._backoff import Backoff
from runstream._channel import channels
from runstream._chart_results import AggregateCurve, ChartSeries
from runstream._endpoint import Endpoint
from runstream._results import LatestPoint, SeriesColumns, TailUpdate
from runstream.errors import RunstreamError
from runstream.v1 import packed_pb2, query_pb2

_HISTORY = "/runstream.v1.QueryService/History"
_CHART = "/runstream.v1.QueryService/Chart"
_AGGREGATE = "/runstream.v1.QueryService/Aggregate"
_LATEST = "/runstream.v1.QueryService/Latest"
_TAIL = "/runstream.v1.QueryService/Tail"

# The wait between two tries of a tail that had started.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 10.0
_TAIL_TRIES = 6  # failures in a row that may be a stream cut by the network, or a bug

_Response = TypeVar("_Response")


def history(endpoint: Endpoint, request: query_pb2.HistoryRequest, timeout_s: float | None) -> Iterator[SeriesColumns]:
    """Yields pieces of series as they arrive. Raises RunstreamError, as all functions here do."""
    for response in _stream(endpoint, _HISTORY, request, packed_pb2.PackedHistoryResponse.FromString, timeout_s):
        yield _columns(response)


def latest(endpoint: Endpoint, request: query_pb2.LatestRequest, timeout_s: float | None) -> Iterator[LatestPoint]:
    """Yields latest points as they arrive."""
    for response in _stream(endpoint, _LATEST, request, packed_pb2.PackedLatestResponse.FromString, timeout_s):
        count = response.point_count
        columns = (
            _column("I", response.run_index, count),
            _column("I", response.key_index, count),
            _column("i", response.rank, count),
            _column("i", response.attempt, count),
            _column("q", response.step, count),
            _column("q", response.time_unix_us, count),
            _column("d", response.value, count),
            *_best_values(response),
        )
        for run, key, *rest in zip(*columns, strict=True):
            yield LatestPoint(response.run_ids[run], response.keys[key], *rest)


def chart(endpoint: Endpoint, request: query_pb2.ChartRequest, timeout_s: float | None) -> Iterator[ChartSeries]:
    """Yields the curves of a chart as they arrive."""
    for response in _stream(endpoint, _CHART, request, packed_pb2.PackedChartResponse.FromString, timeout_s):
        whose = query_pb2.Series.FromString(response.series)
        count = response.bucket_count
        yield ChartSeries(
            whose.run_id,
            whose.key,
            whose.rank,
            whose.attempt,
            _column("q", response.first_position, count),
            _column("q", response.last_position, count),
            _column("I", response.point_count, count),
            _column("I", response.non_finite_count, count),
            _column("d", response.first, count),
            _column("d", response.last, count),
            _column("d", response.min, count),
            _column("d", response.max, count),
            _column("d", response.mean, count),
            "time" if request.axis == query_pb2.AXIS_TIME else "step",
        )


def aggregate(endpoint: Endpoint, request: query_pb2.AggregateRequest, timeout_s: float | None) -> AggregateCurve:
    """Returns one curve over all ranks."""
    with channels().lease(endpoint) as channel:
        call = channel.unary_unary(
            _AGGREGATE,
            request_serializer=query_pb2.AggregateRequest.SerializeToString,
            response_deserializer=packed_pb2.PackedAggregateResponse.FromString,
        )
        try:
            response: packed_pb2.PackedAggregateResponse = call(
                request, timeout=timeout_s, metadata=endpoint.metadata()
            )
        except grpc.RpcError as error:
            raise failed(error, endpoint, channel) from error
    count = response.bucket_count
    return AggregateCurve(
        request.run_id,
        request.key,
        _column("q", response.first_step, count),
        _column("q", response.last_step, count),
        _column("I", response.rank_count, count),
        _column("d", response.min, count),
        _column("d", response.max, count),
        _column("d", response.mean, count),
        _column("i", response.min_rank, count),
        _column("i", response.max_rank, count),
        # A service of an earlier release does not count them.
        _column("I", response.non_finite_count or bytes(4 * count), count),
    )


def tail(endpoint: Endpoint, request: query_pb2.TailRequest, timeout_s: float) -> Iterator[TailUpdate]:
    """Yields updates without end. Raises the failure of the first call. After a later failure that may pass, such as a
    stream that a proxy ended, the tail waits and continues from the last cursor. When that has become too old, the tail
    starts again with the whole history, so that nothing is missed."""
    backoff = Backoff(_FIRST_WAIT_S, _LONGEST_WAIT_S)
    begun = False
    failures = 0  # that may be a broken stream, since the last response
    too_old = b""  # the cursor that was too old, until the history has been yielded
    while True:
        retry_after_s: float | None = None
        try:
            for response in _stream(endpoint, _TAIL, request, packed_pb2.PackedTailResponse.FromString, None):
                if too_old:
                    yield TailUpdate([], too_old)
                    for piece in _history_of(endpoint, request, timeout_s):
                        yield TailUpdate([piece], too_old, replayed=True)
                begun, failures, too_old = True, 0, b""
                backoff.reset()
                request.cursor = response.cursor
                yield TailUpdate([_columns(piece) for piece in response.series], response.cursor)
        except RunstreamError as error:
            is_broken_stream = error.code in ("INTERNAL", "UNKNOWN")
            failures += is_broken_stream
            if begun and error.reason == "CURSOR_TOO_OLD":
                too_old, request.cursor = request.cursor, b""
            elif not begun or not (error.retryable or (is_broken_stream and failures < _TAIL_TRIES)):
                raise
            retry_after_s = error.retry_after_s
        time.sleep(backoff.next_s(retry_after_s))


def _history_of(endpoint: Endpoint, request: query_pb2.TailRequest, timeout_s: float) -> Iterator[SeriesColumns]:
    """The history of the series of a tail."""
    rank = request.rank if request.HasField("rank") else None
    history_request = query_pb2.HistoryRequest(run_id=request.run_id, keys=request.keys, rank=rank)
    return history(endpoint, history_request, timeout_s)


def _stream(
    endpoint: Endpoint, method: str, request: Any, deserialize: Callable[[bytes], _Response], timeout_s: float | None
) -> Iterator[_Response]:
    """Yields the responses of a call; cancels it when the iterator is closed. Raises RunstreamError."""
    metadata = endpoint.metadata()
    with channels().lease(endpoint, is_stream=True) as channel:
        call = None
        try:
            with channels().inside():
                call = channel.unary_stream(
                    method, request_serializer=type(request).SerializeToString, response_deserializer=deserialize
                )(request, timeout=timeout_s, metadata=metadata)
                channels().register_stream(call)
            while True:
                with channels().inside(call):
                    response = next(call, None)
                if response is None:
                    return
                yield response
        except grpc.RpcError as error:
            raise failed(error, endpoint, channel) from error
        finally:
            if call is not None:
                channels().cancel_stream(call)


def failed(error: grpc.RpcError, endpoint: Endpoint, channel: grpc.Channel) -> RunstreamError:
    """The exception for a failed call on `channel`. If another channel may help, the next call uses another one."""
    failure = _status.from_rpc_error(error)
    if failure.stream_goes_elsewhere:
        channels().replace(endpoint, channel)
    return _status.to_exception(_status.explained(failure, endpoint), endpoint)


def _columns(response: packed_pb2.PackedHistoryResponse) -> SeriesColumns:
    whose = query_pb2.Series.FromString(response.series)
    count = response.point_count
    return SeriesColumns(
        whose.key,
        whose.rank,
        whose.attempt,
        _column("q", response.step, count),
        _column("q", response.time_unix_us, count),
        _column("d", response.value, count),
    )


def _best_values(response: packed_pb2.PackedLatestResponse) -> tuple[Any, ...]:
    count = response.point_count
    if not response.min_value:  # a service of an earlier release
        none, no_step = array("d", [math.nan]) * count, array("q", [0]) * count
        return none, no_step, none, no_step
    return (
        _column("d", response.min_value, count),
        _column("q", response.min_step, count),
        _column("d", response.max_value, count),
        _column("q", response.max_step, count),
    )


def _column(typecode: str, data: bytes, count: int) -> Any:
    column: array[Any] = array(typecode, data)
    if len(column) != count:
        raise _status.to_exception(
            _status.Failure("INTERNAL", f"a column has {len(column)} of {count} points"), Endpoint("the service")
        )
    if sys.byteorder == "big":
        column.byteswap()
    return column
