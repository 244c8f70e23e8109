"""Reads an event file piece by piece."""

from __future__ import annotations

import os
from pathlib import Path

from runstream.tensorboard.events import Contents, EventReader
from runstream.tensorboard.records import MAX_RECORD_BYTES, Damage

_CHUNK_BYTES = 1024 * 1024
NO_LIMIT = 1 << 62


def read_chunk(path: Path, offset: int, size: int, reader: EventReader, max_points: int = NO_LIMIT) -> Contents:
    """Reads the next chunk of a file of this size, from this offset on; `end` is 0 if there is no complete record yet.
    A record that is longer than a chunk is read as a whole; one beyond MAX_RECORD_BYTES is skipped. Raises OSError."""
    left, chunk = size - offset, _CHUNK_BYTES
    with open(path, "rb", buffering=0) as file:
        while True:
            data = os.pread(file.fileno(), min(chunk, left), offset)
            contents = reader.read(data, max_points)
            if contents.end or chunk >= left:
                return contents
            needed = reader.framer.needed_bytes(data)
            if needed > MAX_RECORD_BYTES:
                contents.end = needed if needed <= left else 0
                return contents
            if chunk > MAX_RECORD_BYTES:
                contents.end = chunk - MAX_RECORD_BYTES  # a record that begins before this would be complete
                contents.damage.append(Damage(0, contents.end, "bytes that are not a record"))
                return contents
            chunk *= 4
