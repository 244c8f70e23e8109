"""Experiments: named groups of runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

import asyncpg

from runstream_service.core import audit
from runstream_service.core.caller import DEFAULT_WORKSPACE_ID, Role
from runstream_service.core.names import check_entries, check_name, check_storable, check_text
from runstream_service.core.pages import check_page_size, make_token, read_token
from runstream_service.core.rows import tags_of
from runstream_service.database.queries import load
from runstream_service.errors.core import (
    AlreadyExists,
    DatabaseUnavailable,
    ExperimentDeleted,
    ExperimentNotFound,
    InvalidField,
    NotFound,
)

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.database.pool import Database, PooledConnection

SQL = load("experiments")

MAX_NAME_CHARACTERS = 500
MAX_LOCATION_CHARACTERS = 2_048
MAX_TAG_CHARACTERS = 20_000
MAX_RETENTION_DAYS = 36_500
DEFAULT_NAME = "Default"
# The id of the experiment Default of the workspace `default`.
DEFAULT_ID = 0
# The names that are tried for a run whose experiment is deleted: the name itself, then with (2) to (20) appended.
_MAX_NAME_NUMBER = 20
# How many times an experiment is looked up and inserted. An insertion conflicts if another caller has just created the
# name; if it is then not found, it was purged at once.
_MAX_TRIES = 3


@dataclass(frozen=True, slots=True)
class Experiment:
    """A stored experiment. `lifecycle`: `active` or `deleted`."""

    experiment_id: int
    name: str
    lifecycle: str
    created_at: datetime
    updated_at: datetime
    retention_days: int | None = None  # points are deleted when they are older; None: never
    artifact_location: str = ""  # a URI; the files of its runs and models are below it
    tags: dict[str, str] = field(default_factory=dict)


class Experiments:
    """Creates, reads, changes and deletes experiments. All methods also raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, caller: Caller, name: str) -> tuple[Experiment, bool]:
        """Returns the experiment with this name, created if there is none, and whether it was created.

        Raises:
            InvalidField, ExperimentDeleted.
        """
        async with self._database.transaction() as connection:
            return await get_or_create(connection, caller, name, field="name")

    async def create_new(
        self, caller: Caller, name: str, *, artifact_location: str = "", tags: Mapping[str, str] | None = None
    ) -> Experiment:
        """Creates an experiment. Without `artifact_location`, its artifacts go to the service's own store. Only admins
        may choose a location.

        Raises:
            InvalidField, AlreadyExists.
        """
        if artifact_location and caller.role < Role.ADMIN:
            # The location could be one of another workspace.
            raise InvalidField(
                "artifact_location cannot be specified when workspaces are enabled; leave it out, or ask an admin of "
                "this service to create the experiment",
                field="artifact_location",
            )
        check_name(name, field="name", max_characters=MAX_NAME_CHARACTERS)
        check_text(artifact_location, field="artifact_location", max_characters=MAX_LOCATION_CHARACTERS)
        checked = check_entries(tags or {}, field="tags", max_value_characters=MAX_TAG_CHARACTERS)
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(SQL["insert"], caller.workspace_id, name, artifact_location or None)
            if row is None:
                raise _taken(name, await connection.fetchrow(SQL["get_by_name"], caller.workspace_id, name))
            await connection.execute(SQL["upsert_tags"], row["experiment_id"], list(checked), list(checked.values()))
            return replace(from_row(row), tags=checked)

    async def get(self, caller: Caller, *, experiment_id: int | None = None, name: str | None = None) -> Experiment:
        """Returns the experiment with an id or a name, even if it is deleted.

        Raises:
            InvalidField: both an id and a name were passed, or neither.
            ExperimentNotFound: the workspace has no experiment with this id or name.
        """
        if experiment_id is not None and name is None:
            row = await self._database.fetchrow(SQL["get_by_id"], caller.workspace_id, experiment_id)
            field, what, subject = "experiment_id", f"id {experiment_id}", str(experiment_id)
        elif name is not None and experiment_id is None:
            check_name(name, field="name", max_characters=MAX_NAME_CHARACTERS)
            row = await self._database.fetchrow(SQL["get_by_name"], caller.workspace_id, name)
            field, what, subject = "name", f"name {name[:80]!r}", name
        else:
            raise InvalidField("selector: pass either experiment_id or name", field="selector")
        if row is None:
            raise ExperimentNotFound(f"no experiment with {what}", field=field, subject=subject)
        return from_row(row)

    async def default_id(self, caller: Caller) -> int:
        """The id of the experiment Default of the caller's workspace; DEFAULT_ID, that of the first workspace, if it
        has none any more."""
        if caller.workspace_id == DEFAULT_WORKSPACE_ID:
            return DEFAULT_ID
        found = await self._database.fetchrow(SQL["get_by_name"], caller.workspace_id, DEFAULT_NAME)
        return DEFAULT_ID if found is None else int(found["experiment_id"])

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
        page = [from_row(row) for row in rows[:size]]
        return page, make_token(of="experiments", after=[page[-1].experiment_id]) if len(rows) > size else ""

    async def set_retention(self, caller: Caller, experiment_id: int, days: int | None) -> None:
        """Sets after how many days points are deleted; None: never. Takes effect within an hour.

        Raises:
            InvalidField, ExperimentNotFound.
        """
        if days is not None and not 1 <= days <= MAX_RETENTION_DAYS:
            raise InvalidField(
                f"retention_days: {days} is not from 1 to {MAX_RETENTION_DAYS:,}; leave it out to keep points forever",
                field="retention_days",
            )
        async with self._database.transaction() as connection:
            if await connection.fetchval(SQL["set_retention"], caller.workspace_id, experiment_id, days) is None:
                raise _not_found(experiment_id)
            await audit.record(connection, caller, "retention_set", experiment_id, days=days)

    async def rename(self, caller: Caller, experiment_id: int, name: str) -> None:
        """Renames an active experiment.

        Raises:
            InvalidField, ExperimentNotFound, ExperimentDeleted, AlreadyExists.
        """
        check_name(name, field="new_name", max_characters=MAX_NAME_CHARACTERS)
        try:
            async with self._database.transaction() as connection:
                await lock_active(connection, caller, experiment_id)
                await connection.execute(SQL["rename"], experiment_id, name)
        except asyncpg.UniqueViolationError as error:
            holder = await self._database.fetchrow(SQL["get_by_name"], caller.workspace_id, name)
            raise _taken(name, holder) from error

    async def delete(self, caller: Caller, experiment_id: int) -> None:
        """Marks an active experiment and its runs as deleted and fences their producers, in one transaction.

        Raises:
            ExperimentNotFound: also if it is deleted already.
        """
        async with self._database.transaction() as connection:
            await _lock(connection, caller, experiment_id, lifecycle="active")
            await connection.execute(SQL["set_lifecycle"], experiment_id, "deleted")
            runs = [row["run_id"] for row in await connection.fetch(SQL["lock_runs"], experiment_id)]
            await connection.execute(SQL["delete_runs"], experiment_id)
            await connection.fetch(SQL["lock_producers"], runs)
            await connection.execute(SQL["fence_producers"], runs)
            await audit.record(connection, caller, "experiment_deleted", experiment_id, runs=len(runs))

    async def restore(self, caller: Caller, experiment_id: int) -> None:
        """Restores a deleted experiment, with all of its runs that are not purged yet.

        Raises:
            ExperimentNotFound: also if it is not deleted.
        """
        async with self._database.transaction() as connection:
            await _lock(connection, caller, experiment_id, lifecycle="deleted")
            await connection.execute(SQL["set_lifecycle"], experiment_id, "active")
            await connection.fetch(SQL["lock_runs"], experiment_id)
            await connection.execute(SQL["restore_runs"], experiment_id)
            await audit.record(connection, caller, "experiment_restored", experiment_id)

    async def set_tag(self, caller: Caller, experiment_id: int, key: str, value: str) -> None:
        """Sets a tag of an active experiment, replacing an earlier value.

        Raises:
            InvalidField, ExperimentNotFound, ExperimentDeleted.
        """
        check_entries({key: value}, field="tags", max_value_characters=MAX_TAG_CHARACTERS)
        async with self._database.transaction() as connection:
            await lock_active(connection, caller, experiment_id)
            await connection.execute(SQL["upsert_tags"], experiment_id, [key], [value])

    async def delete_tag(self, caller: Caller, experiment_id: int, key: str) -> None:
        """Deletes a tag of an active experiment.

        Raises:
            InvalidField, ExperimentNotFound, ExperimentDeleted, NotFound.
        """
        check_storable(key, field="key")
        async with self._database.transaction() as connection:
            await lock_active(connection, caller, experiment_id)
            if await connection.execute(SQL["delete_tag"], experiment_id, key) == "DELETE 0":
                raise NotFound(f"No tag with name: {key} in experiment with id {experiment_id}", field="key")


