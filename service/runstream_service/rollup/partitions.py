"""Drops the partitions of hot batches that no reader needs any more."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import asyncpg
import structlog

from runstream_service.database.dedicated_connection import transaction
from runstream_service.stores.hot_store import HotStore

if TYPE_CHECKING:
    from runstream_service.database.pool import Connection

log = structlog.get_logger()

# How many rows of dropped epochs are kept in the table `epochs`, for operators who investigate something.
_KEPT_EPOCHS = 1_000
# A drop waits this long for the lock of hot_batches; longer after each failure.
_FIRST_LOCK_TIMEOUT_MS = 20
_LONGEST_LOCK_TIMEOUT_MS = 1_000

_DUE = """
SELECT e.epoch FROM epochs e, watermark w
 WHERE e.epoch = w.dropped_epoch + 1 AND e.state = 'visible'
   AND e.visible_at <= clock_timestamp() - make_interval(secs => $1)
"""


# The oldest transaction that has held a lock on hot batches for more than a second; it may go on for hours. If a drop
# waited for it, even for a moment each time, all other readers would wait behind the drop.
_LONG_READER = """
SELECT a.pid, coalesce(nullif(a.application_name, ''), 'no name') AS application,
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS age_s
  FROM pg_locks l JOIN pg_stat_activity a USING (pid)
 WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND l.relation IN (to_regclass('hot_batches'), to_regclass('hot_batches_' || $1::int))
   AND l.granted AND l.pid <> pg_backend_pid() AND a.xact_start < clock_timestamp() - interval '1 second'
 ORDER BY a.xact_start
 LIMIT 1
"""
# How often the log names the session that keeps partitions from being dropped.
_NAMED_EVERY_S = 60.0


class PartitionDropper:
    """Drops partitions in the order of epochs, so that all epochs up to D, the highest dropped one, are dropped."""

    def __init__(self, max_read_age_s: float) -> None:
        self._max_read_age_s = max_read_age_s
        self._lock_timeout_ms = _FIRST_LOCK_TIMEOUT_MS
        self._named_at: float | None = None

    async def drop(self, connection: Connection) -> int | None:
        """Drop the next partition if it is due; returns its epoch.

        Every reader fetches W, the watermark, before it reads. W has been at least this epoch for `max_read_age_s`, the
        limit of a read, so no read that still runs needs the partition. A read that exceeds the limit checks D after
        its last row, and finds it above its W. So D must be raised no later than the rows disappear: in one
        transaction.
        """
        due = await connection.fetchval(_DUE, self._max_read_age_s)
        if due is None or await self._is_kept(connection, due):
            return None
        try:
            epoch = await self._drop_next(connection)
        except asyncpg.LockNotAvailableError:
            # Readers hold the lock. With short reads all the time, a very short wait would never succeed, so wait
            # longer.
            self._lock_timeout_ms = min(2 * self._lock_timeout_ms, _LONGEST_LOCK_TIMEOUT_MS)
            return None
        self._lock_timeout_ms = _FIRST_LOCK_TIMEOUT_MS
        if epoch is not None:
            log.info(f"The hot batches of epoch {epoch} are dropped", action="epoch_dropped", epoch=epoch)
        return epoch

    async def _is_kept(self, connection: Connection, epoch: int) -> bool:
        """Whether a long transaction of another session keeps the partition. If so, logs its session."""
        reader = await connection.fetchrow(_LONG_READER, epoch)
        if reader is None:
            return False
        if self._named_at is None or time.monotonic() - self._named_at >= _NAMED_EVERY_S:
            self._named_at = time.monotonic()
            log.warning(
                f"Session {reader['pid']} ({reader['application']}) has kept a transaction open for "
                f"{reader['age_s']:.0f} s that has read hot batches, so none of them can be dropped, and the disk "
                f"fills. If it is not needed any more: SELECT pg_terminate_backend({reader['pid']})",
                action="drop_blocked",
                epoch=epoch,
                pid=reader["pid"],
                application=reader["application"],
                age_s=round(reader["age_s"], 1),
            )
        return True

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
            # This is last, since it blocks readers until COMMIT; and while it waits for the lock, new readers wait
            # behind it.
            await connection.execute(f"SET LOCAL lock_timeout = '{self._lock_timeout_ms}ms'")
            await HotStore(connection).drop_partition(epoch)
        return epoch
