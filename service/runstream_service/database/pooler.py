"""Detects a connection pooler between the service and PostgreSQL, and whether it keeps sessions.

A pooler in session mode gives each connection a session of its own, as PostgreSQL does. In transaction mode, statements
of one connection run in any session: settings, LISTEN, advisory locks and prepared statements would not stay with the
connection that made them. With only one client this would go unnoticed, so the check opens several connections.
"""

from __future__ import annotations

import contextlib

import asyncpg
import structlog

from runstream_service.database.pool import Database
from runstream_service.errors.core import DatabaseUnsuitable

log = structlog.get_logger()

_CONNECTIONS = 3


async def check(database: Database) -> None:
    """Finds out whether there is a pooler; logs a warning if there is one that keeps sessions.

    Raises:
        DatabaseUnsuitable: there is a pooler that does not keep sessions.
    """
    async with contextlib.AsyncExitStack() as open_transactions:
        first = await database.connect_notifier()
        open_transactions.callback(first.terminate)
        backend_pid = await first.fetchval("SELECT pg_backend_pid()")
        if backend_pid == first.get_server_pid():
            return  # no pooler: the process id of PostgreSQL's first message is that of the session
        others = []
        try:
            for _ in range(_CONNECTIONS):
                # A pooler in transaction mode gives this transaction any free session, perhaps that of `first`.
                other = await database.connect_notifier()
                open_transactions.callback(other.terminate)
                await other.execute("BEGIN")
                others.append(await other.fetchval("SELECT pg_backend_pid()"))
            again = await first.fetchval("SELECT pg_backend_pid()")
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise _unsuitable() from error
        if backend_pid in others or again != backend_pid:
            raise _unsuitable()
    log.warning(
        "Between the service and PostgreSQL there is a connection pooler. It keeps sessions, so that this works; it "
        "saves nothing, and has to allow as many connections as the service opens (docs/operations.md)",
        action="pooler_found",
    )


def _unsuitable() -> DatabaseUnsuitable:
    return DatabaseUnsuitable(
        "the URL leads to a connection pooler that does not keep sessions (transaction mode); give the address of "
        "PostgreSQL itself, or of a pooler in session mode"
    )
