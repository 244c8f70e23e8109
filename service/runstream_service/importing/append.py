"""Sends the points of runs to the service, over the streams of IngestService.

Each run has a stream with one producer, whose id is derived from the run's. The stream is opened before the run's
points are read from the service; from then on, no points of an earlier import process are stored.
"""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import grpc
import numpy as np

from runstream import _status
from runstream._channel import channels
from runstream._endpoint import Endpoint
from runstream.transport import messages
from runstream.v1 import ingest_pb2, packed_pb2
from runstream_service.importing.records import Points
from runstream_service.ingest.limits import MLFLOW_ATTEMPT, MLFLOW_RANK

_PRODUCERS = uuid.UUID("1f0d3c55-3f0b-4d52-9d0e-6a6d3a1f7c1b")  # the name space of derived producer ids
_BATCH_POINTS = 8_192  # 230 KB
_IN_FLIGHT_POINTS = 65_536  # sent and not acknowledged
_ANSWER_S = 60.0  # how long to wait for the next acknowledgement


class RunStream:
    """The stream of one run. Only one thread may use it. All methods raise RunstreamError."""

    def __init__(self, endpoint: Endpoint, run_id: str) -> None:
        self.run_id = run_id
        self.committed_before = 0  # the highest batch number that this producer had when it was opened
        self.refused: Counter[str] = Counter()  # points by reason
        self.example = ""  # of a refusal
        self._endpoint = endpoint
        self._producer = uuid.uuid5(_PRODUCERS, run_id).bytes
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._indexes: dict[str, int] = {}
        self._waiting: list[tuple[int, Points]] = []
        self._waiting_points = 0
        self._number = 0  # of the last batch
        self._open_batches: dict[int, int] = {}  # points by number, of those that are not acknowledged
        self._changed = threading.Condition()
        self._committed: int | None = None
        self._failure: _status.Failure | None = None
        self._ended = False
        self._call: Any = None
        self._thread = threading.Thread(target=self._run, name="import-stream", daemon=True)

    def __enter__(self) -> RunStream:
        """Opens the stream: from now on, no other process can write to this run with this producer."""
        request = ingest_pb2.Open(
            run_id=self.run_id, producer_id=self._producer, rank=MLFLOW_RANK, attempt=MLFLOW_ATTEMPT, first_unacked=1
        )
        self._outgoing.put(ingest_pb2.AppendRequest(open=request).SerializeToString())
        self._thread.start()
        with self._changed:
            self._wait(lambda: self._committed is not None)
            assert self._committed is not None
            self._number = self.committed_before = self._committed
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._outgoing.put(None)
        if kind is not None and self._call is not None:
            self._call.cancel()
        self._thread.join(_ANSWER_S)

    def send(self, points: Points) -> None:
        """Sends points; waits while too many are not acknowledged."""
        index = self._indexes.get(points.key)
        if index is None:
            index = self._indexes[points.key] = len(self._indexes)
            for message in messages.declare(0, [(index, points.key)]):
                self._outgoing.put(message)
        self._waiting.append((index, points))
        self._waiting_points += len(points)
        if self._waiting_points >= _BATCH_POINTS:
            self._send_waiting()

    def finish(self) -> None:
        """Sends the last points, and returns when all are acknowledged."""
        self._send_waiting()
        with self._changed:
            self._wait(lambda: not self._open_batches)

    def _send_waiting(self) -> None:
        if not self._waiting:
            return
        series = np.concatenate([np.full(len(points), index, np.uint32) for index, points in self._waiting])
        columns = [
            np.concatenate([getattr(points, name) for _, points in self._waiting])
            for name in ("steps", "times_unix_us", "values")
        ]
        self._waiting, self._waiting_points = [], 0
        for begin in range(0, len(series), _BATCH_POINTS):
            end = begin + _BATCH_POINTS
            self._send_batch(series[begin:end], *(column[begin:end] for column in columns))

    def _send_batch(self, series: Any, steps: Any, times: Any, values: Any) -> None:
        with self._changed:
            self._wait(lambda: sum(self._open_batches.values()) < _IN_FLIGHT_POINTS)
            self._number += 1
            self._open_batches[self._number] = len(series)
        batch = packed_pb2.PackedBatch(
            number=self._number,
            point_count=len(series),
            series_index=series.astype("<u4", copy=False).tobytes(),
            step=steps.astype("<i8", copy=False).tobytes(),
            time_unix_us=times.astype("<i8", copy=False).tobytes(),
            value=values.astype("<f8", copy=False).tobytes(),
        )
        self._outgoing.put(packed_pb2.PackedAppendRequest(batch=batch).SerializeToString())

    def _wait(self, until: Any) -> None:
        """Waits until `until()` is true; the caller holds the lock. Raises if the stream ends, or if nothing was
        acknowledged for _ANSWER_S."""
        seen, since_s = self._committed, time.monotonic()
        while not until():
            if self._failure is not None or self._ended:
                failure = self._failure or _status.Failure("UNAVAILABLE", "the stream has ended early")
                raise _status.to_exception(_status.explained(failure, self._endpoint), self._endpoint)
            if self._committed != seen:
                seen, since_s = self._committed, time.monotonic()
            if time.monotonic() - since_s > _ANSWER_S:
                failure = _status.Failure("DEADLINE_EXCEEDED", f"the service has stored nothing for {_ANSWER_S:.0f} s")
                raise _status.to_exception(failure, self._endpoint)
            self._changed.wait(1.0)

    # The thread that reads responses. (gRPC iterates over `_messages` in another thread.)

    def _run(self) -> None:
        with channels().lease(self._endpoint, is_stream=True) as channel:
            call = self._call = channel.stream_stream(
                messages.METHOD,
                request_serializer=_as_it_is,
                response_deserializer=messages.Response.FromString,
            )(self._messages(), metadata=self._endpoint.metadata())
            try:
                for response in call:
                    self._answered(response)
            except grpc.RpcError as error:
                failure = _status.from_rpc_error(error)
                if failure.stream_goes_elsewhere:
                    channels().replace(self._endpoint, channel)
                with self._changed:
                    self._failure = failure
            finally:
                call.cancel()
                with self._changed:
                    self._ended = True
                    self._changed.notify_all()
                self._outgoing.put(None)

    def _messages(self) -> Iterator[bytes]:
        while (message := self._outgoing.get()) is not None:
            yield message

    def _answered(self, response: messages.Response) -> None:
        with self._changed:
            if response.HasField("opened"):
                self._committed = response.opened.committed_number
            for ack in messages.acks_of(response):
                self._committed = ack.committed_number
                for number in [one for one in self._open_batches if one <= ack.committed_number]:
                    del self._open_batches[number]
                for reason, count, example in messages.refusals_of(ack):
                    self.refused[reason] += count
                    self.example = self.example or example
            self._changed.notify_all()


def _as_it_is(message: bytes) -> bytes:
    return message
