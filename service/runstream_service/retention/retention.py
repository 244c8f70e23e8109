"""Deletes the old points of experiments that have a retention.

Whole segments are deleted, each when its newest point is too old. So a point may stay for longer, as long as its
segment spans, and at least until it is rolled up. The latest value of a series stays, so that tables of runs still show
it.

A point never counts as older than its run, since callers set the times of points: otherwise seconds that were sent as
microseconds, or an imported history, would be deleted within an hour. So runs that started within the retention keep
all of their points, and are not examined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from runstream_service.database.queries import load
from runstream_service.stores.segment_store import SegmentStore

if TYPE_CHECKING:
    import asyncpg

    from runstream_service.database.pool import Database
    from runstream_service.retention.metrics import RetentionMetrics

log = structlog.get_logger()

SQL = load("retention")

# Retention counts in days, and has to examine all old runs of its experiments. So it runs once an hour, in one replica.
EVERY_S = 3_600.0
# One statement examines the segments of this many runs.
_RUNS_AT_ONCE = 200
_SERIES_AT_ONCE = 500
_SEGMENTS_AT_ONCE = 2_000
# Forces look-ups by key. The planner would read all segments if it estimated that many of them are old.
_LOOK_UP = "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"


@dataclass(slots=True)
class RetentionResult:
    """How much a round deleted."""

    segments: int = 0
    points: int = 0


class Retention:
    """Examines, in each round, every run that is old enough, of every experiment that has a retention."""

    def __init__(self, database: Database, metrics: RetentionMetrics) -> None:
        self._database = database
        self._metrics = metrics

    async def run_if_due(self) -> RetentionResult | None:
        """Run a round, if no replica has run one within the hour; else returns None."""
        if await self._database.fetchval(SQL["claim_task"], "retention", EVERY_S) is None:
            return None
        try:
            return await self.run_once()
        except Exception:
            await self._database.execute(SQL["release_task"], "retention")
            raise

    async def run_once(self) -> RetentionResult:
        """Delete all segments that are too old. An experiment that fails does not stop the others; raises the first
        failure at the end."""
        done = RetentionResult()
        failures: list[Exception] = []
        for experiment in await self._database.fetch(SQL["experiments"]):
            before = done.points
            try:
                await self._of_experiment(experiment["experiment_id"], experiment["keep_from"], done)
            except Exception as error:
                failures.append(error)
            if done.points > before:
                log.info(
                    f"Deleted {done.points - before:,} points older than {experiment['retention_days']} days",
                    action="retention_applied",
                    experiment_id=experiment["experiment_id"],
                    experiment=experiment["name"],
                    points=done.points - before,
                )
        if failures:
            raise failures[0]
        return done

    async def _of_experiment(self, experiment_id: int, keep_from: datetime, done: RetentionResult) -> None:
        last: asyncpg.Record | None = None
        while runs := await self._database.fetch(
            SQL["old_runs"],
            experiment_id,
            keep_from,
            last and last["started_at"],
            last and last["run_id"],
            _RUNS_AT_ONCE,
        ):
            while await self._of_runs([run["run_id"] for run in runs], experiment_id, keep_from, done):
                pass
            last = runs[-1]

    async def _of_runs(
        self, run_ids: Sequence[UUID], experiment_id: int, keep_from: datetime, done: RetentionResult
    ) -> bool:
        """Deletes one chunk of segments. Returns whether there was any."""
        async with self._database.transaction() as connection:
            await connection.execute(_LOOK_UP)
            store = SegmentStore(connection)
            # Skip runs that were moved to another experiment, which may have another retention.
            here = [row["run_id"] for row in await connection.fetch(SQL["hold_runs"], run_ids, experiment_id)]
            found = await store.series_with_old(here, keep_from, _SERIES_AT_ONCE)
            if not found:
                return False
            series_ids = [row["series_id"] for row in await connection.fetch(SQL["lock_series"], found)]
            gone = await store.delete_old(series_ids, keep_from, _SEGMENTS_AT_ONCE)
        done.segments += gone.segments
        done.points += gone.points
        self._metrics.deleted("retention", segments=gone.segments, points=gone.points)
        return True
