"""The partitions of the hot table: summarises what was written to them, so that reads can skip pages, and drops those
that no reader needs any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import structlog

from runstream_service.rollup.hot_rows import partition
from runstream_service.storage.dedicated_connection import transaction

if TYPE_CHECKING:
    from runstream_service.storage.database import Connection

log = structlog.get_logger()

# A page of the index's range map covers 1,360 ranges of eight pages. Since version 17, PostgreSQL caches during a COPY
# how many pages the map has. When a page is added in the meantime, the COPY treats the ranges on it as not summarised,
# and does not widen their summaries even if they are: reads would miss its rows. So in a partition that is being
# written, summarising stops well before the map needs its second page, and continues when the epoch is sealed.
_MOST_PAGES_WHILE_WRITTEN = 8_192
# The BRIN index of each partition that reads use and that may have new pages. An epoch that is rolled up has none: they
# were summarised while it was sealed.
_INDEXES = """
SELECT i.indexrelid
  FROM epochs e
  JOIN pg_index i ON i.indrelid = to_regclass('metric_points_hot_' || e.epoch)
  JOIN pg_class c ON c.oid = i.indexrelid
  JOIN pg_am a ON a.oid = c.relam
 WHERE e.state IN ('open', 'closing', 'sealed') AND a.amname = 'brin'
   AND (e.state = 'sealed' OR pg_relation_size(i.indrelid) < 8192 * $1::bigint)
 ORDER BY e.epoch
"""

# How many rows of dropped epochs are kept in the table epochs, for people who investigate something.
_KEPT_EPOCHS = 1_000
# A drop waits this long for the lock of the hot table; longer after each failure.
_FIRST_LOCK_TIMEOUT_MS = 20
_LONGEST_LOCK_TIMEOUT_MS = 1_000

_DUE = """
SELECT e.epoch FROM epochs e, watermark w
 WHERE e.epoch = w.dropped_epoch + 1 AND e.state = 'visible'
   AND e.visible_at <= clock_timestamp() - make_interval(secs => $1)
"""


async def summarise(connection: Connection) -> int:
    """Summarise new pages; returns how many ranges of pages were new.

    Writers and readers continue in the meantime. A row that is written into a range while it is summarised, or later,
    widens the summary before it is committed, as long as the map has one page: no row is missed. A replica that dies
    here leaves one range that is always scanned. Each partition has a statement of its own, so that two replicas cannot
    deadlock.
    """
    count = 0
    for (index,) in await connection.fetch(_INDEXES, _MOST_PAGES_WHILE_WRITTEN):
        count += await connection.fetchval("SELECT brin_summarize_new_values($1::oid)", index)
    return count


class PartitionDropper:
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
