"""Makes the unary calls of all journals of one endpoint: several at a time, but only one of each journal, so that a
slow or refused run does not delay the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import grpc

from runstream import _status
from runstream._backoff import Backoff
from runstream._credentials import Metadata, Token
from runstream._tls import CannotDial
from runstream.transport import earlier_steps
from runstream.transport.access import Access
from runstream.transport.channels import Channels
from runstream.transport.feed import Feed
from runstream.transport.limits import Limits
from runstream.transport.pause import Pause
from runstream.transport.run_calls import Call
from runstream.v1 import run_pb2

_SERVICE = "/runstream.v1.RunService/"
_RESPONSES: dict[str, Any] = {
    "CreateRun": run_pb2.CreateRunResponse,
    "LogParams": run_pb2.LogParamsResponse,
    "SetTags": run_pb2.SetTagsResponse,
    "FinishRun": run_pb2.FinishRunResponse,
}
_IDLE_S = 5.0  # a thread without calls ends after this time


class Callers:
    """A few threads that make calls, started when they are needed."""

    def __init__(
        self, access: Access, channels: Channels, limits: Limits, lock: Any, progress: Callable[[], None]
    ) -> None:
        """`progress` is called with the lock held after each call."""
        self.feeds: list[Feed] = []  # guarded by the lock, like all below
        self.wake = threading.Condition(lock)
        self._access = access
        self._endpoint = access.endpoint
        self._channels = channels
        self._limits = limits
        self._lock = lock
        self._progress = progress
        self._threads = 0
        self._idle = 0
        self._stopping = False
        self._in_flight: set[Any] = set()  # futures of calls
        # While the service is away, the failure of one call delays the calls of all journals.
        self._pause = Pause()
        self._backoff = Backoff(limits.backoff_first_s, limits.backoff_max_s)

    def start(self) -> None:
        """Starts another thread if calls wait and no thread is idle. The lock is held. Raises RuntimeError if no thread
        can be started."""
        if not self._stopping and not self._idle and self._threads < self._limits.callers and self._due() is not None:
            threading.Thread(target=self._run, name=f"runstream-calls-{self._endpoint.address}", daemon=True).start()
            self._threads += 1
        self.wake.notify()

    def retry_now(self) -> None:
        """Lets waiting calls be made at once. The lock is held."""
        self._pause.retry_now()
        self.wake.notify_all()

    def stop(self) -> None:
        """Makes no further calls. The lock is held."""
        self._stopping = True
        self.wake.notify_all()

    def cancel(self) -> None:
        """Makes no further calls, and cancels those that are in flight. The lock is held."""
        self.stop()
        for future in self._in_flight:
            future.cancel()

    @property
    def busy(self) -> bool:
        """Whether a call is in flight. The lock is held."""
        return bool(self._in_flight)

    def _run(self) -> None:
        try:
            while True:
                with self._lock:
                    chosen = self._wait()
                    if chosen is None:
                        return
                    feed, call = chosen
                    request = feed.calls.request(call, time.time_ns() // 1000)
                self._make_call(feed, call, request)
        finally:
            with self._lock:
                self._threads -= 1

    def _wait(self) -> tuple[Feed, Call] | None:
        until_s = time.monotonic() + _IDLE_S
        self._idle += 1
        try:
            while not self._stopping:
                feed = self._due()
                if feed is not None:
                    call = feed.calls.next()
                    if call is not None:
                        self.feeds.remove(feed)
                        self.feeds.append(feed)  # so that the other journals have their turn first
                        return feed, call
                left_s = until_s - time.monotonic()
                if left_s <= 0:
                    return None
                self.wake.wait(min(left_s, 0.1) if any(f.calls.has_next for f in self.feeds) else left_s)
            return None
        finally:
            self._idle -= 1

    def _due(self) -> Feed | None:
        now_s = time.monotonic()
        if not self._pause.is_over(now_s) or not self._access.may_call(now_s):
            return None
        return next((feed for feed in self.feeds if feed.calls.has_next and feed.before_call.is_over(now_s)), None)

    def _make_call(self, feed: Feed, call: Call, request: Any) -> None:
        failure: _status.Failure | None = None
        response: Any = None
        earlier: earlier_steps.EarlierSteps | None = None
        token = self._access.token()
        metadata = self._access.metadata(token)
        try:
            with self._channels.lease(self._endpoint) as channel:
                try:
                    response = self._call_method(channel, call.method, request, metadata)
                    if call.method == "CreateRun" and response.attempt_has_points and not feed.creation.reopens:
                        earlier = self._earlier_steps(channel, feed, response.run.run_id, metadata)
                except grpc.RpcError as error:
                    failure = self._access.explained(_status.from_rpc_error(error))
                    if failure.retry is _status.Retry.ELSEWHERE:
                        self._channels.replace(self._endpoint, channel)
        except CannotDial as error:
            failure = _status.Failure("UNAVAILABLE", str(error), _status.TLS_FAILED)
        except grpc.FutureCancelledError:
            pass
        except RuntimeError as error:
            failure = _status.Failure("UNAVAILABLE", str(error))  # no thread can be started at the moment
        with self._lock:
            if response is not None:
                self._backoff.reset()
                self._access.accepted()
                feed.earlier_steps = earlier or feed.earlier_steps
                feed.calls.answered(call, response)
            elif failure is None:
                feed.calls.not_made(call)
            else:
                self._failed(feed, call, failure, token)
            feed.mark_changed()
            self._progress()

    def _call_method(self, channel: grpc.Channel, method: str, request: Any, metadata: Metadata) -> Any:
        unary = channel.unary_unary(
            _SERVICE + method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=_RESPONSES[method].FromString,
        )
        future: Any = unary.future(request, timeout=self._limits.call_timeout_s, metadata=metadata)
        with self._lock:
            self._in_flight.add(future)
            if self._stopping:
                future.cancel()
        try:
            return future.result()
        finally:
            with self._lock:
                self._in_flight.discard(future)

    def _earlier_steps(
        self, channel: grpc.Channel, feed: Feed, run_id: str, metadata: Metadata
    ) -> earlier_steps.EarlierSteps | None:
        """The last steps that earlier processes logged; None if the call fails, as they are only used for a warning."""
        creation = feed.creation
        try:
            timeout_s = self._limits.earlier_steps_timeout_s
            last = earlier_steps.last_steps(channel, run_id, creation.rank, creation.attempt, timeout_s, metadata)
        except (grpc.RpcError, RuntimeError):
            return None
        return earlier_steps.EarlierSteps(last)

    def _failed(self, feed: Feed, call: Call, failure: _status.Failure, token: Token) -> None:
        now_s = time.monotonic()
        if failure.retry is _status.Retry.WHEN_ALLOWED:
            self._access.refused(token, failure)
        if failure.retry is _status.Retry.ELSEWHERE:
            self._pause.begin(now_s, self._backoff.next_s(failure.retry_after_s), failure.retry_after_s)
        feed.before_call.begin(now_s, feed.calls.failed(call, failure), failure.retry_after_s)
