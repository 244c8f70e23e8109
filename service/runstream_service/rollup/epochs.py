"""The states of an epoch: open, closing, sealed, rolled (by rollup.py), visible, dropped (by partitions.py).

Every function here may run on several replicas at once, and its process may be killed after any statement: any replica
can continue from what is committed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from runstream_service.database.dedicated_connection import transaction
from runstream_service.database.pool import layout_of
from runstream_service.stores.hot_store import HotStore

if TYPE_CHECKING:
    from runstream_service.database.pool import Connection

log = structlog.get_logger()

# The first key of the advisory lock that writers of an epoch share; the second is the epoch. Writers take it in
# database/functions/begin_group_commit.sql.
WRITERS_LOCK = 1920298867

# Stores the latest points and best values of an epoch, where they are later or better than those of earlier epochs. In
# a large epoch, which is rolled up in several pieces, a series may have several rows; only for those, best values are
# combined first (windows over all series would double the time). Rows are in the order of series, as in every statement
# that locks rows of this table.
_IS_LATER = """
       (excluded.step, excluded.time, CASE excluded.value WHEN 'NaN' THEN 0 ELSE excluded.value END)
       > (l.step, l.time, CASE l.value WHEN 'NaN' THEN 0 ELSE l.value END)"""
_IS_LESS = "(excluded.min_value, excluded.min_step) < (l.min_value, l.min_step)"
_IS_GREATER = "(-excluded.max_value, excluded.max_step) < (-l.max_value, l.max_step)"
_MERGE_LATEST = f"""
WITH repeated AS MATERIALIZED (
    SELECT series_id FROM unpublished_latest_values WHERE epoch = $1 GROUP BY series_id HAVING count(*) > 1
), best AS MATERIALIZED (
    SELECT series_id, least, min(min_step) FILTER (WHERE min_value = least) AS least_step,
           most, min(max_step) FILTER (WHERE max_value = most) AS most_step
      FROM (SELECT series_id, min_value, min_step, max_value, max_step,
                   min(min_value) OVER of_series AS least, max(max_value) OVER of_series AS most
              FROM unpublished_latest_values JOIN repeated USING (series_id)
             WHERE epoch = $1
            WINDOW of_series AS (PARTITION BY series_id)) found
     GROUP BY series_id, least, most
)
INSERT INTO latest_values AS l (series_id, step, time, value, min_value, min_step, max_value, max_step)
SELECT DISTINCT ON (series_id) series_id, step, time, value,
       coalesce(least, min_value), coalesce(least_step, min_step),
       coalesce(most, max_value), coalesce(most_step, max_step)
  FROM unpublished_latest_values LEFT JOIN best USING (series_id)
 WHERE epoch = $1
 ORDER BY series_id, step DESC, time DESC, CASE value WHEN 'NaN' THEN 0 ELSE value END DESC
    ON CONFLICT (series_id) DO UPDATE
   SET step = greatest(l.step, excluded.step),
       time = CASE WHEN {_IS_LATER} THEN excluded.time ELSE l.time END,
       value = CASE WHEN {_IS_LATER} THEN excluded.value ELSE l.value END,
       min_step = CASE WHEN {_IS_LESS} THEN excluded.min_step ELSE l.min_step END,
       min_value = least(l.min_value, excluded.min_value),
       max_step = CASE WHEN {_IS_GREATER} THEN excluded.max_step ELSE l.max_step END,
       max_value = greatest(l.max_value, excluded.max_value)
 WHERE {_IS_LATER} OR {_IS_LESS} OR {_IS_GREATER}
