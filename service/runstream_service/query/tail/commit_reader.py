"""Reads the rows of new commits from the hot table, which has no index.

Rows are appended, so the rows of a commit are behind the end that the partition had before its transaction began,
except for some pages: each connection continues on the page where it stopped, and PostgreSQL extends a table by up to
64 pages at once and uses them later. So a scan begins at that end minus a margin, and the number of rows that it finds
is compared with `commits.point_count`; when rows are missing, the whole partition is scanned. A wrong guess costs time,
but never points.
"""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg
import numpy as np
from numpy.typing import NDArray

from runstream_service.core.errors import CursorTooOld
from runstream_service.query.tail.cursor import Cursor, Snapshot
from runstream_service.storage.copy_rows import Layout, body, float64, int64, unix_us
from runstream_service.storage.database import server_start_id_of
from runstream_service.storage.queries import load

if TYPE_CHECKING:
    from runstream_service.query.tail.metrics import TailMetrics
    from runstream_service.storage.database import PooledConnection

SQL = load("tail")

# Most points of one reading: 58 bytes a row in COPY BINARY, so 8 MiB. It is the size of the largest group, so that a
# commit always fits.
PORTION_POINTS = 131_072
# The margin in pages: 64 at a time for each of a few writers.
_MARGIN_BLOCKS = 512
_MARKS = 256

_LAYOUT = Layout([("commit_no", ">i4"), ("series_id", ">i8"), ("step", ">i8"), ("time", ">i8"), ("value", ">f8")])

# Is in place of the series id in rows that contain a count.
_COUNT = -1
# No commit is later than this.
_NO_EPOCH = 2**31 - 1
_NOTHING = Snapshot(1, 1)

Int64s = NDArray[np.int64]
Copied = NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Commit:
    """A new group commit; its transaction began when `xid` was assigned."""

    commit_no: int
    xid: int
    epoch: int
    points: int


@dataclass(frozen=True, slots=True)
class CommitScan:
    """The new commits, by xid; with the lineage of the database, the snapshot that was taken, and the lowest epoch that
    is not sealed in it."""

    lineage: str
    snapshot: Snapshot
    epoch: int
    commits: list[Commit]

    @property
    def cursor(self) -> Cursor:
        """The cursor after all of these commits."""
        return Cursor(self.lineage, self.snapshot, self.epoch)

    def after(self, portion: list[Commit], since: Cursor) -> Cursor:
        """The cursor after all portions up to this one."""
        last = portion[-1]
        return self.cursor if last == self.commits[-1] else since.advanced(self.snapshot, last.xid)

    def portions(self) -> Iterator[list[Commit]]:
        """The commits in groups of at most PORTION_POINTS; a larger commit is a group of its own."""
        portion: list[Commit] = []
        points = 0
        for commit in self.commits:
            if portion and points + commit.points > PORTION_POINTS:
                yield portion
                portion, points = [], 0
            portion.append(commit)
            points += commit.points
        if portion:
            yield portion


@dataclass(frozen=True, slots=True)
class SeriesPoints:
    """Points of one series."""

    series_id: int
    step: Int64s
    time_unix_us: Int64s
    value: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.step)


@dataclass(frozen=True, slots=True)
class CommitRows:
    """Columns of equal length, sorted by series, and within a series by (xid, place in the table)."""

    xid: Int64s
    series_id: Int64s
    step: Int64s
    time_unix_us: Int64s
    value: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.xid)

    def where(self, mask: NDArray[np.bool_]) -> CommitRows:
        """The rows that the mask selects."""
        return CommitRows(
            self.xid[mask], self.series_id[mask], self.step[mask], self.time_unix_us[mask], self.value[mask]
        )

    def by_series(self, series_ids: Int64s) -> list[SeriesPoints]:
        """The points of some series (sorted), in that order; series without a row are left out."""
        starts = np.searchsorted(self.series_id, series_ids, "left")
        ends = np.searchsorted(self.series_id, series_ids, "right")
        return [
            SeriesPoints(int(series_ids[i]), self.step[a:b], self.time_unix_us[a:b], self.value[a:b])
            for i in np.flatnonzero(starts < ends)
            for a, b in [(int(starts[i]), int(ends[i]))]
        ]


class PageFrontier:
    """Estimates where rows of a transaction are, from the sizes that partitions had before it began."""

    def __init__(self) -> None:
        self._sizes: dict[int, int] = {}
        self._marks: collections.deque[tuple[int, dict[int, int]]] = collections.deque(maxlen=_MARKS)

    def record(self, snapshot: Snapshot, sizes: dict[int, int]) -> None:
        """Notes sizes in blocks, measured after the snapshot. Transactions that are in the future of the *next*
        snapshot find at least these sizes: the sizes of one reading are stored with the xmax of the next one."""
        if not self._marks or snapshot.xmax > self._marks[-1][0]:
            self._marks.append((snapshot.xmax, self._sizes))
        self._sizes = sizes

    def first_block(self, epoch: int, xid: int) -> int:
        """The first block that is likely to have rows of transactions from this xid on."""
        for xmax, sizes in reversed(self._marks):
            if xmax <= xid:
                return max(0, sizes.get(epoch, 0) - _MARGIN_BLOCKS)
        return 0


