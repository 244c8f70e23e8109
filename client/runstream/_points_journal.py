"""A journal for points that are written at once, one call after the other, by the agent's own producers. (A training
process collects them in a buffer first, see run.py.)"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from runstream import _params_tags
from runstream.journal import Directory, JournalWriter, RecordType
from runstream.journal.format import MAX_BATCH_POINTS, encode_batch, encode_declare, encode_json

_DECLARED_AT_ONCE = 500  # keys of at most 1,000 bytes: a record stays below its limit


class Point(NamedTuple):
    """One point, in range."""

    key: str
    value: float
    step: int
    time_unix_us: int


class PointsJournal:
    """Not thread-safe. Every method but `close` raises OSError; a call that failed half-way may be repeated as a whole,
    and then writes some points twice."""

    def __init__(self, directory: Directory, create: Mapping[str, Any]) -> None:
        self.writer = JournalWriter.create(directory, dict(create))
        self._indexes: dict[str, int] = {}  # of declared series
        self._number = 0  # of the last batch

    def log_points(self, points: Sequence[Point], now_unix_us: int) -> None:
        """Appends points in batches of their order."""
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
        """Says that nothing comes any more; the run continues."""
        end = {"status": "FINISHED", "end_time_unix_us": 0, "ends_run": False}
        self.writer.append(RecordType.FINISH, encode_json(end))

    def sync(self) -> None:
        """Returns when everything is on disk."""
        self.writer.sync()

    def close(self) -> None:
        """Frees file and lock; the agent continues with what is there."""
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