"""  # noqa: S608  # all text is ours


async def rotate(connection: Connection, *, max_points: int, max_age_s: float) -> int | None:
    """Close the open epoch if it has `max_points`, or is `max_age_s` old and not empty, and open the next one. Returns
    the closed epoch, or None.

    The age counts from the first commit. Otherwise the first point after a quiet hour would close the epoch at once.
    """
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM epochs WHERE state = 'open')"):
        await _open_missing(connection)
    if not await _is_due(connection, max_points, max_age_s):
        return None
    async with transaction(connection):
        # The replica that locks the row rotates the epoch; the others skip it.
        closed: int | None = await connection.fetchval(
            "SELECT epoch FROM epochs WHERE state = 'open' FOR UPDATE SKIP LOCKED"
        )
        # Check again under the lock: another replica may have rotated in the meantime, and then this is the next epoch,
        # which is nearly empty.
        if closed is None or not await _is_due(connection, max_points, max_age_s):
            return None
        await connection.execute("UPDATE epochs SET state = 'closing' WHERE epoch = $1", closed)
        await connection.execute("INSERT INTO epochs (epoch, state) VALUES ($1, 'open')", closed + 1)
        await HotStore(connection).create_partition(closed + 1)
    log.info(f"Epoch {closed + 1} is open", action="epoch_opened", epoch=closed + 1, closed=closed)
    return closed


async def _open_missing(connection: Connection) -> None:
    """Open an epoch if none is open, as may happen in a database that was restored or repaired by hand; without one,
    nothing can be stored. Its number is above that of every epoch that may have points or a partition."""
    async with transaction(connection):
        await connection.execute("LOCK TABLE epochs IN SHARE ROW EXCLUSIVE MODE")
        opened: int | None = await connection.fetchval(
            """
            INSERT INTO epochs (epoch, state)
            SELECT 1 + greatest(
                       0,
                       (SELECT max(epoch) FROM epochs),
                       (SELECT visible_epoch FROM watermark),
                       $1),
                   'open'
             WHERE NOT EXISTS (SELECT FROM epochs WHERE state = 'open')
            RETURNING epoch
            """,
            await HotStore(connection).highest_partition(),
        )
        if opened is None:
            return  # another replica has opened one
        await HotStore(connection).create_partition(opened)
    log.warning(
        f"No epoch was open, so nothing could be stored (was the database repaired by hand?); opened epoch {opened}",
        action="epoch_missing",
        epoch=opened,
    )


async def _is_due(connection: Connection, max_points: int, max_age_s: float) -> bool:
    row = await connection.fetchrow(
        """
        SELECT coalesce(sum(c.point_count), 0)::bigint AS points,
               extract(epoch FROM clock_timestamp() - min(c.committed_at))::float8 AS age_s
          FROM commits c JOIN epochs e USING (epoch)
         WHERE e.state = 'open'
        """
    )
    assert row is not None
    return row["points"] >= max_points or (row["age_s"] is not None and row["age_s"] >= max_age_s)


async def seal(connection: Connection) -> bool:
    """Seal the closing epochs to which no group commit is writing any more. Returns False if there is another one left.

    Writers hold the shared lock of their epoch until their commit is visible, and check the epoch's state after they
    got the lock. So once `closing` is committed and this got the exclusive lock, no points are added to the epoch. It
    does not wait for the lock: writers that are about to find out that the epoch is closed would queue behind it.
    """
    closing = await connection.fetch("SELECT epoch FROM epochs WHERE state = 'closing' ORDER BY epoch")
    sealed = 0
    for (epoch,) in closing:
        async with transaction(connection):
            if await connection.fetchval("SELECT pg_try_advisory_xact_lock($1, $2)", WRITERS_LOCK, epoch):
                await connection.execute(
                    "UPDATE epochs SET state = 'sealed', sealed_at = clock_timestamp() "
                    "WHERE epoch = $1 AND state = 'closing'",
                    epoch,
                )
                sealed += 1
    return sealed == len(closing)


async def publish(connection: Connection) -> int:
    """Publish rolled-up epochs in order: from then on, readers use their segments. Returns how many became visible.

    Latest values are merged here rather than in roll-up, so that two replicas that roll up two epochs with the same
    series do not wait for each other.

    This transaction comes after the one that wrote the segments, so that every read that sees the watermark also sees
    the segments.
    """
    published = 0
    while rolled := await connection.fetchval("SELECT max(epoch) FROM epochs WHERE state = 'rolled'"):
        await layout_of(connection).settle(connection)  # the segments of epochs up to this one can be read now
        async with transaction(connection):
            visible = await connection.fetchval("SELECT visible_epoch FROM watermark FOR UPDATE")
            # A separate statement, so that it sees the changes of the replica that held the lock before.
            moved = await connection.execute(
                "UPDATE epochs SET state = 'visible', visible_at = clock_timestamp() "
                "WHERE epoch = $1 AND epoch <= $2 AND state = 'rolled'",
                visible + 1,
                rolled,
            )
            if moved == "UPDATE 0":
                return published  # the one before it is not rolled yet
            # The planner has no statistics of the new rows. Sessions of roll-up have hash joins off, and it chose to
            # compare all repeated series with all rows: 2 s for 4,000 series with two rows each.
            await connection.execute("SET LOCAL enable_nestloop = off; SET LOCAL enable_hashjoin = on")
            await connection.execute(_MERGE_LATEST, visible + 1)
            await connection.execute("DELETE FROM unpublished_latest_values WHERE epoch = $1", visible + 1)
            await connection.execute("UPDATE watermark SET visible_epoch = $1", visible + 1)
        published += 1
    return published
