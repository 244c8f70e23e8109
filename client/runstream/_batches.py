"""Columns of points, and the numbered batches that they are sealed into.

A batch is serialised once. Its bytes are bound to its number forever: the service recognises a committed batch by the
number alone, so that other bytes under the same number would be lost, or stored twice.
"""

from __future__ import annotations

import sys
from array import array
from dataclasses import dataclass

from runstream.v1 import ingest_pb2, packed_pb2

_LITTLE_ENDIAN = sys.byteorder == "little"
_BATCH_OVERHEAD_BYTES = 300  # the objects around the bytes
_DECLARE_SERIES = 500  # series in one Declare: at most 500 keys of 1,000 bytes, far below any message limit


@dataclass(frozen=True)
class Batch:
    """Sealed points. `ordinal` counts batches over all producers of the handle, `number` those of the current one."""

    ordinal: int
    number: int
    points: int
    data: bytes  # a whole AppendRequest, except for what `sent_at` adds
    logged_s: float  # by the monotonic clock; none of its points was logged before

    @property
    def size(self) -> int:
        """The bytes that it takes in memory."""
        return len(self.data) + _BATCH_OVERHEAD_BYTES

    def series_indexes(self) -> set[int]:
        """The series that it uses. They are read from the bytes, so that waiting batches need no memory for them."""
        column = array("I", packed_pb2.PackedAppendRequest.FromString(self.data).batch.series_index)
        return set(_swapped(column))

    def sent_at(self, now_s: float) -> bytes:
        """The bytes to send at this time of the monotonic clock: with the age of the batch, by which the service
        measures how long points take from log() to commit. Two serialised messages in a row are one message with all
        fields."""
        age_us = max(0, round((now_s - self.logged_s) * 1e6))
        stamp = packed_pb2.PackedAppendRequest(oldest_age_us=age_us, sent_us=round(now_s * 1e6))
        return self.data + stamp.SerializeToString()

    def renumbered(self, number: int) -> Batch:
        """The same points for another producer, which has its own numbering."""
        message = packed_pb2.PackedAppendRequest.FromString(self.data)
        message.batch.number = number
        return Batch(self.ordinal, number, self.points, message.SerializeToString(), self.logged_s)


class Columns:
    """Points on their way into the next batch. Only the sender's thread uses it."""

    def __init__(self, logged_s: float = 0.0) -> None:
        self.logged_s = logged_s  # by the monotonic clock; none of the points was logged before
        self.series = array("I")
        self.steps = array("q")
        self.times = array("q")
        self.values = array("d")

    def __len__(self) -> int:
        return len(self.values)

    def append(self, series_index: int, step: int, time_unix_us: int, value: float) -> None:
        """Adds a point; all four are in range."""
        self.series.append(series_index)
        self.steps.append(step)
        self.times.append(time_unix_us)
        self.values.append(value)

    def seal(self, ordinal: int, number: int) -> Batch:
        """The batch with all points so far."""
        batch = packed_pb2.PackedBatch(
            number=number,
            point_count=len(self.values),
            series_index=_swapped(self.series).tobytes(),
            step=_swapped(self.steps).tobytes(),
            time_unix_us=_swapped(self.times).tobytes(),
            value=_swapped(self.values).tobytes(),
        )
        data = packed_pb2.PackedAppendRequest(batch=batch).SerializeToString()
        return Batch(ordinal, number, len(self.values), data, self.logged_s)


POINT_BYTES = 28  # in columns and on the wire: 4 + 8 + 8 + 8


class SeriesTable:
    """Keys of the run and their indexes; indexes are never reused. Bound: `max_series` keys."""

    def __init__(self, max_series: int = 100_000) -> None:
        self.max_series = max_series
        self._indexes: dict[str, int] = {}
        self._keys: list[str] = []

    def __len__(self) -> int:
        return len(self._keys)

    def index_of(self, key: str) -> int | None:
        """The index of a known key."""
        return self._indexes.get(key)

    def add(self, key: str) -> int:
        """The index of a new key. The caller has checked `refusal_of(key)` and that there is room."""
        index = len(self._keys)
        self._keys.append(key)  # first: a stream that sees the index must find the key
        self._indexes[key] = index
        return index

    def declarations(self, indexes: set[int]) -> list[bytes]:
        """Serialised Declare messages for these series."""
        ordered = sorted(indexes)
        messages = []
        for start in range(0, len(ordered), _DECLARE_SERIES):
            series = [
                ingest_pb2.SeriesDeclaration(series_index=index, key=self._keys[index])
                for index in ordered[start : start + _DECLARE_SERIES]
            ]
            request = ingest_pb2.AppendRequest(declare=ingest_pb2.Declare(series=series))
            messages.append(request.SerializeToString())
        return messages


def refusal_of(key: object) -> tuple[str, str] | None:
    """Why a metric key is refused, as (reason, words); None if it is valid. The service has the same rules."""
    if not isinstance(key, str):
        return key_not_a_string(key)
    if not key:
        return "key_empty", "is an empty key"
    if len(key) > 250:
        return "key_too_long", f"is a key of {len(key)} characters; at most 250"
    if has_control_character(key):
        return "key_control_character", "is a key with a control character"
    if not is_utf8(key):
        return "key_not_utf8", "is a key that has no UTF-8 form"
    return None


def key_not_a_string(key: object) -> tuple[str, str]:
    """The refusal of a key that is not a string, in the form of `refusal_of`."""
    return "key_not_a_string", f"is a key of type {type(key).__name__}, not a string"


def shown_key(key: object) -> str:
    """A key as warnings show it. An object that is no string is not converted: that may raise, or read a device."""
    return str.__str__(key) if isinstance(key, str) else f"<{type(key).__name__}>"


def has_control_character(text: str) -> bool:
    """C0, DEL and C1, as the service defines them."""
    return not text.isprintable() and any(ch < " " or "\x7f" <= ch <= "\x9f" for ch in text)


def is_utf8(text: str) -> bool:
    """False for lone surrogates, which no protobuf string can carry."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _swapped(column: array) -> array:  # type: ignore[type-arg]
    if not _LITTLE_ENDIAN:
        column = column[:]
        column.byteswap()
    return column
