"""Repeats the steps of purge and retention, concurrently. Every replica runs all of them. Each step has its own
backoff, so that a step that fails repeatedly does not keep the others from running."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

from runstream._backoff import Backoff
from runstream_service.retention.expiry import AccessExpiry, LedgerExpiry, WriteIdExpiry
from runstream_service.retention.purge import Purge
from runstream_service.retention.purged_files import PurgedFiles
from runstream_service.retention.retention import Retention

if TYPE_CHECKING:
    from runstream_service.artifacts.store import ArtifactStore
    from runstream_service.database.pool import Database
    from runstream_service.retention.metrics import RetentionMetrics

log = structlog.get_logger()

EVERY_S = 60.0
# The longest wait before a step that fails repeatedly is tried again.
_LONGEST_BACKOFF_S = 1_800.0


class Step:
    """Work that is repeated for as long as the service runs."""

    def __init__(
        self, name: str, run_once: Callable[[], Awaitable[object]], metrics: RetentionMetrics, every_s: float
    ) -> None:
        self._name = name
        self._run_once = run_once
        self._metrics = metrics
        self._every_s = every_s
        self._backoff = Backoff(every_s, max(_LONGEST_BACKOFF_S, every_s), jitter=0.5)
        metrics.expect(name)

    async def run(self) -> None:
        """Run until cancelled."""
        wait_s = self._regular_wait_s()
        while True:
            await asyncio.sleep(wait_s)
            try:
                await self._run_once()
                self._backoff.reset()
                wait_s = self._regular_wait_s()
            except Exception as error:
                wait_s = self._backoff.next_s()
                self._metrics.failed(self._name)
                log.warning(
                    f"A step of purge and retention failed ({self._name}); trying it again: {error!r}",
                    action="retention_failed",
                    step=self._name,
                    error=repr(error),
                )

    def _regular_wait_s(self) -> float:
        """Random, so that replicas do not run the step at the same moment: all but one would find the locks taken."""
        return self._every_s * random.uniform(0.5, 1.0)


class RetentionLoop:
    """Runs all steps: purge, deletion of purged files, the expiry of rows (expiry.py), and retention."""

    def __init__(
        self,
        database: Database,
        metrics: RetentionMetrics,
        store: ArtifactStore,
        *,
        purge_after_days: int,
        every_s: float = EVERY_S,
    ) -> None:
        work: dict[str, Callable[[], Awaitable[object]]] = {
            "purge": Purge(database, metrics, purge_after_days=purge_after_days).run_once,
            "files": PurgedFiles(database, store).run_once,
            "write_ids": WriteIdExpiry(database).run_once,
            "ledger": LedgerExpiry(database).run_if_due,
            "access": AccessExpiry(database).run_if_due,
            "retention": Retention(database, metrics).run_if_due,
        }
        self._steps = [Step(name, run_once, metrics, every_s) for name, run_once in work.items()]

    async def run(self) -> None:
        """Run until cancelled."""
        running = [asyncio.create_task(step.run()) for step in self._steps]
        try:
            await asyncio.gather(*running)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
