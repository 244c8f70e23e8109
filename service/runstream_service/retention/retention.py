"""Deletes the old points of experiments that do not keep them for ever.

By whole segments: one goes when its newest point is too old. So a point may stay longer, by as much as the segment
spans, and until it is rolled up. What is known as a series' latest value stays: tables of runs go on showing it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from runstream_service.storage.queries import load

if TYPE_CHECKING:
    from runstream_service.retention.metrics import RetentionMetrics
    from runstream_service.storage.database import Database

log = structlog.get_logger()

SQL = load("retention")

_RUNS_AT_ONCE = 1_000
_SERIES_AT_ONCE = 500
_SEGMENTS_AT_ONCE = 2_000


@dataclass(slots=True)
class Expired:
    """What a round deleted."""

    segments: int = 0
    points: int = 0


class Retention:
    """One round looks at every run of every experiment that has a retention."""

    def __init__(self, database: Database, metrics: RetentionMetrics) -> None:
        self._database = database
        self._metrics = metrics

    async def round(self) -> Expired:
        """Delete all segments that are too old now."""
        done = Expired()
        for experiment in await self._database.fetch(SQL["experiments"]):
            before = done.points
            await self._of_experiment(experiment["experiment_id"], experiment["keep_from"], done)
            if done.points > before:
                log.info(
                    f"Deleted {done.points - before:,} points older than {experiment['retention_days']} days",
                    action="retention_applied",
                    experiment_id=experiment["experiment_id"],
                    experiment=experiment["name"],
                    points=done.points - before,
                )
        return done

    async def _of_experiment(self, experiment_id: int, keep_from: datetime, done: Expired) -> None:
        after = UUID(int=0)
        while runs := await self._database.fetch(SQL["runs_of"], experiment_id, after, _RUNS_AT_ONCE):
            for (run_id,) in runs:
                while await self._of_run(run_id, keep_from, done):
                    pass
            after = runs[-1]["run_id"]

    async def _of_run(self, run_id: UUID, keep_from: datetime, done: Expired) -> bool:
        """One chunk. Says whether there was any."""
        async with self._database.transaction() as connection:
            found = await connection.fetch(SQL["series_with_old_segments"], run_id, keep_from, _SERIES_AT_ONCE)
            if not found:
                return False
            locked = await connection.fetch(SQL["lock_series"], [row["series_id"] for row in found])
            series_ids = [row["series_id"] for row in locked]
            gone = await connection.fetchrow(SQL["delete_old_segments"], series_ids, keep_from, _SEGMENTS_AT_ONCE)
            assert gone is not None
        done.segments += gone["segments"]
        done.points += gone["points"]
        self._metrics.deleted("retention", segments=gone["segments"], points=gone["points"])
        return True
