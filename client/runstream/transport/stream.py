"""The Append stream to one endpoint, for the producers of many journals.

Two threads work on a stream: one of gRPC iterates over `_requests`, and our own (`_run`) opens streams, reads the
responses and ends streams. Both hold the transport's lock for what they read and change, but never while they wait for
the network.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from runstream import _status
from runstream._backoff import Backoff
from runstream._credentials import Secret, Token
from runstream._tls import CannotDial
from runstream.transport import messages
from runstream.transport.access import Access
from runstream.transport.batch_chooser import BatchChooser, Chosen
from runstream.transport.channels import Channels
from runstream.transport.feed import Feed
from runstream.transport.limits import Limits
from runstream.transport.notices import Log

_STABLE_S = 3.0  # a stream that was open for this long does not count as a failed try
_QUIET_S = 1.0  # warn about a broken stream only if the next one has to wait longer
_MESSAGE_OVERHEAD_BYTES = 4_096
_LOG_AGAIN_S = 60.0  # log failures of one endpoint at most this often
_CHECK_S = 0.01  # with hundreds of producers, finding those to be opened and closed takes time; do it this often
_REFUSED_CALLER_S = 60.0  # a producer whose caller the service refuses is opened again after this time
_LINGER_S = 1.0  # keep a stream without producers, if one wants to open again within this time
# With these reasons the service asks for another stream; nothing is wrong.
_RECONNECT_REASONS = ("DRAINING", "DATABASE_CHANGED")
# After this many Opens in a row that a replica cannot serve, while no other producer is open on it, try another
# replica.
_MAX_UNSERVED_OPENS = 3


class _StreamState:
    """The state of one stream."""

    def __init__(self) -> None:
        self.call: Any = None
        self.token = Token(Secret())  # the one that the stream was opened with
        self.token_replaced = False  # whether there is another token by now
        self.ended = False
        self.finishing = False  # half-closed: the service ends it
        self.timed_out = False
        self.next_index = 0  # of the next producer
        self.max_producers = 1  # until an Opened says more
        self.message_bytes = 0  # the most in one message, as the first Opened says
        self.opened_s: float | None = None  # when the first Opened was received, by the monotonic clock
        self.next_check_s = 0.0  # when to check next which producers to open and close, by the monotonic clock
        self.closing: list[int] = []  # indexes of producers to be closed
        self.unserved_opens = 0  # how many Opens in a row this replica could not serve
        self.abandoned_for: _status.Failure | None = None  # the failure for which this side ended the stream


class EndpointStream:
    """Keeps one stream to an endpoint open as long as a feed has something for it."""

    def __init__(
        self,
        access: Access,
        channels: Channels,
        limits: Limits,
        lock: Any,
        progress: Callable[[], None],
        log: Log,
    ) -> None:
        """`progress` is called with the lock held after each response and at the end of each stream, as feeds may have
        room for more then, or a new position."""
        self.endpoint = access.endpoint
        self.address = access.endpoint.address
        self._access = access
        self.feeds: list[Feed] = []  # guarded by the lock, like all below
        self.wake = threading.Condition(lock)
        self.state = "idle"  # for the status: idle, connecting, open or waiting
        self.last_error = ""
        self.streams = 0  # how many were opened
        self.acknowledged_points = 0
        self._lock = lock
        self._channels = channels
        self._limits = limits
        self._progress = progress
        self._log = log
        self._logged_s = float("-inf")  # when a failure was logged last
        self._backoff = Backoff(limits.backoff_first_s, limits.backoff_max_s)
        self._stream: _StreamState | None = None
        self._members: dict[int, Feed] = {}  # feeds on the stream, by producer index
        self._chooser = BatchChooser(limits)
        self._stopping = False
        self._retry_now = False
        self._thread: threading.Thread | None = None

    # Called by the transport.

    def start(self) -> None:
        """Starts the thread if it does not run. Raises RuntimeError if no thread can be started."""
        if self._thread is None or not self._thread.is_alive():
            thread = threading.Thread(target=self._run, name=f"runstream-stream-{self.address}", daemon=True)
            thread.start()
            self._thread = thread

    def add(self, feed: Feed) -> None:
        """Adds a feed. The lock is held."""
        self.feeds.append(feed)
        self.wake.notify_all()

    def remove(self, feed: Feed) -> None:
        """Removes a feed that is over. The lock is held."""
        self.feeds.remove(feed)
        if feed.session is not None:
            self._detach(feed)

    def retry_now(self) -> None:
        """Opens the next stream at once, or when the wait is over that the service asked for. The lock is held."""
        self._retry_now = True
        self.wake.notify_all()

    def stop(self) -> None:
        """Sends nothing more; the service still acknowledges what it has received. The lock is held."""
        self._stopping = True
        self.wake.notify_all()

    def cancel(self) -> None:
        """Ends the stream at once. The lock is held."""
        self._stopping = True
        if self._stream is not None and self._stream.call is not None:
            self._stream.call.cancel()
        self.wake.notify_all()

    def join(self, timeout_s: float) -> bool:
        """Waits for the thread; returns whether it has ended."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self._thread is None or not self._thread.is_alive()

    # Called by our own thread, which opens streams and reads responses.

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._stopping and not self._is_wanted(time.monotonic()):
                    self.wake.wait(self._until_next_open(time.monotonic()))
                if self._stopping:
                    return
                self._retry_now = False
                stream = self._stream = _StreamState()
                self.state = "connecting"
            wait_s = self._open_stream(stream)
            with self._lock:
                self._stream = None
                self.state = "waiting" if wait_s > _QUIET_S else "idle"
                self._backoff.wait(self.wake, wait_s, lambda: self._stopping, lambda: self._retry_now)

    def _is_wanted(self, now_s: float) -> bool:
        return self._access.may_call(now_s) and any(feed.wants_stream(now_s) for feed in self.feeds)

    def _open_stream(self, stream: _StreamState) -> float:
        """Runs one stream to its end; returns how long to wait before the next, in seconds."""
        failure: _status.Failure | None = None
        stream.token = self._access.token()
        try:
            with self._channels.lease(self.endpoint) as channel:
                failure = self._run_stream(channel, stream)
                if failure is not None and (stream.opened_s is None or failure.retry is _status.Retry.WHEN_ALLOWED):
                    failure = self._access.explained(failure)
                    stream.token_replaced = self._access.token() != stream.token
                if failure is not None and failure.stream_goes_elsewhere:
                    self._channels.replace(self.endpoint, channel)
        except CannotDial as error:
            failure = _status.Failure("UNAVAILABLE", str(error), _status.TLS_FAILED)
        except RuntimeError as error:
            failure = _status.Failure("UNAVAILABLE", str(error))  # no thread can be started at the moment
        with self._lock:
            stream.ended = True
            self.wake.notify_all()
            for feed in list(self._members.values()):
                self._detach(feed)
            self._progress()
            if self._stopping or (failure is None and stream.finishing):
                return 0.0
            return self._handle_stream_failure(
                stream, failure or _status.Failure("UNAVAILABLE", "the service ended the stream")
            )

    def _run_stream(self, channel: grpc.Channel, stream: _StreamState) -> _status.Failure | None:
        append: Any = channel.stream_stream(
            messages.METHOD,
            request_serializer=None,  # messages are bytes already
            response_deserializer=messages.Response.FromString,
        )
        call = append(self._requests(stream), metadata=self._access.metadata(stream.token))
        with self._lock:
            stream.call = call
        try:
            for response in call:
                with self._lock:
                    self._handle_response(stream, response)
        except grpc.RpcError as error:
            if stream.abandoned_for is not None:
                return stream.abandoned_for
            if stream.timed_out:
                return _status.Failure(
                    "DEADLINE_EXCEEDED", f"no answer to Open within {self._limits.open_timeout_s:g} s"
                )
            return _status.from_rpc_error(error)
        finally:
            call.cancel()
        return None

    def _handle_response(self, stream: _StreamState, response: messages.Response) -> None:
        if response.HasField("opened"):
            self._opened(stream, response.opened)
        elif response.HasField("ended"):
            feed = self._members.get(response.ended.producer_index)
            if feed is not None:
                self._detach(feed)
                self._producer_ended(stream, feed, messages.failure_of(response.ended))
        else:
            for ack in messages.acks_of(response):
                feed = self._members.get(ack.producer_index)
                if feed is not None:
                    before = feed.settled.acknowledged_points
                    feed.acknowledged(ack.committed_number, messages.refusals_of(ack))
                    self.acknowledged_points += feed.settled.acknowledged_points - before
                    self._backoff.reset()
        self._progress()

    def _opened(self, stream: _StreamState, opened: Any) -> None:
        feed = self._members.get(opened.producer_index)
        if feed is None:
            return
        stream.max_producers = max(1, opened.max_producers)
        stream.message_bytes = min(
            self._limits.message_bytes,
            (opened.max_message_bytes or self._limits.message_bytes) - _MESSAGE_OVERHEAD_BYTES,
        )
        stream.unserved_opens = 0
        if stream.opened_s is None:
            stream.opened_s = time.monotonic()
            self._access.accepted()
            self.streams += 1
            self.state = "open"
            self._log("info", f"a stream to {self.address} is open")
        feed.server = self.address
        if not feed.opened(opened.committed_number):
            self._close(stream, feed)

    # What to do after a failure.

    def _producer_ended(self, stream: _StreamState, feed: Feed, failure: _status.Failure) -> None:
        """Reacts to the status of one producer as proto/runstream/v1/ingest.proto prescribes."""
        feed.notices.last_error = str(failure)
        feed.mark_changed()
        feed.before_open.begin(
            time.monotonic(), self._handle_producer_failure(stream, feed, failure), failure.retry_after_s
        )

    def _handle_producer_failure(self, stream: _StreamState, feed: Feed, failure: _status.Failure) -> float:
        """Returns how long this producer waits before its next Open, in seconds."""
        if failure.code == "DATA_LOSS":
            # The status does not say what the database still has. Opened does, if Open claims no acknowledged batch.
            feed.producer.data_loss()
            return feed.backoff.next_s()
        if failure.reason == "RUN_NOT_FOUND":
            feed.calls.create_again()
            feed.missing_runs += 1
            # The first time, the database was restored or the run was purged. Twice in a row, something else is wrong.
            if feed.missing_runs == 1:
                return 0.0
        elif failure.reason == "RUN_DELETED":
            feed.calls.run_deleted()
            # CreateRun asks until the run is restored; for a journal that only joins a run, the next Open does.
            return self._limits.backoff_max_s if feed.creation.joins else 0.0
        elif failure.reason == "FENCED":
            return feed.fenced.next_s(failure.retry_after_s)
        elif failure.retry is _status.Retry.ELSEWHERE:
            stream.unserved_opens += 1
            if stream.unserved_opens >= _MAX_UNSERVED_OPENS and stream.call is not None and not self._others_open(feed):
                stream.abandoned_for = failure
                stream.call.cancel()
        elif failure.retry is _status.Retry.WHEN_ALLOWED:
            feed.is_refused = True
            feed.notices.caller_refused(failure)
            return feed.backoff.next_s(failure.retry_after_s, _REFUSED_CALLER_S)
        elif failure.retry is _status.Retry.NEVER:
            # Points are kept: an operator may repair the service, or what is in between.
            feed.is_refused = True
            feed.notices.stream_refused(failure)
            return feed.backoff.next_s(failure.retry_after_s, self._limits.backoff_protocol_s)
        wait_s = self._retry_wait_s(feed.backoff, failure)
        if wait_s > _QUIET_S:
            feed.notices.connection_failed(failure, wait_s)
        return wait_s

    def _others_open(self, feed: Feed) -> bool:
        return any(other is not feed and other.session is not None for other in self.feeds)

    def _retry_wait_s(self, backoff: Backoff, failure: _status.Failure) -> float:
        wait_s = backoff.next_s(failure.retry_after_s)
        if failure.reason == "DATABASE_UNAVAILABLE":
            # Most outages of PostgreSQL are short, and all points that were logged meanwhile wait for the next try.
            wait_s = min(wait_s, random.uniform(0.5, 1.0) * self._limits.database_away_s)
        return wait_s

    def _handle_stream_failure(self, stream: _StreamState, failure: _status.Failure) -> float:
        """Reports a failure of the whole stream to all its producers; returns how long to wait before the next stream,
        in seconds."""
        was_open = stream.opened_s is not None
        if stream.opened_s is not None and time.monotonic() - stream.opened_s > _STABLE_S:
            self._backoff.reset()
        if failure.reason == "DRAINING" and was_open:
            self._backoff.reset()  # the stream worked, even if it acknowledged nothing
        refused = failure.retry is _status.Retry.NEVER
        if failure.retry is _status.Retry.WHEN_ALLOWED:
            return self._handle_refused_caller(stream, failure)
        if refused:
            wait_s = self._backoff.next_s(failure.retry_after_s, self._limits.backoff_protocol_s)
        else:
            wait_s = self._retry_wait_s(self._backoff, failure)
        # A proxy ends idle streams, or the service asks for another stream: that needs no warning if the next stream is
        # open soon.
        expected = was_open or failure.reason in _RECONNECT_REASONS
        if failure.reason not in _RECONNECT_REASONS:
            self.last_error = str(failure)
            if time.monotonic() - self._logged_s > _LOG_AGAIN_S:
                self._logged_s = time.monotonic()
                self._log("warning", f"the stream to {self.address} has failed: {failure}; next try in {wait_s:.1f} s")
        for feed in self.feeds:
            if failure.reason not in _RECONNECT_REASONS:
                feed.notices.last_error = str(failure)
            feed.mark_changed()
            if refused:
                feed.is_refused = True
                feed.notices.stream_refused(failure)
            elif not expected or wait_s > _QUIET_S:
                feed.notices.connection_failed(failure, wait_s)
        return wait_s

    def _handle_refused_caller(self, stream: _StreamState, failure: _status.Failure) -> float:
        """Handles a refusal of the caller; returns how long to wait before the next stream, in seconds. If the token
        was replaced since the stream was opened, nothing is wrong."""
        wait_s = self._access.refused(stream.token, failure)
        if stream.token_replaced:
            self._access.retry_now()
            return 0.0
        self.last_error = str(failure)
        self._log("error", f"the stream to {self.address} is refused: {failure}; next try in {wait_s:.1f} s")
        for feed in self.feeds:
            feed.notices.last_error = str(failure)
            feed.is_refused = True
            feed.mark_changed()
            feed.notices.caller_refused(failure)
        return 0.0  # `Access.may_call` delays the next stream

    def _detach(self, feed: Feed) -> None:
        if feed.session is not None:
            self._members.pop(feed.session.index, None)
            feed.left_stream()

    def _close(self, stream: _StreamState, feed: Feed) -> None:
        if feed.session is not None:
            stream.closing.append(feed.session.index)
            self._detach(feed)

    # Called by the thread of gRPC that sends.

    def _requests(self, stream: _StreamState) -> Iterator[bytes]:
        while True:
            with self._lock:
                parts = self._next_messages(stream)
            if parts is None:
                return
            ready, chosen = parts
            yield from ready
            if chosen:
                yield messages.batch_set(chosen, time.time_ns() // 1000, time.monotonic())

    def _next_messages(self, stream: _StreamState) -> tuple[list[bytes], Chosen] | None:
        """Waits for something to send. Returns complete messages, and batches to be sent after them in a BatchSet; None
        to half-close the stream."""
        while not stream.ended:
            if self._stopping:
                stream.finishing = True
                return None
            now_s = time.monotonic()
            if now_s >= stream.next_check_s:
                stream.next_check_s = now_s + _CHECK_S
                ready = self._close_messages(stream) + self._open_messages(stream, now_s)
                if ready:
                    return ready, []
                checked = True
            else:
                checked = False
            ready, chosen = self._chooser.choose(self._members.values(), stream.message_bytes)
            if chosen:
                return ready, chosen
            if stream.next_index and not self._members and not self._is_wanted(now_s + _LINGER_S):
                stream.finishing = True
                return None
            if self._open_timed_out(now_s):
                stream.timed_out = True
                stream.call.cancel()
                return None
            self.wake.wait(self._until_next_open(now_s) if checked else stream.next_check_s - now_s)
        return None

    def _close_messages(self, stream: _StreamState) -> list[bytes]:
        for feed in list(self._members.values()):
            opened = feed.session is not None and feed.session.opened
            is_over = opened and not feed.producer.unacked and (feed.complete or feed.calls.has_finish)
            if is_over or feed.replaced or not feed.producer.may_open:
                self._close(stream, feed)
        if self._is_full(stream):
            self._make_room(stream)
        closing, stream.closing = stream.closing, []
        return [messages.close_producer(index) for index in closing]

    def _is_full(self, stream: _StreamState) -> bool:
        return stream.opened_s is not None and len(self._members) >= stream.max_producers

    def _make_room(self, stream: _StreamState) -> None:
        """Closes an idle producer if one with batches waits for a place on the stream."""
        now_s = time.monotonic()
        waits = any(feed.session is None and feed.producer.unacked and feed.wants_stream(now_s) for feed in self.feeds)
        idle = next(
            (f for f in self._members.values() if f.session and f.session.opened and not f.producer.unacked), None
        )
        if waits and idle is not None:
            self._close(stream, idle)
            idle.before_open.begin(now_s, _QUIET_S)  # so that those that wait are opened first

    def _open_messages(self, stream: _StreamState, now_s: float) -> list[bytes]:
        ready = []
        waiting = [feed for feed in self.feeds if feed.session is None and feed.wants_stream(now_s)]
        # Those with batches first: there may be no room for all.
        for feed in sorted(waiting, key=lambda feed: not feed.producer.unacked):
            if len(self._members) < stream.max_producers:
                index, stream.next_index = stream.next_index, stream.next_index + 1
                producer, first_unacked = feed.opening(index, now_s)
                self._members[index] = feed
                creation = feed.creation
                ready.append(
                    messages.open_producer(
                        creation.run_id, producer, creation.rank, creation.attempt, first_unacked, index, index == 0
                    )
                )
        return ready

    def _open_timed_out(self, now_s: float) -> bool:
        return any(
            feed.session is not None
            and not feed.session.opened
            and now_s - feed.session.asked_s > self._limits.open_timeout_s
            for feed in self._members.values()
        )

    def _until_next_open(self, now_s: float) -> float:
        paused = [feed for feed in self.feeds if feed.session is None and not feed.before_open.is_over(now_s)]
        waits = [feed.before_open.until_s - now_s for feed in paused]
        asked = [feed.session.asked_s for feed in self._members.values() if feed.session and not feed.session.opened]
        if asked:
            waits.append(min(asked) + self._limits.open_timeout_s - now_s)
        return max(0.001, min([*waits, 1.0]))
