"""Forgets the ids of HTTP metric writes an hour after their commit: no client repeats a request that late."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_service.storage.queries import load

if TYPE_CHECKING:
    from runstream_service.storage.database import Database

SQL = load("writes")

# One statement takes some tens of milliseconds.
_WRITES_AT_ONCE = 10_000


class WriteIdExpiry:
    """One round forgets all ids that are too old."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def round(self) -> int:
        """Returns how many ids were forgotten."""
        forgotten = 0
        while True:
            command = await self._database.execute(SQL["forget_writes"], _WRITES_AT_ONCE)
            forgotten += (count := int(command.removeprefix("DELETE ")))
            if count < _WRITES_AT_ONCE:
                return forgotten
