"""Ends runs whose producers are all gone.

1. Each replica advances the service time: the time during which the service was up. An outage, of the service or of its
   database, must not make all trainings look silent: they had nobody to speak to. So after it, each has the rest of its
   time to come back.
2. It notes the service time at which it had an open stream, for each run of its streams.
3. One replica a round looks for running runs that no replica has seen for `silent_after_s` of service time and that
   committed nothing meanwhile, and ends them. One without a note gets one first, so that it has all of its time.

Runs that came over MLflow's HTTP routes have no streams that could be missed; they are left alone, also those that have
points from both.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from runstream_service.storage.queries import load

if TYPE_CHECKING:
    from runstream_service.liveness.metrics import LivenessMetrics
    from runstream_service.storage.database import Database

log = structlog.get_logger()

SQL = load("liveness")

# A round takes so many at most; the next one goes on.
_NOTED_AT_ONCE = 10_000
_ENDED_AT_ONCE = 1_000
_LOGGED_AT_ONCE = 20


class SilentRuns:
    """One round is one beat of this replica. `streaming_runs` says which runs it has open streams of."""

    def __init__(
        self,
        database: Database,
        metrics: LivenessMetrics,
        streaming_runs: Callable[[], Collection[UUID]],
        *,
        silent_after_s: float,
        beat_s: float,
    ) -> None:
        self._database = database
        self._metrics = metrics
        self._streaming_runs = streaming_runs
        self._silent_after_s = silent_after_s
        self._beat_s = beat_s

    async def round(self) -> int:
        """Note what this replica sees, and end what nobody sees. Returns how many runs were ended."""
        # Two beats at most: a replica that was away for longer did not serve meanwhile.
        up_s: float = await self._database.fetchval(SQL["advance"], 2 * self._beat_s)
        if runs := sorted(self._streaming_runs()):
            await self._note(runs, up_s)
        return await self._end_silent()

    async def _note(self, runs: list[UUID], up_s: float) -> None:
        for start in range(0, len(runs), _NOTED_AT_ONCE):
            some = runs[start : start + _NOTED_AT_ONCE]
            # A stream that opened while its run was being ended.
            await self._database.execute(SQL["revive"], some)
            await self._database.execute(SQL["note_seen"], some, up_s)

    async def _end_silent(self) -> int:
        async with self._database.transaction() as connection:
            up_s = await connection.fetchval(SQL["take_turn"], self._beat_s / 2)
            if up_s is None:
                return 0  # another replica has just looked
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
