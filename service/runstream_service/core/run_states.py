"""Reads what may change of a run while a page shows it, for many runs at once."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

from runstream_service.core.runs import SQL

if TYPE_CHECKING:
    from runstream_service.database.pool import Database

# A run that a page shows: the id of the page's workspace, and the id of the run.
WatchedRun: TypeAlias = tuple[int, UUID]


class RunStates:
    """Reads the states of runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, runs: Collection[WatchedRun]) -> dict[WatchedRun, tuple[Any, ...]]:
        """Name, status, lifecycle, end and experiment id of each run. Runs that are not in the workspace of their page
        are left out.

        Raises:
            DatabaseUnavailable.
        """
        workspaces, run_ids = [one[0] for one in runs], [one[1] for one in runs]
        rows = await self._database.fetch(SQL["states"], workspaces, run_ids)
        return {(row[0], row[1]): tuple(row)[2:] for row in rows}
