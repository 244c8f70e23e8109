"""Reads the content of event files: scalars, hyperparameters and texts. Everything else is skipped.

The messages are TensorFlow's `Event` and TensorBoard's `HParamsPluginData`, read field by field as protobuf encodes
them; the numbers below are those of their fields. Scalars come in two forms: `simple_value` (TensorFlow 1, PyTorch),
and a tensor with one element (the plugin `scalars` of TensorFlow 2).

Events of one tag differ only in time, step and the four bytes of the value. So only the first event of a shape is
parsed; later ones are recognised by their other bytes, which is several times as fast.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator

import numpy as np
from google_crc32c import value as crc32c

from runstream.tensorboard.records import FOOTER_BYTES, HEADER_BYTES, Damage, Record, RecordFramer

# Fields of Event, of Summary.Value, of SummaryMetadata, of TensorProto, of HParamsPluginData.
_WALL_TIME, _STEP, _SUMMARY, _SESSION_LOG = 1, 2, 5, 7
_VALUE = 1
_TAG, _SIMPLE_VALUE, _TENSOR, _METADATA = 1, 2, 8, 9
_PLUGIN_DATA, _PLUGIN_NAME, _CONTENT = 1, 1, 2
_DTYPE, _SHAPE, _TENSOR_CONTENT, _STRING_VAL = 1, 2, 4, 8
_SESSION_START_INFO, _HPARAMS = 3, 1
_SESSION_START = 1

_DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8", 10: "?", 19: "<f2", 22: "<u4", 23: "<u8"}
_STRING = 7
# The fields in which TensorProto has elements that are not in tensor_content, and how one element is encoded, by dtype.
_ELEMENTS = {1: (5, "<f4"), 2: (6, "<f8"), 3: (7, ""), 4: (7, ""), 5: (7, ""), 6: (7, ""), 9: (10, ""), 10: (11, "")}

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DOUBLE, _FLOAT, _CRC = struct.Struct("<d"), struct.Struct("<f"), struct.Struct("<I")
_FLOAT_BYTES = 4
_FIRST_TIME_S, _END_TIME_S = -62_135_596_800.0, 253_402_300_799.0  # years 1 to 9999
_MAX_SHAPES = 100_000  # how many shapes are remembered; events of further ones are parsed each time
MAX_TEXT = 8_000  # characters of a tag's value


class Points:
    """Scalars as columns, in the order of the file."""

    def __init__(self) -> None:
        self.start = array("q")  # the offset of each point's record
        self.key = array("I")  # index into the keys of the reader
        self.step = array("q")
        self.time_s = array("d")  # seconds since 1970, as in the file
        self.value = array("d")

    def __len__(self) -> int:
        return len(self.value)

    def times_unix_us(self) -> array[int]:
        """The times of all points in microseconds since 1970."""
        return _times_unix_us(self.time_s)


class Contents:
    """The content of several records of a file. Offsets are relative to the bytes that were read."""

    def __init__(self) -> None:
        self.end = 0  # where the next record begins
        self.points = Points()
        self.params: dict[str, str] = {}
        self.texts: dict[str, str] = {}  # the last one of each tag
        self.damage: list[Damage] = []
        self.first_time_s: float | None = None  # of the first event with a scalar, param or text
        self.restarted_at: int | None = None  # the step of a SessionLog.START: earlier files are obsolete from it on

    @property
    def first_time_unix_us(self) -> int:
        """`first_time_s` in microseconds; 0 if it is None."""
        return _times_unix_us(array("d", [self.first_time_s or 0.0]))[0]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to send."""
        return not (len(self.points) or self.params or self.texts)


