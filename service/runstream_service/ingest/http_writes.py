"""Points of MLflow's HTTP routes, which have no producer and no stream: from the request to the writer.

Series are looked up once and then cached. They are looked up again if the commit finds that they were deleted, or that
the database server was restarted or replaced.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from runstream_service.database.pool import server_start_id_of
from runstream_service.database.queries import load
from runstream_service.errors.core import (
    CoreError,
    Draining,
    InvalidField,
    Overloaded,
    RunDeleted,
    RunNotFound,
    TooManySeries,
)
from runstream_service.ingest.limits import MLFLOW_ATTEMPT, MLFLOW_RANK
from runstream_service.ingest.producer import MIN_CHARGE_POINTS
from runstream_service.ingest.refusals import Reason
from runstream_service.ingest.series import resolve_series

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from runstream_service.core.caller import Caller
    from runstream_service.database.pool import Database, PooledConnection
    from runstream_service.ingest.decode import Float64Column, Int64Column
    from runstream_service.ingest.pipeline import IngestPipeline
    from runstream_service.ingest.refusals import Refusal
    from runstream_service.ingest.series import ResolvedSeries

SQL = load("writes")

# About 200 bytes each. The runs that were written to least recently are evicted first.
MAX_CACHED_SERIES = 200_000
# How many times series are looked up for one write. A second time is needed only if series of the run were deleted, or
# the database failed over, between the look-up and the commit.
_MAX_TRIES = 10


class SeriesCacheStale(CoreError):
    """Series of the run were deleted, or the database failed over, after the write had looked them up. HttpIngest looks
    them up again; its callers never get this error."""

    reason = "SERIES_CACHE_STALE"


@dataclass(slots=True)
class PendingWrite:
    """Points of one run; the columns are equally long and hold only points that can be stored.

    `write_id` is a hash of the run and of the request's body. A request that is sent again within an hour of its
    commit, because its answer was lost, has the same id, and stores nothing. MLflow's server does the same with a
    repeated request: it drops points whose key, timestamp, step and value it has already.
    """

    write_id: UUID
    workspace_id: int
    run_id: UUID
    generation: int
    server_start_id: str  # of the server that gave the series their ids
    series_id: Int64Column
    step: Int64Column
    time_unix_us: Int64Column
    value: Float64Column
    # To the writer, it looks like the only batch of a producer, without refusals.
    number: int = 1
    rank: int = MLFLOW_RANK
    refusals: list[Refusal] = field(default_factory=list)
    charge: int = field(init=False)
    queued_points: int = 0
    completed: bool = False
    # When it was received, by the monotonic clock.
    received_at: float = field(default_factory=time.monotonic)
    oldest_logged_at: None = None
    # Result None: it is committed, now or by an earlier request.
    outcome: asyncio.Future[CoreError | None] = field(init=False)

    def __post_init__(self) -> None:
        self.charge = max(len(self.step), MIN_CHARGE_POINTS)
        self.outcome = asyncio.get_running_loop().create_future()

    @property
    def points(self) -> int:
        """How many points are to be stored."""
        return len(self.series_id)

    @property
    def kept_together(self) -> object:
        """The key for WriterRouter: items under way with the same key go to the same writer."""
        return self.run_id

    @property
    def caller(self) -> object:
        """Where the outcome is reported: each write has its own request."""
        return self

    def complete(self, error: CoreError | None) -> None:
        """Report the outcome: it is in the database (None), or it was not stored for this reason."""
        if not self.outcome.done():
            self.outcome.set_result(error)

    def abandon(self) -> None:
        """The service stops before the outcome is known; the request is sent again to another replica."""
        self.complete(Draining("this replica shuts down; send the request again", retry_after_s=1.0))

    def error_for_verdict(self, verdict: str, _committed_before: int) -> CoreError | None:
        """The error for begin_group_commit's verdict on this write; None if it is stored now, or was before."""
        run_id = self.run_id.hex
        if verdict == "missing":
            return RunNotFound(f"no run with id {run_id}", field="run_id", subject=run_id)
        if verdict == "deleted":
            return RunDeleted(f"the run {run_id} is deleted; restore it first", field="run_id", subject=run_id)
        if verdict == "stale":
            return SeriesCacheStale(f"series of the run {run_id} were deleted in the meantime")
        return None

    def server_changed_error(self) -> CoreError:
        """The error of a write whose series were looked up before the server was restarted or replaced."""
        return SeriesCacheStale(f"the database was restarted since series of the run {self.run_id.hex} were looked up")


@dataclass(frozen=True, slots=True)
class RunPoints:
    """Points to store in one run; row i of every column is one point. `write_id`: see PendingWrite."""

    run_id: UUID
    write_id: UUID
    key: Sequence[str]
    step: Int64Column
    time_unix_us: Int64Column
    value: Float64Column


