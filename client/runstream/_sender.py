"""The sender's thread: rows -> columns -> sealed batches. It never touches the network, so that a slow one cannot
keep rows in the expensive form, and never holds the interpreter for long, so that training does not wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from runstream._batches import POINT_BYTES, Columns, refusal_of
from runstream._buffer import Buffer, Entry, Marker, row_bytes
from runstream._notices import Notices
from runstream._outbox import Outbox
from runstream._values import RefusedValue, to_float

# After so many points the sender sleeps for a moment. Releasing the interpreter lock alone would not do: the thread
# that releases it mostly gets it back before a waiting one has woken up.
_SLICE_POINTS = 500
_PAUSE_S = 0.000_05
# With so many rows waiting it does not: against a loop that only logs, getting the lock back takes 5 ms each time (the
# interpreter's switch interval), and the buffer would fill although the service is there.
_BACKLOG_ROWS = 5_000
_KEY_BYTES = 300  # what a new series takes: key, table entries


class Sender:
    """Drains one run's buffer until `stopping()`."""

    def __init__(
        self, buffer: Buffer, outbox: Outbox, notices: Notices, interval_s: float, stopping: Callable[[], bool]
    ) -> None:
        self._buffer = buffer
        self._outbox = outbox
        self._notices = notices
        self._interval_s = interval_s
        self._stopping = stopping
        self._columns = Columns()
        self._logged_s = 0.0
        self._since_pause = 0
        self._freed_bytes = 0
        self._hurry = False

    def run(self) -> None:
        """Until the pipeline stops."""
        sealed_at = time.monotonic()
        while not self._stopping():
            self._buffer.wait(max(0.0, sealed_at + self._interval_s - time.monotonic()))
            self.drain()
            self._notices.write(self._buffer.refused)
            # Woken early (many rows), full batches have left and the rest waits for its time.
            if time.monotonic() - sealed_at >= self._interval_s:
                self._seal()
                sealed_at = time.monotonic()
        self.drain()
        self._seal()
        self._notices.write(self._buffer.refused)

    def drain(self) -> None:
        """Packs everything that was handed over so far."""
        entries, self._logged_s = self._buffer.take()
        if not len(self._columns):
            self._columns.logged_s = self._logged_s
        self._hurry = len(entries) > _BACKLOG_ROWS
        for entry in entries:
            if isinstance(entry, Marker):
                self._seal()
                self._outbox.reach(entry)
            else:
                self._pack(entry)
                self._breathe(len(entry[0]))
        self._repack()

    def _pack(self, entry: Entry) -> None:
        metrics, step, time_unix_us = entry
        packed = 0
        for key, value in metrics.items():
            index = self._outbox.series.index_of(key)
            if index is None:
                index = self._new_series(key)
                if index is None:
                    continue
            if type(value) is not float:
                value = self._converted(key, value)
                if value is None:
                    continue
            self._columns.append(index, step, time_unix_us, value)
            packed += 1
            if len(self._columns) >= self._outbox.batch_points:
                self._seal()
        # The row's charge becomes that of its points; the refused ones have left the account already.
        self._freed_bytes += row_bytes(len(metrics)) - packed * POINT_BYTES

    def _breathe(self, points: int) -> None:
        self._since_pause += points
        if self._since_pause >= _SLICE_POINTS:
            self._since_pause = 0
            self._repack()
            if not self._hurry:
                time.sleep(_PAUSE_S)

    def _repack(self) -> None:
        freed, self._freed_bytes = self._freed_bytes, 0
        self._buffer.repack(freed)

    def _new_series(self, key: Any) -> int | None:
        series = self._outbox.series
        problem = refusal_of(key)
        if problem is None and len(series) >= series.max_series:
            problem = "too_many_series", f"is one key more than the {series.max_series} that a run may have"
        if problem is None:
            self._buffer.repack(-_KEY_BYTES - len(key))
            return series.add(key)
        self._refuse(key, *problem)
        return None

    def _converted(self, key: str, value: Any) -> float | None:
        try:
            return to_float(value)
        except RefusedValue as why:
            self._refuse(key, "bad_value", str(why))
            return None

    def _refuse(self, key: object, reason: str, why: str) -> None:
        self._buffer.settle(1, 0, reason)
        self._notices.refused(str(key), why)

    def _seal(self) -> None:
        if len(self._columns):
            columns, self._columns = self._columns, Columns(self._logged_s)
            self._outbox.seal(columns, len(columns) * POINT_BYTES)
