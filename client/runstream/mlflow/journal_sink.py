"""The plugin's sink: a run handle for each run that is logged to, which writes to a journal like that of `start_run`.

A process that logs to many runs has a bounded number of handles. For a further run, the one that was used least
recently is closed; it is opened again when it is needed.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from runstream._identity import Identity
from runstream._joining import Joining
from runstream._points_journal import Point
from runstream.mlflow.address import Address
from runstream.mlflow.credentials import settings_of
from runstream.run import Run, open_handle

# Rank and attempt of all points of MLflow's API, over HTTP or through the plugin.
_RANK, _ATTEMPT = -1, 0
_MAX_OPEN = 128


class _Handle:
    """A run handle, and what is known about its writes."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.lock = threading.Lock()  # so that nothing is logged to a handle that is being closed
        self.closed = False
        self.writes = 0  # how many there were
        self.settled = 0  # how many of them are certainly answered
        self.last: dict[str, Point] = {}  # the last point by key

    def log(self, points: Sequence[Point]) -> None:
        """Logs points, but not one that is equal to the last one of its key. MLflow drops points with equal key, value,
        step and time, which scripts make that log twice within a millisecond."""
        log, last = self.run.log, self.last
        for point in points:
            key, value, step, time_unix_us = point
            if last.get(key) != point:
                last[key] = point
                log({key: value}, step, time_unix_us=time_unix_us)


class JournalSink:
    """A MetricSink for one address of the service."""

    def __init__(self, address: Address) -> None:
        self._address = address
        settings_of(address)  # so that wrong settings raise here and not at the first write
        self._lock = threading.Lock()
        self._handles: OrderedDict[str, _Handle] = OrderedDict()
        os.register_at_fork(after_in_child=self._in_forked_child)

    def log_points(self, run_id: str, points: Sequence[Point]) -> None:
        """Logs points of a run. Never waits, never raises."""
        with self._writing(run_id) as handle:
            handle.log(points)

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Logs params of a run. Never waits, never raises."""
        with self._writing(run_id) as handle:
            handle.run.log_params(params)

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Sets tags of a run. Never waits, never raises."""
        with self._writing(run_id) as handle:
            handle.run.set_tags(tags)

    def pending(self) -> Sequence[str]:
        """The ids of runs with writes that may not be answered yet."""
        return [run_id for run_id, handle in list(self._handles.items()) if handle.settled < handle.writes]

    def flush(self, run_id: str, timeout_s: float) -> bool:
        """Waits until every write to a run is stored or refused for good."""
        handle = self._handles.get(run_id)
        if handle is None or handle.settled == handle.writes:
            return True
        writes = handle.writes
        answered = handle.run.flush(timeout_s) or handle.run._recording.run_refused
        if answered:
            handle.settled = max(handle.settled, writes)
        return answered

    def close(self, run_id: str) -> None:
        """Closes the handle of a run without waiting; what is in its journal is sent."""
        with self._lock:
            handle = self._handles.pop(run_id, None)
        if handle is not None:
            with handle.lock:
                handle.closed = True
                handle.run._leave()

    def _writing(self, run_id: str) -> _Writing:
        return _Writing(self, run_id)

    def handle(self, run_id: str) -> _Handle:
        """The open handle of a run."""
        with self._lock:
            handle = self._handles.get(run_id)
            if handle is None:
                handle = self._handles[run_id] = _Handle(self._open(run_id))
            self._handles.move_to_end(run_id)
        while len(self._handles) > _MAX_OPEN:
            self.close(next(iter(self._handles)))
        return handle

    def _open(self, run_id: str) -> Run:
        settings = settings_of(self._address)  # again, as the workspace may have changed
        now = time.time_ns() // 1_000
        joining = Joining(
            Identity(run_id, _RANK, _ATTEMPT, shared=True),
            experiment="",
            name="",
            user="",
            address=settings.address,
            start_time_unix_us=now,
            exists_since_unix_us=now,
            ends_run=False,
            joins=True,
        )
        return open_handle(joining, settings, handle_id=uuid.uuid4().hex)

    def _in_forked_child(self) -> None:
        """Makes new locks, as a thread of the parent may hold the old ones. The handles open journals of their own."""
        self._lock = threading.Lock()
        for handle in self._handles.values():
            handle.lock = threading.Lock()


class _Writing:
    """A block that writes to a handle, which is not closed meanwhile. (A class, as a generator would be slower.)"""

    def __init__(self, sink: JournalSink, run_id: str) -> None:
        self._sink = sink
        self._run_id = run_id

    def __enter__(self) -> _Handle:
        while True:
            handle = self._handle = self._sink.handle(self._run_id)
            handle.lock.acquire()
            if not handle.closed:
                handle.writes += 1
                return handle
            handle.lock.release()

    def __exit__(self, *_: object) -> None:
        self._handle.lock.release()


_sinks: dict[Address, JournalSink] = {}
_sinks_lock = threading.Lock()


def sink_of(address: Address) -> JournalSink:
    """The sink of this process for an address of the service."""
    with _sinks_lock:
        if address not in _sinks:
            _sinks[address] = JournalSink(address)
        return _sinks[address]