async def lock_active(
    connection: PooledConnection, caller: Caller, experiment_id: int, *, shared: bool = False
) -> None:
    """Locks an active experiment against changes until the transaction ends. `shared`: others may hold this lock, too.

    Raises:
        ExperimentNotFound, ExperimentDeleted.
    """
    query = SQL["lock_shared" if shared else "lock"]
    lifecycle = await connection.fetchval(query, caller.workspace_id, experiment_id)
    if lifecycle is None:
        raise _not_found(experiment_id)
    if lifecycle == "deleted":
        raise ExperimentDeleted(
            f"the experiment {experiment_id} is deleted; restore it first",
            field="experiment_id",
            subject=experiment_id,
        )


async def _lock(connection: PooledConnection, caller: Caller, experiment_id: int, *, lifecycle: str) -> None:
    if await connection.fetchval(SQL["lock"], caller.workspace_id, experiment_id) != lifecycle:
        raise _not_found(experiment_id)


async def get_or_create(
    connection: PooledConnection, caller: Caller, name: str, *, field: str
) -> tuple[Experiment, bool]:
    """Returns the experiment with a name, created if there is none, and whether it was created. The transaction must be
    read committed, so that the query after a conflict sees what was committed in the meantime.

    Raises:
        InvalidField, ExperimentDeleted.
    """
    check_name(name, field=field, max_characters=MAX_NAME_CHARACTERS)
    experiment, created = await _find_or_insert(connection, caller, name)
    if experiment.lifecycle == "deleted":
        raise ExperimentDeleted(
            f"the experiment {name[:80]!r} is deleted; restore it first, or take another name",
            field=field,
            subject=experiment.experiment_id,
        )
    return experiment, created


