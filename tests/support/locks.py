"""Who waits for a lock in PostgreSQL: that a statement waits is seen there, not guessed from the time that it takes."""

from __future__ import annotations

import asyncio

from runstream_service.storage.database import Database

_WAITING = """
SELECT count(DISTINCT l.pid)
  FROM pg_locks l JOIN pg_stat_activity a USING (pid)
 WHERE NOT l.granted AND a.datname = current_database()
"""


async def waiting_for_a_lock(database: Database, task: asyncio.Task[object], *, timeout_s: float = 30) -> None:
    """Returns when a statement of this database waits for a lock; raises if the task ends before, or none ever does."""
    give_up = asyncio.get_running_loop().time() + timeout_s
    while not await database.fetchval(_WAITING):
        assert not task.done(), f"it did not wait: {task}"
        assert asyncio.get_running_loop().time() < give_up, "nothing waits for a lock"
        await asyncio.sleep(0.01)
    assert not task.done()
