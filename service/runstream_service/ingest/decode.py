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


@dataclass(slots=True)
class Batch:
    """A numbered batch as it came; row i of each column is one point. The columns are views of the message."""

    number: int
    series_index: UInt32Column
    step: Int64Column
    time_unix_us: Int64Column
    value: Float64Column


def decode(message: bytes) -> ingest_pb2.Open | ingest_pb2.Declare | Batch:
    """Decode one AppendRequest.

    Raises:
        MalformedMessage: not an AppendRequest, or an empty one.
        ColumnLengths: a batch whose columns differ in length.
    """
    try:
        packed = packed_pb2.PackedAppendRequest.FromString(message)
        kind = packed.WhichOneof("message")
        if kind == "batch":
            return _columns(packed.batch)
        # Rare messages: parse again, with all fields.
        request = ingest_pb2.AppendRequest.FromString(message)
    except DecodeError as exc:
        raise MalformedMessage(
            f"message: {len(message)} bytes are not a runstream.v1.AppendRequest", field="message"
        ) from exc
    if kind == "open":
        return request.open
    if kind == "declare":
        return request.declare
    raise MalformedMessage("message: set one of open, declare and batch", field="message")


def _columns(batch: packed_pb2.PackedBatch) -> Batch:
    count = batch.point_count
    return Batch(
        number=batch.number,
        series_index=np.frombuffer(_checked("series_index", batch.series_index, 4, count), "<u4"),
        step=np.frombuffer(_checked("step", batch.step, 8, count), "<i8"),
        time_unix_us=np.frombuffer(_checked("time_unix_us", batch.time_unix_us, 8, count), "<i8"),
        value=np.frombuffer(_checked("value", batch.value, 8, count), "<f8"),
    )


def _checked(name: str, column: bytes, width: int, count: int) -> bytes:
    if len(column) != width * count:
        raise ColumnLengths(
            f"batch.{name}: {len(column)} bytes are {len(column) / width:g} values, but batch.point_count is {count}; "
            "every column must have point_count values",
            field=f"batch.{name}",
        )
    return column