async def find_or_create_for_run(connection: PooledConnection, caller: Caller, name: str, *, field: str) -> Experiment:
    """An active experiment for a new run, created if there is none. It cannot be deleted until the transaction ends.

    If the experiment with this name is deleted, one with a number after the name is used instead: an error would lose
    the points of a training job that is running.

    Raises:
        InvalidField, ExperimentDeleted: all experiments that could be used instead are deleted, too.
    """
    check_name(name, field=field, max_characters=MAX_NAME_CHARACTERS)
    for candidate in _names_for_runs(name):
        experiment, _ = await _find_or_insert(connection, caller, candidate)
        # The lock waits for a concurrent deletion, and then sees it.
        lifecycle = await connection.fetchval(SQL["lock_shared"], caller.workspace_id, experiment.experiment_id)
        if lifecycle == "active":
            return experiment
    raise ExperimentDeleted(
        f"the experiment {name[:80]!r} is deleted, and so are all up to number {_MAX_NAME_NUMBER}; restore one of them",
        field=field,
    )


def takes_place_of(found: str, wanted: str) -> bool:
    """Whether `find_or_create_for_run` may have returned the experiment `found` for the name `wanted`."""
    return found in _names_for_runs(wanted)


def _names_for_runs(name: str) -> list[str]:
    """The name itself, then "name (2)", "name (3)" and so on; names that would be too long are shortened."""
    endings = [f" ({number})" for number in range(2, _MAX_NAME_NUMBER + 1)]
    return [name, *(name[: MAX_NAME_CHARACTERS - len(ending)] + ending for ending in endings)]


async def _find_or_insert(connection: PooledConnection, caller: Caller, name: str) -> tuple[Experiment, bool]:
    """The experiment with this name, which may be deleted, and whether it is new."""
    for _ in range(_MAX_TRIES):
        # Look it up first: it nearly always exists, and an insertion that conflicts uses up an id.
        row = await connection.fetchrow(SQL["get_by_name"], caller.workspace_id, name)
        if row is not None:
            return from_row(row), False
        row = await connection.fetchrow(SQL["insert"], caller.workspace_id, name, None)
        if row is not None:
            return from_row(row), True
    raise DatabaseUnavailable(f"the experiment {name[:80]!r} is created and purged again and again; try again")


def default_location(experiment_id: int) -> str:
    """The location of an experiment's artifacts if none was chosen: in this service's store."""
    return f"mlflow-artifacts:/{experiment_id}"


def artifact_uri_below(location: str | None, experiment_id: int, path: str) -> str:
    """A path below an experiment's location. A query, as in s3://bucket/a?region=b, stays at the end, as in MLflow."""
    base, mark, query = (location or default_location(experiment_id)).partition("?")
    return f"{base.removesuffix('/')}/{path}{mark}{query}"


def from_row(row: asyncpg.Record) -> Experiment:
    return Experiment(
        row["experiment_id"],
        row["name"],
        row["lifecycle"],
        row["created_at"],
        row["updated_at"],
        row["retention_days"],
        row["artifact_location"] or default_location(row["experiment_id"]),
        tags_of(row),
    )


def _not_found(experiment_id: int) -> ExperimentNotFound:
    return ExperimentNotFound(f"no experiment with id {experiment_id}", field="experiment_id", subject=experiment_id)


def _taken(name: str, holder: asyncpg.Record | None) -> AlreadyExists:
    """The error for a name that is taken; `holder` is the experiment that has it, if it still exists."""
    message = f"Experiment(name={name}) already exists."
    if holder is not None and holder["lifecycle"] == "deleted":
        message += (
            f" It is deleted: restore it (its id is {holder['experiment_id']}), or free its name for good with "
            "`runstream gc --purge-after-days 0`, which purges everything that is deleted."
        )
    return AlreadyExists(message, field="name", subject=name)
