"""The connection's thread: opens the Append stream, sends sealed batches in order, reads acks, and reconnects.

A stream follows proto/runstream/v1/ingest.proto: Open, (Opened), then Declare and Batch. Two threads work on it: a
thread of gRPC iterates over `_requests`, this one reads the responses. Only this one opens and ends streams.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from runstream import _status
from runstream._backoff import Backoff
from runstream._channel import Channels
from runstream._notices import Notices
from runstream._outbox import Outbox
from runstream._settings import Settings
from runstream.v1 import ingest_pb2

_METHOD = "/runstream.v1.IngestService/Append"
_STABLE_S = 3.0  # a stream that was open for this long does not count as a failed try
_DATABASE_AWAY_S = 5.0  # the longest wait while the database is unavailable
_QUIET_S = 1.0  # warn about a broken stream only if the next one has to wait longer
# With these reasons the service asks for another stream; nothing is wrong.
_RECONNECT_REASONS = ("DRAINING", "DATABASE_CHANGED")


class _Stream:
    """The state of one Append stream, shared by the thread that sends and the one that reads."""

    def __init__(self, producer: uuid.UUID) -> None:
        self.producer = producer
        self.next_number = 0
        self.declared: set[int] = set()
        self.opened = threading.Event()  # or ended
        self.opened_s: float | None = None  # when Opened was received, by the monotonic clock
        self.timed_out = False  # Opened was not received in time
        self.ended = False
        self.replaced = False  # ended by this side, because of a new producer
        self.call: Any = None


class Connection:
    """Sends one run's outbox to the service until `stop`."""

    def __init__(
        self,
        settings: Settings,
        channels: Channels,
        outbox: Outbox,
        notices: Notices,
        *,
        run_id: Callable[[], str],
        rank: int,
        attempt: int,
        wait_created: Callable[[Callable[[], bool]], None],
        create_again: Callable[[], None],
        run_deleted: Callable[[_status.Failure], None],
    ) -> None:
        self._settings = settings
        self._channels = channels
        self._outbox = outbox
        self._notices = notices
        self._open = ingest_pb2.Open(rank=rank, attempt=attempt)
        self._run_id = run_id
        self._wait_created = wait_created
        self._create_again = create_again
        self._run_deleted = run_deleted
        self._backoff = Backoff(settings.backoff_first_s, settings.backoff_max_s)
        # A separate backoff that acks do not reset: otherwise two processes with one producer id would fence each other
        # at full speed.
        self._fenced = Backoff(settings.backoff_first_s, settings.backoff_max_s)
        self._stream: _Stream | None = None
        self._stopping = False
        self._pause_wanted = False
        self._hurry = False
        self._state = threading.Condition()  # guards the four above; never held while waiting for something else
        self._missing_created = 0
        self._asking_ledger = False  # the next Open claims no acknowledged batch, to learn what the database has
        self.streams_opened = 0
        self.connected = False

    # Called by the connection's thread.

    def run(self) -> None:
        """Runs one stream after another until stopped."""
        while not self._done():
            self._wait_created(self._done)
            self._sleep(0.0)  # waits while a fork is under way
            if not self._done():
                self._sleep(self._one_stream())

    def _done(self) -> bool:
        return self._stopping or self._outbox.closing or bool(self._outbox.stopped)

    def _one_stream(self) -> float:
        """Runs one stream to its end; returns how long to wait before the next."""
        stream = _Stream(self._outbox.producer)
        try:
            with self._channels.using(self._settings.address) as channel:
                failure = self._speak(channel, stream)
                if failure is not None and failure.stream_goes_elsewhere:
                    self._channels.renew(self._settings.address, channel)
        finally:
            self.connected = False
        if self._done() or self._pause_wanted:
            return 0.0
        was_open = stream.opened_s is not None
        if stream.opened_s is not None and time.monotonic() - stream.opened_s > _STABLE_S:
            self._backoff.reset()
            self._fenced.reset()
        if failure is None:
            return self._backoff.next_s()
        if failure.reason not in _RECONNECT_REASONS:
            self._notices.last_error = str(failure)
        if failure.reason == "DRAINING" and was_open:
            self._backoff.reset()  # the stream worked, even if it acknowledged nothing
        return self._react(failure, was_open)

    def _speak(self, channel: grpc.Channel, stream: _Stream) -> _status.Failure | None:
        append: Any = channel.stream_stream(
            _METHOD,
            request_serializer=None,  # batches are bytes already
            response_deserializer=ingest_pb2.AppendResponse.FromString,
        )
        with self._state:
            if self._stopping or self._pause_wanted:
                return None
            try:
                stream.call = append(self._requests(stream))
                self._channels.watch(stream.call)
            except RuntimeError as error:
                self._channels.abandon(self._settings.address)
                if "shutdown" in str(error):
                    # As in _control: no stream can be opened any more. One that is open already continues to the end.
                    self._outbox.stop("closed")
                    self._notices.last_error = (
                        f"{error}: with this version of Python, call finish() before the program ends"
                    )
                return _status.Failure("UNAVAILABLE", str(error))  # or else too many threads, for now
            self._stream = stream
        try:
            for response in stream.call:
                if response.HasField("opened"):
                    self._on_opened(stream, response.opened)
                elif response.HasField("ack"):
                    self._on_ack(stream, response.ack)
            failure = _status.Failure("UNAVAILABLE", "the service ended the stream")
        except grpc.RpcError as error:
            failure = self._no_answer() if stream.timed_out else _status.from_rpc_error(error)
        finally:
            self._end(stream)
        return None if stream.replaced or self._outbox.stopped else failure

    def _no_answer(self) -> _status.Failure:
        return _status.Failure("DEADLINE_EXCEEDED", f"no answer to Open within {self._settings.open_timeout_s:g} s")

    def _end(self, stream: _Stream) -> None:
        with self._state:
            self._stream = None
            stream.ended = True
        stream.opened.set()
        stream.call.cancel()
        self._outbox.notify()  # the sending thread waits there for the next batch

    def _on_opened(self, stream: _Stream, opened: ingest_pb2.Opened) -> None:
        outbox = self._outbox
        committed = opened.committed_number
        if stream.producer != outbox.producer:
            stream.replaced = True
            stream.call.cancel()
            return
        self._asking_ledger = False
        if not outbox.acknowledged_number <= committed <= outbox.highest_sent:
            # Too low: the database was restored from an older state. Above what was ever sent: another process uses the
            # same producer id, and batches sent under these numbers would count as repeats.
            stream.replaced = True
            stream.call.cancel()
            self._new_producer(committed)
            return
        self._take_limits(opened)
        outbox.unblock()
        if outbox.acknowledge(stream.producer, committed):
            self._backoff.reset()
        self._missing_created = 0
        stream.next_number = committed + 1
        stream.opened_s = time.monotonic()
        self.streams_opened += 1
        self.connected = True
        self._notices.connected()
        stream.opened.set()

    def _take_limits(self, opened: ingest_pb2.Opened) -> None:
        if opened.max_batch_points:
            self._outbox.batch_points = max(1, min(self._settings.batch_points, opened.max_batch_points))
        if opened.max_series:
            self._outbox.series.max_series = opened.max_series

    def _on_ack(self, stream: _Stream, ack: ingest_pb2.Ack) -> None:
        refusals = [(_reason_name(one.reason), one.point_count, one.example) for one in ack.refusals]
        # They are reported and counted before flush() returns, since it waits for the acknowledgement.
        self._notices.service_refused(refusals)
        counts = [(reason, count) for reason, count, _ in refusals]
        if self._outbox.acknowledge(stream.producer, ack.committed_number, counts):
            self._backoff.reset()

    def _react(self, failure: _status.Failure, was_open: bool) -> float:
        """Does what the contract prescribes for each status; returns the wait in seconds."""
        if failure.code == "DATA_LOSS":
            # The status does not say what the database still has. Opened does, if Open claims no acknowledged batch.
            self._asking_ledger = True
            return self._backoff.next_s()
        if failure.reason == "RUN_NOT_FOUND":
            self._create_again()
            self._missing_created += 1
            # Once, the database was restored or the run was purged; twice in a row, something else is wrong.
            return 0.0 if self._missing_created == 1 else self._retry_in(failure, was_open)
        if failure.reason == "RUN_DELETED":
            self._run_deleted(failure)
            return 0.0  # then the control thread waits until the run is restored
        if failure.retry is _status.Retry.NEVER:
            # Points are kept nevertheless: an operator may change the service, or what is in between.
            self._notices.stream_refused(failure)
            self._outbox.block()
            return self._backoff.next_s(failure.retry_after_s, self._settings.backoff_protocol_s)
        return self._retry_in(failure, was_open)

    def _retry_in(self, failure: _status.Failure, was_open: bool) -> float:
        backoff = self._fenced if failure.reason == "FENCED" else self._backoff
        wait_s = backoff.next_s(failure.retry_after_s)
        if failure.reason == "DATABASE_UNAVAILABLE":
            # Most outages of PostgreSQL are short, and all points logged in the meantime wait for the next try.
            wait_s = min(wait_s, random.uniform(0.5, 1.0) * _DATABASE_AWAY_S)
        # A proxy ends idle streams, a service asks for another stream, a newer stream of this producer takes over: none
        # of that is worth a warning if the next stream is open soon.
        expected = was_open or failure.reason in (*_RECONNECT_REASONS, "FENCED")
        if not expected or wait_s > _QUIET_S:
            self._notices.connection_failed(str(failure), wait_s)
        return wait_s

    def _new_producer(self, committed: int) -> None:
        foreign = committed > self._outbox.highest_sent
        lost = self._outbox.change_producer(committed)
        if foreign:
            self._notices.warn(
                "another process streams under this run's producer id (is this process a copy of it?): the service has "
                "stored batch %d, which was never sent from here. Nothing is lost; continuing under a new producer id",
                committed,
            )
            return
        self._notices.warn(
            "the service's database knows less than it had acknowledged (restored to an older state): %d acknowledged "
            "points are lost (in all: stats().lost_acknowledged); continuing under a new producer id",
            lost,
        )

    def _sleep(self, seconds: float) -> None:
        """Waits this long, and as long as a fork is under way; returns at once when stopping."""
        with self._state:
            self._backoff.wait(self._state, seconds, lambda: self._stopping, lambda: self._hurry)
            self._hurry = self._hurry and not seconds
            self._state.wait_for(lambda: self._stopping or not self._pause_wanted)

    # Called by gRPC's sending thread.

    def _requests(self, stream: _Stream) -> Iterator[bytes]:
        outbox = self._outbox
        first = 1 if self._asking_ledger else outbox.acknowledged_number + 1
        yield self._open_request(stream, first)
        if not stream.opened.wait(self._settings.open_timeout_s):
            stream.timed_out = True
            stream.call.cancel()
            return
        while not stream.ended:
            batch = outbox.wait_next(stream.producer, stream.next_number, lambda: stream.ended)
            if batch is None:
                return
            fresh = batch.series_indexes() - stream.declared
            yield from outbox.series.declarations(fresh)
            stream.declared |= fresh
            yield batch.sent_at(time.monotonic())
            stream.next_number += 1

    def _open_request(self, stream: _Stream, first_unacked: int) -> bytes:
        request = ingest_pb2.AppendRequest(open=self._open)
        request.open.run_id = self._run_id()
        request.open.producer_id = stream.producer.bytes
        request.open.first_unacked = first_unacked
        return request.SerializeToString()

    # Called by any thread.

    def pause(self) -> None:
        """Ends the stream and opens no other until `resume`. Does not wait."""
        with self._state:
            self._pause_wanted = True
            if self._stream is not None:
                self._stream.call.cancel()
            self._state.notify_all()

    def resume(self) -> None:
        """Opens streams again."""
        with self._state:
            self._pause_wanted = False
            self._state.notify_all()

    def ask_again(self) -> None:
        """Retries now; only a wait that the service asked for is kept."""
        with self._state:
            self._hurry = True
            self._state.notify_all()

    def stop(self) -> None:
        """Ends the stream at once, and then the thread; to be called when the outbox is stopped."""
        with self._state:
            self._stopping = True
            if self._stream is not None:
                self._stream.call.cancel()
            self._state.notify_all()


def _reason_name(reason: int) -> str:
    """The name of a reason in stats(): KEY_TOO_LONG becomes "key_too_long", an unknown number "reason_<number>"."""
    try:
        return ingest_pb2.RefusalReason.Name(reason).removeprefix("REFUSAL_REASON_").lower()
    except ValueError:
        return f"reason_{reason}"
