"""Stops ingest while the hot table is too large."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from runstream_service.ingest.metrics import IngestMetrics

log = structlog.get_logger()

# The gate opens again at this fraction of the bound, so that it does not open and close with every commit.
_OPENS_AT = 0.9


class HotGate:
    """Closed while more points wait for roll-up than `max_points`: streams are then not read, so HTTP/2 flow control
    stops their clients, which keep their points. Roll-up measures every second (rollup/loop.py), so the bound may be
    exceeded by the points that are committed in that second."""

    def __init__(self, max_points: int, metrics: IngestMetrics) -> None:
        self._max_points = max_points
        self._metrics = metrics
        self._opened = asyncio.Event()
        self._opened.set()

    @property
    def closed(self) -> bool:
        """Whether ingest is stopped."""
        return not self._opened.is_set()

    async def passed(self) -> None:
        """Wait until the gate is open."""
        if self.closed:
            await self._opened.wait()

    def measured(self, points: int) -> None:
        """Close or open the gate according to the number of points that wait for roll-up."""
        if not self.closed and points > self._max_points:
            self._opened.clear()
            self._metrics.held(True)
            log.warning(
                f"{points:,} points wait for roll-up, more than {self._max_points:,}: ingest waits for roll-up",
                action="ingest_held",
                points=points,
                hot_rows_max=self._max_points,
            )
        elif self.closed and points <= self._max_points * _OPENS_AT:
            self._opened.set()
            self._metrics.held(False)
            log.info("Roll-up has caught up: ingest continues", action="ingest_resumed", points=points)
