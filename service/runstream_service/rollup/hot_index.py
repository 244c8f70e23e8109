"""Summarises the pages of hot rows that were written since the last round, so that reads can skip them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runstream_service.storage.database import Connection

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
