"""Summarises the pages of hot rows that were written since the last time, so that reads can skip them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runstream_service.storage.database import Connection

# A page of the index's map has 1,360 ranges of eight pages. From version 17 on, PostgreSQL remembers during a COPY how
# many pages the map has. When another one is added meanwhile, the COPY takes the ranges on it for ranges that nobody
# has summarised, and does not widen the summaries of those that now are: reads miss its rows. So in a partition that is
# being written, summarising ends well before the map needs its second page, and goes on when the epoch is sealed.
_MOST_PAGES_WHILE_WRITTEN = 8_192
# The BRIN index of each partition that reads go to and that may have new pages. There are none in an epoch that is
# rolled up: it was looked at while it was sealed.
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
    """Summarise new pages; answers how many ranges of pages were new.

    Writers and readers go on meanwhile. A row that is written into a range while it is summarised, or later, widens the
    summary before it is committed, as long as the map has one page: nothing is missed. Whoever dies in the middle
    leaves one range that is always scanned. Each partition is a statement of its own: two replicas never wait for each
    other in a circle.
    """
    count = 0
    for (index,) in await connection.fetch(_INDEXES, _MOST_PAGES_WHILE_WRITTEN):
        count += await connection.fetchval("SELECT brin_summarize_new_values($1::oid)", index)
    return count
