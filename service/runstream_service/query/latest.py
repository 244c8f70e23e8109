"""The latest value of each series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_service.core.errors import InvalidField
from runstream_service.core.names import parse_run_id
from runstream_service.core.times import to_unix_us
from runstream_service.query.history import Series, check_keys
from runstream_service.storage.queries import load

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.storage.database import Database

SQL = load("points")

MAX_RUNS = 1_000


@dataclass(frozen=True, slots=True)
class LatestPoint:
    """The point of a series with the greatest (step, time, value), where NaN compares as 0."""

    series: Series
    step: int
    time_unix_us: int
    value: float


class Latest:
    """Reads latest values."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, caller: Caller, run_ids: Sequence[str], keys: Sequence[str] = ()) -> list[LatestPoint]:
        """The latest points in the order (run, key, rank, attempt). Unknown runs are left out.

        Raises:
            InvalidField, DatabaseUnavailable.
        """
        if not 1 <= len(run_ids) <= MAX_RUNS:
            raise InvalidField(f"run_ids: has {len(run_ids):,} runs; 1 to {MAX_RUNS:,} are allowed", field="run_ids")
        uids = [parse_run_id(run_id, field="run_ids") for run_id in run_ids]
        check_keys(keys)
        async with self._database.acquire() as connection:
            rows = await connection.fetch(SQL["series_of_runs"], caller.workspace_id, uids, list(keys) or None)
            points = await connection.fetch(SQL["latest"], [row["series_id"] for row in rows])
        by_series = {point["series_id"]: point for point in points}
        return [
            LatestPoint(
                Series(row["run_id"].hex, row["key"], row["rank"], row["attempt"]),
                point["step"],
                to_unix_us(point["time"]),
                point["value"],
            )
            for row in rows
            if (point := by_series.get(row["series_id"])) is not None
        ]
