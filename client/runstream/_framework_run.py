"""The run of a framework's logger or callback: started when a training begins, finished when it ends, and opened again
when something is logged afterwards, such as a test of the trained model."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from runstream import _identity, _settings
from runstream._identity import rank_of
from runstream._start_arguments import StartArguments
from runstream._threads import start_thread
from runstream.run import Run, open_handle, start_run

if TYPE_CHECKING:
    from runstream.run import Status

_CONNECTION_ARGUMENTS = ("address", "token", "workspace")
_UNCHECKED_ARGUMENTS = ("system_metrics",)  # any value is taken as true or false


class FrameworkRun:
    """One run, or the caller's own `run`, which is never finished here. May be used by any thread."""

    def __init__(self, run: Run | None = None, **arguments: Any) -> None:
        """`arguments` are those of `start_run`. Raises TypeError or ValueError for a wrong one here, since `handle()`,
        which is called in the middle of a training, must not raise."""
        if run is not None and not isinstance(run, Run):
            raise TypeError(f"run must be a runstream.Run, not {type(run).__name__}")
        if run is not None and (fixed := [name for name, value in arguments.items() if value is not None]):
            raise TypeError(f"run is open already; pass either run or {', '.join(fixed)}, not both")
        check_arguments(arguments)
        self._chosen = arguments
        self._arguments = arguments if run is not None else _with_run_id(arguments)
        self._is_ours = run is None
        self._run = run
        self._pid = os.getpid()  # the process that opened the handle; a forked or unpickling one is another
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether the run was started and its handle is not finished."""
        return self._run is not None and not self._run._finished

    def handle(self) -> Run:
        """Returns the open handle; if there is none, starts the run or opens it again."""
        run = self._run
        if run is not None and not run._finished and self._pid == os.getpid():
            return run
        with self._lock:
            if self._run is None or self._is_of_other_rank():
                self._run = start_run(**self._arguments)
            elif self._run._finished and self._is_ours:
                self._run = _opened_again(self._run)
            self._pid = os.getpid()
            return self._run

    def suggest(self, **arguments: Any) -> None:
        """Sets arguments of `start_run` that the framework knows and the caller has not chosen. Wrong ones are ignored,
        such as a name that is too long."""
        for name, value in arguments.items():
            if self._arguments.get(name) is None and _is_good(name, value):
                self._arguments[name] = value

    def begin_another(self) -> None:
        """Lets the next handle be that of another run, as each trial of a search has its own."""
        with self._lock:
            if self._is_ours:
                self._arguments = _with_run_id({**self._chosen, "run_id": None})
                self._run = None

    @property
    def run_id(self) -> str:
        """The id of the run. The run is started if its id is not known otherwise, but it is not opened again."""
        if self._run is None and (chosen := self._arguments.get("run_id")):
            return str(chosen)
        return (self._run or self.handle()).run_id

    def finish(self, status: Status = "FINISHED") -> None:
        """Ends the run, if it is open and was started here. Waits as long as `Run.finish` does, without holding a lock,
        as the process may be forked meanwhile."""
        run = self._run
        if run is not None and self._is_ours:
            run.finish(status)

    def __getstate__(self) -> dict[str, Any]:
        """The state for a process that this one starts: a worker that prepares data, or a rank, which opens a handle of
        its own."""
        arguments = {**self._arguments, "run_id": self.run_id}
        return {"run": self._run, "is_ours": self._is_ours, "chosen": self._chosen, "arguments": arguments}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self._chosen, self._arguments = state["chosen"], state["arguments"]
        self._is_ours, self._run = state["is_ours"], state["run"]
        self._pid = 0
        self._lock = threading.Lock()

    def _is_of_other_rank(self) -> bool:
        """Whether the handle was inherited from the process that started this one, which is another rank."""
        is_inherited = self._is_ours and self._pid != os.getpid()
        return is_inherited and self._run is not None and self._run.rank != rank_of(os.environ)


def status_of_error() -> Status:
    """The status of a run that ends while an exception is being handled: KILLED for Ctrl-C, else FAILED."""
    return "KILLED" if isinstance(sys.exc_info()[1], KeyboardInterrupt) else "FAILED"


def finish_in_background(run: Run, status: Status) -> None:
    """Ends the run of a trial in a thread, so that the next trial can begin. The program waits for it when it ends."""

    def finish() -> None:
        run.finish(status)

    try:
        start_thread(finish, "runstream-finish")
    except RuntimeError:  # no more threads
        run.finish(status, timeout=0)


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Raises TypeError or ValueError for a wrong argument of `start_run`."""
    connection = {name: arguments.get(name) for name in _CONNECTION_ARGUMENTS}
    _settings.from_environment(connection.pop("address"), os.environ, **connection)
    _run_arguments(arguments)


def _is_good(name: str, value: Any) -> bool:
    try:
        _run_arguments({name: value})
    except (TypeError, ValueError):
        return False
    return value is not None


def _with_run_id(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments with a run id that is chosen now, so that ranks which this process starts later share the run,
    however they are started. Unchanged where the environment of each rank names the run, or may do so later."""
    identity = _identity.resolve(os.environ, **_run_arguments(arguments).identity_arguments)
    if identity.shared or identity.warning:
        return dict(arguments)
    _identity.leave_for_ranks(identity, arguments.get("experiment"), arguments.get("name"))
    return {**arguments, "run_id": identity.run_id}


def _run_arguments(arguments: Mapping[str, Any]) -> StartArguments:
    others = (*_CONNECTION_ARGUMENTS, *_UNCHECKED_ARGUMENTS)
    return StartArguments.checked(**{name: value for name, value in arguments.items() if name not in others})


def _opened_again(run: Run) -> Run:
    recording = run._recording
    again = open_handle(recording.joining.reopened(recording.position.run_id), run._settings)
    again._buffer.set_next_step(run._buffer.next_step)
    again._recorder.wake()
    return again
