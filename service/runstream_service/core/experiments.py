"""Experiments: named groups of runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from runstream_service.core.errors import ExperimentDeleted, ExperimentNotFound, InvalidField
from runstream_service.core.names import check_name
from runstream_service.core.pages import check_page_size, make_token, read_token
from runstream_service.storage.queries import load

if TYPE_CHECKING:
    import asyncpg

    from runstream_service.core.caller import Caller
    from runstream_service.storage.database import Database, PooledConnection

SQL = load("experiments")

log = structlog.get_logger()

MAX_NAME_CHARACTERS = 500
MAX_RETENTION_DAYS = 36_500
DEFAULT_NAME = "Default"


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment as it is stored. `lifecycle` is `active` or `deleted`."""

    experiment_id: int
    name: str
    lifecycle: str
    created_at: datetime
    updated_at: datetime
    retention_days: int | None = None  # points are deleted when they are older; None: never


class Experiments:
    """All methods raise DatabaseUnavailable too."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, caller: Caller, name: str) -> tuple[Experiment, bool]:
        """Gets the experiment of that name, or creates it; says whether it did.

        Raises:
            InvalidField, ExperimentDeleted.
        """
        async with self._database.transaction() as connection:
            return await get_or_create(connection, caller, name, field="name")

    async def get(self, caller: Caller, *, experiment_id: int | None = None, name: str | None = None) -> Experiment:
        """Gets one by id or by name, perhaps a deleted one.

        Raises:
            InvalidField: not exactly one of the two is given.
            ExperimentNotFound: the caller has none of that id or name.
        """
        if experiment_id is not None and name is None:
            row = await self._database.fetchrow(SQL["get_by_id"], caller.workspace_id, experiment_id)
            field, what = "experiment_id", f"id {experiment_id}"
        elif name is not None and experiment_id is None:
            check_name(name, field="name", max_characters=MAX_NAME_CHARACTERS)
            row = await self._database.fetchrow(SQL["get_by_name"], caller.workspace_id, name)
            field, what = "name", f"name {name[:80]!r}"
        else:
            raise InvalidField("selector: give either experiment_id or name", field="selector")
        if row is None:
            raise ExperimentNotFound(f"no experiment with {what}", field=field)
        return _experiment(row)

    async def list(self, caller: Caller, *, page_size: int, page_token: str) -> tuple[list[Experiment], str]:
        """One page of the active experiments, newest first, and the token of the next (empty on the last).

        Raises:
            InvalidField.
        """
        size = check_page_size(page_size)
        after = read_token(page_token, of="experiments", shape=(int,))
        rows = await self._database.fetch(
            SQL["list_active"], caller.workspace_id, after[0] if after else None, size + 1
        )
        page = [_experiment(row) for row in rows[:size]]
        return page, make_token(of="experiments", after=[page[-1].experiment_id]) if len(rows) > size else ""

    async def set_retention(self, caller: Caller, experiment_id: int, days: int | None) -> None:
        """Sets after how many days points are deleted; None: never. Takes effect within the hour.

        Raises:
            InvalidField, ExperimentNotFound.
        """
        if days is not None and not 1 <= days <= MAX_RETENTION_DAYS:
            raise InvalidField(
                f"retention_days: {days} is not from 1 to {MAX_RETENTION_DAYS:,}; leave it out to keep points for ever",
                field="retention_days",
            )
        if await self._database.fetchval(SQL["set_retention"], caller.workspace_id, experiment_id, days) is None:
            raise ExperimentNotFound(f"no experiment with id {experiment_id}", field="experiment_id")
        log.info(
            "Set the retention of an experiment",
            action="retention_set",
            experiment_id=experiment_id,
            days=days,
            by=caller.principal,
        )


async def get_or_create(
    connection: PooledConnection, caller: Caller, name: str, *, field: str
) -> tuple[Experiment, bool]:
    """In the caller's transaction (read committed, so that the last look sees what committed while we waited).

    Raises:
        InvalidField, ExperimentDeleted.
    """
    check_name(name, field=field, max_characters=MAX_NAME_CHARACTERS)
    # Nearly always it exists, and an insertion that conflicts would use up an id each time.
    row = await connection.fetchrow(SQL["get_by_name"], caller.workspace_id, name)
    created = False
    if row is None:
        row = await connection.fetchrow(SQL["insert"], caller.workspace_id, name)
        created = row is not None
    if row is None:
        row = await connection.fetchrow(SQL["get_by_name"], caller.workspace_id, name)
    assert row is not None, "experiments are never removed"
    experiment = _experiment(row)
    if experiment.lifecycle == "deleted":
        raise ExperimentDeleted(f"the experiment {name[:80]!r} is deleted", field=field)
    return experiment, created


def _experiment(row: asyncpg.Record) -> Experiment:
    return Experiment(
        row["experiment_id"],
        row["name"],
        row["lifecycle"],
        row["created_at"],
        row["updated_at"],
        row["retention_days"],
    )
