"""The sender's thread: rows -> columns -> sealed batches. It never uses the network or an accelerator: if one is slow,
rows must not stay in their large form. It never holds the interpreter for long, so that training does not wait for it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from runstream._batches import POINT_BYTES, Columns, key_not_a_string, refusal_of, shown_key
from runstream._buffer import Buffer, Entry, Marker, row_bytes
from runstream._device_reader import DevicePoint, DeviceReader
from runstream._device_values import DeviceValue
from runstream._earlier_steps import EarlierSteps
from runstream._notices import Notices
from runstream._outbox import Outbox
from runstream._values import RefusedValue, describe, to_float

# Sleep briefly after this many points, so that the training thread gets the interpreter. Releasing the interpreter lock
# is not enough: the thread that releases it usually gets it back before a waiting one has woken up.
_SLICE_POINTS = 500
_PAUSE_S = 0.000_05
# Do not sleep while this many rows wait: if training only logs in a loop, getting the lock back takes 5 ms each time
# (the interpreter's switch interval), and the buffer would fill although the service is available.
_BACKLOG_ROWS = 5_000
_KEY_BYTES = 300  # what a new series takes: key, table entries
_DEVICE_POINT_BYTES = row_bytes(1)  # the charge of a point while its value is on a device
_DEVICE_PATIENCE_S = 0.05  # wait this long for values that are being read, so that they go into the batch of their row
_MAX_REPORTED_KEYS = 100  # report at most this many keys whose values do not become ready


@dataclass(frozen=True)
class DeviceLimits:
    """How many values may wait for their device, and for how long."""

    max_points: int = 100_000
    report_after_s: float = 60.0
    give_up_after_s: float = 1_800.0


class Sender:
    """Drains one run's buffer until `stopping()`."""

    def __init__(
        self,
        buffer: Buffer,
        outbox: Outbox,
        notices: Notices,
        earlier_steps: EarlierSteps,
        interval_s: float,
        stopping: Callable[[], bool],
        limits: DeviceLimits | None = None,
    ) -> None:
        self._buffer = buffer
        self._outbox = outbox
        self._notices = notices
        self._earlier_steps = earlier_steps
        self._interval_s = interval_s
        self._stopping = stopping
        self._columns = Columns()
        self._logged_s = 0.0
        self._since_pause = 0
        self._freed_bytes = 0
        self._hurry = False
        self._limits = limits or DeviceLimits()
        self._reader = DeviceReader(buffer.wake)
        # Points that the reader has, by their number, in the order in which they were logged.
        self._device_points: dict[int, DevicePoint] = {}
        self._device_numbers = 0
        self._submitted: list[DevicePoint] = []
        self._markers: deque[tuple[int, Marker]] = deque()  # with the last number before them
        self._reported: set[str] = set()

    def waiting_for_devices(self) -> int:
        """How many points wait for their device. Any thread may ask."""
        return len(self._device_points)

    def run(self) -> None:
        """Runs until the pipeline stops."""
        try:
            self._run()
        finally:
            self._reader.stop()

    def _run(self) -> None:
        sealed_at = time.monotonic()
        while not self._stopping():
            self._buffer.wait(max(0.0, sealed_at + self._interval_s - time.monotonic()))
            self.drain()
            self._notices.write(self._buffer.refused)
            # When it was woken early by many rows, full batches are sealed already, and the rest waits for the
            # interval.
            if time.monotonic() - sealed_at >= self._interval_s:
                self._seal()
                sealed_at = time.monotonic()
        self.drain()
        self._give_up(list(self._device_points.values()), "when the run ended")
        self._release_markers()
        self._repack()
        self._seal()
        self._notices.write(self._buffer.refused)

    def drain(self) -> None:
        """Packs all rows that were handed over so far, and all points that were read from devices in the meantime."""
        entries, self._logged_s = self._buffer.take()
        if not len(self._columns):
            self._columns.logged_s = self._logged_s
        self._hurry = len(entries) > _BACKLOG_ROWS
        for entry in entries:
            if isinstance(entry, Marker):
                self._reach(entry)
            else:
                self._pack(entry)
                self._breathe(len(entry[0]))
        if self._device_points:
            self._collect_device_points()
        self._repack()

    def _reach(self, marker: Marker) -> None:
        if self._device_points:
            self._markers.append((self._device_numbers, marker))
        else:
            self._seal()
            self._outbox.reach(marker)

    def _pack(self, entry: Entry) -> None:
        metrics, step, time_unix_us = entry
        packed = 0
        first_number = self._device_numbers
        device_step = isinstance(step, DeviceValue)
        for key, value in metrics.items():
            if type(key) is not str:
                key = self._plain_or_refuse(key)
                if key is None:
                    continue
            index = self._outbox.series.index_of(key)
            if index is None:
                index = self._new_series(key)
                if index is None:
                    continue
                self._earlier_steps.starts(key, step)
            if type(value) is not float or device_step:
                if device_step or isinstance(value, DeviceValue):
                    self._hand_to_reader(key, step, time_unix_us, value)
                    continue
                value = self._to_float_or_refuse(key, value)
                if value is None:
                    continue
            self._columns.append(index, step, time_unix_us, value)
            packed += 1
            if len(self._columns) >= self._outbox.batch_points:
                self._seal()
        # The charge of the row is replaced by that of its points; the refused ones have left the account already.
        on_devices = self._device_numbers - first_number
        self._freed_bytes += row_bytes(len(metrics)) - packed * POINT_BYTES - on_devices * _DEVICE_POINT_BYTES

    def _hand_to_reader(self, key: str, step: Any, time_unix_us: int, value: Any) -> None:
        if len(self._device_points) >= self._limits.max_points:
            self._refuse(key, "not_ready", f"is on a device, for which {self._limits.max_points} values wait already")
            return
        self._device_numbers += 1
        point = DevicePoint(self._device_numbers, key, step, time_unix_us, value, self._logged_s)
        self._device_points[point.number] = point
        self._submitted.append(point)

    def _collect_device_points(self) -> None:
        submitted, self._submitted = self._submitted, []
        self._reader.submit(submitted)
        for point in self._reader.collect(_DEVICE_PATIENCE_S):
            if self._device_points.pop(point.number, None) is not None:
                self._pack_device_point(point)
        self._report_unready()
        self._release_markers()

    def _pack_device_point(self, point: DevicePoint) -> None:
        self._freed_bytes += _DEVICE_POINT_BYTES
        index = self._outbox.series.index_of(point.key)
        if point.refusal is not None or index is None:
            self._refuse(point.key, *(point.refusal or ("bad_value", "has no series")))
            return
        self._buffer.count_step(point.step)
        self._freed_bytes -= POINT_BYTES
        self._columns.logged_s = min(self._columns.logged_s, point.waiting_since_s)
        self._columns.append(index, point.step, point.time_unix_us, point.value)
        if len(self._columns) >= self._outbox.batch_points:
            self._seal()

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
                self._notices.not_ready(point.key, waited_s, self._limits.give_up_after_s)
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
            self._seal()
            self._outbox.reach(self._markers.popleft()[1])

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

    def _plain_or_refuse(self, key: object) -> Any:
        """The plain text of a key whose type is a subclass of str, which may define its own hash and order."""
        if isinstance(key, str):
            return str.__str__(key)
        self._refuse(key, *key_not_a_string(key))
        return None

    def _new_series(self, key: str) -> int | None:
        series = self._outbox.series
        problem = refusal_of(key)
        if problem is None and len(series) >= series.max_series:
            problem = "too_many_series", f"is one key more than the {series.max_series} that a run may have"
        if problem is None:
            self._buffer.repack(-_KEY_BYTES - len(key))
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
        self._buffer.settle(1, 0, reason)
        self._notices.refused(shown_key(key), why)

    def _seal(self) -> None:
        if len(self._columns):
            columns, self._columns = self._columns, Columns(self._logged_s)
            self._outbox.seal(columns, len(columns) * POINT_BYTES)