class EventReader:
    """Reads the events of one file."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self.keys = list(keys)  # of all scalars so far; a point refers to its key by index
        self.framer = RecordFramer()
        self._indexes = {key: index for index, key in enumerate(self.keys)}
        # By the number of bytes after the step: the offset of the value in them, and the key's index by the other
        # bytes.
        self._shapes: dict[int, dict[int, dict[bytes, int]]] = {}
        self._shape_count = 0

    def read(self, data: bytes, max_points: int = 1 << 62) -> Contents:
        """Reads the records in `data`, which begins with a record. Stops at an incomplete record, and after the record
        with which `max_points` is reached."""
        contents = Contents()
        while len(contents.points) < max_points:
            self._read_known(data, contents, max_points)
            record = self.framer.next(data, contents.end) if len(contents.points) < max_points else None
            if record is None:
                break
            contents.end = record.end
            if isinstance(record, Damage):
                contents.damage.append(record)
                continue
            try:
                self._read_event(record, contents)
            except (IndexError, ValueError, struct.error) as error:
                contents.damage.append(Damage(record.start, record.end, f"its data is not an Event ({error})"))
        if len(contents.points) and contents.first_time_s is None:
            contents.first_time_s = contents.points.time_s[0]
        return contents

    def _read_known(self, data: bytes, contents: Contents, max_points: int) -> None:
        """Reads records as long as their shapes are known. An import spends most of its time in this loop."""
        points, shapes, lengths, at = contents.points, self._shapes, self.framer.lengths, contents.end
        size, left = len(data), max_points - len(points)
        try:
            while left > 0:
                length = lengths[data[at : at + HEADER_BYTES]]
                begin = at + HEADER_BYTES
                end = begin + length
                if end + FOOTER_BYTES > size or data[begin] != 0x09:
                    break
                event = data[begin:end]
                step, rest_at = 0, 9
                if event[9] == 0x10:
                    step, rest_at = event[10], 11
                    if step > 0x7F:
                        step, rest_at = _varint(event, 10)
                        step = _signed(step)
                rest = event[rest_at:]
                for cut, indexes in shapes[length - rest_at].items():
                    index = indexes.get(rest[:cut] + rest[cut + _FLOAT_BYTES :])
                    if index is not None:
                        break
                else:
                    break
                crc = crc32c(event)
                if ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF != _CRC.unpack_from(data, end)[0]:
                    break
                points.start.append(at)
                points.key.append(index)
                points.step.append(step)
                points.time_s.append(_DOUBLE.unpack_from(event, 1)[0])
                points.value.append(_FLOAT.unpack_from(rest, cut)[0])
                at = end + FOOTER_BYTES
                left -= 1
        except (KeyError, IndexError, ValueError):
            pass  # a header, length or number that is new or damaged, which the caller reads
        contents.end = at

    def _read_event(self, record: Record, into: Contents) -> None:
        """Adds the content of any Event. Raises ValueError, IndexError or struct.error if the data is not an Event."""
        data = record.data
        time_s, step, order = 0.0, 0, []
        summaries = []
        for number, wire, value, end in _fields(data, 0, len(data)):
            order.append(number)
            if number == _WALL_TIME and wire == _FIXED64:
                time_s = _DOUBLE.unpack_from(data, value)[0]
            elif number == _STEP and wire == _VARINT:
                step = _signed(value)
            elif number == _SUMMARY and wire == _BYTES:
                summaries.append((value, end))
            elif number == _SESSION_LOG and wire == _BYTES and _starts_session(data, value, end):
                into.restarted_at = step
        values = [
            (value, end)
            for begin, limit in summaries
            for number, wire, value, end in _fields(data, begin, limit)
            if number == _VALUE and wire == _BYTES
        ]
        scalars = [scalar for at in values if (scalar := _read_value(data, *at, into)) is not None]
        for key, number_value, value_at in scalars:
            index = self._index(key)
            points = into.points
            points.start.append(record.start)
            points.key.append(index)
            points.step.append(step)
            points.time_s.append(time_s)
            points.value.append(number_value)
            if value_at is not None and len(values) == 1 and order in ([1, 5], [1, 2, 5]):
                self._remember(data, value_at, index)
        if into.first_time_s is None and not into.is_empty:
            into.first_time_s = time_s

    def _index(self, key: str) -> int:
        index = self._indexes.get(key)
        if index is None:
            index = self._indexes[key] = len(self.keys)
            self.keys.append(key)
        return index

    def _remember(self, data: bytes, value_at: int, index: int) -> None:
        """Remembers the shape of an event: others may differ from it in time, step and the value's four bytes."""
        if data[0] != 0x09 or self._shape_count >= _MAX_SHAPES:
            return
        rest_at = _varint(data, 10)[1] if data[9] == 0x10 else 9
        cut = value_at - rest_at
        indexes = self._shapes.setdefault(len(data) - rest_at, {}).setdefault(cut, {})
        indexes[data[rest_at:value_at] + data[value_at + _FLOAT_BYTES :]] = index
        self._shape_count += 1


