"""Purges and forgets HTTP writes every minute, applies retention every hour, whatever fails. Every replica runs it."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

import structlog

from runstream_service.retention.old_writes import OldWrites
from runstream_service.retention.purge import Purge
from runstream_service.retention.retention import Retention

if TYPE_CHECKING:
    from runstream_service.retention.metrics import RetentionMetrics
    from runstream_service.storage.database import Database

log = structlog.get_logger()

PURGE_EVERY_S = 60.0
# Retention counts in days, and has to look at all runs of its experiments.
RETENTION_EVERY_S = 3_600.0


class RetentionLoop:
    """Rounds, one after another."""

    def __init__(self, database: Database, metrics: RetentionMetrics, *, purge_after_days: int) -> None:
        self._metrics = metrics
        self._purge = Purge(database, metrics, purge_after_days=purge_after_days)
        self._writes = OldWrites(database)
        self._retention = Retention(database, metrics)

    async def run(self) -> None:
        """Run until cancelled."""
        retention_due = time.monotonic() + PURGE_EVERY_S
        while True:
            # Not all replicas at once: the others would find the locks taken, and look again for nothing.
            await asyncio.sleep(PURGE_EVERY_S * random.uniform(0.5, 1.0))
            try:
                await self._purge.round()
                await self._writes.round()
                if time.monotonic() >= retention_due:
                    await self._retention.round()
                    retention_due = time.monotonic() + RETENTION_EVERY_S
            except Exception as error:
                self._metrics.failed()
                log.warning(
                    f"Purge or retention failed; trying it again: {error!r}",
                    action="retention_failed",
                    error=repr(error),
                )
