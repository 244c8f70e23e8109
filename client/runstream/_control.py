"""The control thread: creates the run, writes its params and tags, and sets its end.

All of these calls are idempotent, so each is repeated until it is answered. A call that may have met a bug of the
service is only repeated a few times, so that it does not delay the others. Params and tags wait by key: if a tag is set
repeatedly while the service is away, only its newest value is sent. Bounds: `Settings.max_call_bytes` for all that
waits, `_CALL_BYTES` for one call. The run's end does not count for these bounds.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc

from runstream import _earlier_steps, _status
from runstream._backoff import Backoff
from runstream._channel import Channels
from runstream._earlier_steps import EarlierSteps
from runstream._joining import Joining
from runstream._notices import Notices
from runstream._settings import Settings
from runstream.v1 import run_pb2, run_pb2_grpc

_LAST_CALL_S = 5.0  # deadline of a call at the interpreter's end that cannot be cancelled
_CALL_BYTES = 256 * 1024  # params or tags in one call: far below the message limits of services and proxies
_CALL_ENTRIES = 1_000  # the most that the service accepts in one call
_ENTRY_BYTES = 16  # what the encoding adds to a key and its value
_ENTRY_MEMORY = 300  # what the objects around a waiting entry take
_TRIES = 6  # of a call that fails in a way that may be a bug of the service
# Codes of failures that one entry of a call may have caused alone.
_OF_ONE_ENTRY = ("INVALID_ARGUMENT", "ALREADY_EXISTS", "OUT_OF_RANGE", "RESOURCE_EXHAUSTED")
_QUIET_S = 1.0  # warn about a first failure only if the next try has to wait longer


@dataclass
class _Entry:
    """A param or tag that waits."""

    value: str
    size: int  # encoded
    number: int  # of the request that set it; if a newer value has replaced it, of the first request


@dataclass
class _Call:
    """One unary call of RunService. `entries`: the params or tags in it, with their encoded sizes."""

    method: str
    request: Any = None
    number: int = 0
    entries: dict[str, int] = field(default_factory=dict)
    failures: int = 0
    suspicious_failures: int = 0  # failures that may be a bug that this call triggers


class Control:
    """Makes one run's unary calls until `stop`.

    `run_refused` is called when the service refuses the run (it is deleted, or cannot be created), `run_taken` when
    the service accepts it.
    """

    def __init__(
        self,
        settings: Settings,
        channels: Channels,
        notices: Notices,
        joining: Joining,
        earlier_steps: EarlierSteps,
        run_refused: Callable[[_status.Failure], None],
        run_taken: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._channels = channels
        self._notices = notices
        self._joining = joining
        self._earlier_steps = earlier_steps
        self._create = _Call("CreateRun")
        self._run_refused = run_refused
        self._run_taken = run_taken
        self._backoff = Backoff(settings.backoff_first_s, settings.backoff_max_s)
        self._changed = threading.Condition()  # guards all below
        self._waiting: dict[str, dict[str, _Entry]] = {"LogParams": {}, "SetTags": {}}
        self._calls: deque[_Call] = deque()  # made of what waited, also of parts of a refused call
        self._finish: _Call | None = None
        self._finish_first = False
        self._waiting_bytes = 0
        self._accepted = 0  # requests
        self._created = False
        self._refusal: _status.Failure | None = None  # of the run, since it was last asked for
        self._stopping = False
        self._pause_wanted = False
        self._hurry = False
        self._no_threads = False
        self._under_way: _Call | None = None
        self._answer_is_old = False  # the call under way was made before `ask_again`
        self._future: Any = None
        self.name = ""  # of the run, as the service has it
        self.end_refused = False

    # Called by the control thread.

    def run(self) -> None:
        """Creates the run first, then makes one call after another, until stopped."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or (not self._pause_wanted and self._next() is not None))
                if self._stopping:
                    return
                call = self._next()
            assert call is not None
            self._wait(self._make(call))

    def _wait(self, seconds: float) -> None:
        with self._changed:
            self._backoff.wait(self._changed, seconds, lambda: self._stopping, lambda: self._hurry)
            self._hurry = False

    def _next(self) -> _Call | None:
        if self._finish is not None and (self._finish_first or self._deleted()):
            return self._finish
        if not self._created:
            return self._create
        if not self._calls:
            self._calls.extend(self._collect())
        return self._calls[0] if self._calls else self._finish

    def _deleted(self) -> bool:
        """Whether the run is deleted: then the service only accepts its end."""
        return self._refusal is not None and self._refusal.reason == "RUN_DELETED"

    def _collect(self) -> Iterable[_Call]:
        for method, waiting in self._waiting.items():
            chosen: dict[str, str] = {}
            sizes: dict[str, int] = {}
            number = size = 0
            for key, entry in waiting.items():
                size += entry.size
                if chosen and (len(chosen) == _CALL_ENTRIES or size > _CALL_BYTES):
                    break
                number = number or entry.number
                chosen[key], sizes[key] = entry.value, entry.size
            for key in chosen:
                del waiting[key]
            if chosen:
                yield _Call(method, self._request(method, chosen), number, sizes)

    def _request(self, method: str, entries: Mapping[str, str]) -> Any:
        if method == "LogParams":
            return run_pb2.LogParamsRequest(params=entries)
        return run_pb2.SetTagsRequest(tags=entries)

    def _make(self, call: _Call) -> float:
        """Makes one call; returns the wait before the next in seconds."""
        request = self._joining.request() if call is self._create else call.request
        # The service may have answered CreateRun with another run after this call was queued.
        request.run_id = self._joining.run_id
        try:
            with self._channels.using(self._settings.address) as channel:
                method = getattr(run_pb2_grpc.RunServiceStub(channel), call.method)
                with self._changed:
                    if self._stopping or self._pause_wanted:
                        return 0.0
                    if not self._no_threads:
                        self._future = method.future(request, timeout=self._settings.call_timeout_s)
                        self._channels.watch(self._future)
                    future, self._under_way, self._answer_is_old = self._future, call, False
                try:
                    response = future.result() if future else method(request, timeout=_LAST_CALL_S)
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
                return self._failed(call, _status.Failure("UNAVAILABLE", str(error)))  # too many threads, for now
            # Python 3.12.0 to 3.12.2 starts no threads once the interpreter is ending, and a call that can be
            # cancelled needs one. A call that blocks does not.
            self._no_threads = True
            return 0.0
        finally:
            with self._changed:
                self._future = self._under_way = None
        self._backoff.reset()
        if call is self._create:
            self.name = response.run.name
            self._joining.answered(response, self._notices)
            self._taken()
        self._done(call)
        if call is self._create and response.attempt_has_points:
            self._read_earlier_steps()
        return 0.0

    def _read_earlier_steps(self) -> None:
        """Reads the last steps of earlier processes. They are only used for a warning, so failures are ignored."""
        try:
            with self._channels.using(self._settings.address) as channel:
                with self._changed:
                    if self._stopping or self._pause_wanted or self._no_threads:
                        return
                    run_id, timeout_s = self._joining.run_id, self._settings.call_timeout_s
                    self._future = call = _earlier_steps.start_reading(channel, run_id, timeout_s)
                    self._channels.watch(call)
                self._earlier_steps.ended(_earlier_steps.last_steps(call, self._joining.rank, self._joining.attempt))
        except (grpc.RpcError, grpc.FutureCancelledError, RuntimeError):
            pass
        finally:
            with self._changed:
                self._future = None

    def _taken(self) -> None:
        """Notes that the service has the run."""
        self._run_taken()
        with self._changed:
            self._created, self._refusal = True, None
            self._create.failures = self._create.suspicious_failures = 0
            self._changed.notify_all()

    def _done(self, call: _Call) -> None:
        """Removes a call that has its final answer."""
        with self._changed:
            if call is self._finish:
                self._finish = None
            elif self._calls and self._calls[0] is call:
                self._calls.popleft()
                self._waiting_bytes -= sum(call.entries.values()) + _ENTRY_MEMORY * len(call.entries)
            self._changed.notify_all()

    def _failed(self, call: _Call, failure: _status.Failure) -> float:
        if self._stopping or self._pause_wanted:
            return 0.0
        self._notices.last_error = f"{call.method}: {failure}"
        call.failures += 1
        call.suspicious_failures += failure.retry is _status.Retry.A_FEW_TIMES or failure.reason == "RUN_NOT_FOUND"
        hopeless = failure.retry is _status.Retry.NEVER or call.suspicious_failures >= _TRIES
        if self._answer_is_old and failure.retry is _status.Retry.NEVER:
            return 0.0  # ask_again() was called in the meantime: ask once more
        if failure.reason == "RUN_DELETED" and call is not self._finish:
            self.run_deleted(failure)
            return self._settings.backoff_max_s if call is self._create and self._finish is None else 0.0
        if call is self._create:
            return self._create_failed(failure, hopeless)
        if failure.reason == "RUN_NOT_FOUND" and call.suspicious_failures < _TRIES:
            self.create_again()
            return self._backoff.next_s()
        if hopeless:
            self._refused(call, failure)
            return 0.0
        return self._retry_in(call, failure)

    def _create_failed(self, failure: _status.Failure, hopeless: bool) -> float:
        if failure.reason == "RUN_IN_OTHER_EXPERIMENT":
            # The run exists, and the caller asked for it by its id: points belong there.
            if self._joining.experiment:
                self._notices.once("experiment", "%s; points go to the run of that id", failure)
                self._joining.in_any_experiment()
            else:
                self._taken()
            return 0.0
        if not hopeless:
            return self._retry_in(self._create, failure)
        self._notices.once(
            "create",
            "the service does not create the run (%s); points are kept in memory, and it is asked again twice a "
            "minute. %s",
            failure,
            _status.advice(failure),
        )
        self._refuse_run(failure)
        return self._backoff.next_s(failure.retry_after_s, self._settings.backoff_max_s)

    def _retry_in(self, call: _Call, failure: _status.Failure) -> float:
        wait_s = self._backoff.next_s(failure.retry_after_s)
        # A failure that may be a bug came over a working connection; it is reported when the call is given up.
        if failure.retry is not _status.Retry.A_FEW_TIMES and (call.failures > 1 or wait_s > _QUIET_S):
            self._notices.connection_failed(str(failure), wait_s)
        return wait_s

    def _refused(self, call: _Call, failure: _status.Failure) -> None:
        """Handles a final refusal. If one entry may be to blame, both halves are tried, so that only bad ones are
        lost."""
        with self._changed:
            if failure.code in _OF_ONE_ENTRY and len(call.entries) > 1:
                self._calls.popleft()
                self._calls.extendleft(reversed(self._halves(call)))
                return
        self.end_refused = call is self._finish
        self._notices.call_refused(call.method, list(call.entries), failure)
        self._done(call)

    def _halves(self, call: _Call) -> list[_Call]:
        entries = dict(call.request.params if call.method == "LogParams" else call.request.tags)
        keys = list(call.entries)
        middle = len(keys) // 2
        return [
            _Call(
                call.method,
                self._request(call.method, {key: entries[key] for key in part}),
                call.number,
                {key: call.entries[key] for key in part},
            )
            for part in (keys[:middle], keys[middle:])
        ]

    def _refuse_run(self, failure: _status.Failure) -> None:
        with self._changed:
            self._created, self._refusal = False, failure
            self._changed.notify_all()
        self._run_refused(failure)

    # Called by any thread.

    def put(self, kind: str, entries: Mapping[str, str]) -> None:
        """Queues the params or tags (`kind`) for which there is room, and reports the others."""
        full: list[str] = []
        changed: list[str] = []
        with self._changed:
            self._accepted += 1
            waiting = self._waiting["LogParams" if kind == "param" else "SetTags"]
            for key, value in entries.items():
                old = waiting.get(key)
                if old is not None and kind == "param":
                    if old.value != value:
                        changed.append(key)
                    continue
                size = len(key.encode()) + len(value.encode()) + _ENTRY_BYTES
                more = size - old.size if old is not None else size + _ENTRY_MEMORY
                if self._stopping or self._waiting_bytes + more > self._settings.max_call_bytes:
                    full.append(key)
                    continue
                self._waiting_bytes += more
                # A newer value replaces the older one, and a flush() that waits for the older one waits for it.
                waiting[key] = _Entry(value, size, old.number if old is not None else self._accepted)
            self._changed.notify_all()
        if changed:
            words = "has another value already, which waits to be sent; params are written once"
            self._notices.call_refused("LogParams", changed, _status.Failure("ALREADY_EXISTS", words, "PARAM_CHANGED"))
        if full:
            self._notices.calls_full(kind, full, self._settings.max_call_bytes)

    def finish(self, request: run_pb2.FinishRunRequest) -> None:
        """Sets the run's end after everything else is answered."""
        with self._changed:
            self._accepted += 1
            self._finish = _Call("FinishRun", request, self._accepted)
            self._hurry = True
            self._changed.notify_all()

    def finish_first(self) -> None:
        """The time is up: sends the run's end before everything else that waits."""
        with self._changed:
            self._finish_first = self._hurry = True
            if self._future is not None and self._under_way is not self._finish:
                self._future.cancel()
            self._changed.notify_all()

    def ask_again(self) -> None:
        """Retries now, including what the service has refused; only a wait that it asked for is kept."""
        with self._changed:
            self._hurry = True
            self._answer_is_old = self._under_way is self._create
            self._refusal = None
            self._changed.notify_all()

    def wait_created(self, stopping: Callable[[], bool]) -> None:
        """Waits until the run exists, or until `stopping` is true, which is checked after `notify`."""
        with self._changed:
            self._changed.wait_for(lambda: self._created or self._stopping or stopping())

    def wait_answered(self, timeout_s: float) -> None:
        """Waits until the service has accepted or refused the run, at most this long."""
        at_most_s = min(timeout_s, threading.TIMEOUT_MAX)  # it may be infinite
        with self._changed:
            self._changed.wait_for(lambda: self._created or self._stopping or self._refusal is not None, at_most_s)

    def create_again(self) -> None:
        """Creates the run again, because the service does not know it (any more)."""
        with self._changed:
            self._created = False
            self._changed.notify_all()

    def run_deleted(self, failure: _status.Failure) -> None:
        """Notes that the run is deleted. The service is asked again from time to time, as a run can be restored."""
        self._refuse_run(failure)

    def wait_settled(self, timeout_s: float | None) -> bool:
        """Waits until everything queued so far is answered; False if not in time, or if the run is refused."""
        with self._changed:
            target = self._accepted
            self._changed.wait_for(
                lambda: self._stopping or self._refusal is not None or self._settled(target), timeout_s
            )
            return self._settled(target)

    def wait_finished(self, timeout_s: float) -> bool:
        """Waits until the run's end is answered, or cannot be; False if not in time."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._stopping or self._finish is None or (self._refusal is not None and not self._deleted()),
                timeout_s,
            )

    def _settled(self, target: int) -> bool:
        firsts = [next(iter(waiting.values())).number for waiting in self._waiting.values() if waiting]
        firsts += [call.number for call in (*self._calls, self._finish) if call is not None]
        return self._created and all(number > target for number in firsts)

    def pending(self) -> int:
        """How many params and tags wait, plus 1 if the run's end does."""
        with self._changed:
            waiting = sum(map(len, self._waiting.values())) + sum(len(call.entries) for call in self._calls)
            return waiting + (self._finish is not None)

    def notify(self) -> None:
        """Wakes all waiters, so that they check their conditions again."""
        with self._changed:
            self._changed.notify_all()

    def pause(self) -> None:
        """Cancels the call under way and makes no other until `resume`. Does not wait."""
        with self._changed:
            self._pause_wanted = True
            if self._future is not None:
                self._future.cancel()
            self._changed.notify_all()

    def resume(self) -> None:
        """Makes calls again; the cancelled one is repeated."""
        with self._changed:
            self._pause_wanted = False
            self._changed.notify_all()

    def stop(self) -> None:
        """Ends the thread; calls that wait are dropped."""
        with self._changed:
            self._stopping = True
            if self._future is not None:
                self._future.cancel()
            self._changed.notify_all()
