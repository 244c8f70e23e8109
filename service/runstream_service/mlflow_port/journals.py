"""The journals of the port, one for each run and caller. A write returns when it is synced to disk.

One thread writes. While it waits for the disk, further writes queue, and share the next sync.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from runstream._endpoint import Endpoint
from runstream._points_journal import Point, PointsJournal
from runstream._stored_credentials import FIELD, StoredCredentials
from runstream.journal import Directory, Position
from runstream_service.concurrency.deadlines import Deadline
from runstream_service.errors.core import Overloaded
from runstream_service.http.mlflow_errors import MlflowError
from runstream_service.ingest.limits import MLFLOW_ATTEMPT, MLFLOW_RANK

if TYPE_CHECKING:
    from runstream_service.mlflow_port.callers import PortCaller

# How many writes may wait; a further one is refused. Each has at most 1,000 points, and its client waits for it.
_MAX_WAITING = 1_000
_MAX_OPEN = 256  # journals; to open another one, the one that was written least recently is ended
_IDLE_S = 60.0  # a journal is ended after this time without a write, so that the agent can delete it
_POLL_S = 0.02

Write = Callable[[PointsJournal], None]


class _Place(NamedTuple):
    """Where a write goes: to the journal of one run and one caller."""

    endpoint: Endpoint
    run_id: str


@dataclass(slots=True)
class _Waiting:
    place: _Place
    write: Write
    done: Future[None] = field(default_factory=Future)


@dataclass(slots=True)
class _Open:
    journal: PointsJournal
    written_s: float  # by the monotonic clock


class SyncedJournals:
    """Belongs to the event loop of the port, except for `close`, which blocks until the thread has ended."""

    def __init__(self, directory: Directory, own: Endpoint) -> None:
        """`own` is the service with the agent's own credentials, which need not be stored next to the journals."""
        self._directory = directory
        self._own = own
        self._credentials = StoredCredentials(directory.credentials_path)
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue(_MAX_WAITING)
        self._open: OrderedDict[_Place, _Open] = OrderedDict()  # belongs to the thread
        # For each journal that may have unsettled records, the number of its last record. Guarded by the lock: the
        # thread adds entries, `flush` removes them.
        self._unsettled: dict[tuple[_Place, Path], int] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="mlflow-port-journals", daemon=True)
        self._thread.start()

    async def log_points(self, caller: PortCaller, run_id: str, points: Sequence[Point]) -> None:
        """Returns when the points are on disk. Raises Overloaded if the journals or the queue are full, MlflowError if
        the disk cannot be written."""
        now_unix_us = time.time_ns() // 1_000
        await self._write(caller, run_id, lambda journal: journal.log_points(points, now_unix_us))

    async def log_params(self, caller: PortCaller, run_id: str, params: Mapping[str, str]) -> None:
        """Returns when the params are on disk. Raises as `log_points`."""
        await self._write(caller, run_id, lambda journal: journal.log_params(params))

    async def set_tags(self, caller: PortCaller, run_id: str, tags: Mapping[str, str]) -> None:
        """Returns when the tags are on disk. Raises as `log_points`."""
        await self._write(caller, run_id, lambda journal: journal.set_tags(tags))

    async def flush(self, caller: PortCaller, deadline: Deadline) -> bool:
        """Waits until the service has accepted or refused everything that this caller has written so far; returns False
        if that has not happened by the deadline."""
        with self._lock:
            awaited = {key: one for key, one in self._unsettled.items() if key[0].endpoint == caller.endpoint}
        while awaited:
            for (place, path), sequence in list(awaited.items()):
                if _is_settled(path, sequence):
                    del awaited[place, path]
                    self._settle(place, path, sequence)
            if awaited and not deadline.left_s():
                return False
            if awaited:
                await asyncio.sleep(_POLL_S)
        return True

    def close(self) -> None:
        """Ends all journals, after the writes that wait."""
        self._waiting.put(None)
        self._thread.join()

    async def _write(self, caller: PortCaller, run_id: str, write: Write) -> None:
        if self._directory.is_full():
            raise Overloaded(
                f"The journals in {self._directory.path} have reached their limit of {self._directory.limit_bytes} "
                "bytes (RUNSTREAM_DIR_BYTES), so nothing more is stored until the agent has reached the service.",
                retry_after_s=10.0,
            )
        waiting = _Waiting(_Place(caller.endpoint, run_id), write)
        try:
            self._waiting.put_nowait(waiting)
        except queue.Full:
            raise Overloaded("The disk is too slow: more is logged than it can write. Try again.") from None
        try:
            await asyncio.wrap_future(waiting.done)
        except OSError as error:
            message = f"The journals in {self._directory.path} cannot be written: {error}"
            raise MlflowError("TEMPORARILY_UNAVAILABLE", message, retry_after_s=5.0) from error

    def _settle(self, place: _Place, path: Path, sequence: int) -> None:
        with self._lock:
            if self._unsettled.get((place, path)) == sequence:
                del self._unsettled[place, path]

    # -- the thread --------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        ended = False
        while not ended:
            group = self._take()
            ended = None in group
            self._write_group([one for one in group if one is not None])
            self._end_idle(time.monotonic())
        for place in list(self._open):
            self._end(place)
        self._directory.ring_bell()

    def _take(self) -> list[_Waiting | None]:
        try:
            group = [self._waiting.get(timeout=_IDLE_S)]
        except queue.Empty:
            return []
        with contextlib.suppress(queue.Empty):
            while True:
                group.append(self._waiting.get_nowait())
        return group

    def _write_group(self, group: Sequence[_Waiting]) -> None:
        written: dict[_Place, list[_Waiting]] = {}
        for one in group:
            error = self._append(one)
            if error is None:
                written.setdefault(one.place, []).append(one)
                continue
            # The earlier writes to this journal are complete, so they are synced; after that, it may be unusable.
            self._sync(one.place, written.pop(one.place, []))
            self._drop(one.place)
            one.done.set_exception(error)
        for place, ones in written.items():
            self._sync(place, ones)
        self._directory.ring_bell()

    def _append(self, one: _Waiting) -> Exception | None:
        try:
            one.write(self._journal(one.place))
        except Exception as error:  # a disk error or a bug: its caller gets it, and the thread continues
            return error
        return None

    def _sync(self, place: _Place, ones: Sequence[_Waiting]) -> None:
        if not ones:
            return
        opened = self._open[place]
        try:
            opened.journal.sync()
        except OSError as error:
            self._drop(place)
            for one in ones:
                one.done.set_exception(error)
            return
        writer = opened.journal.writer
        with self._lock:
            self._unsettled[place, writer.path] = writer.sequence
        for one in ones:
            one.done.set_result(None)

    def _journal(self, place: _Place) -> PointsJournal:
        opened = self._open.get(place)
        if opened is None:
            if len(self._open) >= _MAX_OPEN:
                self._end(next(iter(self._open)))
            opened = self._open[place] = _Open(PointsJournal(self._directory, self._create(place)), 0.0)
        opened.written_s = time.monotonic()
        self._open.move_to_end(place)
        return opened.journal

    def _create(self, place: _Place) -> dict[str, object]:
        stored = self._credentials.save(place.endpoint) if place.endpoint != self._own else ""
        return {
            **({FIELD: stored} if stored else {}),
            "run_id": place.run_id,
            "joins": True,
            "rank": MLFLOW_RANK,
            "attempt": MLFLOW_ATTEMPT,
            "address": place.endpoint.address,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "client": "runstream-mlflow-port",
            "time_unix_us": time.time_ns() // 1_000,
            "system_metrics": False,
            "ends_run": False,
        }

    def _drop(self, place: _Place) -> None:
        """Closes a journal after a disk error. It is not known what of it is on disk, so the next write begins
        another."""
        opened = self._open.pop(place, None)
        if opened is not None:
            opened.journal.close()

    def _end_idle(self, now_s: float) -> None:
        for place, opened in list(self._open.items()):
            if now_s - opened.written_s < _IDLE_S:
                return  # the others were written more recently
            self._end(place)

    def _end(self, place: _Place) -> None:
        opened = self._open.pop(place)
        with contextlib.suppress(OSError):  # everything acknowledged is on disk, and the agent ends abandoned journals
            opened.journal.finish()
            opened.journal.sync()
        opened.journal.close()


def _is_settled(path: Path, sequence: int) -> bool:
    """Whether the service has accepted or refused a record. If the journal is gone, all of its records are settled."""
    position = Position.load(path)
    return not path.is_dir() if position is None else position.records >= sequence
