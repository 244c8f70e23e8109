"""Hands points from the training thread to the recorder's thread. The time of `put` is what log() costs.

There is one lock. It is held for about ten bytecodes, and never while anything waits. It is an RLock, because a signal
handler that logs may interrupt log() on the same thread in the middle of what the lock protects. CPython runs signal
handlers where a function is called or returns and where a loop starts again, never inside of `a += b` for plain
numbers. So nothing below reads a counter, calls something, and then writes that counter: the points that an
interrupting log() counts stay counted.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from runstream._columns import key_not_a_string, shown_key
from runstream._device_values import DeviceValue
from runstream._run_logger import RunLogger
from runstream._threads import RLock
from runstream._values import (
    IMMUTABLE_TYPES,
    INT64_MAX,
    INT64_MIN,
    RefusedValue,
    capture,
    capture_step,
    describe,
    whole_microseconds,
)

_TIME_MIN, _TIME_MAX = -62_135_596_800_000_000, 253_402_300_799_999_999  # years 1 to 9999
# As microseconds these are times of early 1970; as seconds and as milliseconds they are the years 1985 to 2128.
_SECONDS = range(500_000_000, 5_000_000_000)
_MILLISECONDS = range(500_000_000_000, 5_000_000_000_000)
_MAX_DEPTH = 8  # of dicts inside of dicts

# What a waiting row takes, estimated high: its tuple, dict and numbers. After sealing, the true size counts.
_ROW_BYTES = 300
_POINT_BYTES = 90


def row_bytes(points: int) -> int:
    """The bytes that a waiting row with this many points is charged."""
    return _ROW_BYTES + _POINT_BYTES * points


# This many rows wake the recorder early: enough rows that waking it costs little per row, few enough that it keeps up.
_WAKE_ROWS = 500
_TEMPORARY = ("journal_full",)  # reasons to refuse points that may end again


class Marker:
    """Put into the queue behind everything that was logged before it; reached when all of that is in the journal."""


# One log() call: metrics, step (an int or a DeviceValue), time in microseconds.
Row = tuple[dict[str, Any], Any, int]


class Counters(NamedTuple):
    """Where the points of a handle are. `unsettled` ones are in the journal, without an answer of the service."""

    waiting: int
    waiting_bytes: int
    unsettled: int
    acknowledged: int
    refused: dict[str, int]

    @property
    def logged(self) -> int:
        """All points that were ever logged."""
        return self.waiting + self.unsettled + self.acknowledged + sum(self.refused.values())


class Buffer:
    """Rows on their way to the recorder, and the account of every point of the run in this process.

    Bound: `max_points` and `max_bytes` for everything that is not in the journal yet, rows and columns together. When
    full, points are refused with reason "buffer_full".

    `on_first` is called with the time of the monotonic clock when the first row waits, `on_many` when many do.
    """

    def __init__(
        self,
        max_points: int,
        max_bytes: int,
        logger: RunLogger,
        on_first: Callable[[float], None],
        on_many: Callable[[], None],
    ) -> None:
        self._lock = RLock()
        self._rows: list[Row | Marker] = []
        self._since_s = 0.0  # when the first of them was added, by the monotonic clock
        self._max_points = max_points
        self._max_bytes = max_bytes
        self._free_points = max_points
        self._free_bytes = max_bytes
        self._next_step = 0
        self._logger = logger
        self._on_first = on_first
        self._on_many = on_many
        # Why further points are refused: finished, journal_full or recorder_died. Empty: they are accepted.
        self.closed_for = ""
        # By reason. Not a Counter: `+= 1` of a new reason would call a Python function in between.
        self.refused: defaultdict[str, int] = defaultdict(int)
        self._written = 0  # points that are or were in the journal
        self._acknowledged = 0  # those of `_written` that the service has acknowledged
        self._refused_by_service: Mapping[str, int] = {}  # those of `_written` that the service has refused, by reason

    def put(self, metrics: Mapping[str, Any], step: Any, time_unix_us: Any) -> None:
        """Adds the row of one log() call, in about a microsecond. Refuses what is invalid, and counts it."""
        row = metrics.copy() if type(metrics) is dict else self._row_of(metrics)
        for value in row.values():
            if type(value) not in IMMUTABLE_TYPES:
                row = self._captured(row)
                break
        step_on_device = False
        if step is not None:
            if type(step) is not int:
                step = self._captured_step(row, step)
                step_on_device = type(step) is not int
            elif not INT64_MIN <= step <= INT64_MAX:
                self._refuse_row(row, "bad_step", "has a step that does not fit into 64 bits")
                return
        time_unix_us = time.time_ns() // 1000 if time_unix_us is None else self._captured_time(row, time_unix_us)
        count = len(row)
        if not count:
            return
        size = _ROW_BYTES + _POINT_BYTES * count
        first = False
        with self._lock:
            if step is None:
                step = self._next_step
            if self.closed_for or self._free_points < count or self._free_bytes < size:
                self.refused[self.closed_for or "buffer_full"] += count
                return
            # The largest possible step has no successor: then the count stays as it is.
            if not step_on_device and self._next_step <= step < INT64_MAX:
                self._next_step = step + 1
            self._free_points -= count
            self._free_bytes -= size
            if not self._rows:
                first = True
                self._since_s = time.monotonic()
            self._rows.append((row, step, time_unix_us))
            waiting = len(self._rows)
        if first:
            self._on_first(self._since_s)
        elif waiting == _WAKE_ROWS or count >= _WAKE_ROWS:
            self._on_many()

    def put_marker(self, marker: Marker) -> None:
        """Puts a marker behind all rows and wakes the recorder."""
        with self._lock:
            if not self._rows:
                self._since_s = time.monotonic()
            self._rows.append(marker)
        self._on_many()

    def waiting_since_s(self) -> float | None:
        """When the first waiting row was added, by the monotonic clock; None if none waits."""
        return self._since_s if self._rows else None

    def take(self) -> tuple[list[Row | Marker], float]:
        """Removes and returns all rows, and when the first of them was added, by the monotonic clock. (To note the time
        of each row, every log() would have to read that clock.)"""
        with self._lock:
            rows, self._rows = self._rows, []
            return rows, self._since_s

    def adjust_bytes(self, freed_bytes: int) -> None:
        """Frees this many bytes after rows were packed; if negative, charges more."""
        with self._lock:
            self._free_bytes += freed_bytes

    def refuse_waiting(self, points: int, size: int, reason: str) -> None:
        """Counts points that waited as refused for `reason`."""
        with self._lock:
            self._free_points += points
            self._free_bytes += size
            self.refused[reason] += points

    def count_written(self, points: int, size: int) -> None:
        """Counts points that waited and are in the journal now."""
        with self._lock:
            self._free_points += points
            self._free_bytes += size
            self._written += points

    def set_settled(self, acknowledged: int, refused: Mapping[str, int]) -> None:
        """Sets how many of all points in the journal the service has acknowledged, and refused, by reason."""
        with self._lock:
            self._acknowledged = acknowledged
            self._refused_by_service = refused

    def count_lost(self, points: int, reason: str) -> None:
        """Counts points that were in the journal and are lost, as refused."""
        with self._lock:
            self._written -= points
            self.refused[reason] += points

    def close(self, reason: str) -> None:
        """Refuses every point from now on, for `reason`. The first reason stays, unless it might have passed."""
        with self._lock:
            if not self.closed_for or self.closed_for in _TEMPORARY:
                self.closed_for = reason

    def reopen(self, reason: str) -> None:
        """Accepts points again, if they were refused for `reason`."""
        with self._lock:
            if self.closed_for == reason:
                self.closed_for = ""

    def refuse(self, points: int, reason: str) -> None:
        """Counts points that were never added."""
        with self._lock:
            self.refused[reason] += points

    def drop_waiting(self, reason: str) -> None:
        """Drops all waiting points and counts them as refused, as they will never be written."""
        with self._lock:
            self._rows = []
            waiting = self._max_points - self._free_points
            self._free_points, self._free_bytes = self._max_points, self._max_bytes
            if waiting:
                self.refused[reason] += waiting

    @property
    def next_step(self) -> int:
        """The step of the next log() without one."""
        return self._next_step

    def count_step(self, step: int) -> None:
        """Notes a step that was read from a device: the next log() without a step continues from it."""
        with self._lock:
            if self._next_step <= step < INT64_MAX:
                self._next_step = step + 1

    def set_next_step(self, step: int) -> None:
        """Continues the count of steps, in a forked child, where its parent was."""
        self._next_step = step

    def counters(self) -> Counters:
        """The counts, read consistently under the lock."""
        with self._lock:
            refused = dict(self.refused)
            for reason, points in self._refused_by_service.items():
                refused[reason] = refused.get(reason, 0) + points
            settled = self._acknowledged + sum(self._refused_by_service.values())
            waiting = self._max_points - self._free_points
            size = self._max_bytes - self._free_bytes
            return Counters(waiting, size, max(0, self._written - settled), self._acknowledged, refused)

    def _row_of(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """The row of a mapping that is not a dict. What is not a mapping is refused, and an empty row returned: also
        for a list of pairs, though dict() would accept it."""
        if hasattr(metrics, "keys"):
            return dict(metrics)
        self.refuse(1, "not_a_mapping")
        self._logger.note_refused(f"<{type(metrics).__name__}>", "is not a mapping of metrics to values")
        return {}

    def _captured(self, row: dict[str, Any]) -> dict[str, Any]:
        captured: dict[str, Any] = {}
        self._capture_into(captured, row, None, _MAX_DEPTH)
        return captured

    def _capture_into(
        self, captured: dict[str, Any], metrics: Mapping[Any, Any], prefix: str | None, depth: int
    ) -> None:
        """Captures each value separately: if one is refused or raises, the others are still captured."""
        for name, value in metrics.items():
            key = _full_key(prefix, name)
            if key is None:
                self._refuse_row((name if prefix is None else prefix,), *key_not_a_string(name))
                continue
            try:
                if type(value) not in IMMUTABLE_TYPES:
                    if isinstance(value, Mapping):
                        self._capture_nested(captured, value, key, depth)
                        continue
                    value = capture(value)
            except RefusedValue as why:
                self._refuse_row((key,), "bad_value", str(why))
            except Exception as error:
                self._refuse_row((key,), "bad_value", f"could not be read: {describe(error)}")
            else:
                if key in captured:
                    self._refuse_row((key,), "bad_value", "was passed twice, as a key and in a nested dict")
                else:
                    captured[key] = value

    def _capture_nested(self, captured: dict[str, Any], metrics: Mapping[Any, Any], key: str, depth: int) -> None:
        if depth:
            self._capture_into(captured, metrics, key, depth - 1)
        else:
            self._refuse_row((key,), "bad_value", f"is a dict inside of more than {_MAX_DEPTH} others")

    def _captured_step(self, row: dict[str, Any], step: Any) -> int | DeviceValue:
        try:
            return capture_step(step)
        except RefusedValue as why:
            self._refuse_row(row, "bad_step", f"has a step that {why}")
        except Exception as error:
            self._refuse_row(row, "bad_step", f"has a step that could not be read: {describe(error)}")
        row.clear()
        return 0

    def _captured_time(self, row: dict[str, Any], time_unix_us: Any) -> int:
        try:
            number = whole_microseconds(time_unix_us)
            if _TIME_MIN <= number <= _TIME_MAX:
                if number in _SECONDS or number in _MILLISECONDS:
                    self._logger.note_early_time(number, "seconds" if number in _SECONDS else "milliseconds")
                return number
            why = "is outside of the years 1 to 9999"
        except RefusedValue as refused:
            why = str(refused)
        except Exception as error:
            why = f"could not be read: {describe(error)}"
        self._refuse_row(
            row, "bad_time", f"has a time_unix_us that {why}; it is microseconds since 1970, as time.time_ns() // 1000"
        )
        row.clear()
        return 0

    def _refuse_row(self, keys: Collection[Any], reason: str, why: str) -> None:
        self.refuse(len(keys), reason)
        for key in keys:
            self._logger.note_refused(shown_key(key), why)


def _full_key(prefix: str | None, key: object) -> str | None:
    """The key of a value, "prefix/key" in a nested dict, as a plain str: a subclass may have a hash that raises. None
    if it is not a string; in nested dicts, integers such as class numbers are keys as well."""
    if isinstance(key, str):
        plain = str.__str__(key)
        return plain if prefix is None else f"{prefix}/{plain}"
    if prefix is not None and type(key) is int and INT64_MIN <= key <= INT64_MAX:
        return f"{prefix}/{key}"
    return None
