"""Stops the reading of streams while roll-up is too far behind (the gate) or too many points wait for their commit (the
budget).

Batches that were read wait; for the others, HTTP/2 flow control stops the clients, which keep their points.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import structlog

from runstream_service.limits.point_rates import PointRates
from runstream_service.limits.workspace_limits import Limits, WorkspaceLimits
from runstream_service.sharing.capacity import SharedCapacity
from runstream_service.sharing.fair_queue import FairQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from runstream_service.ingest.metrics import IngestMetrics

log = structlog.get_logger()

# The gate opens again at this fraction of the bound, so that it does not open and close with every commit.
_OPENS_AT = 0.9


class HotTableGate:
    """Closed while more than `max_points` points wait for roll-up, or for being dropped after it; streams are then not
    read. Roll-up measures these points every second (rollup/loop.py), so the bound may be exceeded by the points of
    that second."""

    def __init__(self, max_points: int, metrics: IngestMetrics) -> None:
        self._max_points = max_points
        self._metrics = metrics
        self.closed = False
        # Called when the gate opens.
        self.on_open: Callable[[], None] = lambda: None

    def update(self, waiting: int, overdue: int = 0) -> None:
        """Close or open the gate. `waiting`: points that wait for roll-up. `overdue`: points that are rolled up and
        cannot be dropped yet, because of a long transaction."""
        points = max(waiting, overdue)
        if not self.closed and points > self._max_points:
            self.closed = True
            self._metrics.held(True)
            what = "wait for roll-up" if points == waiting else "cannot be dropped (see drop_blocked)"
            log.warning(
                f"{points:,} points {what}, more than {self._max_points:,} (--hot-points-max): ingest waits",
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


# After at most this time, the rate of a workspace that has reached its points per second is checked again: the limit
# may have been changed.
_LONGEST_PAUSE_S = 1.0


class Waiter(Protocol):
    """A producer, or a call of `acquire`, that waits in the queue for room."""

    @property
    def workspace_id(self) -> int:
        """The workspace of its points."""

    @property
    def wanted_points(self) -> int:
        """How many points it wants to take next."""

    def admitted(self) -> bool:
        """Called when these points were taken for it. Returns whether it waits for more, at the end of the queue."""


class PointBudget:
    """A bound on the points that wait for their commit, of all streams and HTTP writes.

    When it is used up, waiters queue. The workspace with the fewest points here is next, so a busy one cannot push the
    others aside, however many streams it has. A producer has at most one place in the queue, with one batch, so a busy
    producer cannot push others aside either, even on the same stream. While the gate is closed no waiter is admitted,
    and none of a workspace that has reached its points per second.
    """

    def __init__(
        self, capacity_points: int, gate: HotTableGate | None = None, limits: WorkspaceLimits | None = None
    ) -> None:
        self._points = SharedCapacity(capacity_points)
        self._limits = limits or WorkspaceLimits(Limits())
        self._rates = PointRates(self._limits.points_per_second)
        self._gate = gate
        self._queue: FairQueue[Waiter] = FairQueue(self._points.held_by)
        self._admission_scheduled = False
        if gate is not None:
            gate.on_open = self._admit_soon

    @property
    def capacity_points(self) -> int:
        """The most points that may wait."""
        return self._points.capacity

    @property
    def waiting_points(self) -> int:
        """How many points wait now."""
        return self._points.held

    def waiting_points_of(self, workspace_id: int) -> int:
        """How many points of a workspace wait now."""
        return self._points.held_by(workspace_id)

    def try_acquire(self, workspace_id: int, points: int) -> bool:
        """Take `points` if they fit now and no other waiter comes first. Returns whether it took them."""
        if self._is_closed or (self._queue and not self._is_next(workspace_id)):
            return False
        return not self.rate_wait_s(workspace_id) and self._try_take(workspace_id, points)

    def _try_take(self, workspace_id: int, points: int) -> bool:
        taken = self._points.try_take(workspace_id, points)
        if taken and self._limits.any_points_per_second:
            self._rates.spend(workspace_id, points)
        return taken

    def rate_wait_s(self, workspace_id: int, behind_points: int = 0) -> float:
        """How long a workspace has to wait because of its points per second, behind `behind_points` that wait already;
        0 if it need not wait."""
        return self._rates.wait_s(workspace_id, behind_points) if self._limits.any_points_per_second else 0.0

    @property
    def is_shared(self) -> bool:
        """Whether points of more than one workspace have come since the start."""
        return self._points.is_shared

    def _is_next(self, workspace_id: int) -> bool:
        """Whether points that come now may be taken although others wait: their workspace is the next one. If every
        small batch that fits could overtake, a large one that waits would never fit."""
        if self._queue.waits(workspace_id):
            return False
        first, held_by = self._queue.next(), self._points.held_by
        return first is None or held_by(workspace_id) < held_by(first[0])

    def enqueue(self, waiter: Waiter) -> None:
        """Let a waiter queue. It is admitted when it is next, but never during this call."""
        self._queue.join(waiter.workspace_id, waiter)
        self._pause_if_limited(waiter.workspace_id)
        self._admit_soon()

    def dequeue(self, waiter: Waiter) -> None:
        """Remove a waiter from the queue."""
        if self._queue.leave(waiter.workspace_id, waiter):
            self._admit_soon()  # if it was the first, the next may fit

    async def acquire(self, workspace_id: int, points: int) -> None:
        """Take `points`; wait until they fit. More than the whole capacity fits only into an unused budget."""
        if self.try_acquire(workspace_id, points):
            return
        waiter = _Call(workspace_id, points)
        self.enqueue(waiter)
        try:
            await waiter.turn
        except asyncio.CancelledError:
            self.dequeue(waiter)
            # Cancelled after its turn came: the points must be given back, or the budget shrinks forever.
            if waiter.turn.done() and not waiter.turn.cancelled():
                self.release(workspace_id, points)
            raise

    def release(self, workspace_id: int, points: int) -> None:
        """Return points to the budget that are committed, refused or dropped."""
        self._points.release(workspace_id, points)
        if self._queue:
            self._admit_soon()

    def _admit_soon(self) -> None:
        if not self._admission_scheduled:
            self._admission_scheduled = True
            asyncio.get_running_loop().call_soon(self._admit)

    def _admit(self) -> None:
        """Admit the next waiters, as long as their points fit. A waiter whose points do not fit is not overtaken: large
        batches would otherwise never be admitted."""
        self._admission_scheduled = False
        for _ in range(_ADMITTED_AT_ONCE):
            if self._is_closed or (first := self._queue.next()) is None:
                return
            workspace_id, waiter = first
            if not self._try_take(workspace_id, waiter.wanted_points):
                return
            self._queue.had_turn(workspace_id, waiter, waits_again=waiter.admitted())
            self._pause_if_limited(workspace_id)
        if self._queue:
            self._admit_soon()

    def _pause_if_limited(self, workspace_id: int) -> None:
        if self._queue.is_paused(workspace_id) or not self._queue.waits(workspace_id):
            return
        if wait_s := min(self.rate_wait_s(workspace_id), _LONGEST_PAUSE_S):
            self._limits.waited(workspace_id, wait_s)
            self._queue.pause(workspace_id)
            asyncio.get_running_loop().call_later(wait_s, self._resume, workspace_id)

    def _resume(self, workspace_id: int) -> None:
        self._queue.resume(workspace_id)
        self._pause_if_limited(workspace_id)
        self._admit_soon()

    @property
    def _is_closed(self) -> bool:
        return self._gate is not None and self._gate.closed


class _Call:
    """A call of `acquire` that waits."""

    def __init__(self, workspace_id: int, points: int) -> None:
        self.workspace_id = workspace_id
        self._points = points
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def wanted_points(self) -> int:
        # It may be next after it was cancelled and before it has left the queue.
        return 0 if self.turn.cancelled() else self._points

    def admitted(self) -> bool:
        if not self.turn.cancelled():
            self.turn.set_result(None)
        return False
