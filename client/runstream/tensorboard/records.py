"""The framing of event files: TFRecords.

record   u64 length of the data · u32 masked CRC-32C of the length · data · u32 masked CRC-32C of the data

All numbers are little-endian. A file only grows. Bytes that are not a record may be one that is being written (on
network file systems, a reader may see zeros where data will be). So they count as damage only when a complete record
follows, and the reader continues there.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from google_crc32c import value as crc32c

HEADER_BYTES = 12
FOOTER_BYTES = 4
# A longer record is skipped without checking its checksum, as scalars, params and texts are never that long.
MAX_RECORD_BYTES = 64 * 1024 * 1024

_LENGTH = struct.Struct("<QI")
_CRC = struct.Struct("<I")
_HIGH_HALF = bytes(4)


class Record(NamedTuple):
    """A complete record: where it begins and ends, and its data."""

    start: int
    end: int
    data: bytes


class Damage(NamedTuple):
    """Bytes that are not a record."""

    start: int
    end: int
    what: str


def masked_crc(data: bytes) -> int:
    """The checksum of data, as it is stored in a record."""
    crc = int(crc32c(data))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def encode_record(data: bytes) -> bytes:
    """A record with this data."""
    length = len(data).to_bytes(8, "little")
    return b"".join((length, _CRC.pack(masked_crc(length)), data, _CRC.pack(masked_crc(data))))


class RecordFramer:
    """Divides the bytes of one file into records."""

    def __init__(self) -> None:
        # The length for each header whose checksum was checked: most records of a file share a few lengths.
        self.lengths: dict[bytes, int] = {}

    def needed_bytes(self, data: bytes) -> int:
        """How many bytes the record at the beginning of `data` has, as its header says."""
        length = self._length(data[:HEADER_BYTES])
        return HEADER_BYTES if length is None else HEADER_BYTES + length + FOOTER_BYTES

    def next(self, data: bytes, at: int) -> Record | Damage | None:
        """The record at this offset, or the damage before the next record; None if there is no complete record yet."""
        length = self._length(data[at : at + HEADER_BYTES])
        if length is None and at + HEADER_BYTES > len(data):
            return None
        what = "the checksum of its length is wrong"
        if length is not None:
            end = at + HEADER_BYTES + length + FOOTER_BYTES
            if end > len(data):
                return None
            body = data[at + HEADER_BYTES : end - FOOTER_BYTES]
            if _CRC.unpack_from(data, end - FOOTER_BYTES)[0] == masked_crc(body):
                return Record(at, end, body)
            what = "the checksum of its data is wrong"
        following = self._find(data, at + 1)
        return None if following is None else Damage(at, following, what)

    def _length(self, header: bytes) -> int | None:
        """The length of a record's data; None if this is not a header, or an incomplete one."""
        if len(header) < HEADER_BYTES:
            return None
        length, crc = _LENGTH.unpack(header)
        if masked_crc(header[:8]) != crc:
            return None
        if len(self.lengths) < 4_096:
            self.lengths[header] = length
        return int(length)

    def _find(self, data: bytes, at: int) -> int | None:
        """The offset of the next complete record; None if there is none. Only a length with an upper half of zeros, and
        that is not 0, is found."""
        start = data.find(_HIGH_HALF, at + 4) - 4
        while start >= at:
            if data[start] or data[start : start + 4] != _HIGH_HALF:
                end = start + HEADER_BYTES + (self._length(data[start : start + HEADER_BYTES]) or 0)
                footer = data[end : end + FOOTER_BYTES]
                body = data[start + HEADER_BYTES : end]
                if body and len(footer) == FOOTER_BYTES and _CRC.unpack(footer)[0] == masked_crc(body):
                    return start
            start = data.find(_HIGH_HALF, start + 5) - 4
        return None
