"""What may change of a run while somebody looks at it, of many runs at a time."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

from runstream_service.core.runs import SQL

if TYPE_CHECKING:
    from runstream_service.database.pool import Database

# The workspace in which a run is watched, and its id.
WatchedRun: TypeAlias = tuple[int, UUID]


class RunStates:
    """Reads them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, runs: Collection[WatchedRun]) -> dict[WatchedRun, tuple[Any, ...]]:
        """Name, status, lifecycle, end and experiment of each run that is in the workspace in which it is watched.

        Raises:
            DatabaseUnavailable.
        """
        workspaces, run_ids = [one[0] for one in runs], [one[1] for one in runs]
        rows = await self._database.fetch(SQL["states"], workspaces, run_ids)
        return {(row[0], row[1]): tuple(row)[2:] for row in rows}
