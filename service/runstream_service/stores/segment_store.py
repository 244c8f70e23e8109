"""Every statement on metric_segments, which has the points of epochs that are rolled up."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from runstream_service.database.connections import ANSWER_MARGIN_S, ROLLUP
from runstream_service.database.copy_rows import collect
from runstream_service.database.layout import DISTRIBUTED, ONE_POSTGRES
from runstream_service.database.pool import layout_of
from runstream_service.database.queries import load
from runstream_service.segments.encode import COLUMNS

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from runstream_service.database.pool import Connection, PooledConnection
    from runstream_service.segments.encode import EncodedSegments

TABLE = "metric_segments"
# A segment with fewer points is small: it is in the index metric_segments_small (migrations/0002_segments.sql).
SMALL_POINTS = 800

SQL = load("segments")
_SQL_OF = {ONE_POSTGRES: SQL, DISTRIBUTED: {**SQL, **load("segments_distributed")}}

_VACUUM_TIMEOUT_S = 5 * 3_600
_PARAMETER = re.compile(r"\$(\d+)\b")
_CTIDS = re.compile(r'(?:"\(\d+,\d+\)"(?:,|$))*')
_INT4 = range(-(2**31), 2**31)

Sink = Callable[[bytes], Coroutine[Any, Any, None]]


class Deleted(NamedTuple):
    """How many segments a statement deleted, and how many points they had."""

    segments: int
    points: int


class MergeGroup(NamedTuple):
    """Small segments of one series that are to be merged: those with first steps from `low` to `high`. `number`
    identifies the group in the result of `take`."""

    number: int
    series_id: int
    low: int
    high: int


class SegmentStore:
    """The statements of roll-up, retention, purge and status, on their own connection."""

    def __init__(self, connection: Connection | PooledConnection) -> None:
        self._connection = connection
        self._sql = _SQL_OF[layout_of(connection)]

    # Writing ----------------------------------------------------------------------------------------------------------

    async def copy(self, encoded: EncodedSegments) -> None:
        """Stores encoded segments."""

        async def source() -> AsyncIterator[bytes]:
            for chunk in encoded.chunks():
                yield chunk
                # Without this, the driver keeps the event loop busy for as long as the socket takes all data.
                await asyncio.sleep(0)

        copied = await self._connection.copy_to_table(TABLE, source=source(), columns=COLUMNS, format="binary")
        assert copied == f"COPY {encoded.count}", f"of {encoded.count} segments, PostgreSQL took {copied!r}"

    async def delete(self, series_ids: Sequence[int], limit: int) -> Deleted:
        """Deletes about `limit` segments of some series, or all if they have fewer."""
        ctids = await self._connection.fetchval(self._sql["ctids"], series_ids, limit)
        return await self._deleted("delete", series_ids, ctids)

    async def delete_old(self, series_ids: Sequence[int], before: datetime, limit: int) -> Deleted:
        """Deletes about `limit` segments of some series all of whose points are older than `before`, or all if there
        are fewer."""
        ctids = await self._connection.fetchval(self._sql["old_ctids"], series_ids, before, limit)
        return await self._deleted("delete_old", series_ids, before, ctids)

    async def _deleted(self, name: str, *arguments: object) -> Deleted:
        row = await self._connection.fetchrow(self._sql[name], *arguments)
        assert row is not None
        return Deleted(row["segments"], row["points"])

    async def take(self, groups: Sequence[MergeGroup], dropped_epoch: int) -> list[bytes]:
        """Deletes the segments of some groups; returns them as a COPY for SegmentStream."""
        values = ", ".join(f"({', '.join(map(_bigint, group))})" for group in groups)
        return await collect(self._connection, bind(self._sql["take"], dropped_epoch).format(groups=values))

    async def vacuum(self) -> None:
        """Frees the space of deleted segments. This may take hours on a very large table: VACUUM reads all pages that
        have changed, and all of the indexes."""
        await self._connection.execute(f"SET statement_timeout = '{_VACUUM_TIMEOUT_S}s'")
        # TRUNCATE FALSE: returning space to the disk needs an exclusive lock, and the space is needed again soon.
        await self._connection.execute(
            f"VACUUM (SKIP_LOCKED, TRUNCATE FALSE) {TABLE}", timeout=_VACUUM_TIMEOUT_S + ANSWER_MARGIN_S
        )
        await self._connection.execute(f"SET statement_timeout = '{ROLLUP.statement_timeout_s}s'")

    # Searching --------------------------------------------------------------------------------------------------------

    async def small(self, after_series: int, dropped_epoch: int, limit: int) -> list[asyncpg.Record]:
        """The next series after `after_series` with small segments: (series_id, segments, points, ended). `ended`: the
        run of the series has ended."""
        return await self._connection.fetch(self._sql["small"], after_series, dropped_epoch, limit)

    async def neighbours(self, series_ids: Sequence[int], dropped_epoch: int) -> list[asyncpg.Record]:
        """The segments around the small ones of some series: (series_id, first_step, point_count, epoch)."""
        return await self._connection.fetch(self._sql["neighbours"], series_ids, dropped_epoch)

    async def series_with_old(self, run_ids: Sequence[UUID], before: datetime, limit: int) -> list[int]:
        """Up to `limit` series of some runs with segments all of whose points are older than `before`."""
        rows = await self._connection.fetch(self._sql["series_with_old"], run_ids, before, limit)
        return [row["series_id"] for row in rows]

    async def size_bytes(self) -> int:
        """The size of the table on disk, with indexes and arrays."""
        size: int = await self._connection.fetchval(self._sql["size_bytes"])
        return size

    async def count(self) -> float:
        """PostgreSQL's estimate of the number of segments."""
        count: float = await self._connection.fetchval(self._sql["count"])
        return count

    async def pages(self) -> int:
        """How many pages of PostgreSQL the segments take, without their arrays."""
        pages: int = await self._connection.fetchval(self._sql["pages"])
        return pages

    async def points_in_sample(self, percent: float) -> int:
        """How many points the segments in `percent` percent of the pages have."""
        points: int = await self._connection.fetchval(self._sql["points_in_sample"], percent)
        return points


