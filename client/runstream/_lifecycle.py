"""Handles forks, the end of the interpreter, and the end of a multiprocessing child, for all runs of a process."""

from __future__ import annotations

import atexit
import builtins
import contextlib
import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, Protocol

from runstream._ending import Ending, wait_all
from runstream._recorder import Recorder
from runstream._run_logger import RunLogger
from runstream._settings import Settings
from runstream._threads import RLock


class RunHandle(Protocol):
    """The interface of a run that this module needs."""

    _settings: Settings
    _logger: RunLogger
    _handle_id: str
    _cell: str

    def _in_forked_child(self) -> None: ...

    def _wait_created(self, address: str, run_id: str, timeout_s: float) -> None: ...

    def _begin_at_exit(self, status: str) -> Ending | None: ...

    def _wait_finished(self, timeout_s: float) -> None: ...

    def _finish_in_background(self) -> None: ...

    def _end_finish(self) -> None: ...


class ProcessState:
    """The live runs of this process and the recorder that they share. There is one, `process_state`."""

    def __init__(self) -> None:
        self.recorder = Recorder(self.register_multiprocessing_finalizer)
        self._runs: dict[int, RunHandle] = {}
        # Held from before a fork until after it, so that two threads that fork at once take turns.
        self._fork_lock = RLock()
        self._exit_hook_pid = 0

    def add(self, run: RunHandle) -> None:
        """Keeps a run until it is finished, so that a run without other references is flushed at exit, too."""
        self._runs[id(run)] = run
        _exit_code.watch()

    def remove(self, run: RunHandle) -> None:
        """Forgets a run that is finished."""
        self._runs.pop(id(run), None)

    def handle(self, handle_id: str) -> RunHandle | None:
        """The live run with this handle id, which a handle keeps in every process; None if there is none."""
        return next((run for run in list(self._runs.values()) if run._handle_id == handle_id), None)

    def finish_runs_of_cell(self, cell: str) -> None:
        """Ends the open runs that this notebook cell has started, without waiting for them."""
        for run in list(self._runs.values()):
            if run._cell == cell:
                run._finish_in_background()

    def wait_created(self, address: str, run_id: str, timeout_s: float) -> None:
        """Waits until the service has a run that this process has just started, so that it can be read."""
        for run in list(self._runs.values()):
            run._wait_created(address, run_id, timeout_s)

    def register_multiprocessing_finalizer(self) -> None:
        """In a multiprocessing child: registers a finalizer, as such children skip atexit handlers.

        Called when the recorder starts and not at the fork: multiprocessing empties its registry after forking.
        """
        util = sys.modules.get("multiprocessing.util")
        parent = getattr(sys.modules.get("multiprocessing.process"), "parent_process", None)
        if util is None or parent is None or parent() is None or self._exit_hook_pid == os.getpid():
            return
        self._exit_hook_pid = os.getpid()
        # Before multiprocessing's own finalizers of priority 10 and less, which close queues and pools.
        util.Finalize(None, self.at_exit, exitpriority=100)

    def at_exit(self) -> None:
        """Flushes and finishes all open runs. Never raises an Exception."""
        status = _exit_status()
        timeout_s, begun = 0.0, time.monotonic()
        endings: list[tuple[RunHandle, Ending]] = []
        for run in list(self._runs.values()):
            with _reported(run):
                timeout_s = max(timeout_s, run._settings.exit_timeout_s)
                ending = run._begin_at_exit(status)
                if ending is not None:
                    endings.append((run, ending))
        try:
            wait_all([ending for _, ending in endings], timeout_s)
        finally:  # Ctrl-C ends the wait
            for run, _ in endings:
                with _reported(run):
                    run._end_finish()
        # Wait for runs that another thread is finishing: a daemon thread would be stopped with the interpreter.
        for run in list(self._runs.values()):
            run._wait_finished(max(0.0, begun + timeout_s - time.monotonic()))
        self.recorder.stop_stores()

    def before_fork(self) -> None:
        """Waits until no journal is being made: a child has to know of all descriptors that it inherits."""
        self._fork_lock.acquire()
        self.recorder.before_fork()

    def after_fork_in_parent(self) -> None:
        """Lets the recorder make journals again."""
        self.recorder.after_fork_in_parent()
        self._fork_lock.release()

    def after_fork_in_child(self) -> None:
        """Makes new locks and buffers for the child; the parent writes what was waiting. No thread is started here, and
        no journal made."""
        self._fork_lock = RLock()
        self.recorder = self.recorder.for_child()
        for run in list(self._runs.values()):
            run._in_forked_child()


def _exit_status() -> str:
    """FAILED or KILLED if an uncaught exception ends the interpreter or the multiprocessing child."""
    if hasattr(sys, "ps1"):
        return "FINISHED"  # an interactive session: any earlier mistake is still in sys.last_exc
    error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None) or sys.exc_info()[1]
    if error is None or isinstance(error, SystemExit):
        return "FAILED" if getattr(error, "code", None) or _exit_code.value else "FINISHED"
    return "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"


class _ExitCode:
    """The exit status of the program. An exit handler cannot see the SystemExit that ends the interpreter, so sys.exit,
    exit and quit are wrapped; a `raise SystemExit` in the program is not noticed."""

    def __init__(self) -> None:
        self.value: Any = None

    def watch(self) -> None:
        """Wraps sys.exit, exit and quit. Resets an earlier status, which did not end the program."""
        self.value = None
        if not getattr(sys.exit, "_of_runstream", False):
            sys.exit = self._watched_exit(sys.exit)
        # exit and quit are two objects of one class; an interpreter may have others, or none.
        quitter: Any = type(getattr(builtins, "quit", None))
        if quitter.__module__ == "_sitebuiltins" and not getattr(quitter.__call__, "_of_runstream", False):
            quitter.__call__ = self._watched_quit(quitter.__call__)

    def _watched_exit(self, original: Callable[[Any], NoReturn]) -> Callable[..., NoReturn]:
        @functools.wraps(original)
        def exit_and_remember(status: Any = None, /) -> NoReturn:
            self._remember(status)
            original(status)

        exit_and_remember._of_runstream = True  # type: ignore[attr-defined]
        return exit_and_remember

    def _watched_quit(self, original: Callable[[Any, Any], NoReturn]) -> Callable[..., NoReturn]:
        @functools.wraps(original)
        def quit_and_remember(quitter: Any, code: Any = None) -> NoReturn:
            self._remember(code)
            original(quitter, code)

        quit_and_remember._of_runstream = True  # type: ignore[attr-defined]
        return quit_and_remember

    def _remember(self, status: Any) -> None:
        if threading.current_thread() is threading.main_thread():  # in other threads it only ends the thread
            self.value = status


@contextlib.contextmanager
def _reported(run: RunHandle) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        run._logger.warn("could not be finished at exit: %r", error)


_exit_code = _ExitCode()
process_state = ProcessState()
atexit.register(process_state.at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=process_state.before_fork,
        after_in_parent=process_state.after_fork_in_parent,
        after_in_child=process_state.after_fork_in_child,
    )