class Lineages:
    """The lineage of the database of a connection: a hash of its cluster, its timeline (a new one begins when a standby
    takes over, and when a backup is restored), and its id in the cluster. 16 hex digits."""

    def __init__(self) -> None:
        self._known = ("", "")  # a server_start_id, and the lineage, which never changes under it

    async def of(self, connection: PooledConnection) -> str:
        """Reads the lineage in a transaction of the caller, once per start of the server."""
        server_start_id = server_start_id_of(connection)
        if self._known[0] != server_start_id:
            self._known = (server_start_id, await self._ask(connection) or _digest(server_start_id))
        return self._known[1]

    async def _ask(self, connection: PooledConnection) -> str | None:
        """None if the server does not provide it. Then each of its restarts counts as another lineage."""
        await connection.execute("SAVEPOINT lineage")
        try:
            return _digest(await connection.fetchval(SQL["lineage"]))
        except asyncpg.PostgresError:
            await connection.execute("ROLLBACK TO lineage")
            return None


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class CommitReader:
    """Reads within a transaction of the caller (Database.snapshot), so that all results belong to one snapshot."""

    def __init__(self, metrics: TailMetrics) -> None:
        self._metrics = metrics
        self._frontier = PageFrontier()
        self._lineages = Lineages()

    async def scan(self, connection: PooledConnection, since: Cursor | None) -> CommitScan:
        """The commits since a cursor; none without a cursor. Raises CursorTooOld."""
        lineage = await self._lineages.of(connection)
        if since is not None and since.lineage != lineage:
            raise _too_old(
                "it is of another database, of this one before another server took over or it was restored, or of an "
                "earlier release"
            )
        row = await connection.fetchrow(
            SQL["look"], since.epoch if since else _NO_EPOCH, str(since.snapshot if since else _NOTHING)
        )
        assert row is not None, "the watermark has one row"
        snapshot = Snapshot.parse(row["snapshot"])
        self._frontier.record(snapshot, dict(zip(row["epochs"], row["blocks"], strict=True)))
        if since is None or row["commit_nos"] is None:
            commits = []
        else:
            columns = (row[name] for name in ("commit_nos", "xids", "commit_epochs", "point_counts"))
            commits = [Commit(*commit) for commit in zip(*columns, strict=True)]
        if since is not None and since.epoch <= row["dropped_epoch"]:
            raise _too_old("the points after it are no longer in the hot table")
        if since is not None and since.snapshot.xmax > snapshot.xmax:
            raise _too_old("it is of another database, or of this one before it was restored")
        return CommitScan(lineage, snapshot, row["epochs"][0], commits)

    async def read(self, connection: PooledConnection, commits: Sequence[Commit], series_ids: Int64s) -> CommitRows:
        """The rows of some commits and series. Raises CursorTooOld if a partition is gone."""
        parts = [np.zeros(0, _LAYOUT.dtype)]
        if len(series_ids):
            for epoch in sorted({commit.epoch for commit in commits}):
                of_epoch = [commit for commit in commits if commit.epoch == epoch]
                parts.append(await self._read_epoch(connection, epoch, of_epoch, series_ids))
        rows = np.concatenate(parts)
        xids = {commit.commit_no: commit.xid for commit in commits}
        numbers, which = np.unique(rows["commit_no"], return_inverse=True)
        xid = np.array([xids[int(number)] for number in numbers], np.int64)[which]
        order = np.lexsort((xid, rows["series_id"]))
        return CommitRows(
            xid[order],
            int64(rows["series_id"])[order],
            int64(rows["step"])[order],
            unix_us(rows["time"])[order],
            float64(rows["value"])[order],
        )

    async def _read_epoch(
        self, connection: PooledConnection, epoch: int, commits: list[Commit], series_ids: Int64s
    ) -> Copied:
        wanted = {commit.commit_no: commit.points for commit in commits}
        guess = self._frontier.first_block(epoch, min(commit.xid for commit in commits))
        for block in dict.fromkeys((guess, 0)):
            copied = await self._copy(connection, epoch, block, list(wanted), series_ids)
            is_count = copied["series_id"] == _COUNT
            counts = copied[is_count]
            if dict(zip(counts["commit_no"].tolist(), counts["step"].tolist(), strict=True)) == wanted:
                rows: Copied = copied[~is_count]
                return rows
            if block:
                self._metrics.full_scans.inc()
        # The statement held a lock that keeps the partition. So it was dropped before the statement, and after the
        # snapshot.
        raise _too_old("the points after it were just dropped from the hot table")

    async def _copy(
        self, connection: PooledConnection, epoch: int, block: int, commit_nos: list[int], series_ids: Int64s
    ) -> Copied:
        data = bytearray()

        async def receive(piece: bytes) -> None:
            data.extend(piece)

        query = SQL["rows"].format(
            epoch=epoch,
            block=block,
            commit_nos=",".join(map(str, commit_nos)),
            series_ids=",".join(map(str, series_ids.tolist())),
        )
        await connection.copy_from_query(query, output=receive, format="binary")
        return _LAYOUT.rows(body(data))


def _too_old(why: str) -> CursorTooOld:
    return CursorTooOld(f"cursor: {why}; begin again without a cursor, then read History", field="cursor")
