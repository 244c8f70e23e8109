"""A journal in memory, for processes that can use no directory. Its content is lost when the process ends."""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runstream.journal.format import (
    MAX_PAYLOAD_BYTES,
    RECORD_HEADER_BYTES,
    Payload,
    Record,
    RecordType,
    decode_declare,
    encode_json,
)

if TYPE_CHECKING:
    from runstream.journal.reader import Damage

DEFAULT_MAX_BYTES = 64 * 1024 * 1024


class MemoryJournal:
    """Writer and reader in one, with the interfaces of JournalWriter and JournalReader. One thread may write while
    another one reads."""

    def __init__(self, create: dict[str, Any], max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        """Bound: `max_bytes` of records that are not deleted yet, headers included; beyond it `append` raises."""
        self.id = os.urandom(16).hex()
        self.path: Path | None = None
        self.create = create
        self.keys: dict[int, str] = {}
        self.damage: list[Damage] = []
        self.unknown: dict[int, int] = {}
        self.finished = False
        self.sequence = 0  # of the last appended record
        self.unsynced = False
        self.size_bytes = 0
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._records: deque[Record] = deque()  # those that are not deleted
        self._held_bytes = 0
        self._next = 1  # the sequence of the record that `read` returns next
        self._closed = False
        self.append(RecordType.CREATE, encode_json(create))

    def append(self, kind: RecordType, payload: Payload) -> int:
        """Appends a record; returns its sequence. Raises OSError (ENOSPC) if there is no room, ValueError if it is too
        long."""
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise ValueError(f"a record of {len(payload)} bytes; at most {MAX_PAYLOAD_BYTES}")
        length = RECORD_HEADER_BYTES + len(payload)
        with self._lock:
            if self._closed:
                raise OSError(errno.EBADF, "the journal is closed")
            if self._held_bytes + length > self._max_bytes:
                raise OSError(errno.ENOSPC, "the journal in memory is full")
            self.sequence += 1
            self._records.append(Record(self.sequence, kind, bytes(payload)))
            self._held_bytes += length
            self.size_bytes += length
            return self.sequence

    def sync(self) -> None:
        """Does nothing: there is no disk."""

    def read(self, max_bytes: int) -> list[Record]:
        """The next records: at least one, and about `max_bytes` of them; [] if there is none at the moment."""
        records: list[Record] = []
        with self._lock:
            skipped = self._next - self._records[0].sequence if self._records else 0
            for index in range(max(0, skipped), len(self._records)):
                if max_bytes <= 0:
                    break
                record = self._records[index]
                records.append(record)
                max_bytes -= RECORD_HEADER_BYTES + len(record.payload)
                self._next = record.sequence + 1
        for record in records:
            self._note(record)
        return records

    def delete_before(self, sequence: int) -> None:
        """Deletes the records below `sequence` that were read."""
        with self._lock:
            while self._records and self._records[0].sequence < min(sequence, self._next):
                self._held_bytes -= RECORD_HEADER_BYTES + len(self._records.popleft().payload)

    def is_complete(self) -> bool:
        """Whether everything was read and nothing more will be appended."""
        with self._lock:
            return self.finished or (self._closed and self._next > self.sequence)

    def writer_alive(self) -> bool:
        """Whether the journal is not closed."""
        return not self._closed

    def close(self) -> None:
        """Closes the journal for writing; its records can still be read."""
        self._closed = True

    def abandon_in_child(self) -> None:
        """In a forked child: empties the journal, as the parent's copy is the one that is sent."""
        self._lock = threading.Lock()
        self._records.clear()
        self._closed = True

    def _note(self, record: Record) -> None:
        if record.kind is RecordType.DECLARE:
            self.keys.update(decode_declare(record.payload))
        if record.kind is RecordType.FINISH:
            self.finished = True
