"""Makes the messages of one Tail stream from the rows that were read for all streams: its series, in messages of
bounded size. Each message has the cursor after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from runstream_service.query.reading.series import Series
from runstream_service.query.tail.commit_reader import Commit, CommitRows, CommitScan, Int64s, SeriesPoints
from runstream_service.query.tail.cursor import Cursor

# A gRPC client accepts 4 MiB by default. One series of the largest commit takes 3.1 MB, so it fits.
_MAX_BYTES = 2 << 20
_BYTES_A_POINT = 24
_BYTES_A_SERIES = 1_100  # a key of 250 characters of four bytes


@dataclass(frozen=True, slots=True)
class TailMessage:
    """New points, with one entry per series, and the cursor after them."""

    entries: list[tuple[Series, SeriesPoints]]
    cursor: Cursor

    @property
    def points(self) -> int:
        """How many points the entries have together."""
        return sum(len(points) for _, points in self.entries)


def messages(
    scan: CommitScan,
    portion: list[Commit],
    rows: CommitRows,
    since: Cursor,
    series_ids: Int64s,
    names: Mapping[int, Series],
) -> Iterator[TailMessage]:
    """The messages with the rows of a portion that are new after the cursor `since`. `series_ids`: the series of the
    stream, sorted."""
    rows = _new_rows(portion, rows, since)
    entries = rows.by_series(series_ids)
    if _size(entries) <= _MAX_BYTES:
        if entries:
            yield TailMessage(_named(entries, names), scan.after(portion, since))
        return
    cursor = since
    for commit in portion:
        yield from _of_commit(rows.where(rows.xid == commit.xid), commit.xid, cursor, series_ids, names)
        cursor = cursor.advanced(scan.snapshot, commit.xid)
        # The cursor of a commit's last message is after the whole commit.
        yield TailMessage([], cursor)


def _new_rows(portion: list[Commit], rows: CommitRows, since: Cursor) -> CommitRows:
    """The rows after the cursor, which may be ahead of other cursors for which the rows were read, too."""
    known = [commit.xid for commit in portion if since.snapshot.sees(commit.xid)]
    if known:
        rows = rows.where(~np.isin(rows.xid, known))
    if since.partly_sent is not None:
        xid, series_id = since.partly_sent
        rows = rows.where((rows.xid != xid) | (rows.series_id > series_id))
    return rows


def _of_commit(
    rows: CommitRows, xid: int, cursor: Cursor, series_ids: Int64s, names: Mapping[int, Series]
) -> Iterator[TailMessage]:
    """The messages of one commit, divided between series."""
    entries: list[SeriesPoints] = []
    for entry in rows.by_series(series_ids):
        if entries and _size([*entries, entry]) > _MAX_BYTES:
            yield TailMessage(_named(entries, names), cursor.within_commit(xid, entries[-1].series_id))
            entries = []
        entries.append(entry)
    if entries:
        yield TailMessage(_named(entries, names), cursor.within_commit(xid, entries[-1].series_id))


def _named(entries: list[SeriesPoints], names: Mapping[int, Series]) -> list[tuple[Series, SeriesPoints]]:
    return [(names[entry.series_id], entry) for entry in entries]


def _size(entries: list[SeriesPoints]) -> int:
    return sum(_BYTES_A_SERIES + _BYTES_A_POINT * len(entry) for entry in entries)
