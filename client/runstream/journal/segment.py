"""Reads one segment file, and finds records behind damaged bytes."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from runstream.journal.format import (
    RECORD_HEADER_BYTES,
    SEGMENT_BYTES,
    SEGMENT_HEADER_BYTES,
    SegmentHeader,
    decode_record,
    decode_segment_header,
    record_bytes_at,
)
from runstream.journal.layout import segment_name

_SEQUENCE = struct.Struct("<Q")
_SEQUENCE_OFFSET = 8  # in the record's header
_PATTERN_OFFSET = 12  # in the header: the upper half of the sequence (zero in practice), the type, three zeros
_HEADER_PATTERN = re.compile(rb"(?=\x00{4}[\x01-\x1f]\x00{3})")


class FoundRecord(NamedTuple):
    """A record whose checksum is right. `payload` is a view of the bytes that it was found in."""

    sequence: int
    kind: int
    payload: memoryview
    end: int  # the offset after it, in the bytes that it was found in


class SegmentFile:
    """A segment that is open for reading. `offset` is where the next record begins. Raises OSError, NewerVersion."""

    def __init__(self, path: Path, ordinal: int) -> None:
        self.name = segment_name(ordinal)
        self.ordinal = ordinal
        self._fd = os.open(path / self.name, os.O_RDONLY)
        self.offset = 0
        try:
            self.header: SegmentHeader | None = decode_segment_header(self.read(SEGMENT_HEADER_BYTES), path)
        except BaseException:
            self.close()
            raise
        if self.header is not None:  # otherwise the header is damaged, and is skipped like other damaged bytes
            self.offset = SEGMENT_HEADER_BYTES

    def read(self, wanted: int) -> memoryview:
        """Reads about `wanted` bytes from `offset` on; the whole first record, if that is longer."""
        data = self._pread(max(wanted, RECORD_HEADER_BYTES))
        length = record_bytes_at(data, 0)
        return self._pread(length) if len(data) < length else data

    def rest(self) -> memoryview:
        """Reads everything from `offset` on, at most SEGMENT_BYTES."""
        return self._pread(SEGMENT_BYTES)

    def size(self) -> int:
        """The current size of the file in bytes."""
        return os.fstat(self._fd).st_size

    def close(self) -> None:
        """Closes the file. May be called again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _pread(self, wanted: int) -> memoryview:
        available = self.size() - self.offset
        return memoryview(os.pread(self._fd, min(wanted, available), self.offset) if available > 0 else b"")


def whole_records(data: memoryview, after: int) -> Iterator[FoundRecord]:
    """Yields the complete records at the start of the data, as long as their sequences rise above `after`."""
    offset = 0
    while (header := decode_record(data, offset)) is not None and header.sequence > after:
        yield FoundRecord(header.sequence, header.kind, data[offset + RECORD_HEADER_BYTES : header.end], header.end)
        offset, after = header.end, header.sequence


def find_record(data: memoryview, after: int) -> int | None:
    """The offset in damaged data of the next complete record with a sequence above `after`; None if there is none."""
    highest = after + SEGMENT_BYTES // RECORD_HEADER_BYTES
    for match in _HEADER_PATTERN.finditer(data):
        start = match.start() - _PATTERN_OFFSET
        if start < 0:
            continue
        (sequence,) = _SEQUENCE.unpack_from(data, start + _SEQUENCE_OFFSET)
        if after < sequence <= highest and decode_record(data, start) is not None:
            return start
    return None


def is_torn_record(data: memoryview) -> bool:
    """Whether these bytes at the end of a journal are nothing but one incomplete record, or zeros."""
    if not bytes(data).strip(b"\0"):
        return True
    return len(data) < RECORD_HEADER_BYTES or record_bytes_at(data, 0) > len(data)
