"""Summarises the pages of hot rows that were written since the last time, so that reads can skip them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runstream_service.storage.database import Connection

# The BRIN index of each partition that reads go to and that may have new pages. There are none in an epoch that is
# rolled up: it was looked at while it was sealed.
_INDEXES = """
SELECT i.indexrelid
  FROM epochs e
  JOIN pg_index i ON i.indrelid = to_regclass('metric_points_hot_' || e.epoch)
  JOIN pg_class c ON c.oid = i.indexrelid
  JOIN pg_am a ON a.oid = c.relam
 WHERE e.state IN ('open', 'closing', 'sealed') AND a.amname = 'brin'
 ORDER BY e.epoch
"""


async def summarise(connection: Connection) -> int:
    """Summarise new pages; answers how many ranges of pages were new.

    Writers and readers go on meanwhile. A row that is written into a range while it is summarised, or later, widens the
    summary before it is committed: nothing is missed. Whoever dies in the middle leaves one range that is always
    scanned. Each partition is a statement of its own: two replicas never wait for each other in a circle.
    """
    count = 0
    for (index,) in await connection.fetch(_INDEXES):
        count += await connection.fetchval("SELECT brin_summarize_new_values($1::oid)", index)
    return count
