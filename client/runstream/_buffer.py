"""The hand-over from training to sending: `put` is what log() costs, and the only place where points are let in.

One lock, held for some ten bytecodes, never while anything waits. It is an RLock, because a signal handler that logs
may interrupt log() on the same thread.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from runstream._notices import Notices
from runstream._values import PLAIN, RefusedValue, is_host_integer, snapshot

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
_TIME_MIN, _TIME_MAX = -62_135_596_800_000_000, 253_402_300_799_999_999  # years 1 to 9999

# What a waiting row takes, estimated high: its tuple, dict and numbers. After sealing the true size counts.
_ROW_BYTES = 300
_POINT_BYTES = 90


def row_bytes(points: int) -> int:
    """What a waiting row of so many points is charged."""
    return _ROW_BYTES + _POINT_BYTES * points


# So many rows wake the sender before its time; enough that waking it costs nothing, few enough to keep up.
_WAKE_ROWS = 500


class Marker:
    """Stands in the queue behind everything logged before; the sender notes which batch that ended with."""

    def __init__(self) -> None:
        self.ordinal: int | None = None


# One log() call: metrics, step, time in microseconds.
Entry = tuple[dict[str, Any], int, int]


class Buffer:
    """Rows on their way to the sender, and the account of every point of the run in this process.

    Bound: `max_points` and `max_bytes` for rows, open columns and unacknowledged batches together. When full, points
    are refused with reason "buffer_full".
    """

    def __init__(self, max_points: int, max_bytes: int, notices: Notices, on_first: Callable[[], None]) -> None:
        self._lock = threading.RLock()
        self._rows: list[Entry | Marker] = []
        self._since_s = 0.0  # when the first of them came, by the monotonic clock
        self._max_points = max_points
        self._max_bytes = max_bytes
        self._room_points = max_points
        self._room_bytes = max_bytes
        self._next_step = 0
        self._notices = notices
        self._on_first = on_first
        # A binary semaphore. Not threading.Event: its set() takes a lock that is not reentrant, and a signal handler
        # that logs inside log() would wait for itself.
        self._wake = threading.Lock()
        self._wake.acquire()
        self.closed_for = ""  # the refusal reason once nothing is taken any more: finished, run_deleted, sender_died
        self.refused: Counter[str] = Counter()
        self.acknowledged = 0

    def put(self, metrics: Mapping[str, Any], step: Any, time_unix_us: Any) -> None:
        """Takes one row; about a microsecond."""
        row = dict(metrics)
        for value in row.values():
            if type(value) not in PLAIN:
                self._snapshot(row)
                break
        if step is not None and type(step) is not int:
            step = self._checked(row, "bad_step", "step", step, INT64_MIN, INT64_MAX)
        if time_unix_us is None:
            time_unix_us = time.time_ns() // 1000
        else:
            time_unix_us = self._checked(row, "bad_time", "time_unix_us", time_unix_us, _TIME_MIN, _TIME_MAX)
        count = len(row)
        if not count:
            return
        size = _ROW_BYTES + _POINT_BYTES * count
        with self._lock:
            if step is None:
                step = self._next_step
            if not INT64_MIN <= step <= INT64_MAX:
                self._refuse_row(row, "bad_step", f"has step {step}, outside of 64 bits")
                return
            if self.closed_for or self._room_points < count or self._room_bytes < size:
                self.refused[self.closed_for or "buffer_full"] += count
                return
            if step >= self._next_step:
                self._next_step = step + 1
            self._room_points -= count
            self._room_bytes -= size
            self._rows.append((row, step, time_unix_us))
            waiting = len(self._rows)
            if waiting == 1:
                self._since_s = time.monotonic()
        if waiting == 1:
            self._on_first()
        elif waiting == _WAKE_ROWS or count >= _WAKE_ROWS:
            self.wake()

    def mark(self, marker: Marker) -> None:
        """Puts a marker behind all rows and wakes the sender."""
        with self._lock:
            if not self._rows:
                self._since_s = time.monotonic()
            self._rows.append(marker)
        self.wake()

    def wake(self) -> None:
        """Wakes the sender. Safe in a signal handler; waking twice is waking once."""
        try:  # noqa: SIM105 (contextlib.suppress costs a microsecond here)
            self._wake.release()
        except RuntimeError:
            pass

    def wait(self, timeout_s: float) -> None:
        """The sender waits here until it is woken, or for that long."""
        self._wake.acquire(timeout=timeout_s)

    def take(self) -> tuple[list[Entry | Marker], float]:
        """Takes all rows in one step; and when the first of them came, by the monotonic clock. (Of each row that would
        cost log() a look at the clock.)"""
        with self._lock:
            rows, self._rows = self._rows, []
            return rows, self._since_s

    def repack(self, freed_bytes: int) -> None:
        """The sender has packed rows into something smaller (or larger, if negative)."""
        with self._lock:
            self._room_bytes += freed_bytes

    def settle(self, points: int, size: int, reason: str = "") -> None:
        """Points leave the buffer: acknowledged, or refused for `reason`."""
        with self._lock:
            self._room_points += points
            self._room_bytes += size
            if reason:
                self.refused[reason] += points
            else:
                self.acknowledged += points

    def reclassify(self, points: int, reason: str) -> None:
        """Points that were counted as acknowledged were refused by the service."""
        with self._lock:
            self.acknowledged -= points
            self.refused[reason] += points

    def close(self, reason: str) -> None:
        """From now on every point is refused for `reason`; the first reason stays."""
        with self._lock:
            self.closed_for = self.closed_for or reason

    def refuse(self, points: int, reason: str) -> None:
        """Counts points that never came in."""
        with self._lock:
            self.refused[reason] += points

    def write_off(self, reason: str) -> None:
        """Counts everything that still waits as refused: the threads that would send it have ended."""
        with self._lock:
            self._rows = []
            self.refused[reason] += self._max_points - self._room_points
            self._room_points, self._room_bytes = self._max_points, self._max_bytes
            self.refused = +self.refused  # drops zeros

    @property
    def next_step(self) -> int:
        """The step of the next log() without one."""
        return self._next_step

    def go_on_from(self, step: int) -> None:
        """A forked child counts steps on from where its parent was."""
        self._next_step = step

    def account(self) -> tuple[int, int, int, dict[str, int]]:
        """Points acknowledged, points waiting, bytes waiting, refused points by reason; one consistent look."""
        with self._lock:
            waiting = self._max_points - self._room_points
            return self.acknowledged, waiting, self._max_bytes - self._room_bytes, dict(self.refused)

    def _snapshot(self, row: dict[str, Any]) -> None:
        for key, value in list(row.items()):
            try:
                row[key] = snapshot(value)
            except RefusedValue as why:  # noqa: PERF203 (one bad value must not cost the others)
                del row[key]
                self._refuse_row({key: value}, "bad_value", str(why))

    def _checked(self, row: dict[str, Any], reason: str, what: str, value: Any, least: int, most: int) -> int:
        number = int(value) if is_host_integer(value) else None
        if number is not None and least <= number <= most:
            return number
        self._refuse_row(row, reason, f"has {what} {value!r:.60}, not an integer from {least} to {most}")
        row.clear()
        return 0

    def _refuse_row(self, row: dict[str, Any], reason: str, why: str) -> None:
        self.refuse(len(row), reason)
        for key in row:
            self._notices.refused(str(key), why)
