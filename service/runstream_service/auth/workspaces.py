"""Workspaces: teams that share a service and do not see each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from runstream_service.core import audit
from runstream_service.core.caller import Role
from runstream_service.core.experiments import DEFAULT_NAME, get_or_create
from runstream_service.core.names import check_text
from runstream_service.core.workspace_names import check_workspace_name, to_look_up
from runstream_service.database.queries import load
from runstream_service.errors.core import AlreadyExists, WorkspaceNotFound

if TYPE_CHECKING:
    import asyncpg

    from runstream_service.core.caller import Caller
    from runstream_service.database.pool import Database

SQL = load("access")

MAX_DESCRIPTION_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace."""

    workspace_id: int
    name: str
    description: str
    created_at: datetime


class Workspaces:
    """The workspaces of a database. All methods also raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, caller: Caller, name: str, *, description: str = "") -> Workspace:
        """Makes a workspace, with the experiment that runs get which name none.

        Raises:
            Forbidden: the caller is not an admin.
            InvalidField: the name or the description is not valid.
            AlreadyExists: there is a workspace with this name.
        """
        caller.check(Role.ADMIN)
        check_workspace_name(name)
        check_text(description, field="description", max_characters=MAX_DESCRIPTION_CHARACTERS)
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(SQL["insert_workspace"], name, description)
            if row is None:
                raise AlreadyExists(
                    f"name: there is a workspace {name!r} already; choose another name", field="name", subject=name
                )
            there = replace(caller, workspace_id=row["workspace_id"], workspace=name)
            await get_or_create(connection, there, DEFAULT_NAME, field="name")
            await audit.record(connection, there, "workspace_created", name)
        return _workspace(row)

    async def list(self, caller: Caller) -> Sequence[Workspace]:
        """The workspaces that the caller may enter, ordered by name."""
        names = None if caller.role is Role.ADMIN else [caller.workspace, *caller.others]
        return [_workspace(row) for row in await self._database.fetch(SQL["list_workspaces"], names)]

    async def get(self, caller: Caller, name: str) -> Workspace:
        """A workspace by its name. Raises WorkspaceNotFound if it does not exist, or the caller may not enter it."""
        row = await self._database.fetchrow(SQL["find_workspace"], to_look_up(name))
        if row is None or (caller.role is not Role.ADMIN and name not in (caller.workspace, *caller.others)):
            raise _not_found(name)
        return _workspace(row)

    async def describe(self, caller: Caller, name: str, description: str) -> Workspace:
        """Replaces the description of a workspace.

        Raises:
            Forbidden: the caller is not an admin.
            InvalidField: the description is too long, or has characters that are not allowed.
            WorkspaceNotFound: there is no such workspace.
        """
        caller.check(Role.ADMIN)
        check_text(description, field="description", max_characters=MAX_DESCRIPTION_CHARACTERS)
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(SQL["describe_workspace"], to_look_up(name), description)
            if row is None:
                raise _not_found(name)
            there = replace(caller, workspace_id=row["workspace_id"], workspace=name)
            await audit.record(connection, there, "workspace_described", name)
        return _workspace(row)


def _not_found(name: str) -> WorkspaceNotFound:
    return WorkspaceNotFound(f"no workspace {name[:80]!r}", field="workspace", subject=name)


def _workspace(row: asyncpg.Record) -> Workspace:
    return Workspace(row["workspace_id"], row["name"], row["description"], row["created_at"])
