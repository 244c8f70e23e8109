"""Finds new commits, and reads their points from the hot batches."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg
import numpy as np
from numpy.typing import NDArray

from runstream_service.database.copy_rows import EPOCH_2000_UNIX_US
from runstream_service.database.pool import layout_of, server_start_id_of
from runstream_service.database.queries import load
from runstream_service.errors.core import CursorTooOld
from runstream_service.query.reading.read_transaction import compute
from runstream_service.query.tail.cursor import Cursor, Snapshot
from runstream_service.stores import hot_store

if TYPE_CHECKING:
    from uuid import UUID

    from runstream_service.database.pool import PooledConnection
    from runstream_service.stores.hot_batches import HotPoints

SQL = load("tail")

# The most points that are read at once, 5 MiB when decoded. A group commit has at most this many, so a commit always
# fits.
PORTION_POINTS = 131_072

# Above every epoch, so that no commit is found.
_NO_EPOCH = 2**31 - 1
_NOTHING = Snapshot(1, 1)

Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Commit:
    """A new group commit; its transaction began when `xid` was assigned."""

    commit_no: int
    xid: int
    epoch: int
    points: int


@dataclass(frozen=True, slots=True)
class CommitScan:
    """New commits, sorted by xid; and the lineage of the database, the snapshot in which they were found, and the
    lowest epoch that was not sealed in it."""

    lineage: str
    snapshot: Snapshot
    epoch: int
    commits: list[Commit]

    @property
    def cursor(self) -> Cursor:
        """The cursor after all of these commits."""
        return Cursor(self.lineage, self.snapshot, self.epoch)

    def after(self, portion: list[Commit], since: Cursor) -> Cursor:
        """The cursor after a portion and all portions before it."""
        last = portion[-1]
        return self.cursor if last == self.commits[-1] else since.advanced(self.snapshot, last.xid)

    def portions(self) -> Iterator[list[Commit]]:
        """Divide the commits into portions of at most PORTION_POINTS points. A larger commit is a portion of its
        own."""
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
    """New points of one series, in the order of their commits."""

    series_id: int
    step: Int64s
    time_unix_us: Int64s
    value: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.step)


@dataclass(frozen=True, slots=True)
class CommitRows:
    """Points of commits in columns: row i of each column is one point. Sorted by series, then by xid; points of one
    commit stay in the order in which they are stored."""

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


_NONE = np.zeros(0, np.int64)
NO_ROWS = CommitRows(_NONE, _NONE, _NONE, _NONE, np.zeros(0))


class Lineages:
    """Finds the lineage of the database of a connection, as 16 hex digits: a hash of its cluster, its timeline (a new
    one begins when a standby takes over and when a backup is restored), and its id in the cluster."""

    def __init__(self) -> None:
        self._known = ("", "")  # a server_start_id, and the lineage, which does not change until the next start

    async def of(self, connection: PooledConnection) -> str:
        """The lineage; it is read once per start of the database server, in the caller's transaction."""
        server_start_id = server_start_id_of(connection)
        if self._known[0] != server_start_id:
            self._known = (server_start_id, await self._ask(connection) or _digest(server_start_id))
        return self._known[1]

    async def _ask(self, connection: PooledConnection) -> str | None:
        """Read the lineage; None if the server does not allow that. Then each restart of it counts as a new lineage."""
        await connection.execute("SAVEPOINT lineage")
        try:
            return _digest(await connection.fetchval(SQL["lineage"]))
        except asyncpg.PostgresError:
            await connection.execute("ROLLBACK TO lineage")
            return None


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class CommitReader:
    """Finds and reads new commits in the caller's transaction (Database.snapshot), so that all results belong to one
    snapshot."""

    def __init__(self) -> None:
        self._lineages = Lineages()

    async def scan(self, connection: PooledConnection, since: Cursor | None) -> CommitScan:
        """The commits since a cursor; none without a cursor. Raises CursorTooOld if points after it may be gone."""
        lineage = await self._lineages.of(connection)
        if since is not None and since.lineage != lineage:
            raise _too_old(
                "it belongs to another database, to this one before a failover or a restore, or to an earlier release"
            )
        row = await connection.fetchrow(
            SQL["new_commits"], since.epoch if since else _NO_EPOCH, str(since.snapshot if since else _NOTHING)
        )
        assert row is not None, "the watermark has one row"
        snapshot = Snapshot.parse(row["snapshot"])
        if since is None or row["commit_nos"] is None:
            commits = []
        else:
            columns = (row[name] for name in ("commit_nos", "xids", "commit_epochs", "point_counts"))
            commits = [Commit(*commit) for commit in zip(*columns, strict=True)]
        if since is not None and since.epoch <= row["dropped_epoch"]:
            raise _too_old("the points after it are no longer in hot batches")
        if since is not None and since.snapshot.xmax > snapshot.xmax:
            raise _too_old("it belongs to another database, or to this one before it was restored")
        if commits:
            # On a cluster, their points may become visible a moment later than the commits.
            await layout_of(connection).settle(connection)
        return CommitScan(lineage, snapshot, row["epoch"], commits)

    async def read(
        self, connection: PooledConnection, commits: Sequence[Commit], runs: Collection[UUID], series_ids: Int64s
    ) -> CommitRows:
        """The points of some commits and series. `runs`: those of the series; `series_ids` must be sorted. Raises
        CursorTooOld if a partition was dropped."""
        parts: list[HotPoints] = []
        if len(series_ids):
            for epoch in sorted({commit.epoch for commit in commits}):
                commit_nos = [commit.commit_no for commit in commits if commit.epoch == epoch]
                parts.append(await self._read_epoch(connection, epoch, commit_nos, runs))
        if not parts:
            return NO_ROWS
        return await compute(sum(map(len, parts)), _rows, parts, commits, series_ids)

    async def _read_epoch(
        self, connection: PooledConnection, epoch: int, commit_nos: list[int], runs: Collection[UUID]
    ) -> HotPoints:
        try:
            return await hot_store.read_commits(connection, epoch, commit_nos, runs)
        except asyncpg.UndefinedTableError:
            # The partition is read by its name, so that it is an error if it was dropped after the snapshot was taken.
            raise _too_old("the points after it were just dropped from hot batches") from None


def _rows(parts: Sequence[HotPoints], commits: Sequence[Commit], series_ids: Int64s) -> CommitRows:
    """The points of `series_ids`, sorted as CommitRows says."""
    commit_no, series_id, step, time, value = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("commit_no", "series_id", "step", "time", "value")
    )
    by_number = sorted(commits, key=lambda commit: commit.commit_no)
    numbers = np.array([commit.commit_no for commit in by_number], np.int64)
    xid = np.array([commit.xid for commit in by_number], np.int64)[np.searchsorted(numbers, commit_no)]
    position = np.minimum(np.searchsorted(series_ids, series_id), len(series_ids) - 1)
    wanted = np.flatnonzero(series_ids[position] == series_id)
    order = wanted[np.lexsort((xid[wanted], series_id[wanted]))]
    return CommitRows(xid[order], series_id[order], step[order], time[order] + EPOCH_2000_UNIX_US, value[order])


def _too_old(why: str) -> CursorTooOld:
    return CursorTooOld(f"cursor: {why}; begin again without a cursor, then read History", field="cursor")
