"""The bytes of a journal: segment headers, records, and the payload of each type of record.

All numbers are little-endian. A segment is a header followed by records; a record is a header followed by its payload.
Checksums are CRC-32 as zlib computes it.

segment header, 48 bytes   magic "RSTREAMJ" · u16 version · u16 zero · 16 bytes journal id · u64 ordinal of the segment
                           · u64 sequence of its first record · u32 checksum of all of that. The same in all versions:
                           otherwise, garbage could not be distinguished from a version to come.
record header, 20 bytes    u32 length of the payload · u32 checksum of length, rest of the header and payload
                           · u64 sequence · u8 type · 3 zero bytes
payload of BATCH           u64 number · u32 count of points · u64 time of its oldest log() call, microseconds since 1970
                           · u32 series_index[count] · i64 step[count] · i64 time_unix_us[count] · f64 value[count]
payload of DECLARE         {"first_index": n, "keys": [...]}
payload of the others      a JSON object in UTF-8
"""

from __future__ import annotations

import enum
import json
import struct
import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias
from zlib import crc32

Payload: TypeAlias = "bytes | memoryview"

MAGIC = b"RSTREAMJ"
VERSION = 1
SEGMENT_BYTES = 8 * 1024 * 1024  # the most bytes of a segment
MAX_PAYLOAD_BYTES = 1024 * 1024  # a record's header with a greater length is damaged
MAX_BATCH_POINTS = 1_000
POINT_BYTES = 4 + 8 + 8 + 8

_SEGMENT = struct.Struct("<8sHH16sQQ")
_CRC = struct.Struct("<I")
SEGMENT_HEADER_BYTES = _SEGMENT.size + _CRC.size
_RECORD = struct.Struct("<IIQB3s")
RECORD_HEADER_BYTES = _RECORD.size
_AFTER_CRC = struct.Struct("<QB3s")
_BATCH = struct.Struct("<QIQ")
_ZEROS = bytes(3)
_BIG_ENDIAN = sys.byteorder == "big"


class RecordType(enum.IntEnum):
    """The type of a record. A reader skips types that it does not know, and counts them."""

    CREATE = 1
    DECLARE = 2
    BATCH = 3
    PARAMS = 4
    TAGS = 5
    FINISH = 6


KNOWN_TYPES = frozenset(int(kind) for kind in RecordType)


class NewerVersion(Exception):
    """The journal was written by a newer release of runstream, and this one cannot read it. It was not changed."""

    def __init__(self, path: object, version: int) -> None:
        super().__init__(
            f"the journal {path} has version {version}, and this release of runstream reads version {VERSION}; "
            "it was left unchanged: update runstream, then send it"
        )
        self.version = version


class Record(NamedTuple):
    """A complete record with the right checksum. `payload` may be a view of a larger buffer, which it keeps in
    memory."""

    sequence: int
    kind: RecordType
    payload: Payload


class SegmentHeader(NamedTuple):
    """The header of a segment. `ordinal` counts segments from 1; `first_sequence` is that of its first record."""

    journal_id: str
    ordinal: int
    first_sequence: int


class Batch(NamedTuple):
    """A decoded BATCH. Columns are the little-endian bytes as they are in the record (and on the wire)."""

    number: int
    point_count: int
    oldest_unix_us: int
    series_index: Payload  # u32 each
    step: Payload  # i64 each
    time_unix_us: Payload  # i64 each
    value: Payload  # f64 each


def encode_segment_header(header: SegmentHeader) -> bytes:
    """Encodes the header of a segment, SEGMENT_HEADER_BYTES long."""
    head = _SEGMENT.pack(MAGIC, VERSION, 0, bytes.fromhex(header.journal_id), header.ordinal, header.first_sequence)
    return head + _CRC.pack(crc32(head))


def decode_segment_header(data: Payload, path: object) -> SegmentHeader | None:
    """Decodes the header of a segment; None if it is incomplete or damaged. Raises NewerVersion if it has a higher
    version. `path` is for the message."""
    if len(data) < _SEGMENT.size + _CRC.size:
        return None
    magic, version, _zero, journal_id, ordinal, first_sequence = _SEGMENT.unpack_from(data)
    (crc,) = _CRC.unpack_from(data, _SEGMENT.size)
    if crc32(data[: _SEGMENT.size]) != crc or magic != MAGIC:
        return None
    if version > VERSION:
        raise NewerVersion(path, version)
    return SegmentHeader(journal_id.hex(), ordinal, first_sequence)


def encode_record_header(sequence: int, kind: int, payload: Payload) -> bytes:
    """Encodes the header before a payload, RECORD_HEADER_BYTES long."""
    length = len(payload)
    rest = _AFTER_CRC.pack(sequence, kind, _ZEROS)
    crc = crc32(payload, crc32(rest, crc32(_CRC.pack(length))))
    return _RECORD.pack(length, crc, sequence, kind, _ZEROS)


