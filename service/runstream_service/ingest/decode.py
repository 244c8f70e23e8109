"""Message bytes -> Open, Declare or columns. Protobuf's types for batches stop here."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from runstream.v1 import ingest_pb2, packed_pb2
from runstream_service.core.errors import ColumnLengths, MalformedMessage

Int64Column = npt.NDArray[np.int64]
Float64Column = npt.NDArray[np.float64]
UInt32Column = npt.NDArray[np.uint32]

# This module runs for every message, so names are looked up once.
_parse, _frombuffer = packed_pb2.PackedAppendRequest.FromString, np.frombuffer
_UINT32, _INT64, _FLOAT64 = np.dtype("<u4"), np.dtype("<i8"), np.dtype("<f8")

# A tag is the number of a field and its type of encoding: 0 for a varint, 2 for bytes with their length before them
# (https://protobuf.dev/programming-guides/encoding/).
_BATCH_TAG, _NUMBER_TAG, _POINT_COUNT_TAG = 3 << 3 | 2, 1 << 3 | 0, 2 << 3 | 0
_COLUMNS = ((3 << 3 | 2, _UINT32), (4 << 3 | 2, _INT64), (5 << 3 | 2, _INT64), (6 << 3 | 2, _FLOAT64))
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
    # By the client's clock, in microseconds; see ingest.proto.
    oldest_age_us: int | None = None
    sent_us: int | None = None


@dataclass(slots=True)
class EncodedDeclare:
    """A Declare as received. Decoded it is six times as large, and thousands may wait for their turn."""

    message: bytes

    def decode(self) -> ingest_pb2.Declare:
        """Raises MalformedMessage."""
        try:
            return ingest_pb2.AppendRequest.FromString(self.message).declare
        except DecodeError as exc:
            raise _malformed(self.message) from exc


def decode(message: bytes) -> ingest_pb2.Open | EncodedDeclare | Batch:
    """Decode one AppendRequest.

    Raises:
        MalformedMessage: not an AppendRequest, or an empty one.
        ColumnLengths: a batch whose columns differ in length.
    """
    if (batch := _batch_in_place(message)) is not None:
        return batch
    try:
        packed = _parse(message)
        kind = packed.WhichOneof("message")
        if kind == "batch":
            return _batch(packed)
        if kind == "declare":
            return EncodedDeclare(message)
        # Rare messages: parse again, with all fields.
        request = ingest_pb2.AppendRequest.FromString(message)
    except DecodeError as exc:
        raise _malformed(message) from exc
    if kind == "open":
        return request.open
    raise MalformedMessage("message: this release takes open, declare and batch; set one of them", field="message")


def _malformed(message: bytes) -> MalformedMessage:
    return MalformedMessage(f"message: {len(message)} bytes are not a runstream.v1.AppendRequest", field="message")


def _batch(packed: packed_pb2.PackedAppendRequest) -> Batch:
    batch = packed.batch
    count = batch.point_count
    series_index, step, time_unix_us, value = batch.series_index, batch.step, batch.time_unix_us, batch.value
    if not (len(series_index) == 4 * count and len(step) == len(time_unix_us) == len(value) == 8 * count):
        raise _lengths(batch)
    return Batch(
        batch.number,
        _frombuffer(series_index, _UINT32),
        _frombuffer(step, _INT64),
        _frombuffer(time_unix_us, _INT64),
        _frombuffer(value, _FLOAT64),
        packed.oldest_age_us if packed.HasField("oldest_age_us") else None,
        packed.sent_us if packed.HasField("sent_us") else None,
    )


def _batch_in_place(message: bytes) -> Batch | None:
    """The batch of a message that has each field once, in the order of their numbers, as all official encoders write
    it; None for any other message. Its columns are views of the message. protobuf would copy each column twice, which
    takes three times as long for 1,000 points, and half more for 250."""
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
        if position != end:
            return None
        rest = _parse(message[end:])
        if rest.WhichOneof("message") is not None:
            return None
    except (IndexError, ValueError, DecodeError):  # it ends too early, or something follows that is no field
        return None
    series_index, step, time_unix_us, value = columns
    return Batch(
        number,
        series_index,
        step,
        time_unix_us,
        value,
        rest.oldest_age_us if rest.HasField("oldest_age_us") else None,
        rest.sent_us if rest.HasField("sent_us") else None,
    )


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """The number at a position, and the position after it. Raises IndexError, ValueError."""
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
    """What comes before each column of `count` values: its tag and its length in bytes."""
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
