"""Merges sources of points of one series. Each source is in order, and sources arrive in the order of their beginnings.

Nothing that follows can precede the points before the beginning of the newest source, so these are returned at once.
Only points of overlapping sources are held and sorted.
"""

from __future__ import annotations

from collections.abc import Iterator

from runstream_service.query.reading.columns import Columns, joined


class StreamingMerge:
    """The merge of one series."""

    def __init__(self) -> None:
        self._waiting: list[Columns] = []

    def add(self, source: Columns, *, first_step: int, first_time_unix_us: int) -> Iterator[Columns]:
        """Adds a source. No point of it, or of later sources, is before (first_step, first_time). Yields the points
        that are next in order."""
        ready, waiting = [], []
        for points in self._waiting:
            cut = points.place_of(first_step, first_time_unix_us)
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
        """Yields the remaining points."""
        if self._waiting:
            yield joined(self._waiting).in_order()
        self._waiting = []


class Rechunker:
    """Points in whatever portions -> pieces of exactly `size` points, the last one shorter."""

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
        """Yields the last piece."""
        if self._count:
            yield joined(self._parts)
        self._parts, self._count = [], 0
