"""Forgets rows that are kept for a time only: ids of HTTP metric writes, and producers, which only repeats of old
requests need; sessions that are over; ended tokens; old audit events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from runstream_service.database.queries import load

if TYPE_CHECKING:
    from runstream_service.database.pool import Database

SQL = load("retention")
WRITES_SQL = load("writes")
ACCESS_SQL = load("access")

_EVERY_S = 86_400.0
_PRODUCERS_AT_ONCE = 10_000
# One statement takes some tens of milliseconds.
_WRITES_AT_ONCE = 10_000
_EVENTS_AT_ONCE = 10_000


class WriteIdExpiry:
    """Forgets the ids of HTTP metric writes an hour after their commit: no client repeats a request that late."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run_once(self) -> int:
        """Returns how many ids were forgotten."""
        return await _forget(self._database, WRITES_SQL["forget_writes"], _WRITES_AT_ONCE)


class LedgerExpiry:
    """Forgets producers that have been silent for 90 days: each start of a process makes one, and a run may last for
    years.

    A producer that comes back later is refused because the database knows none of its batches (LEDGER_BEHIND); it takes
    a new id and continues. If its batches were committed more than 90 days ago, but never acknowledged, it stores them
    again.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run_if_due(self) -> int:
        """A round, if no replica has done one within the day."""
        return await _daily(self._database, "ledger", self.run_once)

    async def run_once(self) -> int:
        """Returns how many producers were forgotten."""
        return await _forget(self._database, SQL["forget_producers"], _PRODUCERS_AT_ONCE)


class AccessExpiry:
    """Forgets sessions that are over, tokens that ended 90 days ago (those of tracking URIs after a day), refusals of
    30 days ago, and other audit events after 400 days."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run_if_due(self) -> int:
        """A round, if no replica has done one within the day."""
        return await _daily(self._database, "access", self.run_once)

    async def run_once(self) -> int:
        """Returns how many rows were forgotten."""
        statements = (
            ACCESS_SQL[name] for name in ("forget_sessions", "forget_codes", "forget_tokens", "forget_events")
        )
        return sum([await _forget(self._database, sql, _EVENTS_AT_ONCE) for sql in statements])


async def _daily(database: Database, task: str, run_once: Callable[[], Awaitable[int]]) -> int:
    """A round of a shared task, if no replica has done one within the day."""
    if await database.fetchval(SQL["claim_task"], task, _EVERY_S) is None:
        return 0
    try:
        return await run_once()
    except Exception:
        await database.execute(SQL["release_task"], task)
        raise


async def _forget(database: Database, query: str, at_once: int) -> int:
    """Repeats a deletion of at most so many rows until none is left; returns how many were deleted."""
    forgotten = 0
    while True:
        command = await database.execute(query, at_once)
        forgotten += (count := int(command.removeprefix("DELETE ")))
        if count < at_once:
            return forgotten
