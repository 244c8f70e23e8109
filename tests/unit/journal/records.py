"""Records for the tests; their payloads tell them apart."""

from __future__ import annotations

from array import array
from pathlib import Path
from zlib import crc32

from runstream.journal import Record, RecordType
from runstream.journal.format import SEGMENT_HEADER_BYTES, encode_batch
from runstream.journal.reader import JournalReader

CREATE = {"run_id": "0" * 32, "name": "mlp", "rank": 0}


def batch(number: int, points: int = 10) -> bytes:
    """The payload of a batch whose values are its number."""
    return encode_batch(
        number,
        1_700_000_000_000_000,
        array("I", [0] * points),
        array("q", range(points)),
        array("q", [number] * points),
        array("d", [float(number)] * points),
    )


def read_all(reader: JournalReader, max_bytes: int = 1 << 20) -> list[Record]:
    """Reads all records that a reader can find now."""
    records: list[Record] = []
    while (found := reader.read(max_bytes)) or not (reader.is_complete() or reader.writer_alive()):
        records += found
    return records


def plain(records: list[Record]) -> list[tuple[int, RecordType, bytes]]:
    """Records in a form that can be compared."""
    return [(record.sequence, record.kind, bytes(record.payload)) for record in records]


def with_version(segment: bytes, version: int) -> bytes:
    """The same segment, in a journal of another version."""
    header = segment[:8] + version.to_bytes(2, "little") + segment[10 : SEGMENT_HEADER_BYTES - 4]
    return header + crc32(header).to_bytes(4, "little") + segment[SEGMENT_HEADER_BYTES:]


def segments(path: Path) -> list[Path]:
    """The segment files of a journal in order, without the kept one."""
    return [file for file in sorted(path.glob("*.seg")) if file.name != "00000000.seg"]
