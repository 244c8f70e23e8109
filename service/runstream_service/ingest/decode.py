"""Message bytes -> Open, Declare or columns. Protobuf's types for batches stop here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from runstream.v1 import ingest_pb2, packed_pb2
from runstream_service.core.errors import ColumnLengths, MalformedMessage

Int64Column = npt.NDArray[np.int64]
Float64Column = npt.NDArray[np.float64]
UInt32Column = npt.NDArray[np.uint32]

_UINT32, _INT64, _FLOAT64 = np.dtype("<u4"), np.dtype("<i8"), np.dtype("<f8")


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
    try:
        packed = packed_pb2.PackedAppendRequest.FromString(message)
        kind = packed.WhichOneof("message")
        if kind == "batch":
            batch = _columns(packed.batch)
            if packed.HasField("oldest_age_us"):
                batch.oldest_age_us = packed.oldest_age_us
                batch.sent_us = packed.sent_us if packed.HasField("sent_us") else None
            return batch
        if kind == "declare":
            return EncodedDeclare(message)
        # Rare messages: parse again, with all fields.
        request = ingest_pb2.AppendRequest.FromString(message)
    except DecodeError as exc:
        raise _malformed(message) from exc
    if kind == "open":
        return request.open
    raise MalformedMessage("message: set one of open, declare and batch", field="message")


def _malformed(message: bytes) -> MalformedMessage:
    return MalformedMessage(f"message: {len(message)} bytes are not a runstream.v1.AppendRequest", field="message")


def _columns(batch: packed_pb2.PackedBatch) -> Batch:
    count = batch.point_count
    series_index, step, time_unix_us, value = batch.series_index, batch.step, batch.time_unix_us, batch.value
    if not (len(series_index) == 4 * count and len(step) == len(time_unix_us) == len(value) == 8 * count):
        raise _lengths(batch)
    return Batch(
        batch.number,
        np.frombuffer(series_index, _UINT32),
        np.frombuffer(step, _INT64),
        np.frombuffer(time_unix_us, _INT64),
        np.frombuffer(value, _FLOAT64),
    )


def _lengths(batch: packed_pb2.PackedBatch) -> ColumnLengths:
    widths = {"series_index": 4, "step": 8, "time_unix_us": 8, "value": 8}
    name = next(name for name, width in widths.items() if len(getattr(batch, name)) != width * batch.point_count)
    size = len(getattr(batch, name))
    return ColumnLengths(
        f"batch.{name}: {size} bytes are {size / widths[name]:g} values, but batch.point_count is {batch.point_count}; "
        "every column must have point_count values",
        field=f"batch.{name}",
    )
