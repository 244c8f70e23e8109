"""Points of MLflow's HTTP routes -> writes. Series are looked up once and then cached."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from runstream_service.core.errors import InvalidField, Overloaded, RunDeleted, RunNotFound, TooManySeries
from runstream_service.ingest.refusals import Reason
from runstream_service.ingest.series import resolve_series
from runstream_service.ingest.write import MetricWrite, SeriesMoved
from runstream_service.storage.database import server_start_id_of
from runstream_service.storage.queries import load

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from runstream_service.core.caller import Caller
    from runstream_service.ingest.decode import Float64Column, Int64Column
    from runstream_service.ingest.pipeline import IngestPipeline
    from runstream_service.ingest.series import ResolvedSeries
    from runstream_service.storage.database import Database, PooledConnection

SQL = load("writes")

# Rank and attempt of every series that is written over HTTP.
RANK, ATTEMPT = -1, 0

# About 200 bytes each. The runs that were written to least recently are evicted first.
MAX_REMEMBERED_SERIES = 200_000
# How often series are looked up for one write. A repeat is needed only if series of the run were deleted, or the
# database failed over, between the look-up and the commit.
_LOOKS = 10


@dataclass(frozen=True, slots=True)
class RunPoints:
    """Points to store in one run; row i of every column is one point. A repeat has the same `write_id` (see
    MetricWrite)."""

    run_id: UUID
    write_id: UUID
    key: Sequence[str]
    step: Int64Column
    time_unix_us: Int64Column
    value: Float64Column


@dataclass(slots=True)
class _RunSeries:
    """The series of a run by key. They are valid for one generation of the run's series, and until the database's
    server is restarted or replaced."""

    generation: int
    server_start_id: str
    ids: dict[str, int] = field(default_factory=dict)
    counted: int = 0


class MetricWrites:
    """Stores points that come without a producer. Keys must have been checked."""

    def __init__(
        self, database: Database, pipeline: IngestPipeline, *, max_remembered_series: int = MAX_REMEMBERED_SERIES
    ) -> None:
        self._database = database
        self._pipeline = pipeline
        self._max_remembered = max_remembered_series
        self._remembered: OrderedDict[tuple[int, UUID], _RunSeries] = OrderedDict()
        self._remembered_series = 0

    async def store(self, caller: Caller, points: RunPoints) -> None:
        """Returns when the points are committed. Repeating the same write within an hour stores nothing twice.

        Raises:
            RunNotFound, RunDeleted, InvalidField, Overloaded, Draining, DatabaseUnavailable.
        """
        self._pipeline.metrics.received.count("http", len(points.key))
        for _ in range(_LOOKS):
            series = await self._series_of(caller, points)
            write = MetricWrite(
                points.write_id,
                points.run_id,
                series.generation,
                series.server_start_id,
                np.array([series.ids[key] for key in points.key], np.int64),
                points.step,
                points.time_unix_us,
                points.value,
            )
            try:
                return await self._pipeline.write(write)
            except SeriesMoved:
                self._forget(caller, points.run_id, series)
        raise Overloaded("series of this run are being deleted again and again; try again", retry_after_s=1.0)

    async def check_run(self, caller: Caller, run_id: UUID) -> None:
        """Raises RunNotFound or RunDeleted if nothing can be written to the run."""
        async with self._database.acquire() as connection:
            await _generation_of(connection, caller, run_id)

    async def _series_of(self, caller: Caller, points: RunPoints) -> _RunSeries:
        """The series of the run, with at least all keys of the points."""
        series = self._remembered.get((caller.workspace_id, points.run_id))
        if series is not None:
            self._remembered.move_to_end((caller.workspace_id, points.run_id))
            if series.ids.keys() >= set(points.key):
                return series
        async with self._database.acquire() as connection:
            # The generation is read first: if series are deleted from now on, it increases, and the write is refused as
            # stale.
            fresh = _RunSeries(await _generation_of(connection, caller, points.run_id), server_start_id_of(connection))
            if series is None or (series.generation, series.server_start_id) != (
                fresh.generation,
                fresh.server_start_id,
            ):
                series = fresh
            missing = set(points.key) - series.ids.keys()
            resolved = await resolve_series(
                connection,
                points.run_id,
                RANK,
                ATTEMPT,
                sorted(missing),
                max_series_per_run=self._pipeline.max_series_per_run,
            )
        series.ids.update(resolved.ids)
        self._remember(caller, points.run_id, series)
        if resolved.refused:
            self._refuse(points, resolved)
        return series

    def _refuse(self, points: RunPoints, resolved: ResolvedSeries) -> NoReturn:
        """Refuses the whole request: as with MLflow, it is stored completely or not at all."""
        reason, example = next(iter(resolved.refused.values()))
        self._pipeline.metrics.points_refused(reason, len(points.key))
        kind = TooManySeries if reason is Reason.TOO_MANY_SERIES else InvalidField
        raise kind(f"metrics: {example}", field="metrics")

    def _remember(self, caller: Caller, run_id: UUID, series: _RunSeries) -> None:
        self._forget(caller, run_id, self._remembered.get((caller.workspace_id, run_id)))
        self._remembered[caller.workspace_id, run_id] = series
        series.counted = len(series.ids)
        self._remembered_series += series.counted
        while self._remembered_series > self._max_remembered and len(self._remembered) > 1:
            _, oldest = self._remembered.popitem(last=False)
            self._remembered_series -= oldest.counted

    def _forget(self, caller: Caller, run_id: UUID, series: _RunSeries | None) -> None:
        """Removes cached series, unless another request has replaced them by newer ones."""
        if series is not None and self._remembered.get((caller.workspace_id, run_id)) is series:
            del self._remembered[caller.workspace_id, run_id]
            self._remembered_series -= series.counted


async def _generation_of(connection: PooledConnection, caller: Caller, run_id: UUID) -> int:
    row = await connection.fetchrow(SQL["run_to_write_to"], caller.workspace_id, run_id)
    if row is None:
        raise RunNotFound(f"no run with id {run_id.hex}", field="run_id", subject=run_id.hex)
    if row["lifecycle"] != "active":
        raise RunDeleted(f"the run {run_id.hex} is deleted; restore it first", field="run_id", subject=run_id.hex)
    generation: int = row["series_generation"]
    return generation
