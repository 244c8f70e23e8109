"""Forgets rows that nobody needs any more: ids of HTTP metric writes and producers, which only repeats of old requests
would need; and what is over in the access control."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_service.storage.queries import load

if TYPE_CHECKING:
    from runstream_service.storage.database import Database

SQL = load("retention")
WRITES_SQL = load("writes")

ACCESS_SQL = load("access")

_EVERY_S = 86_400.0
_PRODUCERS_AT_ONCE = 10_000
# One statement takes some tens of milliseconds.
_WRITES_AT_ONCE = 10_000


class WriteIdExpiry:
    """Forgets the ids of HTTP metric writes an hour after their commit: no client repeats a request that late."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run_once(self) -> int:
        """Returns how many ids were forgotten."""
        forgotten = 0
        while True:
            command = await self._database.execute(WRITES_SQL["forget_writes"], _WRITES_AT_ONCE)
            forgotten += (count := int(command.removeprefix("DELETE ")))
            if count < _WRITES_AT_ONCE:
                return forgotten


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
        if await self._database.fetchval(SQL["claim_task"], "ledger", _EVERY_S) is None:
            return 0
        try:
            return await self.run_once()
        except Exception:
            await self._database.execute(SQL["release_task"], "ledger")
            raise

    async def run_once(self) -> int:
        """Returns how many producers were forgotten."""
        forgotten = 0
        while True:
            command = await self._database.execute(SQL["forget_producers"], _PRODUCERS_AT_ONCE)
            forgotten += (count := int(command.removeprefix("DELETE ")))
            if count < _PRODUCERS_AT_ONCE:
                return forgotten


class AccessExpiry:
    """Forgets sessions that are over, tokens that ended 90 days ago, and audit events of more than 400 days."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run_if_due(self) -> None:
        """A round, if no replica has done one within the day."""
        if await self._database.fetchval(SQL["claim_task"], "access", _EVERY_S) is None:
            return
        try:
            await self.run_once()
        except Exception:
            await self._database.execute(SQL["release_task"], "access")
            raise

    async def run_once(self) -> None:
        """Each statement finds its rows by an index."""
        for name in ("forget_sessions", "forget_tokens", "forget_events"):
            await self._database.execute(ACCESS_SQL[name])
