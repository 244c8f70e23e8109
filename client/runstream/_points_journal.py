"""A journal whose points are written without a buffer in front of it, as the agent does with its own metrics. (A
training process collects its points in a buffer first: see `_recording`.)"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from runstream import _params_tags
from runstream.journal import Directory, JournalWriter, RecordType
from runstream.journal.format import MAX_BATCH_POINTS, encode_batch, encode_declare, encode_json

_DECLARED_AT_ONCE = 500  # keys of at most 1,000 bytes: a record stays below its limit


class Point(NamedTuple):
    """One point; the caller has checked its key and that its numbers are in range."""

    key: str
    value: float
    step: int
    time_unix_us: int


class PointsJournal:
    """Appends points, params and tags to a journal of its own. Not thread-safe. All methods but `close` may raise
    OSError. If a call that failed half-way is repeated, some points are written twice."""

    def __init__(self, directory: Directory, create: Mapping[str, Any]) -> None:
        self.writer = JournalWriter.create(directory, dict(create))
        self._indexes: dict[str, int] = {}  # of declared series
        self._number = 0  # of the last batch

    def log_points(self, points: Sequence[Point], now_unix_us: int) -> None:
        """Appends points in their order, in batches. `now_unix_us` counts as the time of their log() calls."""
        self._declare(point.key for point in points)
        for start in range(0, len(points), MAX_BATCH_POINTS):
            part = points[start : start + MAX_BATCH_POINTS]
            payload = encode_batch(
                self._number + 1,
                now_unix_us,
                array("I", [self._indexes[point.key] for point in part]),
                array("q", [point.step for point in part]),
                array("q", [point.time_unix_us for point in part]),
                array("d", [point.value for point in part]),
            )
            self.writer.append(RecordType.BATCH, payload)
            self._number += 1

    def log_params(self, params: Mapping[str, str]) -> None:
        """Appends params, in records of bounded size."""
        self._append_entries(RecordType.PARAMS, params)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Appends tags, in records of bounded size."""
        self._append_entries(RecordType.TAGS, tags)

    def finish(self) -> None:
        """Appends FINISH, as nothing more is written to this journal. The run itself continues."""
        end = {"status": "FINISHED", "end_time_unix_us": 0, "ends_run": False}
        self.writer.append(RecordType.FINISH, encode_json(end))

    def sync(self) -> None:
        """Returns when everything is on disk."""
        self.writer.sync()

    def close(self) -> None:
        """Closes the file and frees the lock; the agent sends what is in the journal."""
        self.writer.close()

    def _declare(self, keys: Iterable[str]) -> None:
        new = [key for key in dict.fromkeys(keys) if key not in self._indexes]
        for start in range(0, len(new), _DECLARED_AT_ONCE):
            part = new[start : start + _DECLARED_AT_ONCE]
            first = len(self._indexes)
            self.writer.append(RecordType.DECLARE, encode_declare(first, part))
            self._indexes.update(zip(part, range(first, first + len(part)), strict=True))

    def _append_entries(self, kind: RecordType, entries: Mapping[str, str]) -> None:
        for piece in _params_tags.split(entries, _params_tags.RECORD_BYTES):
            self.writer.append(kind, encode_json(piece))
