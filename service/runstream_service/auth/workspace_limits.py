"""The limits of workspaces that admins have set, in the database. The front ends read them every few seconds, and apply
them: see limits/workspace_limits.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from runstream_service.core import audit
from runstream_service.core.caller import Role
from runstream_service.database.queries import load
from runstream_service.errors.core import InvalidField
from runstream_service.limits.workspace_limits import MAX_LIMIT, NAMES

if TYPE_CHECKING:
    from runstream_service.auth.workspaces import Workspaces
    from runstream_service.core.caller import Caller
    from runstream_service.database.pool import Database

SQL = load("limits")


class StoredLimits:
    """The limits that workspaces have of their own, by the names in NAMES. A limit that is not in a mapping is that of
    the settings (--workspace-...); 0 means no limit. All methods also raise DatabaseUnavailable."""

    def __init__(self, database: Database, workspaces: Workspaces) -> None:
        self._database = database
        self._workspaces = workspaces

    async def get(self, caller: Caller, workspace: str) -> Mapping[str, int]:
        """The limits of a workspace; of the caller's if `workspace` is empty. Raises WorkspaceNotFound."""
        found = await self._workspaces.get(caller, workspace or caller.workspace)
        row = await self._database.fetchrow(SQL["limits_of"], found.workspace_id)
        return {} if row is None else {name: row[name] for name in NAMES if row[name] is not None}

    async def set(self, caller: Caller, workspace: str, limits: Mapping[str, int]) -> None:
        """Replaces all limits of a workspace; of the caller's if `workspace` is empty.

        Raises:
            Forbidden: the caller is not an admin.
            InvalidField: a limit is out of range.
            WorkspaceNotFound: there is no such workspace.
        """
        caller.check(Role.ADMIN)
        for name, value in limits.items():
            if not 0 <= value <= MAX_LIMIT:
                raise InvalidField(
                    f"limits.{name}: {value} is not from 0 (no limit) to {MAX_LIMIT:,}", field=f"limits.{name}"
                )
        found = await self._workspaces.get(caller, workspace or caller.workspace)
        async with self._database.transaction() as connection:
            await connection.execute(SQL["set_limits"], found.workspace_id, *(limits.get(name) for name in NAMES))
            await audit.record(connection, caller, "limits_changed", found.name, **limits)
