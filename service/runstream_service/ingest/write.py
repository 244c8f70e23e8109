"""A metric write that came over HTTP, on its way to the database. It has no producer and no stream."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runstream_service.core.errors import CoreError, Draining, InvalidField, RunDeleted, RunNotFound
from runstream_service.ingest.stream import MIN_CHARGE_POINTS

if TYPE_CHECKING:
    from uuid import UUID

    from runstream_service.ingest.decode import Float64Column, Int64Column
    from runstream_service.ingest.refusals import Reason, Refusal


class SeriesMoved(CoreError):
    """Series of the run were deleted, or the database failed over, after the write had looked them up: they must be
    looked up again. Callers never see this error."""

    reason = "SERIES_MOVED"


@dataclass(slots=True)
class MetricWrite:
    """Points of one run; the columns are equally long and hold only points that can be stored.

    Its id is a hash of the run and of the request's body. A request that is sent again within an hour of its commit,
    because its answer was lost, has the same id, and stores nothing. That is also what MLflow does with a repeated
    request: it drops points whose key, timestamp, step and value it has already, and a body has all four of each point.
    """

    write_id: UUID
    run_id: UUID
    generation: int
    server_start_id: str  # of the server that gave the series their ids
    series_id: Int64Column
    step: Int64Column
    time_unix_us: Int64Column
    value: Float64Column
    # For the writer, it looks like a batch of a stream: with the number of a producer's only batch, and no refusals.
    number: int = 1
    refusals: list[Refusal] = field(default_factory=list)
    charge: int = field(init=False)
    queued_points: int = 0
    told: bool = False
    # When it was received, by the monotonic clock.
    came: float = field(default_factory=time.monotonic)
    logged: None = None
    # Result None: it is committed, now or by an earlier request.
    outcome: asyncio.Future[CoreError | None] = field(init=False)

    def __post_init__(self) -> None:
        self.charge = max(len(self.step), MIN_CHARGE_POINTS)
        self.outcome = asyncio.get_running_loop().create_future()

    @property
    def points(self) -> int:
        """How many points are to be stored."""
        return len(self.series_id)

    def committed(self) -> None:
        """It is in the database."""
        self._end(None)

    def failed(self, error: CoreError) -> None:
        """It was not stored, for this reason."""
        self._end(error)

    def dropped(self) -> None:
        """The service stops before it is known to be committed; its repeat goes to another replica."""
        self._end(Draining("this replica shuts down; send the request again", retry_after_s=1.0))

    def refuse(self, _reason: Reason, why: str) -> bool:
        """Nothing of it will be stored. Returns whether it has to be committed as empty nevertheless: never."""
        self._end(InvalidField(f"metrics: PostgreSQL refused the points: {why}", field="metrics"))
        return False

    def error_of(self, verdict: str, _committed_before: int) -> CoreError | None:
        """The error that follows from begin_group_commit's verdict on it, if any."""
        run_id = self.run_id.hex
        if verdict == "missing":
            return RunNotFound(f"no run with id {run_id}", field="run_id", subject=run_id)
        if verdict == "deleted":
            return RunDeleted(f"the run {run_id} is deleted; restore it first", field="run_id", subject=run_id)
        if verdict == "stale":
            return SeriesMoved(f"series of the run {run_id} were deleted in the meantime")
        return None

    def server_changed_error(self) -> CoreError:
        """The error of a write whose series were looked up before the server was restarted or replaced."""
        return SeriesMoved(f"the database was restarted since series of the run {self.run_id.hex} were looked up")

    def _end(self, error: CoreError | None) -> None:
        if not self.outcome.done():
            self.outcome.set_result(error)
