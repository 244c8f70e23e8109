"""Reads an event file piece by piece."""

from __future__ import annotations

import os
from pathlib import Path

from runstream.tensorboard.events import Contents, EventReader
from runstream.tensorboard.records import MAX_RECORD_BYTES, Damage

_CHUNK_BYTES = 1024 * 1024
NO_LIMIT = 1 << 62


def read_chunk(path: Path, offset: int, size: int, reader: EventReader, max_points: int = NO_LIMIT) -> Contents:
    """What follows in the file, whose size is `size`, at this offset; `end` is 0 if that is no whole record yet.
    Records that are longer than a chunk are read whole; those beyond MAX_RECORD_BYTES are skipped. Raises OSError."""
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
                contents.end = chunk - MAX_RECORD_BYTES  # a record that begins before it would be whole
                contents.damage.append(Damage(0, contents.end, "no record"))
                return contents
            chunk *= 4
