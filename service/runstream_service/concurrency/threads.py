"""Threads for blocking work, with a pool for each kind, so that one kind that hangs does not delay the others.

asyncio has one pool for everything. Six calls on a network file system that does not answer would fill it, and all
other work that needs a thread would wait behind them.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from runstream_service.errors.core import Overloaded

S = TypeVar("S")
T = TypeVar("T")


class ThreadPool:
    """Runs at most `threads` calls at a time, and lets `max_waiting` more wait; a further one raises Overloaded.

    The threads are daemons: a thread that hangs in a system call does not keep the process from ending, unlike the
    threads of concurrent.futures.
    """

    def __init__(self, name: str, *, threads: int, max_waiting: int) -> None:
        self._name = name
        self._threads = threads
        self._max_calls = threads + max_waiting
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        # Guards the two counts below, because calls end in the threads.
        self._lock = threading.Lock()
        self._unfinished = 0
        self._started = 0

    async def run(self, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Calls a function in a thread, and returns its result. Cancelling this does not stop a call that has begun.

        Raises:
            Overloaded: too many calls wait; this one was not made.
        """
        future: Future[T] = Future()
        call = functools.partial(contextvars.copy_context().run, function, *arguments, **named)
        self._submit(future, call)
        return await asyncio.wrap_future(future)

    @property
    def unfinished(self) -> int:
        """How many calls run or wait."""
        return self._unfinished

    def _submit(self, future: Future[T], call: Callable[[], T]) -> None:
        with self._lock:
            if self._unfinished >= self._max_calls:
                raise Overloaded(
                    f"{self._unfinished:,} calls of {self._name} run or wait already; nothing was done, try again"
                )
            self._unfinished += 1
            starts = self._started < min(self._threads, self._unfinished)
            self._started += starts
        if starts:
            self._start_thread()
        self._calls.put((future, call))

    def _start_thread(self) -> None:
        try:
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        except RuntimeError as error:  # the system has no more threads
            with self._lock:
                self._started -= 1
                self._unfinished -= 1
            raise Overloaded(f"no thread can be started for {self._name}; nothing was done, try again") from error

    def _work(self) -> None:
        while True:
            self._finish(*self._calls.get())

    def _finish(self, future: Future[T], call: Callable[[], T]) -> None:
        if not future.set_running_or_notify_cancel():
            return self._leave()
        try:
            result = call()
        except BaseException as error:
            self._leave()
            return future.set_exception(error)
        self._leave()  # first, so that the receiver of the result finds a free place for its next call
        return future.set_result(result)

    def _leave(self) -> None:
        with self._lock:
            self._unfinished -= 1


_PROCESSORS = os.cpu_count() or 1

# The callers of these two bound the calls that wait: roll-up does one step of a kind at a time, and ReadPool bounds
# reads. Responses of MLflow's routes are encoded in the pool of the reads.
ROLLUP = ThreadPool("roll-up", threads=min(8, _PROCESSORS + 2), max_waiting=100)
READS = ThreadPool("reads", threads=min(16, _PROCESSORS + 4), max_waiting=1_000)
# Groups of many points are encoded here. Each writer has one at a time.
ENCODING = ThreadPool("encoding", threads=min(8, _PROCESSORS), max_waiting=1_000)
# For bodies of MLflow's requests that take long to read. It has one thread, and few calls may wait: each holds a body
# in memory, and much of the work is Python code.
PARSING = ThreadPool("reading requests", threads=1, max_waiting=64)
# Queries of MLflow's UI are checked and executed in Python: one that is just within the limits takes a second or more.
GRAPHQL = ThreadPool("GraphQL", threads=2, max_waiting=64)

# This many calls of a cheap function take about a millisecond.
_FEW = 500


async def call_each(function: Callable[[S], T], items: Sequence[S]) -> list[T]:
    """The results of a cheap function for all items. With many items it runs in the pool of the reads, so that the
    event loop is not blocked.

    Raises:
        Overloaded: too many reads wait already.
    """
    if len(items) <= _FEW:
        return list(map(function, items))
    return await READS.run(lambda: list(map(function, items)))
