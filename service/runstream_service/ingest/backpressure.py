"""Keeps batches waiting, and thereby stops the reading of streams: while roll-up is too far behind (the gate), or too
many points wait for their commit (the budget).

HTTP/2 flow control then stops their clients, which keep their points.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from runstream_service.ingest.metrics import IngestMetrics

log = structlog.get_logger()

# The gate opens again at this fraction of the bound, so that it does not open and close with every commit.
_OPENS_AT = 0.9


class HotTableGate:
    """Closed while more than `max_points` points wait for roll-up, or for being dropped after it: streams are then not
    read. Roll-up measures every second (rollup/loop.py), so the bound may be exceeded by the points that are committed
    in that second."""

    def __init__(self, max_points: int, metrics: IngestMetrics) -> None:
        self._max_points = max_points
        self._metrics = metrics
        self.closed = False
        # Called when the gate opens.
        self.on_open: Callable[[], None] = lambda: None

    def update(self, waiting: int, overdue: int = 0) -> None:
        """Close or open the gate according to the number of points that wait for roll-up, and of those that are rolled
        up and that a long transaction keeps from being dropped."""
        points = max(waiting, overdue)
        if not self.closed and points > self._max_points:
            self.closed = True
            self._metrics.held(True)
            what = "wait for roll-up" if points == waiting else "cannot be dropped (see drop_blocked)"
            log.warning(
                f"{points:,} points {what}, more than {self._max_points:,}: ingest waits",
                action="ingest_held",
                waiting=waiting,
                overdue=overdue,
                hot_points_max=self._max_points,
            )
        elif self.closed and points <= self._max_points * _OPENS_AT:
            self.closed = False
            self._metrics.held(False)
            self.on_open()
            log.info("Roll-up has caught up: ingest continues", action="ingest_resumed", points=points)


# How many waiters are admitted per iteration of the event loop. If two hundred streams woke up at once, the loop could
# not feed a COPY for about 20 ms (measured: the COPY then took three times as long).
_ADMITTED_AT_ONCE = 8


class Waiter(Protocol):
    """Somebody who waits in line for room."""

    @property
    def wanted_points(self) -> int:
        """What it wants to take next."""

    def admitted(self) -> bool:
        """Called when these points are taken for it. Returns whether it waits for more: at the end of the line."""


class PointBudget:
    """A bound on waiting points. When it is used up, those who want to take some wait in line. A producer has at most
    one place in it, with one batch, so a busy producer cannot push the others aside, whichever streams they share.
    While the gate is closed, nobody is admitted."""

    def __init__(self, capacity_points: int, gate: HotTableGate | None = None) -> None:
        self.capacity_points = capacity_points
        self.waiting_points = 0
        self._gate = gate
        self._line: OrderedDict[Waiter, None] = OrderedDict()
        self._admission_scheduled = False
        if gate is not None:
            gate.on_open = self._admit_soon

    def try_acquire(self, points: int) -> bool:
        """Take `points` if they fit now and nobody waits; returns whether it took them."""
        if self._line or self._is_closed or not self._fits(points):
            return False
        self.waiting_points += points
        return True

    def wait_in_line(self, waiter: Waiter) -> None:
        """Admit it in its turn, but never at once."""
        self._line[waiter] = None
        self._admit_soon()

    def leave_line(self, waiter: Waiter) -> None:
        """It wants nothing any more."""
        if self._line.pop(waiter, waiter) is None:
            self._admit_soon()  # if it was the first, the next may fit

    async def acquire(self, points: int) -> None:
        """Take `points`, waiting until they fit. More than the whole capacity fits into a budget that is unused."""
        if self.try_acquire(points):
            return
        waiter = _Call(points)
        self.wait_in_line(waiter)
        try:
            await waiter.turn
        except asyncio.CancelledError:
            self.leave_line(waiter)
            # Cancelled after its turn came: the points must be given back, or the budget shrinks forever.
            if waiter.turn.done() and not waiter.turn.cancelled():
                self.release(points)
            raise

    def release(self, points: int) -> None:
        """Return points that are committed, refused or dropped."""
        self.waiting_points -= points
        if self._line:
            self._admit_soon()

    def _admit_soon(self) -> None:
        if not self._admission_scheduled:
            self._admission_scheduled = True
            asyncio.get_running_loop().call_soon(self._admit)

    def _admit(self) -> None:
        """Admit waiters from the head of the line, as far as their points fit."""
        self._admission_scheduled = False
        for _ in range(_ADMITTED_AT_ONCE):
            if not self._line or self._is_closed:
                return
            waiter = next(iter(self._line))
            wanted = waiter.wanted_points
            if not self._fits(wanted):
                return
            self.waiting_points += wanted
            if waiter.admitted():
                self._line.move_to_end(waiter)
            else:
                del self._line[waiter]
        if self._line:
            self._admit_soon()

    def _fits(self, points: int) -> bool:
        return self.waiting_points + points <= self.capacity_points or self.waiting_points == 0

    @property
    def _is_closed(self) -> bool:
        return self._gate is not None and self._gate.closed


class _Call:
    """A call of `acquire` that waits."""

    def __init__(self, points: int) -> None:
        self._points = points
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def wanted_points(self) -> int:
        # Its turn may come after it was cancelled, and before it has left the line.
        return 0 if self.turn.cancelled() else self._points

    def admitted(self) -> bool:
        if not self.turn.cancelled():
            self.turn.set_result(None)
        return False
