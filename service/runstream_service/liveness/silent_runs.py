"""Ends runs whose producers are all gone.

1. Each replica advances the service time: the seconds during which the service was up. During an outage of the service
   or of its database, jobs cannot reach it, and must not count as silent for that. So the service time stands still,
   and after the outage each job has the rest of its time to come back.
2. For each run with an open stream, the replica records the current service time.
3. In each round, one replica ends the running runs that no replica has recorded for `silent_after_s` of service time
and
   that committed nothing in that time. A run without a record gets one first, so that it has its full time.

Runs that log over MLflow's HTTP routes have no streams, so whether they are silent is not known. They are left alone,
even if they have points from streams, too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from runstream_service.database.queries import load

if TYPE_CHECKING:
    from runstream_service.database.pool import Database
    from runstream_service.liveness.metrics import LivenessMetrics

log = structlog.get_logger()

SQL = load("liveness")

# A round handles at most this many; the next round continues.
_NOTED_AT_ONCE = 10_000
_ENDED_AT_ONCE = 1_000
_LOGGED_AT_ONCE = 20


class SilentRuns:
    """Finds and ends silent runs. `streaming_runs` returns the runs that have open streams on this replica; `beat_s` is
    the time between two rounds."""

    def __init__(
        self,
        database: Database,
        metrics: LivenessMetrics,
        streaming_runs: Callable[[], Awaitable[Collection[UUID]]],
        *,
        silent_after_s: float,
        beat_s: float,
    ) -> None:
        self._database = database
        self._metrics = metrics
        self._streaming_runs = streaming_runs
        self._silent_after_s = silent_after_s
        self._beat_s = beat_s

    async def run_once(self) -> int:
        """Record the runs that have streams here, and end the runs that no replica has had streams of. Returns how many
        were ended."""
        # At most two beats: a replica that was away for longer did not serve in that time.
        up_s: float = await self._database.fetchval(SQL["advance"], 2 * self._beat_s)
        if runs := sorted(await self._streaming_runs()):
            await self._note(runs, up_s)
        return await self._end_silent()

    async def _note(self, runs: list[UUID], up_s: float) -> None:
        for start in range(0, len(runs), _NOTED_AT_ONCE):
            some = runs[start : start + _NOTED_AT_ONCE]
            # Sets runs to running again whose streams opened while they were being ended.
            await self._database.execute(SQL["revive"], some)
            await self._database.execute(SQL["note_seen"], some, up_s)

    async def _end_silent(self) -> int:
        async with self._database.transaction() as connection:
            up_s = await connection.fetchval(SQL["take_turn"], self._beat_s / 2)
            if up_s is None:
                return 0  # another replica has just done it
            await connection.execute(SQL["forget"])
            await connection.execute(SQL["note_missed"], up_s, _NOTED_AT_ONCE)
            ended = await connection.fetch(
                SQL["end_silent"], up_s - self._silent_after_s, self._silent_after_s, _ENDED_AT_ONCE
            )
        for run in ended[:_LOGGED_AT_ONCE]:
            log.warning(
                f"Ended the run {run['name'][:80]!r} as killed: its producers are gone",
                action="run_silent",
                run_id=run["run_id"].hex,
                experiment_id=run["experiment_id"],
                last_seen=run["ended_at"].isoformat(),
            )
        if len(ended) > _LOGGED_AT_ONCE:
            log.warning(
                f"Ended {len(ended) - _LOGGED_AT_ONCE:,} more runs as killed: their producers are gone",
                action="runs_silent",
                runs=len(ended) - _LOGGED_AT_ONCE,
            )
        self._metrics.ended(len(ended))
        return len(ended)