@dataclass(slots=True)
class _CachedSeries:
    """The series of a run by key. They are valid for one generation of the run's series, and until the database's
    server is restarted or replaced."""

    generation: int
    server_start_id: str
    ids: dict[str, int] = field(default_factory=dict)
    counted: int = 0


class HttpIngest:
    """Stores points that come without a producer. Its callers check the keys (core/names.py)."""

    def __init__(
        self, database: Database, pipeline: IngestPipeline, *, max_cached_series: int = MAX_CACHED_SERIES
    ) -> None:
        self._database = database
        self._pipeline = pipeline
        self._max_cached_series = max_cached_series
        self._cache: OrderedDict[tuple[int, UUID], _CachedSeries] = OrderedDict()
        self._cached_series = 0

    async def write(self, caller: Caller, points: RunPoints) -> None:
        """Store points; returns when they are committed. The same write, repeated within an hour, stores nothing twice.

        Raises:
            RunNotFound, RunDeleted: nothing can be written to the run.
            InvalidField, TooManySeries: a key cannot be stored; no point of the request is.
            LimitReached, Overloaded, Draining, DatabaseUnavailable: try again.
        """
        self._pipeline.metrics.received.count("http", len(points.key))
        for _ in range(_MAX_TRIES):
            series = await self._series_of(caller, points)
            write = PendingWrite(
                points.write_id,
                caller.workspace_id,
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
            except SeriesCacheStale:
                self._cache_evict(caller, points.run_id, series)
        raise Overloaded(
            "nothing was stored: series of this run are being deleted again and again; try again", retry_after_s=1.0
        )

    async def check_run(self, caller: Caller, run_id: UUID) -> None:
        """Raises RunNotFound or RunDeleted if nothing can be written to the run."""
        async with self._database.acquire() as connection:
            await _generation_of(connection, caller, run_id)

    async def _series_of(self, caller: Caller, points: RunPoints) -> _CachedSeries:
        """The series of the run, with at least all keys of the points."""
        series = self._cache.get((caller.workspace_id, points.run_id))
        if series is not None:
            self._cache.move_to_end((caller.workspace_id, points.run_id))
            if series.ids.keys() >= set(points.key):
                return series
        async with self._database.acquire() as connection:
            # The generation is read first: if series are deleted from now on, it increases, and the write is refused as
            # stale.
            generation = await _generation_of(connection, caller, points.run_id)
            server_start_id = server_start_id_of(connection)
            if series is None or (series.generation, series.server_start_id) != (generation, server_start_id):
                series = _CachedSeries(generation, server_start_id)
            missing = set(points.key) - series.ids.keys()
            resolved = await resolve_series(
                connection,
                points.run_id,
                MLFLOW_RANK,
                MLFLOW_ATTEMPT,
                sorted(missing),
                max_series_per_run=self._pipeline.max_series_per_run(caller.workspace_id),
            )
        series.ids.update(resolved.ids)
        self._cache_put(caller, points.run_id, series)
        if resolved.refused:
            self._refuse(points, resolved)
        return series

    def _refuse(self, points: RunPoints, resolved: ResolvedSeries) -> NoReturn:
        """Refuses the whole request: as with MLflow's server, it is stored completely or not at all."""
        reason, example = next(iter(resolved.refused.values()))
        self._pipeline.metrics.points_refused(reason, len(points.key))
        kind = TooManySeries if reason is Reason.TOO_MANY_SERIES else InvalidField
        raise kind(f"metrics: {example}", field="metrics")

    def _cache_put(self, caller: Caller, run_id: UUID, series: _CachedSeries) -> None:
        self._cache_evict(caller, run_id, self._cache.get((caller.workspace_id, run_id)))
        self._cache[caller.workspace_id, run_id] = series
        series.counted = len(series.ids)
        self._cached_series += series.counted
        while self._cached_series > self._max_cached_series and len(self._cache) > 1:
            _, oldest = self._cache.popitem(last=False)
            self._cached_series -= oldest.counted

    def _cache_evict(self, caller: Caller, run_id: UUID, series: _CachedSeries | None) -> None:
        """Removes cached series, unless another request has replaced them by newer ones."""
        if series is not None and self._cache.get((caller.workspace_id, run_id)) is series:
            del self._cache[caller.workspace_id, run_id]
            self._cached_series -= series.counted


async def _generation_of(connection: PooledConnection, caller: Caller, run_id: UUID) -> int:
    row = await connection.fetchrow(SQL["run_to_write_to"], caller.workspace_id, run_id)
    if row is None:
        raise RunNotFound(f"no run with id {run_id.hex}", field="run_id", subject=run_id.hex)
    if row["lifecycle"] != "active":
        raise RunDeleted(f"the run {run_id.hex} is deleted; restore it first", field="run_id", subject=run_id.hex)
    generation: int = row["series_generation"]
    return generation
