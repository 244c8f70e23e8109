"""Reads experiments with the number of their runs, ordered by their last activity."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from runstream_service.core.experiments import DEFAULT_NAME, SQL

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.database.pool import Database

MAX_EXPERIMENTS = 10_000


@dataclass(frozen=True, slots=True)
class ActiveExperiment:
    """An experiment, how many active runs it has, and when one of them began, ended or was last seen."""

    experiment_id: int
    name: str
    lifecycle: str
    retention_days: int | None
    run_count: int
    updated_at: datetime


class ExperimentActivity:
    """Reads experiments by activity."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, caller: Caller) -> list[ActiveExperiment]:
        """The experiments of a workspace, also deleted ones: first Default, then those with the newest activity; at
        most MAX_EXPERIMENTS.

        Raises:
            DatabaseUnavailable.
        """
        rows = await self._database.fetch(SQL["list_by_activity"], caller.workspace_id, DEFAULT_NAME, MAX_EXPERIMENTS)
        return [ActiveExperiment(*row) for row in rows]

    async def all_ids(self, caller: Caller) -> list[int]:
        """The ids of all experiments of a workspace. Raises DatabaseUnavailable."""
        return [row[0] for row in await self._database.fetch(SQL["ids_of_workspace"], caller.workspace_id)]
