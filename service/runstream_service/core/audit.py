"""The audit log: who did what that matters later, such as deletions, as a log line and as a row.

The row is written in the transaction of the action, so there is never one without the other.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import structlog

from runstream_service.core.caller import Role
from runstream_service.core.pages import check_page_size, make_token, read_token
from runstream_service.database.queries import load

if TYPE_CHECKING:
    import asyncpg

    from runstream_service.core.caller import Caller
    from runstream_service.database.pool import Database, PooledConnection

SQL = load("access")

log = structlog.get_logger()

_NEWEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the audit log."""

    event_id: int
    at: datetime
    workspace: str  # empty: the event concerns none
    principal: str
    action: str
    subject: str
    details: dict[str, Any]


async def record(
    connection: PooledConnection | Database, caller: Caller, action: str, subject: object, **details: Any
) -> None:
    """Records an action of a caller in its workspace, in the transaction of `connection`."""
    await record_of(
        connection, caller.workspace_id, caller.principal, action, subject, workspace=caller.workspace, **details
    )


async def record_of(
    connection: PooledConnection | Database,
    workspace_id: int | None,
    principal: str,
    action: str,
    subject: object,
    *,
    workspace: str = "",
    **details: Any,
) -> None:
    """Records an action of a principal without a Caller, such as a sign-in. Without `workspace_id`, only admins see
    it."""
    await connection.execute(SQL["record_event"], workspace_id, principal, action, str(subject), json.dumps(details))
    log.info(
        "Audit event",
        action="audit",
        audit=action,
        principal=principal,
        workspace=workspace,
        subject=str(subject),
        **details,
    )


class AuditLog:
    """Reads the audit log. All methods also raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(
        self, caller: Caller, *, all_workspaces: bool = False, page_size: int = 0, page_token: str = ""
    ) -> tuple[Sequence[Event], str]:
        """One page of the events of the caller's workspace, or of all workspaces, newest first; and the token of the
        next page.

        Raises:
            Forbidden: the caller does not manage the workspace, or for all workspaces is not an admin.
            InvalidField.
        """
        caller.check(Role.ADMIN if all_workspaces else Role.MANAGE)
        size = check_page_size(page_size)
        before = read_token(page_token, of="audit events", shape=(int,))
        where = None if all_workspaces else caller.workspace_id
        rows = await self._database.fetch(SQL["list_events"], where, before[0] if before else _NEWEST, size)
        last = make_token(of="audit events", after=[rows[-1]["event_id"]]) if len(rows) == size else ""
        return [_event(row) for row in rows], last


def _event(row: asyncpg.Record) -> Event:
    return Event(
        row["event_id"],
        row["at"],
        row["workspace"] or "",
        row["principal"],
        row["action"],
        row["subject"],
        json.loads(row["details"]),
    )
