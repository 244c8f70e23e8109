"""Deletes for good what users deleted, when it cannot be restored any more.

1. A series or run is marked with the highest epoch that had commits when its producers had been fenced. From then on no
   read returns it (Runs.delete_series, and _mark_run below).
2. Its hot batches are in that epoch or in earlier ones. Roll-up still turns them into segments, until the watermark has
   reached the epoch.
3. Then the segments are deleted, some thousand at a time, then latest values and the series, and finally the run with
   its ledger.
4. A deleted experiment is marked when all of its runs are marked: it moves to a workspace without users, which frees
its
   name. It is deleted when its runs are gone.

Series are locked first, in a separate statement: a merge holds the same lock while it replaces segments, and a DELETE
that waited for the merge would not see the segments that it inserts.

The paths of the files of what is deleted are recorded in the same transaction (purged_files.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from runstream_service.database.queries import load
from runstream_service.retention import purged_files
from runstream_service.stores.segment_store import SegmentStore

if TYPE_CHECKING:
    from runstream_service.database.pool import Database
    from runstream_service.retention.metrics import RetentionMetrics

log = structlog.get_logger()

SQL = load("retention")

# About two million points, if the segments are merged; deleting them takes 30 ms.
_SEGMENTS_AT_ONCE = 2_000
_SERIES_AT_ONCE = 500
_SERIES_MARKED_AT_ONCE = 10_000
_MODELS_AT_ONCE = 500
# A phase ends after this many failures: the cause is then probably not in single runs or experiments.
_MOST_FAILURES = 10


@dataclass(slots=True)
class PurgeResult:
    """How much a round deleted for good."""

    runs: int = 0
    series: int = 0
    segments: int = 0
    points: int = 0
    models: int = 0
    experiments: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """How much is marked for deletion and waits for roll-up."""

    series: int = 0
    runs: int = 0
    experiments: int = 0


class Purge:
    """Purges, in each round, everything that can be purged."""

    def __init__(self, database: Database, metrics: RetentionMetrics, *, purge_after_days: int) -> None:
        self._database = database
        self._metrics = metrics
        self._purge_after_days = purge_after_days

    async def run_once(self) -> PurgeResult:
        """Mark what was deleted long enough ago, then delete everything that is marked and rolled up.

        A run, an experiment or a phase that fails does not stop the others. Raises the first failure at the end.
        """
        done = PurgeResult()
        failures: list[Exception] = []
        await self._one_by_one(self._mark_run, failures)
        await self._to_the_end(self._mark_series, done, failures)
        await self._one_by_one(self._mark_experiment, failures)
        await self._to_the_end(self._delete_series, done, failures)
        done.runs += await self._one_by_one(self._delete_run, failures)
        await self._to_the_end(self._delete_models, done, failures)
        done.experiments += await self._one_by_one(self._delete_experiment, failures)
        if done != PurgeResult():
            log.info(
                f"Purged {done.points:,} points",
                action="purged",
                runs=done.runs,
                series=done.series,
                segments=done.segments,
                points=done.points,
                models=done.models,
                experiments=done.experiments,
            )
        if failures:
            raise failures[0]
        return done

    async def waiting(self) -> Waiting:
        """Count what is marked and waits for roll-up."""
        row = await self._database.fetchrow(SQL["waiting"])
        assert row is not None
        return Waiting(**row)

    # -- phases ------------------------------------------------------------------------------------------------------

    async def _to_the_end(
        self, chunk: Callable[[PurgeResult], Awaitable[bool]], done: PurgeResult, failures: list[Exception]
    ) -> None:
        """Repeats a chunk of work until it returns False: nothing is left to do."""
        try:
            while await chunk(done):
                pass
        except Exception as error:
            failures.append(error)

    async def _one_by_one(
        self, take_one: Callable[[list[Any], list[Any]], Awaitable[bool]], failures: list[Exception]
    ) -> int:
        """Repeats `take_one`, which purges one run or experiment, until it returns False: none is left. One that fails
        is left to the next round. Returns how many were purged.

        `take_one` gets the ids to skip, and a list into which it puts the id that it works on.
        """
        failed: list[Any] = []
        count = 0
        while len(failed) < _MOST_FAILURES:
            taken: list[Any] = []
            try:
                if not await take_one(failed, taken):
                    break
                count += 1
            except Exception as error:
                failures.append(error)
                if not taken:
                    break
                failed += taken
                log.warning(
                    f"Purging {taken[0]} failed; trying it again in the next round: {error!r}",
                    action="purge_failed",
                    id=str(taken[0]),
                    error=repr(error),
                )
        return count

    async def _mark_run(self, failed: list[Any], taken: list[Any]) -> bool:
        """Marks a run. Its producers were fenced when it was deleted, and none could be opened since."""
        async with self._database.transaction() as connection:
            run_id = await connection.fetchval(SQL["run_due"], self._purge_after_days, failed)
            if run_id is not None:
                taken.append(run_id)
                await connection.execute(SQL["mark_run"], run_id)
        return run_id is not None

    async def _mark_series(self, _done: PurgeResult) -> bool:
        command = await self._database.execute(SQL["mark_series"], _SERIES_MARKED_AT_ONCE)
        return command != "UPDATE 0"

    async def _mark_experiment(self, failed: list[Any], taken: list[Any]) -> bool:
        async with self._database.transaction() as connection:
            experiment_id = await connection.fetchval(SQL["experiment_due"], self._purge_after_days, failed)
            if experiment_id is None:
                return False
            taken.append(experiment_id)
            if await connection.fetchval(SQL["mark_experiment"], experiment_id) is None:
                failed.append(experiment_id)  # a run was created in it in the meantime
        return True

    async def _delete_series(self, done: PurgeResult) -> bool:
        """Deletes one chunk of series and segments. Returns whether there was any."""
        async with self._database.transaction() as connection:
            series_ids = [row["series_id"] for row in await connection.fetch(SQL["purgeable_series"], _SERIES_AT_ONCE)]
            if not series_ids:
                return False
            gone = await SegmentStore(connection).delete(series_ids, _SEGMENTS_AT_ONCE)
            empty = gone.segments < _SEGMENTS_AT_ONCE
            if empty:
                await connection.execute(SQL["delete_latest"], series_ids)
                await connection.execute(SQL["delete_series"], series_ids)
        done.segments += gone.segments
        done.points += gone.points
        done.series += len(series_ids) if empty else 0
        self._metrics.deleted("purge", segments=gone.segments, points=gone.points)
        self._metrics.purged_series(len(series_ids) if empty else 0)
        return True

    async def _delete_run(self, failed: list[Any], taken: list[Any]) -> bool:
        async with self._database.transaction() as connection:
            run = await connection.fetchrow(SQL["purgeable_run"], failed)
            if run is None:
                return False
            taken.append(run["run_id"])
            await connection.execute(SQL["delete_producers"], run["run_id"])
            await connection.execute(SQL["delete_run"], run["run_id"])
            await purged_files.record(connection, [purged_files.path_of_run(*run)])
        self._metrics.purged_run()
        return True

    async def _delete_models(self, done: PurgeResult) -> bool:
        """Deletes one chunk of logged models. Returns whether there was any."""
        async with self._database.transaction() as connection:
            models = await connection.fetch(SQL["purgeable_models"], self._purge_after_days, _MODELS_AT_ONCE)
            if not models:
                return False
            await connection.execute(SQL["delete_models"], [model["model_id"] for model in models])
            await purged_files.record(connection, [purged_files.path_of_model(*model) for model in models])
        done.models += len(models)
        return True

    async def _delete_experiment(self, failed: list[Any], taken: list[Any]) -> bool:
        async with self._database.transaction() as connection:
            experiment = await connection.fetchrow(SQL["purgeable_experiment"], failed)
            if experiment is None:
                return False
            taken.append(experiment["experiment_id"])
            await connection.execute(SQL["delete_experiment"], experiment["experiment_id"])
            if experiment["artifact_location"] is None:
                # A location that a user chose may be in use by others, too: there, only the files of the experiment's
                # runs and models are deleted.
                await purged_files.record(connection, [str(experiment["experiment_id"])])
        return True
