"""The control thread: CreateRun, params, tags and FinishRun, in the order in which they were asked for.

All of these calls are idempotent, so that each is simply repeated until it is answered. Bound: `_MAX_PENDING` calls;
further ones are refused with a warning.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc

from runstream import _status
from runstream._backoff import Backoff
from runstream._channel import Channels
from runstream._joining import Joining
from runstream._notices import Notices
from runstream._settings import Settings
from runstream.v1 import run_pb2, run_pb2_grpc

_LAST_CALL_S = 5.0  # deadline of a call at the interpreter's end that cannot be cancelled
_MAX_PENDING = 1_000  # calls, of at most 1,000 entries each
_RETRYABLE = (
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "RESOURCE_EXHAUSTED",
    "INTERNAL",
    "UNKNOWN",
    "CANCELLED",
    "ABORTED",
    "DATA_LOSS",
)


@dataclass(frozen=True)
class Call:
    """One unary call of RunService."""

    method: str
    request: Any


class Control:
    """Makes one run's unary calls until `stop`."""

    def __init__(
        self,
        settings: Settings,
        channels: Channels,
        notices: Notices,
        joining: Joining,
        run_deleted: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._channels = channels
        self._notices = notices
        self._joining = joining
        self._run_deleted = run_deleted
        self._backoff = Backoff(settings.backoff_first_s, settings.backoff_max_s)
        self._changed = threading.Condition()  # guards all below
        self._pending: deque[Call] = deque()
        self._accepted = 0
        self._settled = 0
        self._created = False
        self._stopping = False
        self._pause_wanted = False
        self._no_threads = False
        self._future: Any = None
        self.name = ""  # of the run, as the service has it
        self.last_error = ""

    # Called by the control thread.

    def run(self) -> None:
        """Until stopped: the run first, then one call after another."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or (not self._pause_wanted and self._work() is not None))
                if self._stopping:
                    return
                call = self._work()
            assert call is not None
            wait_s = self._make(call)
            if wait_s > 0:
                with self._changed:
                    self._changed.wait_for(lambda: self._stopping, wait_s)

    def _work(self) -> Call | None:
        if not self._created:
            return Call("CreateRun", self._joining.request())
        return self._pending[0] if self._pending else None

    def _make(self, call: Call) -> float:
        """Makes one call; answers the wait before the next in seconds."""
        # The service may have answered CreateRun with another run after this call was queued.
        call.request.run_id = self._joining.run_id
        try:
            with self._channels.using(self._settings.address) as channel:
                method = getattr(run_pb2_grpc.RunServiceStub(channel), call.method)
                with self._changed:
                    if self._stopping or self._pause_wanted:
                        return 0.0
                    if not self._no_threads:
                        self._future = method.future(call.request, timeout=self._settings.call_timeout_s)
                try:
                    response = self._future.result() if self._future else method(call.request, timeout=_LAST_CALL_S)
                except grpc.RpcError as error:
                    failure = _status.from_rpc_error(error)
                    if failure.retry is _status.Retry.ELSEWHERE:
                        self._channels.renew(self._settings.address, channel)
                    return self._failed(call, failure)
        except grpc.FutureCancelledError:
            return 0.0  # paused or stopping
        except RuntimeError as error:
            self._channels.abandon(self._settings.address)
            if "shutdown" not in str(error):
                return self._retry_in(_status.Failure("UNAVAILABLE", str(error)))  # too many threads, for now
            # Python 3.12.0 to 3.12.2 starts no threads once the interpreter is ending, and a call that can be
            # cancelled needs one. A call that blocks does not.
            self._no_threads = True
            return 0.0
        finally:
            self._future = None
        self._backoff.reset()
        if call.method == "CreateRun":
            self.name = response.run.name
            self._joining.answered(response, self._notices)
        self._done(call)
        return 0.0

    def _done(self, call: Call) -> None:
        with self._changed:
            if call.method == "CreateRun":
                self._created = True
            elif self._pending and self._pending[0] is call:
                self._pending.popleft()
                self._settled += 1
            self._changed.notify_all()

    def _failed(self, call: Call, failure: _status.Failure) -> float:
        if self._stopping or self._pause_wanted:
            return 0.0
        self.last_error = f"{call.method}: {failure}"
        if failure.reason == "RUN_DELETED":
            self._run_deleted()
            return self._settings.backoff_max_s
        if call.method == "CreateRun":
            return self._create_failed(failure)
        if failure.reason == "RUN_NOT_FOUND":
            self.create_again()
            return self._backoff.next_s()
        if failure.code in _RETRYABLE:
            return self._retry_in(failure)
        self._refused(call, failure)
        return 0.0

    def _create_failed(self, failure: _status.Failure) -> float:
        if failure.reason == "RUN_IN_OTHER_EXPERIMENT":
            # The run exists, and the caller named it by its id: points belong there.
            if self._joining.experiment:
                self._notices.once("experiment", "%s; points go to the run of that id", failure)
                self._joining.in_any_experiment()
            else:
                self._done(Call("CreateRun", None))
            return 0.0
        if failure.code in _RETRYABLE:
            return self._retry_in(failure)
        self._notices.once("create", "the service does not create the run (%s); points are kept, tried again", failure)
        return self._backoff.next_s(failure.retry_after_s, self._settings.backoff_max_s)

    def _retry_in(self, failure: _status.Failure) -> float:
        wait_s = self._backoff.next_s(failure.retry_after_s)
        self._notices.connection_failed(str(failure), wait_s)
        return wait_s

    def _refused(self, call: Call, failure: _status.Failure) -> None:
        """A final answer. Entries of a refused call are sent one by one, so that only the bad ones are lost."""
        singles = _split(call)
        with self._changed:
            if self._pending and self._pending[0] is call and len(singles) > 1:
                self._pending.popleft()
                self._pending.extendleft(reversed(singles))
                self._settled -= len(singles) - 1
                return
        self._notices.warn("%s refused by the service: %s", call.method, failure)
        self._done(call)

    # Called by any thread.

    def submit(self, call: Call) -> bool:
        """Queues a call; False if too many wait."""
        with self._changed:
            if self._stopping or len(self._pending) >= _MAX_PENDING:
                return False
            self._pending.append(call)
            self._accepted += 1
            self._changed.notify_all()
            return True

    def wait_created(self, stopping: Callable[[], bool]) -> None:
        """Waits until the run exists, or `stopping` is true when somebody calls `notify`."""
        with self._changed:
            self._changed.wait_for(lambda: self._created or self._stopping or stopping())

    def create_again(self) -> None:
        """The service does not know the run (any more)."""
        with self._changed:
            self._created = False
            self._changed.notify_all()

    def wait_settled(self, deadline: float | None) -> bool:
        """Waits until everything queued so far is answered; `deadline` in monotonic seconds."""
        with self._changed:
            target = self._accepted
            timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
            self._changed.wait_for(lambda: self._stopping or (self._created and self._settled >= target), timeout)
            return self._created and self._settled >= target

    def pending(self) -> int:
        """How many calls wait, without CreateRun."""
        with self._changed:
            return len(self._pending)

    def notify(self) -> None:
        """Wakes all waiters to look again."""
        with self._changed:
            self._changed.notify_all()

    def pause(self) -> None:
        """Gives up the call under way and makes no other until `resume`. Does not wait."""
        with self._changed:
            self._pause_wanted = True
            if self._future is not None:
                self._future.cancel()
            self._changed.notify_all()

    def resume(self) -> None:
        """Makes calls again; the one that was given up is repeated."""
        with self._changed:
            self._pause_wanted = False
            self._changed.notify_all()

    def stop(self) -> None:
        """Ends the thread; what waits is dropped."""
        with self._changed:
            self._stopping = True
            if self._future is not None:
                self._future.cancel()
            self._changed.notify_all()


def _split(call: Call) -> list[Call]:
    request = call.request
    if call.method == "LogParams" and len(request.params) > 1:
        return [
            Call(call.method, run_pb2.LogParamsRequest(run_id=request.run_id, params={key: value}))
            for key, value in request.params.items()
        ]
    if call.method == "SetTags" and len(request.tags) > 1:
        return [
            Call(call.method, run_pb2.SetTagsRequest(run_id=request.run_id, tags={key: value}))
            for key, value in request.tags.items()
        ]
    return [call]
