"""Who waits for a lock in PostgreSQL: that a statement waits is seen there, not guessed from the time that it takes."""

from __future__ import annotations

import asyncio

from runstream_service.database.pool import Database

_WAITING = """
SELECT count(DISTINCT l.pid)
  FROM pg_locks l JOIN pg_stat_activity a USING (pid)
 WHERE NOT l.granted AND a.datname = current_database()
"""


async def waiting_for_locks(database: Database, *, statements: int = 1, timeout_s: float = 30) -> None:
    """Returns when this many statements of the database wait for a lock; raises if they never do."""
    give_up = asyncio.get_running_loop().time() + timeout_s
    while await database.fetchval(_WAITING) < statements:
        assert asyncio.get_running_loop().time() < give_up, "too few statements wait for a lock"
        await asyncio.sleep(0.01)


async def waits_for_a_lock(database: Database, task: asyncio.Task[object], *, timeout_s: float = 30) -> bool:
    """Whether the task comes to wait for a lock, or ends before."""
    give_up = asyncio.get_running_loop().time() + timeout_s
    while not task.done():
        if await database.fetchval(_WAITING):
            return not task.done()
        assert asyncio.get_running_loop().time() < give_up, "it neither waits for a lock nor ends"
        await asyncio.sleep(0.01)
    return False


async def waiting_for_a_lock(database: Database, task: asyncio.Task[object]) -> None:
    """Returns when the task waits for a lock; raises if it ends before, or never does."""
    assert await waits_for_a_lock(database, task), f"it did not wait: {task}"
