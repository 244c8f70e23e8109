"""Packs the rows of one handle into columns. It never uses a disk or an accelerator: a slow one must not keep rows in
their large form. It never holds the interpreter for long, so that training does not wait for it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import chain, islice, repeat
from typing import Any, NamedTuple

from runstream._buffer import Buffer, Marker, Row, row_bytes
from runstream._columns import POINT_BYTES, Columns, SeriesTable, key_error, key_not_a_string, shown_key
from runstream._device_reader import DevicePoint
from runstream._device_values import DeviceValue
from runstream._run_logger import RunLogger
from runstream._threads import sleep
from runstream._values import RefusedValue, describe, to_float

# Sleep briefly after this many points, so that the training thread gets the interpreter. Releasing the interpreter lock
# is not enough: the thread that releases it usually gets it back before a waiting one has woken up.
_SLICE_POINTS = 500
_PAUSE_S = 0.000_05
# Do not sleep while this many rows wait: if training only logs in a loop, getting the lock back takes 5 ms each time
# (the interpreter's switch interval), and the buffer would fill although the disk is fast.
_BACKLOG_ROWS = 5_000
_KEY_BYTES = 300  # the charge of a new series in the table, besides the text of its key
_DEVICE_POINT_BYTES = row_bytes(1)  # the charge of a point while its value is on a device
_MAX_REPORTED_KEYS = 100  # report at most this many keys whose values do not become ready


class DeviceLimits(NamedTuple):
    """How many values of a handle may wait for their device, and for how long."""

    max_points: int = 100_000
    report_after_s: float = 60.0
    give_up_after_s: float = 1_800.0


class Packer:
    """Packs the rows of a buffer. Only the recorder's thread uses it.

    `seal` is called with the columns of each complete batch, `reach` with each marker when everything before it was
    passed to `seal`.
    """

    def __init__(
        self,
        buffer: Buffer,
        series: SeriesTable,
        logger: RunLogger,
        batch_points: int,
        seal: Callable[[Columns], None],
        reach: Callable[[Marker], None],
        limits: DeviceLimits | None = None,
    ) -> None:
        self._buffer = buffer
        self._series = series
        self._logger = logger
        self._batch_points = batch_points
        self._seal_columns = seal
        self._reach_marker = reach
        self._columns = Columns()
        self._logged_s = 0.0
        self._freed_bytes = 0
        self._is_backlogged = False
        self._limits = limits or DeviceLimits()
        # Points that the reader has, by their number, in the order in which they were logged.
        self._device_points: dict[int, DevicePoint] = {}
        self._device_numbers = 0
        self._submitted: list[DevicePoint] = []
        self._markers: deque[tuple[int, Marker]] = deque()  # with the last number before them
        self._reported: set[str] = set()

    def waiting_for_devices(self) -> int:
        """How many points wait for their device. Any thread may call it."""
        return len(self._device_points)

    def open_since_s(self) -> float | None:
        """When the oldest point of the open columns was logged, by the monotonic clock; None if they have no points."""
        return self._columns.logged_s if len(self._columns) else None

    def drain(self) -> None:
        """Packs all rows that wait in the buffer."""
        taken, self._logged_s = self._buffer.take()
        if not len(self._columns):
            self._columns.logged_s = self._logged_s
        self._is_backlogged = len(taken) > _BACKLOG_ROWS
        rows: list[Row] = []
        points = 0
        for row in taken:
            if isinstance(row, Marker):
                self._pack_rows(rows)
                rows, points = [], 0
                self._reach(row)
                continue
            rows.append(row)
            points += len(row[0])
            if points >= _SLICE_POINTS:
                self._pack_rows(rows)
                rows, points = [], 0
                self._yield_interpreter()
        self._pack_rows(rows)
        self._apply_freed_bytes()

    def seal(self) -> int:
        """Completes the open columns; returns how many points they have."""
        points = len(self._columns)
        if points:
            columns, self._columns = self._columns, Columns(self._logged_s)
            self._seal_columns(columns)
        return points

    def for_devices(self) -> list[DevicePoint]:
        """Returns the points to be read from their devices that were packed since the last call."""
        submitted, self._submitted = self._submitted, []
        return submitted

    def pack_device_point(self, point: DevicePoint) -> None:
        """Packs a point that was read from its device, unless it was given up in the meantime."""
        if self._device_points.pop(point.number, None) is None:
            return
        self._freed_bytes += _DEVICE_POINT_BYTES
        index = self._series.index_of(point.key)
        if point.refusal is not None or index is None:
            self._refuse(point.key, *(point.refusal or ("bad_value", "has no series")))
            return
        self._buffer.count_step(point.step)
        self._freed_bytes -= POINT_BYTES
        if not len(self._columns):
            self._columns.logged_s = point.waiting_since_s
        self._columns.logged_s = min(self._columns.logged_s, point.waiting_since_s)
        self._append(index, point.step, point.time_unix_us, point.value)

    def after_devices(self) -> None:
        """Called after points were read: reports or gives up points that have waited for long, and reaches markers
        before which no point waits any more."""
        self._report_unready()
        self._release_markers()
        self._apply_freed_bytes()

    def give_up_devices(self) -> None:
        """Refuses all points that still wait for their device; called when the run ends."""
        self._give_up(list(self._device_points.values()), "when the run ended")
        self._release_markers()
        self._apply_freed_bytes()

    def _reach(self, marker: Marker) -> None:
        if self._device_points:
            self._markers.append((self._device_numbers, marker))
        else:
            self.seal()
            self._reach_marker(marker)

    def _append(self, index: int, step: int, time_unix_us: int, value: float) -> None:
        self._columns.append(index, step, time_unix_us, value)
        if len(self._columns) >= self._batch_points:
            self.seal()

    def _pack_rows(self, rows: list[Row]) -> None:
        if rows and not self._pack_plain(rows):
            for row in rows:
                self._pack(row)

    def _pack_plain(self, rows: list[Row]) -> bool:
        """Packs rows whose keys are known strings, steps ints and values floats, as nearly all are, without running
        Python for each point. Returns False, and packs nothing, if any row is different."""
        metrics, steps, times = zip(*rows, strict=True)
        keys = list(chain.from_iterable(metrics))
        values = list(chain.from_iterable(map(dict.values, metrics)))
        # A subclass of str may have its own hash, and foreign code must not run here.
        if set(map(type, keys)) != {str} or set(map(type, values)) != {float} or set(map(type, steps)) != {int}:
            return False
        series = self._series.indexes_of(keys)
        if series is None:
            return False
        counts = list(map(len, metrics))
        columns = (series, _repeated(steps, counts), _repeated(times, counts), values)
        start = 0
        while start < len(values):
            end = start + self._batch_points - len(self._columns)
            self._columns.extend(*(column[start:end] for column in columns))
            if len(self._columns) >= self._batch_points:
                self.seal()
            start = end
        self._freed_bytes += sum(map(row_bytes, counts)) - len(values) * POINT_BYTES
        return True

    def _pack(self, row: Row) -> None:
        metrics, step, time_unix_us = row
        packed = 0
        first_number = self._device_numbers
        device_step = isinstance(step, DeviceValue)
        for key, value in metrics.items():
            if type(key) is not str:
                key = self._plain_or_refuse(key)
                if key is None:
                    continue
            index = self._series.index_of(key)
            if index is None:
                index = self._new_series(key)
                if index is None:
                    continue
            if type(value) is not float or device_step:
                if device_step or isinstance(value, DeviceValue):
                    self._hand_to_reader(key, step, time_unix_us, value)
                    continue
                value = self._to_float_or_refuse(key, value)
                if value is None:
                    continue
            self._append(index, step, time_unix_us, value)
            packed += 1
        # The charge of the row is replaced by that of its points; refused points are not charged any more.
        on_devices = self._device_numbers - first_number
        self._freed_bytes += row_bytes(len(metrics)) - packed * POINT_BYTES - on_devices * _DEVICE_POINT_BYTES

    def _hand_to_reader(self, key: str, step: Any, time_unix_us: int, value: Any) -> None:
        if len(self._device_points) >= self._limits.max_points:
            self._refuse(key, "not_ready", f"is on a device, for which {self._limits.max_points} values wait already")
            return
        self._device_numbers += 1
        point = DevicePoint(self._device_numbers, key, step, time_unix_us, value, self._logged_s, self)
        self._device_points[point.number] = point
        self._submitted.append(point)

    def _report_unready(self) -> None:
        now = time.monotonic()
        late = []
        for point in islice(self._device_points.values(), 1_000):
            waited_s = now - point.waiting_since_s
            if waited_s > self._limits.give_up_after_s:
                late.append(point)
            elif waited_s <= self._limits.report_after_s:
                break
            elif point.key not in self._reported and len(self._reported) < _MAX_REPORTED_KEYS:
                self._reported.add(point.key)
                self._logger.not_ready(point.key, waited_s, self._limits.give_up_after_s)
        self._give_up(late, f"within {self._limits.give_up_after_s:.0f} s")

    def _give_up(self, points: list[DevicePoint], when: str) -> None:
        for point in points:
            point.abandoned = True
            del self._device_points[point.number]
            self._freed_bytes += _DEVICE_POINT_BYTES
            self._refuse(point.key, "not_ready", f"had not been computed by its device {when}")

    def _release_markers(self) -> None:
        """Reaches the markers before which no point waits for its device any more."""
        while self._markers and (not self._device_points or next(iter(self._device_points)) > self._markers[0][0]):
            self.seal()
            self._reach_marker(self._markers.popleft()[1])

    def _yield_interpreter(self) -> None:
        self._apply_freed_bytes()
        if not self._is_backlogged:
            sleep(_PAUSE_S)

    def _apply_freed_bytes(self) -> None:
        freed, self._freed_bytes = self._freed_bytes, 0
        self._buffer.adjust_bytes(freed)

    def _plain_or_refuse(self, key: object) -> Any:
        """The plain text of a key whose type is a subclass of str, which may define its own hash and order."""
        if isinstance(key, str):
            return str.__str__(key)
        self._refuse(key, *key_not_a_string(key))
        return None

    def _new_series(self, key: str) -> int | None:
        series = self._series
        problem = key_error(key)
        if problem is None and len(series) >= series.max_series:
            problem = "too_many_series", f"is one key more than the {series.max_series} that a run may have"
        if problem is None:
            self._buffer.adjust_bytes(-_KEY_BYTES - len(key))
            return series.add(key)
        self._refuse(key, *problem)
        return None

    def _to_float_or_refuse(self, key: object, value: Any) -> float | None:
        try:
            return to_float(value)
        except RefusedValue as why:
            self._refuse(key, "bad_value", str(why))
        except Exception as error:
            self._refuse(key, "bad_value", f"cannot become a number: {describe(error)}")
        return None

    def _refuse(self, key: object, reason: str, why: str) -> None:
        self._buffer.refuse_waiting(1, 0, reason)
        self._logger.note_refused(shown_key(key), why)


def _repeated(numbers: Iterable[int], counts: Iterable[int]) -> list[int]:
    """A list with each number repeated as often as its count says."""
    return list(chain.from_iterable(map(repeat, numbers, counts)))
