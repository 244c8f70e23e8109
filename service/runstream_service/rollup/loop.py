"""Repeats the steps of roll-up. Every replica does so; row locks let only one replica do a step at a time.

The steps are divided between two runners, each with its own connection, so that a VACUUM of a very large table, which
belongs to merging, does not delay roll-up. A step that fails is tried again later, and does not stop the others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from runstream._backoff import Backoff
from runstream_service.database.dedicated_connection import DedicatedConnection
from runstream_service.database.pool import layout_of
from runstream_service.database.requirements import recovery_hint
from runstream_service.rollup import epochs, rollup
from runstream_service.rollup.measurements import Backlog, measure_backlog, measure_sizes
from runstream_service.rollup.merge import SegmentMerger
from runstream_service.rollup.partitions import PartitionDropper

if TYPE_CHECKING:
    from runstream_service.database.pool import Connection, Database
    from runstream_service.ingest.backpressure import HotTableGate
    from runstream_service.rollup.metrics import RollupMetrics

log = structlog.get_logger()

_EVERY_S = 1.0
# The sizes are for graphs, and measuring them reads the size of every file of the database.
_SIZES_EVERY_S = 30.0
# The pause while there is more to do, or while a group commit of a closed epoch is still under way.
_SOON_S = 0.02
_FIRST_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 30.0
# Timeouts of steps are above those of the server (connections.py), so that its clear error comes first. Rolling up a
# huge epoch takes many statements.
_ROLL_TIMEOUT_S = 900.0
_STEP_TIMEOUT_S = 180.0
# Merging may include a VACUUM, which takes hours on a very large table.
_MERGE_TIMEOUT_S = 6 * 3_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RollupOptions:
    """When an epoch closes, and how long its hot batches are kept for reads that began before it was rolled up."""

    epoch_points: int = 2_000_000
    epoch_seconds: float = 60.0
    max_read_age_s: float = 60.0


class _Step:
    """One step with its own backoff, so that a step that fails repeatedly does not keep the others from running."""

    def __init__(self, name: str, action: Callable[[Connection], Awaitable[bool]], timeout_s: float) -> None:
        self.name = name
        self.action = action  # returns whether there is more to do now
        self.timeout_s = timeout_s
        self._backoff = Backoff(_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S)
        self._not_before = 0.0

    @property
    def due(self) -> bool:
        return time.monotonic() >= self._not_before

    def succeeded(self) -> None:
        self._backoff.reset()

    def failed(self) -> float:
        """Schedule the next try. Returns the wait in seconds, which grows with each failure."""
        wait_s = self._backoff.next_s()
        self._not_before = time.monotonic() + wait_s
        return wait_s


class _Runner:
    """Runs steps one after another, on one connection."""

    def __init__(self, database: Database, metrics: RollupMetrics, steps: Sequence[_Step]) -> None:
        self._connection = DedicatedConnection(database.connect_rollup)
        self._metrics = metrics
        self._steps = steps
        self._connect = _Step("connect", _nothing, _STEP_TIMEOUT_S)

    async def run(self) -> None:
        """Run until cancelled. Then the connection is closed; another replica repeats what was not committed."""
        try:
            while True:
                more = await self.run_once()
                await asyncio.sleep(_SOON_S if more else _EVERY_S)
        finally:
            self._connection.disconnect()

    async def run_once(self) -> bool:
        """Run every step once that is due. Returns whether there is more to do now. Failures are logged, not raised."""
        more = False
        for step in self._steps:
            if not self._connect.due:
                return False
            if step.due and await self._connected():
                more |= await self._run_step(step)
        return more

    async def _connected(self) -> bool:
        try:
            await self._connection.connect()
        except Exception as error:
            self._report(self._connect, error)
            return False
        self._connect.succeeded()
        return True

    async def _run_step(self, step: _Step) -> bool:
        try:
            more = await self._connection.run(step.action, timeout_s=step.timeout_s)
        except Exception as error:
            self._report(step, error)
            return False
        step.succeeded()
        return more

    def _report(self, step: _Step, error: Exception) -> None:
        self._metrics.failed(step.name, error)
        log.warning(
            f"A step of roll-up failed ({step.name}); trying it again: {error!r}{recovery_hint(error)}",
            action="rollup_failed",
            step=step.name,
            retry_in_s=round(step.failed(), 3),
            error=repr(error),
        )


class RollupLoop:
    """Runs all steps: epochs are closed, rolled up into segments, published and dropped, and small segments are
    merged."""

    def __init__(self, database: Database, metrics: RollupMetrics, gate: HotTableGate, options: RollupOptions) -> None:
        self._metrics = metrics
        self._gate = gate
        self._options = options
        self._dropper = PartitionDropper(options.max_read_age_s)
        self._merger = SegmentMerger(metrics)
        self._backlog: Backlog | None = None
        self._sized_at: float | None = None
        urgent = (
            _Step("measure", self._measure, _STEP_TIMEOUT_S),
            _Step("rotate", self._rotate, _STEP_TIMEOUT_S),
            _Step("seal", self._seal, _STEP_TIMEOUT_S),
            _Step("recover", self._recover, _STEP_TIMEOUT_S),
            _Step("roll", self._roll, _ROLL_TIMEOUT_S),
            _Step("publish", self._publish, _STEP_TIMEOUT_S),
            _Step("drop", self._drop, _STEP_TIMEOUT_S),
            _Step("size", self._size, _STEP_TIMEOUT_S),
        )
        merging = (_Step("merge", self._merge, _MERGE_TIMEOUT_S),)
        self._runners = [
            _Runner(database, metrics, urgent),
            _Runner(database, metrics, merging),
        ]

    async def run(self) -> None:
        """Run until cancelled."""
        running = [asyncio.create_task(runner.run()) for runner in self._runners]
        try:
            await asyncio.gather(*running)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def run_once(self) -> None:
        """Run every step once, in order."""
        for runner in self._runners:
            await runner.run_once()

    # Steps ------------------------------------------------------------------------------------------------------------

    async def _measure(self, connection: Connection) -> bool:
        self._backlog = await measure_backlog(connection, max_read_age_s=self._options.max_read_age_s)
        self._metrics.measured(self._backlog)
        self._gate.update(self._backlog.points, self._backlog.overdue_points)
        return False

    async def _rotate(self, connection: Connection) -> bool:
        options = self._options
        # While ingest is held, no epoch fills up, so the open one is closed as it is.
        max_points = 1 if self._gate.closed else options.epoch_points
        closed = await epochs.rotate(connection, max_points=max_points, max_age_s=options.epoch_seconds)
        return closed is not None

    async def _seal(self, connection: Connection) -> bool:
        return not await epochs.seal(connection)

    async def _recover(self, connection: Connection) -> bool:
        await layout_of(connection).recover(connection)
        return False

    async def _roll(self, connection: Connection) -> bool:
        return await rollup.roll(connection, self._metrics) is not None

    async def _publish(self, connection: Connection) -> bool:
        return await epochs.publish(connection) > 0

    async def _drop(self, connection: Connection) -> bool:
        return await self._dropper.drop(connection) is not None

    async def _size(self, connection: Connection) -> bool:
        if self._sized_at is None or time.monotonic() - self._sized_at >= _SIZES_EVERY_S:
            self._metrics.sized(await measure_sizes(connection))
            self._sized_at = time.monotonic()
        return False

    async def _merge(self, connection: Connection) -> bool:
        # Merging is the least urgent step, and waits while roll-up is behind.
        if self._backlog is not None and self._backlog.points > 2 * self._options.epoch_points:
            return False
        return await self._merger.merge(connection)


async def _nothing(_connection: Connection) -> bool:
    return False