def _times_unix_us(time_s: array[float]) -> array[int]:
    """Times in microseconds since 1970. NaN, and times outside of the years 1 to 9999, become 0."""
    seconds = np.frombuffer(time_s, np.float64)
    valid = (seconds >= _FIRST_TIME_S) & (seconds < _END_TIME_S)
    times = array("q")
    times.frombytes(np.rint(np.where(valid, seconds, 0.0) * 1e6).astype(np.int64).tobytes())
    return times


def _starts_session(data: bytes, begin: int, limit: int) -> bool:
    statuses = [value for number, wire, value, _ in _fields(data, begin, limit) if number == 1 and wire == _VARINT]
    return statuses[-1:] == [_SESSION_START]


def _read_value(data: bytes, begin: int, limit: int, into: Contents) -> tuple[str, float, int | None] | None:
    """Key, value, and the offset of the value's four bytes (None: it is encoded in another way); None if it is not a
    scalar."""
    tag, plugin, content = "", "", b""
    simple: int | None = None
    tensor: tuple[int, int] | None = None
    for number, wire, value, end in _fields(data, begin, limit):
        if number == _TAG and wire == _BYTES:
            tag = data[value:end].decode("utf-8", "replace")
        elif number == _SIMPLE_VALUE and wire == _FIXED32:
            simple = value
        elif number == _TENSOR and wire == _BYTES:
            tensor = value, end
        elif number == _METADATA and wire == _BYTES:
            plugin, content = _read_metadata(data, value, end)
    if plugin == "hparams":
        into.params.update(_read_hparams(content))
        return None
    if simple is not None:
        return tag, _FLOAT.unpack_from(data, simple)[0], simple
    if tensor is None:
        return None
    if plugin == "text":
        if texts := _read_strings(data, *tensor):
            into.texts[tag.removesuffix("/text_summary")] = "\n".join(texts)[:MAX_TEXT]
        return None
    if plugin not in ("", "scalars"):
        return None
    decoded = _read_scalar(data, *tensor)
    return None if decoded is None else (tag, *decoded)


def _read_metadata(data: bytes, begin: int, limit: int) -> tuple[str, bytes]:
    """The name of the plugin and its content."""
    name, content = "", b""
    for number, wire, value, end in _fields(data, begin, limit):
        if number == _PLUGIN_DATA and wire == _BYTES:
            for field, kind, at, to in _fields(data, value, end):
                if field == _PLUGIN_NAME and kind == _BYTES:
                    name = data[at:to].decode("utf-8", "replace")
                elif field == _CONTENT and kind == _BYTES:
                    content = data[at:to]
    return name, content


