"""What is brought along from another tracking server: with the ids, numbers and times that it has there.

Every write may be repeated. What exists already stays as it is; what it lacks is added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from runstream_service.core import experiments
from runstream_service.core.experiments import Experiment
from runstream_service.core.names import check_entries, check_name
from runstream_service.core.times import to_datetime
from runstream_service.storage.queries import load

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.storage.database import Database

SQL, EXPERIMENTS = load("imports"), load("experiments")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedExperiment:
    """An experiment of another server. Times are microseconds since 1970; 0: it is not known."""

    name: str
    created_unix_us: int = 0
    updated_unix_us: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)


class Imports:
    """All methods also raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def experiment(self, caller: Caller, new: ImportedExperiment) -> tuple[Experiment, bool]:
        """The experiment of this name, created with these times if it does not exist, and whether it was created. Tags
        that it does not have are added.

        Raises:
            InvalidField, ExperimentDeleted.
        """
        check_name(new.name, field="name", max_characters=experiments.MAX_NAME_CHARACTERS)
        tags = check_entries(new.tags, field="tags", max_value_characters=experiments.MAX_TAG_CHARACTERS)
        created_at = _time_or_none(new.created_unix_us, "created_unix_us")
        updated_at = _time_or_none(new.updated_unix_us, "updated_unix_us")
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(
                SQL["insert_experiment"], caller.workspace_id, new.name, created_at, updated_at
            )
            if row is None:
                found, _ = await experiments.get_or_create(connection, caller, new.name, field="name")
            experiment_id = found.experiment_id if row is None else row["experiment_id"]
            await experiments.lock_active(connection, caller, experiment_id, shared=True)
            await connection.execute(SQL["insert_experiment_tags"], experiment_id, list(tags), list(tags.values()))
            stored = await connection.fetchrow(EXPERIMENTS["get_by_id"], caller.workspace_id, experiment_id)
            assert stored is not None  # it is locked
            return experiments.from_row(stored), row is not None


def _time_or_none(unix_us: int, field: str) -> datetime | None:
    return to_datetime(unix_us, field=field) if unix_us else None
