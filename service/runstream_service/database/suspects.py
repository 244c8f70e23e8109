"""Finds connections that have gone silent: nothing arrives over them any more, although neither side has closed them.

When a firewall, a load balancer or a NAT table forgets its connections, everything that is sent over them is dropped,
in both directions, while new connections work. The driver would wait for each answer until its timeout. So after the
connection of the ping was lost, all others are suspected, and PostgreSQL is asked, over a new one, what it is doing for
each of them.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable

import asyncpg
import structlog

from runstream_service.database.connections import OurConnection

log = structlog.get_logger()

# A suspected connection is in one of four states. Silent: PostgreSQL does not know it (it has no row here). Alive:
# PostgreSQL has received a statement since the suspicion (`heard`). Undecided: PostgreSQL works for it (`at_work`;
# writing to a client that does not read does not count). Silent: PostgreSQL has been idle for two seconds, so a
# statement or an answer was lost, or the connection is not in use.
_CHECK = """
SELECT pid,
       coalesce(query_start > $2, false) AS heard,
       coalesce(state = 'active' AND wait_event_type IS DISTINCT FROM 'Client', false)
           OR coalesce(state_change > clock_timestamp() - interval '2 seconds', false) AS at_work
  FROM pg_stat_activity WHERE pid = ANY ($1::int[])
"""


class Suspects:
    """Connections that may be silent. Each is closed or turns out to be alive; as long as a statement of it is running,
    it is checked again."""

    def __init__(self) -> None:
        self._connections: dict[int, OurConnection] = {}
        self._since: datetime.datetime | None = None

    async def suspect(self, connections: Iterable[OurConnection], asker: OurConnection) -> None:
        """Suspect all connections that are older than `asker`."""
        self._since = await asker.fetchval("SELECT clock_timestamp()")
        self._connections = {c.backend_pid: c for c in connections if c is not asker and not c.is_closed()}

    async def check(self, asker: OurConnection) -> None:
        """Close the connections over which nothing arrives any more."""
        self._connections = {pid: c for pid, c in self._connections.items() if not c.is_closed()}
        if not self._connections:
            return
        found = {row["pid"]: row for row in await asker.fetch(_CHECK, list(self._connections), self._since)}
        silent = [c for pid, c in self._connections.items() if pid not in found or _is_silent(found[pid])]
        self._connections = {pid: c for pid, c in self._connections.items() if pid in found and _is_at_work(found[pid])}
        for connection in silent:
            connection.terminate()
        if silent:
            message = "Connections to PostgreSQL had gone silent and were cut; new ones take their place"
            log.warning(message, action="silent_connections_cut", connections_cut=len(silent))


def _is_silent(row: asyncpg.Record) -> bool:
    return not row["heard"] and not row["at_work"]


def _is_at_work(row: asyncpg.Record) -> bool:
    return not row["heard"] and bool(row["at_work"])
