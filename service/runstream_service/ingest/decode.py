"""Message bytes -> Open, Close, Declare or batches in columns. Protobuf's types for batches stop here."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from runstream.v1 import ingest_pb2, packed_pb2
from runstream_service.errors.core import ColumnLengths, MalformedMessage, MessageTooLarge
from runstream_service.ingest.limits import MAX_BATCHES_PER_MESSAGE, MAX_TIME_UNIX_US

Int64Column = npt.NDArray[np.int64]
Float64Column = npt.NDArray[np.float64]
UInt32Column = npt.NDArray[np.uint32]

# This module runs for every message, so names are looked up once.
_parse, _frombuffer = packed_pb2.PackedAppendRequest.FromString, np.frombuffer
_UINT32, _UINT64, _INT64, _FLOAT64 = np.dtype("<u4"), np.dtype("<u8"), np.dtype("<i8"), np.dtype("<f8")
# The ufunc itself: ndarray.max() takes longer for a few hundred values.
_maximum = np.maximum.reduce

# A tag is the number of a field and its type of encoding: 0 for a varint, 2 for bytes with their length before them
# (https://protobuf.dev/programming-guides/encoding/).
_BATCH_TAG, _NUMBER_TAG, _POINT_COUNT_TAG, _PRODUCER_TAG = 3 << 3 | 2, 1 << 3 | 0, 2 << 3 | 0, 7 << 3 | 0
_COLUMNS = ((3 << 3 | 2, _UINT32), (4 << 3 | 2, _INT64), (5 << 3 | 2, _INT64), (6 << 3 | 2, _FLOAT64))
_BATCH_SET_TAG = 6 << 3 | 2
# Of a BatchSet: one value a batch in the first four, one a point in the others.
_SET_COLUMNS: dict[str, np.dtype[Any]] = {
    "producer_index": _UINT32,
    "number": _UINT64,
    "point_count": _UINT32,
    "oldest_age_us": _UINT64,
    "series_index": _UINT32,
    "step": _INT64,
    "time_unix_us": _INT64,
    "value": _FLOAT64,
}
_SET_TAGS = bytes(number << 3 | 2 for number in range(1, len(_SET_COLUMNS) + 1))
# Of the last byte of nine. Longer varints, of numbers above 63 bits, are left to protobuf.
_LONGEST_SHIFT = 56


@dataclass(slots=True)
class Batch:
    """A numbered batch as received; row i of each column is one point. The columns are views of the message."""

    number: int
    series_index: UInt32Column
    step: Int64Column
    time_unix_us: Int64Column
    value: Float64Column
    # How long ago its oldest point was logged, by the client's clock, when the batch was sent; see ingest.proto.
    oldest_age_us: int | None = None
    producer_index: int = 0
    # When it was received, and when its oldest point was logged (None if the client does not say), by the monotonic
    # clock of this process. The stream fills them in.
    received_at: float = 0.0
    oldest_logged_at: float | None = None

    def detach(self) -> None:
        """Copy the columns, so that they do not keep the rest of their message in memory."""
        self.series_index, self.step = self.series_index.copy(), self.step.copy()
        self.time_unix_us, self.value = self.time_unix_us.copy(), self.value.copy()


@dataclass(slots=True)
class Batches:
    """The batches of one message, and the sum of their points."""

    batches: list[Batch]
    points: int
    # When the message was sent, by the client's clock.
    sent_us: int | None = None
    # Whether all times are between 1970 and the year 9999, which is nearly always true: then no batch is checked.
    times_are_usual: bool = field(default=False, compare=False)


@dataclass(slots=True)
class EncodedDeclare:
    """A Declare as received. It is decoded late: decoded it is six times as large, and thousands may wait."""

    message: bytes
    producer_index: int = 0

    def decode(self) -> ingest_pb2.Declare:
        """The message as an object of protobuf. Raises MalformedMessage."""
        try:
            return ingest_pb2.AppendRequest.FromString(self.message).declare
        except DecodeError as exc:
            raise _malformed(self.message) from exc


Request = ingest_pb2.Open | ingest_pb2.Close | EncodedDeclare | Batches


def decode(message: bytes) -> Request:
    """Decode one AppendRequest.

    Raises:
        MalformedMessage: the bytes are not an AppendRequest, or an empty one.
        ColumnLengths: a column has not as many values as the message has points, or batches.
        MessageTooLarge: the message has more batches than MAX_BATCHES_PER_MESSAGE.
    """
    found = _batch_in_place(message) or _batch_set_in_place(message)
    if found is not None:
        return found
    try:
        packed = _parse(message)
        kind = packed.WhichOneof("message")
        if kind == "batch":
            return _batch(packed)
        if kind == "batches":
            columns = {name: _column(packed.batches, name) for name in _SET_COLUMNS}
            return _batch_set(columns, packed.sent_us if packed.HasField("sent_us") else None)
        if kind == "declare":
            return EncodedDeclare(message, packed.declare.producer_index)
        if kind == "close":
            return packed.close
        # Rare messages: parse again, with all fields.
        request = ingest_pb2.AppendRequest.FromString(message)
    except DecodeError as exc:
        raise _malformed(message) from exc
    if kind == "open":
        return request.open
    raise MalformedMessage("message: set one of open, declare, batch, batches and close", field="message")


def _malformed(message: bytes) -> MalformedMessage:
    return MalformedMessage(f"message: {len(message)} bytes are not a runstream.v1.AppendRequest", field="message")


# One batch ---------------------------------------------------------------------------------------------------------


def _batch(packed: packed_pb2.PackedAppendRequest) -> Batches:
    batch = packed.batch
    count = batch.point_count
    series_index, step, time_unix_us, value = batch.series_index, batch.step, batch.time_unix_us, batch.value
    if not (len(series_index) == 4 * count and len(step) == len(time_unix_us) == len(value) == 8 * count):
        raise _lengths(batch)
    columns = (
        _frombuffer(series_index, _UINT32),
        _frombuffer(step, _INT64),
        _frombuffer(time_unix_us, _INT64),
        _frombuffer(value, _FLOAT64),
    )
    return _one_batch(batch.number, batch.producer_index, columns, packed)


def _batch_in_place(message: bytes) -> Batches | None:
    """The batch of a message that has each field once, in the order of their numbers, as all official encoders write
    it; None for any other message. Its columns are views of the message. protobuf would copy each column twice: that
    takes 3 times as long for 1,000 points, and 1.5 times as long for 250."""
    try:
        if message[0] != _BATCH_TAG:
            return None
        size, position = _varint(message, 1)
        end = position + size
        if message[position] != _NUMBER_TAG:
            return None
        number, position = _varint(message, position + 1)
        if message[position] != _POINT_COUNT_TAG:
            return None
        count, position = _varint(message, position + 1)
        columns: list[npt.NDArray[Any]] = []
        for head, dtype in _column_heads(count):
            if not message.startswith(head, position):
                return None
            position += len(head)
            columns.append(_frombuffer(message, dtype, count, position))
            position += count * dtype.itemsize
        producer_index = 0
        if position < end and message[position] == _PRODUCER_TAG:
            producer_index, position = _varint(message, position + 1)
        if position != end or producer_index > 0xFFFF_FFFF:
            return None
        rest = _parse(message[end:])
        if rest.WhichOneof("message") is not None:
            return None
    except (IndexError, ValueError, DecodeError):  # it ends too early, or what follows is not a field
        return None
    series_index, step, time_unix_us, value = columns
    return _one_batch(number, producer_index, (series_index, step, time_unix_us, value), rest)


def _one_batch(
    number: int, producer_index: int, columns: tuple[Any, Any, Any, Any], request: packed_pb2.PackedAppendRequest
) -> Batches:
    age_us = request.oldest_age_us if request.HasField("oldest_age_us") else None
    batch = Batch(number, *columns, age_us, producer_index)
    count = len(batch.value)
    sent_us = request.sent_us if request.HasField("sent_us") else None
    return Batches([batch], count, sent_us, _are_usual(batch.time_unix_us))


def _are_usual(time_unix_us: Int64Column) -> bool:
    """Whether all times are from 1970 to the year 9999. One comparison is enough: as unsigned numbers, negative times
    are the largest."""
    return not len(time_unix_us) or bool(_maximum(time_unix_us.view(np.uint64)) <= MAX_TIME_UNIX_US)


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """The number at a position, and the position after it. Raises IndexError if the message ends first, ValueError if
    the number needs more than 63 bits."""
    byte = message[position]
    value = byte & 0x7F
    shift = 0
    while byte >= 0x80:
        position += 1
        shift += 7
        if shift > _LONGEST_SHIFT:
            raise ValueError
        byte = message[position]
        value |= (byte & 0x7F) << shift
    return value, position + 1


@functools.lru_cache(maxsize=1024)
def _column_heads(count: int) -> list[tuple[bytes, np.dtype[Any]]]:
    """The bytes before each column of `count` values: its tag and its length in bytes."""
    return [(bytes([tag]) + _encoded_varint(count * dtype.itemsize), dtype) for tag, dtype in _COLUMNS]


def _encoded_varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _lengths(batch: packed_pb2.PackedBatch) -> ColumnLengths:
    widths = {"series_index": 4, "step": 8, "time_unix_us": 8, "value": 8}
    name = next(name for name, width in widths.items() if len(getattr(batch, name)) != width * batch.point_count)
    size = len(getattr(batch, name))
    return ColumnLengths(
        f"batch.{name}: {size} bytes are {size / widths[name]:g} values, but batch.point_count is {batch.point_count}; "
        "every column must have point_count values",
        field=f"batch.{name}",
    )


# Many batches ------------------------------------------------------------------------------------------------------


def _batch_set_in_place(message: bytes) -> Batches | None:
    """The batches of a BatchSet, with columns that are views of the message; None if it is another message, or written
    in another order. A column without values is not in the message."""
    columns: dict[str, npt.NDArray[Any]] = {}
    try:
        if message[0] != _BATCH_SET_TAG:
            return None
        size, position = _varint(message, 1)
        end = position + size
        for tag, (name, dtype) in zip(_SET_TAGS, _SET_COLUMNS.items(), strict=True):
            size = 0
            if position < end and message[position] == tag:
                size, position = _varint(message, position + 1)
            if size % dtype.itemsize or position + size > end:
                return None
            columns[name] = _frombuffer(message, dtype, size // dtype.itemsize, position if size else 0)
            position += size
        if position != end:
            return None
        rest = _parse(message[end:])
        if rest.WhichOneof("message") is not None:
            return None
    except (IndexError, ValueError, DecodeError):
        return None
    return _batch_set(columns, rest.sent_us if rest.HasField("sent_us") else None)


def _column(packed: packed_pb2.PackedBatchSet, name: str) -> npt.NDArray[Any]:
    data, dtype = getattr(packed, name), _SET_COLUMNS[name]
    if len(data) % dtype.itemsize:
        raise ColumnLengths(
            f"batches.{name}: {len(data)} bytes are not a whole number of values", field=f"batches.{name}"
        )
    return _frombuffer(data, dtype)


def _batch_set(columns: dict[str, npt.NDArray[Any]], sent_us: int | None) -> Batches:
    counts: list[int] = columns["point_count"].tolist()
    points = sum(counts)
    _check_lengths(columns, len(counts), points)
    if len(counts) > MAX_BATCHES_PER_MESSAGE:
        raise MessageTooLarge(
            f"batches: {len(counts):,} batches in one message; at most {MAX_BATCHES_PER_MESSAGE:,} are accepted",
            field="batches.number",
        )
    ages: list[Any] = columns["oldest_age_us"].tolist() or [None] * len(counts)
    series_index, step = columns["series_index"], columns["step"]
    time_unix_us, value = columns["time_unix_us"], columns["value"]
    batches, start = [], 0
    producers, numbers = columns["producer_index"].tolist(), columns["number"].tolist()
    for producer, number, age_us, end in zip(producers, numbers, ages, accumulate(counts), strict=True):
        rows = slice(start, end)
        batches.append(Batch(number, series_index[rows], step[rows], time_unix_us[rows], value[rows], age_us, producer))
        start = end
    return Batches(batches, points, sent_us, _are_usual(time_unix_us))


def _check_lengths(columns: dict[str, npt.NDArray[Any]], batches: int, points: int) -> None:
    for name, column in columns.items():
        is_of_batches = name in ("producer_index", "number", "oldest_age_us")
        wanted = batches if is_of_batches else points
        if len(column) != wanted and name != "point_count" and not (name == "oldest_age_us" and not len(column)):
            what = "point_count has as many batches" if is_of_batches else "is the sum of point_count"
            raise ColumnLengths(
                f"batches.{name}: {len(column)} values, but {wanted} {what}; every column must have one value a "
                f"{'batch' if is_of_batches else 'point'}",
                field=f"batches.{name}",
            )