# Reading --------------------------------------------------------------------------------------------------------------


class Reading(Protocol):
    """The methods of ReadTransaction (query/reading/) that the functions below use."""

    visible_epoch: int

    async def copy_sql(self, statement: str) -> bytes:
        """The whole COPY of a statement without parameters."""
        ...

    async def stream_sql(self, statement: str, sink: Sink) -> None:
        """Passes the COPY of a statement to `sink` as it arrives."""
        ...

    async def fetch_sql(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """The rows of a statement."""
        ...


async def summaries(reading: Reading, series_ids: Sequence[int], low: int, high: int) -> bytes:
    """The summaries (segments/decode.py) of the segments of some series that have steps from `low` to `high`."""
    return await reading.copy_sql(bind(SQL["summaries"], series_ids, reading.visible_epoch, low, high))


async def stream_in_order(reading: Reading, series_ids: Sequence[int], low: int, high: int, sink: Sink) -> None:
    """The segments of some series that have steps from `low` to `high`, series by series, each by its first point. The
    owner of a segment is the position of its series, from 1."""
    await reading.stream_sql(bind(SQL["in_order"], series_ids, reading.visible_epoch, low, high), sink)


async def segments_at(
    reading: Reading, series_ids: Sequence[int], ctids: Sequence[str], *, times: bool, steps: bool
) -> bytes:
    """The segments of some series at some ctids, from summaries of the same transaction."""
    return await reading.copy_sql(bind(SQL["at"], series_ids, ctids, times, steps))


async def points_at(
    reading: Reading,
    series_ids: Sequence[int],
    ctids: Sequence[str],
    firsts: Sequence[int],
    lasts: Sequence[int],
    positions: Sequence[int],
) -> bytes:
    """Single points (segments/decode.py, POINT) of segments: of segment i those at positions[firsts[i] - 1] to
    positions[lasts[i] - 1]."""
    return await reading.copy_sql(bind(SQL["points_at"], series_ids, ctids, firsts, lasts, positions))


async def first_steps(reading: Reading, series_ids: Sequence[int]) -> dict[int, int]:
    """The first step of each series that has segments."""
    return {row[0]: row[1] for row in await reading.fetch_sql(SQL["first_steps"], series_ids, reading.visible_epoch)}


Argument: TypeAlias = "int | bool | Sequence[int] | Sequence[str]"


def bind(statement: str, *arguments: Argument) -> str:
    """Writes arguments into a COPY statement, which takes no parameters. They are numbers, and texts of `ctid_text`."""
    return _PARAMETER.sub(lambda match: _literal(arguments[int(match[1]) - 1]), statement)


def _literal(argument: Argument) -> str:
    if isinstance(argument, bool):
        return str(argument).lower()
    if isinstance(argument, int):
        # The type is written out: a number that does not fit into int8 would make the comparison numeric.
        return str(argument) if argument in _INT4 and argument >= 0 else _bigint(argument)
    if argument and isinstance(argument[0], str):
        ctids = ",".join([f'"{ctid}"' for ctid in argument])
        assert _CTIDS.fullmatch(ctids)
        return f"'{{{ctids}}}'::tid[]"
    return "'{" + ",".join(map(str, map(int, argument))) + "}'::bigint[]"


def _bigint(number: int) -> str:
    return f"'{number:d}'::bigint"
