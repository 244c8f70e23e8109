"""Drops the partitions that no reader needs any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import structlog

from runstream_service.rollup.hot_rows import partition
from runstream_service.storage.dedicated_connection import transaction

if TYPE_CHECKING:
    from runstream_service.storage.database import Connection

log = structlog.get_logger()

# How many rows of dropped epochs are kept in the table epochs, for people who investigate something.
_KEPT_EPOCHS = 1_000

_DUE = """
SELECT e.epoch FROM epochs e, watermark w
 WHERE e.epoch = w.dropped_epoch + 1 AND e.state = 'visible'
   AND e.visible_at <= clock_timestamp() - make_interval(secs => $1)
"""


class Dropper:
    """Drops partitions in the order of epochs, so that all epochs up to D, the highest dropped one, are dropped."""

    def __init__(self, max_read_age_s: float) -> None:
        self._max_read_age_s = max_read_age_s
        self._lock_timeout_ms = _FIRST_LOCK_TIMEOUT_MS

    async def drop(self, connection: Connection) -> int | None:
        """Drop the next partition if it is due; returns its epoch.

        Every reader fetches W before it reads. W has been at least this epoch for `max_read_age`, the limit of a read,
        so no read that still runs needs the partition. A read that is slower nevertheless finds D above its W when it
        checks D after its last row. For that, D must be raised no later than the rows disappear: it is one transaction.
        """
        if await connection.fetchval(_DUE, self._max_read_age_s) is None:
            return None
        try:
            epoch = await self._drop_next(connection)
        except asyncpg.LockNotAvailableError:
            # Readers hold the lock. If there are short reads all the time, a very short wait never succeeds.
            self._lock_timeout_ms = min(2 * self._lock_timeout_ms, _LONGEST_LOCK_TIMEOUT_MS)
            return None
        self._lock_timeout_ms = _FIRST_LOCK_TIMEOUT_MS
        if epoch is not None:
            log.info(f"The hot rows of epoch {epoch} are dropped", action="epoch_dropped", epoch=epoch)
        return epoch

    async def _drop_next(self, connection: Connection) -> int | None:
        async with transaction(connection):
            if not await connection.fetchval("SELECT true FROM watermark FOR UPDATE SKIP LOCKED"):
                return None  # another replica is dropping, or publishing
            epoch: int | None = await connection.fetchval(_DUE, self._max_read_age_s)
            if epoch is None:
                return None
            await connection.execute("DELETE FROM commits WHERE epoch = $1", epoch)
            await connection.execute("DELETE FROM epochs WHERE epoch <= $1", epoch - _KEPT_EPOCHS)
            await connection.execute(
                "UPDATE epochs SET state = 'dropped', dropped_at = clock_timestamp() WHERE epoch = $1", epoch
            )
            await connection.execute("UPDATE watermark SET dropped_epoch = $1", epoch)
            # This is last, since it blocks readers until COMMIT. While it waits for the lock, new readers wait behind
            # it.
            await connection.execute(f"SET LOCAL lock_timeout = '{self._lock_timeout_ms}ms'")
            await connection.execute(f"DROP TABLE IF EXISTS {partition(epoch)}")
        return epoch


_FIRST_LOCK_TIMEOUT_MS = 20
_LONGEST_LOCK_TIMEOUT_MS = 1_000
