"""Deletes rows that are kept for a time only: ids of metric writes over HTTP and silent producers, which only repeats
of old requests need; sessions that are over; ended tokens; old audit events."""

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
    """Deletes the ids of metric writes over HTTP an hour after their commit: no client repeats a request that late."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run_once(self) -> int:
        """Delete all ids that are old enough. Returns how many."""
        return await _forget(self._database, WRITES_SQL["forget_writes"], _WRITES_AT_ONCE)


class LedgerExpiry:
    """Deletes producers that have been silent for 90 days: each start of a process creates one, and a run may last for
    years.

    A producer that comes back later is refused with LEDGER_BEHIND, since the database knows none of its batches; its
    client takes a new id and continues. Batches that were committed more than 90 days ago and never acknowledged are
    then stored twice.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run_if_due(self) -> int:
        """Run a round, if no replica has run one within the day. Returns how many rows were deleted."""
        return await _daily(self._database, "ledger", self.run_once)

    async def run_once(self) -> int:
        """Delete all producers that are old enough. Returns how many."""
        return await _forget(self._database, SQL["forget_producers"], _PRODUCERS_AT_ONCE)


class AccessExpiry:
    """Deletes sessions that are over; tokens 90 days after their end (those of tracking URIs after a day); audit events
    of refused calls after 30 days, and other audit events after 400 days."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run_if_due(self) -> int:
        """Run a round, if no replica has run one within the day. Returns how many rows were deleted."""
        return await _daily(self._database, "access", self.run_once)

    async def run_once(self) -> int:
        """Delete all rows that are old enough. Returns how many."""
        statements = (
            ACCESS_SQL[name] for name in ("forget_sessions", "forget_codes", "forget_tokens", "forget_events")
        )
        return sum([await _forget(self._database, sql, _EVENTS_AT_ONCE) for sql in statements])


async def _daily(database: Database, task: str, run_once: Callable[[], Awaitable[int]]) -> int:
    """Run a shared task, if no replica has run it within the day. Returns how many rows it deleted."""
    if await database.fetchval(SQL["claim_task"], task, _EVERY_S) is None:
        return 0
    try:
        return await run_once()
    except Exception:
        await database.execute(SQL["release_task"], task)
        raise


async def _forget(database: Database, query: str, at_once: int) -> int:
    """Repeat a deletion of at most `at_once` rows until none is left. Returns how many were deleted."""
    forgotten = 0
    while True:
        command = await database.execute(query, at_once)
        forgotten += (count := int(command.removeprefix("DELETE ")))
        if count < at_once:
            return forgotten
