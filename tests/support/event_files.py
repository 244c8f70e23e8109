"""Writes TensorBoard's event files, field by field, as TensorFlow and PyTorch do."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from runstream.tensorboard.records import encode_record

_DTYPES = {"float": (1, 5, "<f"), "double": (2, 6, "<d")}


def varint(number: int) -> bytes:
    """A number as protobuf encodes it; negative numbers take 64 bits."""
    number &= (1 << 64) - 1
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def bytes_field(number: int, content: bytes) -> bytes:
    """A field with bytes, a string or a message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def number_field(number: int, value: int) -> bytes:
    """A field with a whole number; as in proto3, zero is left out."""
    return varint(number << 3) + varint(value) if value else b""


def event(time_s: float, step: int, rest: bytes) -> bytes:
    """An Event; `rest` is its summary, or another field."""
    time = b"\x09" + struct.pack("<d", time_s) if time_s else b""
    return time + number_field(2, step) + rest


def summary(*values: bytes) -> bytes:
    """The summary of an Event."""
    return bytes_field(5, b"".join(bytes_field(1, value) for value in values))


def simple_value(tag: str, value: float) -> bytes:
    """A Summary.Value of TensorFlow 1 and PyTorch."""
    return bytes_field(1, tag.encode()) + b"\x15" + struct.pack("<f", value)


def metadata(plugin: str, content: bytes = b"") -> bytes:
    """The metadata of a Summary.Value."""
    return bytes_field(9, bytes_field(1, bytes_field(1, plugin.encode()) + bytes_field(2, content)))


def tensor_value(tag: str, value: float, dtype: str = "float", *, as_content: bool = False) -> bytes:
    """A Summary.Value of TensorFlow 2."""
    kind, field, packed = _DTYPES[dtype]
    content = bytes_field(4 if as_content else field, struct.pack(packed, value))
    shape = bytes_field(2, b"")
    tensor = number_field(1, kind) + shape + content
    return bytes_field(1, tag.encode()) + bytes_field(8, tensor) + metadata("scalars")


def text_value(tag: str, text: str) -> bytes:
    """A Summary.Value with a text."""
    tensor = number_field(1, 7) + bytes_field(2, bytes_field(2, number_field(1, 1))) + bytes_field(8, text.encode())
    return bytes_field(1, tag.encode()) + bytes_field(8, tensor) + metadata("text")


def hparams_value(params: Mapping[str, float | str | bool]) -> bytes:
    """The Summary.Value with the hyperparameters of a session."""
    entries = b""
    for key, value in params.items():
        if isinstance(value, bool):
            encoded = b"\x20" + varint(value)
        elif isinstance(value, str):
            encoded = bytes_field(3, value.encode())
        else:
            encoded = b"\x11" + struct.pack("<d", value)
        entries += bytes_field(1, bytes_field(1, key.encode()) + bytes_field(2, encoded))
    return bytes_field(1, b"_hparams_/session_start_info") + metadata("hparams", bytes_field(3, entries))


def session_start() -> bytes:
    """What SummaryWriter(purge_step=...) of PyTorch writes first."""
    return bytes_field(7, number_field(1, 1))


class EventFile:
    """An event file that is being written, also after it was renamed. It is closed when it is garbage-collected."""

    def __init__(self, directory: Path, number: int = 1, *, time_s: float = 1_700_000_000.0) -> None:
        """`number` is part of the name of the file: later files have higher numbers."""
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / f"events.out.tfevents.{1_700_000_000 + number}.host.1.0"
        self.time_s = time_s + number
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.write(event(self.time_s, 0, bytes_field(3, b"brain.Event:2")))

    def __enter__(self) -> EventFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def write(self, data: bytes) -> None:
        """Append a record."""
        os.write(self._fd, encode_record(data))

    def write_bytes(self, data: bytes) -> None:
        """Append bytes as they are."""
        os.write(self._fd, data)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Append an event for each scalar, as PyTorch does."""
        for tag, value in values.items():
            self.write(event(self.time_s + step, step, summary(simple_value(tag, value))))
