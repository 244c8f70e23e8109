"""Threads, locks and `sleep` of the operating system, even where gevent or eventlet has replaced those of the standard
library: a greenlet that writes to the disk would stop all others, and one that waits for a busy training loop would
never run.

The names are bound when runstream is imported. A patch from before is undone here; a later one changes other names.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable
from typing import Any


def _original(module: str, name: str) -> Any:
    """A function or class of the standard library as it was before it was patched."""
    if (gevent := sys.modules.get("gevent.monkey")) is not None:
        return gevent.get_original(module, name)
    if (eventlet := sys.modules.get("eventlet.patcher")) is not None:
        return getattr(eventlet.original(module), name)
    return getattr(importlib.import_module(module), name)


Lock = _original("_thread", "allocate_lock")
RLock = _original("_thread", "RLock")
sleep = _original("time", "sleep")
_start_new_thread = _original("_thread", "start_new_thread")


def start_thread(target: Callable[[], None], name: str) -> None:
    """Starts a daemon thread: a program that hangs at exit because of it would be worse than a lost point. Raises
    RuntimeError if no thread can be started."""
    if are_threads_patched():
        _start_new_thread(target, ())
    else:
        threading.Thread(target=target, name=name, daemon=True).start()


# How many threads gRPC starts in this process, with some to spare: 12 were enough on two cores.
_GRPC_THREADS = 16


def check_threads_for_grpc() -> None:
    """Raises RuntimeError if gRPC could not start its threads now, since it would abort the process then."""
    stop = Lock()
    stop.acquire()

    def wait() -> None:
        with stop:
            pass

    try:
        for _ in range(_GRPC_THREADS):
            start_thread(wait, "runstream-trial")
    except RuntimeError as error:
        raise RuntimeError(
            f"gRPC needs {_GRPC_THREADS} threads in this process, which cannot be started ({error}): raise the "
            "limit (ulimit -u, or the pids limit of the container)"
        ) from error
    finally:
        stop.release()


def are_threads_patched() -> bool:
    """Whether gevent or eventlet has replaced threads by greenlets."""
    if (gevent := sys.modules.get("gevent.monkey")) is not None and gevent.is_module_patched("threading"):
        return True
    eventlet = sys.modules.get("eventlet.patcher")
    return eventlet is not None and bool(eventlet.is_monkey_patched("thread"))


class Alarm:
    """Wakes one thread. Not a threading.Event: its `set` takes a lock that is not reentrant, so a signal handler that
    logs in the middle of log() would wait forever."""

    def __init__(self) -> None:
        self._lock = Lock()  # free after `ring`, until `wait` returns
        self._lock.acquire()

    def ring(self) -> None:
        """Wakes the thread that waits; if none does, the next `wait` returns at once. Two calls have the effect of one.
        Safe in signal handlers."""
        try:  # noqa: SIM105 (contextlib.suppress costs a microsecond here)
            self._lock.release()
        except RuntimeError:
            pass

    def wait(self, timeout_s: float) -> None:
        """Waits until `ring` is called, or for this long."""
        self._lock.acquire(timeout=timeout_s)
