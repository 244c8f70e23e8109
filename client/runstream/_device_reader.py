"""Reads device values on a separate thread, so that a value that never becomes ready delays nothing else.

Every access to a device may hang when the device hangs: copying a number, and even asking whether it is ready. So the
recorder's thread never accesses a device; it hands over points, and collects those that are read. A reading thread that
hangs is left behind, and another one takes over.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from runstream._device_values import DeviceValue
from runstream._values import RefusedValue, describe, to_float, whole_step

_STUCK_S = 5.0  # a thread that takes longer to read one value is replaced
_MAX_STUCK = 3  # how many stuck threads are replaced; after that, values wait for one of them to return
_FIRST_POLL_S, _LONGEST_POLL_S = 0.005, 0.25  # the pause between two rounds of checks whether values are ready
# A round of checks may take this fraction of the time between two rounds: many values only wait if the device hangs.
_POLL_SHARE = 0.1
_SLICE_READS = 100  # pause after this many reads, so that the training thread gets the interpreter
_PAUSE_S = 0.000_05


class DevicePoint:
    """A point whose value or step is on a device. Once read, both are numbers, or `refusal` is a (reason, text)."""

    __slots__ = ("abandoned", "key", "number", "owner", "refusal", "step", "time_unix_us", "value", "waiting_since_s")

    def __init__(
        self,
        number: int,
        key: str,
        step: Any,
        time_unix_us: int,
        value: Any,
        waiting_since_s: float,
        owner: Any = None,
    ) -> None:
        self.number = number
        self.key = key
        self.step = step
        self.time_unix_us = time_unix_us
        self.value = value
        self.waiting_since_s = waiting_since_s  # by the monotonic clock
        self.owner = owner  # the Packer that gets the point when it is read
        self.refusal: tuple[str, str] | None = None
        self.abandoned = False  # nobody waits for it any more

    def read_if_ready(self) -> bool:
        """Reads the point; returns False if the device has not computed it yet. Never raises."""
        return self._read_step() and (self.refusal is not None or self._read_value())

    def _read_step(self) -> bool:
        if not isinstance(self.step, DeviceValue):
            return True
        try:
            if not self.step.ready():
                return False
            self.step = whole_step(self.step.read())
        except RefusedValue as why:
            self.refusal = "bad_step", f"has a step that {why}"
        except Exception as error:
            self.refusal = "bad_step", f"has a step that could not be read from its device: {describe(error)}"
        return True

    def _read_value(self) -> bool:
        try:
            if isinstance(self.value, DeviceValue):
                if not self.value.ready():
                    return False
                self.value = self.value.read()
            self.value = to_float(self.value)
        except RefusedValue as why:
            self.refusal = "bad_value", str(why)
        except Exception as error:
            self.refusal = "bad_value", f"could not be read from its device: {describe(error)}"
        return True


class DeviceReader:
    """Accepts points, and returns them in the order in which they are read. Calls `wake` when some are read.

    Bound: the points that the caller submits. At most `_MAX_STUCK + 1` threads; the first is started with the first
    point.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._changed = threading.Condition()  # guards all below
        self._queue: deque[DevicePoint] = deque()  # still to be checked in this round
        self._not_ready: list[DevicePoint] = []  # were checked in this round and are not ready
        self._read: list[DevicePoint] = []
        self._thread: threading.Thread | None = None  # the one that takes from the queue
        self._busy_since_s: float | None = None  # since when it has been reading a point
        self._stuck = 0
        self._stopped = False

    def submit(self, points: Iterable[DevicePoint]) -> None:
        """Queues points to be read."""
        with self._changed:
            self._queue.extend(points)
            self._ensure_thread()
            self._changed.notify_all()

    def collect(self, timeout_s: float) -> list[DevicePoint]:
        """Returns the points that were read since the last call. Waits until all points were checked once, but at most
        `timeout_s`. Replaces a thread that hangs."""
        with self._changed:
            self._changed.wait_for(self._idle, timeout_s)
            self._replace_if_stuck()
            points, self._read = self._read, []
            return points

    def stop(self) -> None:
        """Ends the thread; does not wait for it."""
        with self._changed:
            self._stopped = True
            self._queue.clear()
            self._not_ready.clear()
            self._changed.notify_all()

    def _replace_if_stuck(self) -> None:
        now = time.monotonic()
        if self._busy_since_s is not None and now - self._busy_since_s > _STUCK_S and self._stuck < _MAX_STUCK:
            self._stuck += 1
            self._thread = self._busy_since_s = None
        self._ensure_thread()

    def _ensure_thread(self) -> None:
        if self._thread is not None or self._stopped or not (self._queue or self._not_ready):
            return
        thread = threading.Thread(target=self._run, name="runstream-device-reader", daemon=True)
        self._thread = thread
        try:
            thread.start()
        except RuntimeError:  # no more threads: the next call tries again
            self._thread = None

    def _idle(self) -> bool:
        return not self._queue and self._busy_since_s is None

    def _run(self) -> None:
        me = threading.current_thread()
        poll_s = _FIRST_POLL_S
        while True:
            began_s = time.monotonic()
            poll_s = _FIRST_POLL_S if self._check_all(me) else min(2 * poll_s, _LONGEST_POLL_S)
            pause_s = max(poll_s, (time.monotonic() - began_s) / _POLL_SHARE)
            with self._changed:
                self._changed.wait_for(
                    lambda: self._queue or not self._is_current(me), pause_s if self._not_ready else None
                )
                if not self._is_current(me):
                    return
                self._queue.extendleft(reversed(self._not_ready))
                self._not_ready.clear()

    def _check_all(self, me: threading.Thread) -> int:
        """Checks all points once, and reads those that are ready; returns how many were read."""
        reads = 0
        while (point := self._next(me)) is not None:
            reads += self._done(me, point, point.read_if_ready())
            if reads % _SLICE_READS == _SLICE_READS - 1:
                time.sleep(_PAUSE_S)
        if reads:
            self._wake()
        return reads

    def _next(self, me: threading.Thread) -> DevicePoint | None:
        with self._changed:
            while self._queue and self._is_current(me):
                point = self._queue.popleft()
                if not point.abandoned:
                    self._busy_since_s = time.monotonic()
                    return point
            return None

    def _done(self, me: threading.Thread, point: DevicePoint, read: bool) -> bool:
        with self._changed:
            if self._thread is me:
                self._busy_since_s = None
            else:
                self._stuck -= 1  # this thread was replaced while it was stuck, and ends
            (self._read if read else self._not_ready).append(point)
            if self._idle() or self._thread is not me:
                self._changed.notify_all()
        return read

    def _is_current(self, me: threading.Thread) -> bool:
        return self._thread is me and not self._stopped
