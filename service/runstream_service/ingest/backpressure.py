"""Stops the reading of streams: while roll-up is too far behind (the gate), or too many points wait for their commit
(the budget).

HTTP/2 flow control then stops their clients, which keep their points.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
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
        self._opened = asyncio.Event()
        self._opened.set()

    @property
    def closed(self) -> bool:
        """Whether ingest is stopped."""
        return not self._opened.is_set()

    async def wait_open(self) -> None:
        """Wait until the gate is open."""
        if self.closed:
            await self._opened.wait()

    def update(self, waiting: int, overdue: int = 0) -> None:
        """Close or open the gate according to the number of points that wait for roll-up, and of those that are rolled
        up and that a long transaction keeps from being dropped."""
        points = max(waiting, overdue)
        if not self.closed and points > self._max_points:
            self._opened.clear()
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
            self._opened.set()
            self._metrics.held(False)
            log.info("Roll-up has caught up: ingest continues", action="ingest_resumed", points=points)


# How many waiters to wake per iteration of the event loop. If two hundred streams woke up at once, the loop could not
# feed a COPY for about 20 ms (measured: the COPY then took three times as long).
_WAKE_AT_ONCE = 8


class PointBudget:
    """A bound on waiting points. When it is used up, callers of `acquire` wait in line, so streams are not read any
    more. The line is served in order, and a stream has at most one place in it, so a busy stream cannot push the others
    aside."""

    def __init__(self, capacity_points: int) -> None:
        self.capacity_points = capacity_points
        self.waiting_points = 0
        self._waiters: deque[tuple[asyncio.Future[None], int]] = deque()
        self._wake_scheduled = False

    def try_acquire(self, points: int) -> bool:
        """Take `points` if they fit now and nobody waits; returns whether it took them."""
        if self._waiters or not self._fits(points):
            return False
        self.waiting_points += points
        return True

    async def acquire(self, points: int) -> None:
        """Take `points`, waiting until they fit. More than the whole capacity fits into a budget that is unused."""
        if self.try_acquire(points):
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append((waiter, points))
        try:
            await waiter
        except asyncio.CancelledError:
            # Cancelled after its turn came: the points must be given back, or the budget shrinks forever.
            if waiter.done() and not waiter.cancelled():
                self.release(points)
            raise

    def release(self, points: int) -> None:
        """Return points that are committed, refused or dropped."""
        self.waiting_points -= points
        if self._waiters:
            self._wake_soon()

    def _wake_soon(self) -> None:
        if not self._wake_scheduled:
            self._wake_scheduled = True
            asyncio.get_running_loop().call_soon(self._wake)

    def _wake(self) -> None:
        """Wake waiters from the head of the line, as far as their points fit."""
        self._wake_scheduled = False
        woken = 0
        while self._waiters and woken < _WAKE_AT_ONCE:
            waiter, wanted = self._waiters[0]
            if not waiter.cancelled():
                if not self._fits(wanted):
                    return
                self.waiting_points += wanted
                waiter.set_result(None)
                woken += 1
            self._waiters.popleft()
        if self._waiters:
            self._wake_soon()

    def _fits(self, points: int) -> bool:
        return self.waiting_points + points <= self.capacity_points or self.waiting_points == 0