def _read_scalar(data: bytes, begin: int, limit: int) -> tuple[float, int | None] | None:
    """The value of a tensor without dimensions, and its offset if it is a float; None for any other tensor."""
    dtype, found = 0, []
    for number, wire, value, end in _fields(data, begin, limit):
        if number == _DTYPE and wire == _VARINT:
            dtype = value
        elif number == _SHAPE and wire == _BYTES and value != end:
            return None  # it has dimensions
        else:
            found.append((number, wire, value, end))
    if dtype not in _DTYPES:
        return None
    for number, wire, value, end in found:
        if number == _TENSOR_CONTENT and wire == _BYTES:
            return _one(data, value, end, _DTYPES[dtype], is_float=dtype == 1)
        field, encoding = _ELEMENTS.get(dtype, (0, ""))
        if number != field:
            continue
        if not encoding:
            return float(_signed(value if wire == _VARINT else _varint(data, value)[0])), None
        size = np.dtype(encoding).itemsize
        return _one(data, value, end if wire == _BYTES else value + size, encoding, is_float=dtype == 1)
    return None


def _one(data: bytes, begin: int, end: int, dtype: str, *, is_float: bool) -> tuple[float, int | None] | None:
    if end - begin != np.dtype(dtype).itemsize:
        return None
    return float(np.frombuffer(data, dtype, 1, begin)[0]), begin if is_float else None


def _read_strings(data: bytes, begin: int, limit: int) -> list[str]:
    return [
        data[value:end].decode("utf-8", "replace")
        for number, wire, value, end in _fields(data, begin, limit)
        if number == _STRING_VAL and wire == _BYTES
    ]


def _read_hparams(content: bytes) -> dict[str, str]:
    """The hyperparameters of a session, as texts."""
    params = {}
    for number, wire, begin, limit in _fields(content, 0, len(content)):
        if number != _SESSION_START_INFO or wire != _BYTES:
            continue
        for field, kind, value, end in _fields(content, begin, limit):
            if field != _HPARAMS or kind != _BYTES:
                continue
            entry = {f: (k, v, e) for f, k, v, e in _fields(content, value, end)}
            _, key_at, key_end = entry.get(1, (_BYTES, 0, 0))
            _, value_at, value_end = entry.get(2, (_BYTES, 0, 0))
            key = content[key_at:key_end].decode("utf-8", "replace")
            if key:
                params[key] = _read_param(content, value_at, value_end)
    return params


def _read_param(content: bytes, begin: int, limit: int) -> str:
    """A google.protobuf.Value that is a number, a text or a boolean, as text."""
    for number, wire, value, end in _fields(content, begin, limit):
        if number == 2 and wire == _FIXED64:
            found = _DOUBLE.unpack_from(content, value)[0]
            return str(int(found)) if found.is_integer() and abs(found) < 1e15 else repr(found)
        if number == 3 and wire == _BYTES:
            return content[value:end].decode("utf-8", "replace")
        if number == 4 and wire == _VARINT:
            return str(bool(value))
    return ""


def _fields(data: bytes, at: int, limit: int) -> Iterator[tuple[int, int, int, int]]:
    """Yields the fields of the message in data[at:limit]: number, wire type, value and end. For a varint, the value is
    the number; else, the offset of the content. Raises ValueError, IndexError."""
    while at < limit:
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == _VARINT:
            value, end = _varint(data, at)
        elif wire == _BYTES:
            size, value = _varint(data, at)
            end = value + size
        elif wire in (_FIXED64, _FIXED32):
            value, end = at, at + (8 if wire == _FIXED64 else 4)
        else:
            raise ValueError(f"wire type {wire}")
        if end > limit or not tag >> 3:
            raise ValueError("a field beyond the end of its message")
        yield tag >> 3, wire, value, end
        at = end


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Decodes a varint; returns the number and the offset after it. Raises IndexError, ValueError."""
    byte = data[at]
    if byte < 0x80:
        return byte, at + 1
    result, shift = byte & 0x7F, 7
    while True:
        at += 1
        byte = data[at]
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & 0xFFFFFFFFFFFFFFFF, at + 1
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than ten bytes")


def _signed(value: int) -> int:
    return value if value < 1 << 63 else value - (1 << 64)
