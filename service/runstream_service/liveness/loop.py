"""Searches for silent runs every minute, on each replica."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from runstream_service.liveness.silent_runs import SilentRuns

if TYPE_CHECKING:
    from runstream_service.database.pool import Database
    from runstream_service.liveness.metrics import LivenessMetrics

log = structlog.get_logger()

_BEAT_S = 60.0
# How many rounds there are, at least, before a run can count as silent.
_BEATS_TILL_SILENT = 6


class LivenessLoop:
    """Runs SilentRuns every minute, or more often if `silent_after_s` is short. With `silent_after_s` 0 it does
    nothing."""

    def __init__(
        self,
        database: Database,
        metrics: LivenessMetrics,
        streaming_runs: Callable[[], Awaitable[Collection[UUID]]],
        *,
        silent_after_s: float,
    ) -> None:
        self._metrics = metrics
        self._beat_s = min(_BEAT_S, silent_after_s / _BEATS_TILL_SILENT)
        self._runs = SilentRuns(database, metrics, streaming_runs, silent_after_s=silent_after_s, beat_s=self._beat_s)

    async def run(self) -> None:
        """Run until cancelled."""
        if not self._beat_s:
            await asyncio.Event().wait()
        while True:
            await asyncio.sleep(self._beat_s * random.uniform(0.5, 1.0))
            try:
                await self._runs.run_once()
            except Exception as error:
                self._metrics.failed()
                log.warning(
                    f"Could not search for silent runs; trying it again: {error!r}",
                    action="silent_runs_failed",
                    error=repr(error),
                )
