"""Merges sources of points of one series. Each source is sorted, and sources arrive in the order of their first points.

No later source can have points before the first point of the newest source. So all points before that are returned at
once, and only points of overlapping sources are held and sorted.
"""

from __future__ import annotations

from collections.abc import Iterator

from runstream_service.query.reading.columns import Columns, joined


class StreamingMerge:
    """Merges the sources of one series."""

    def __init__(self) -> None:
        self._waiting: list[Columns] = []

    def add(self, source: Columns, *, first_step: int, first_time_unix_us: int) -> Iterator[Columns]:
        """Adds a source. No point of it or of later sources is before (first_step, first_time_unix_us). Yields the
        points before that, which are complete."""
        ready, waiting = [], []
        for points in self._waiting:
            cut = points.count_before(first_step, first_time_unix_us)
            if cut:
                ready.append(points.part(None, cut))
            if cut < len(points):
                waiting.append(points.part(cut, None))
        if len(source):
            waiting.append(source)
        self._waiting = waiting
        if ready:
            yield joined(ready).in_order()

    def finish(self) -> Iterator[Columns]:
        """Yields the remaining points, after the last source."""
        if self._waiting:
            yield joined(self._waiting).in_order()
        self._waiting = []


class Rechunker:
    """Turns points in portions of any size into pieces of exactly `size` points; only the last piece is shorter."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._parts: list[Columns] = []
        self._count = 0

    def add(self, points: Columns) -> Iterator[Columns]:
        """Adds points; yields the pieces that are complete now."""
        self._parts.append(points)
        self._count += len(points)
        if self._count < self._size:
            return
        whole = joined(self._parts)
        full = self._count - self._count % self._size
        for start in range(0, full, self._size):
            yield whole.part(start, start + self._size)
        self._parts = [whole.part(full, None)] if full < self._count else []
        self._count -= full

    def finish(self) -> Iterator[Columns]:
        """Yields the last piece, if any points are left."""
        if self._count:
            yield joined(self._parts)
        self._parts, self._count = [], 0