class RecordHeader(NamedTuple):
    """The header of a record. `end` is the offset after the payload, in the buffer that the header was read from."""

    sequence: int
    kind: int
    end: int


def decode_record(data: memoryview, offset: int) -> RecordHeader | None:
    """The header of the record at this offset; None if the record is incomplete or its checksum is wrong. The payload
    is `data[offset + RECORD_HEADER_BYTES : end]`."""
    start = offset + RECORD_HEADER_BYTES
    if start > len(data):
        return None
    length, crc, sequence, kind, zeros = _RECORD.unpack_from(data, offset)
    end = start + length
    if end > len(data) or zeros != _ZEROS or length > MAX_PAYLOAD_BYTES or not sequence or not kind:
        return None
    if crc32(data[offset + 8 : end], crc32(data[offset : offset + 4])) != crc:
        return None
    return RecordHeader(sequence, kind, end)


def record_bytes_at(data: memoryview, offset: int) -> int:
    """The length of the record at this offset, header included, as its header says; 0 if unknown or impossible."""
    if offset + RECORD_HEADER_BYTES > len(data):
        return 0
    length = int(_CRC.unpack_from(data, offset)[0])
    return RECORD_HEADER_BYTES + length if length <= MAX_PAYLOAD_BYTES else 0


def encode_json(value: Mapping[str, Any]) -> bytes:
    """Encodes the payload of any type but BATCH. Raises ValueError for values that JSON or UTF-8 cannot represent."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def decode_json(payload: Payload) -> dict[str, Any]:
    """Decodes the payload of any type but BATCH. Raises ValueError if it is not a JSON object in UTF-8."""
    value = json.loads(bytes(payload))
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, not {type(value).__name__}")
    return value


def encode_declare(first_index: int, keys: Sequence[str]) -> bytes:
    """Encodes the payload of a DECLARE: the keys of the series first_index, first_index + 1, ... in this order."""
    return encode_json({"first_index": first_index, "keys": list(keys)})


def decode_declare(payload: Payload) -> dict[int, str]:
    """Decodes a DECLARE: series index to key. Raises ValueError if the payload is not that of a DECLARE."""
    value = decode_json(payload)
    first, keys = value.get("first_index"), value.get("keys")
    if not isinstance(first, int) or not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("expected first_index and keys")
    return dict(enumerate(keys, first))


def encode_batch(
    number: int,
    oldest_unix_us: int,
    series_index: array[int],
    step: array[int],
    time_unix_us: array[int],
    value: array[float],
) -> bytes:
    """Encodes the payload of a BATCH from columns of type "I", "q", "q" and "d" with the same length, at most
    MAX_BATCH_POINTS. `oldest_unix_us` is the wall time of the oldest log() call in it. Raises ValueError."""
    columns: tuple[array[Any], ...] = (series_index, step, time_unix_us, value)
    count = len(value)
    if count > MAX_BATCH_POINTS or any(len(column) != count for column in columns):
        raise ValueError(f"columns of {[len(column) for column in columns]} points; at most {MAX_BATCH_POINTS}, equal")
    return b"".join((_BATCH.pack(number, count, max(0, oldest_unix_us)), *map(_little_endian, columns)))


def decode_batch(payload: Payload) -> Batch:
    """Decodes a BATCH; columns are views of the payload. Raises ValueError if the payload is not that of a BATCH."""
    view = memoryview(payload)
    if len(view) < _BATCH.size:
        raise ValueError(f"a batch of {len(view)} bytes")
    number, count, oldest_unix_us = _BATCH.unpack_from(view)
    if len(view) != _BATCH.size + count * POINT_BYTES:
        raise ValueError(f"a batch of {len(view)} bytes for {count} points")
    series_end = _BATCH.size + 4 * count
    step_end, time_end = series_end + 8 * count, series_end + 16 * count
    return Batch(
        number,
        count,
        oldest_unix_us,
        view[_BATCH.size : series_end],
        view[series_end:step_end],
        view[step_end:time_end],
        view[time_end:],
    )


def batch_number(payload: Payload) -> tuple[int, int]:
    """Number and count of points of a BATCH, without decoding its columns. Raises ValueError if it is too short."""
    if len(payload) < _BATCH.size:
        raise ValueError(f"a batch of {len(payload)} bytes")
    number, count, _oldest = _BATCH.unpack_from(payload)
    return number, count


def _little_endian(column: array[Any]) -> array[Any]:
    if not _BIG_ENDIAN:
        return column
    swapped = column[:]
    swapped.byteswap()
    return swapped
