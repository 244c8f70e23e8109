"""Reads the records of a journal: one of a living writer, of a dead one, or a copy.

Bytes that are not a record count as damage only where nothing will be appended any more: in a segment that another one
follows, or when the writer is dead. Otherwise they are a record that is being written. After damage, the reader
continues at the next record whose checksum is right; the bytes in between are copied into `damaged/` and reported.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, NamedTuple

from runstream.journal.files import OS_FILES, Files, replace_file
from runstream.journal.format import (
    KNOWN_TYPES,
    Payload,
    Record,
    RecordType,
    SegmentHeader,
    decode_declare,
    decode_json,
    encode_record_header,
    encode_segment_header,
)
from runstream.journal.layout import DAMAGED, KEPT_ORDINAL, NEW_PREFIX, WRITER_LOCK, segment_name, segment_ordinals
from runstream.journal.locks import is_locked
from runstream.journal.segment import FoundRecord, SegmentFile, find_record, is_torn_record, whole_records

_CHUNK_BYTES = 1024 * 1024  # a record is a view of its chunk, and keeps all of it in memory


class Damage(NamedTuple):
    """Bytes that are not a record, or missing records. The sequence of the next record shows how many are missing; at
    the end of a journal there is no next one, and their number is unknown. `torn`: part of a record that was
    interrupted by a crash or power cut before it was synced."""

    file: str  # the segment's name
    offset: int
    length: int
    what: str  # a description
    torn: bool = False
    first_missing: int = 0  # the sequence of the first missing record, if `missing_records` is not 0
    missing_records: int = 0
    quarantined: str = ""  # the file that has a copy of the bytes; empty if there is none


class _Passed(NamedTuple):
    """A segment that was read to its end, and the sequences that its records may have."""

    ordinal: int
    first: int
    last: int


class JournalReader:
    """Returns every record from `from_sequence` on once, in order of sequence. Not thread-safe.

    `create` and `keys` hold what CREATE and DECLARE records say, also those below `from_sequence` and those of
    segments that were deleted.
    """

    def __init__(self, path: Path, from_sequence: int = 1, *, quarantine: bool = True, files: Files = OS_FILES) -> None:
        """`path` is the journal's directory. Without `quarantine`, nothing in it is changed. Raises NewerVersion if a
        newer release wrote the journal, OSError if it cannot be read."""
        self.path = path
        self.id = path.name
        self.create: dict[str, Any] = {}  # empty if the CREATE record is damaged
        self.keys: dict[int, str] = {}  # of the series declared so far, by index
        self.damage: list[Damage] = []
        self.unknown: dict[int, int] = {}  # how many records were skipped because their type is unknown, by type
        self.finished = False  # FINISH was read; nothing follows it
        self.sequence = 0  # of the last record that was read or skipped; 0 before the first
        self._from = from_sequence
        self._quarantine = quarantine
        self._files = files
        self._segment: SegmentFile | None = None
        self._at_end = False  # everything was read, and the writer is dead
        self._writer_dead = False  # a dead writer never comes back
        self._prefix_deleted = False  # the first segment was deleted, so it is unknown where the sequence begins
        self._passed: list[_Passed] = []
        self._segment_first = 1  # the lowest sequence that the current segment may have
        self._pending: list[Damage] = []  # not reported yet, as the next record shows how many are missing
        self._context: list[Record] = []  # CREATE and DECLARE records, which are kept when their segments are deleted
        self._kept = 0  # how many of `_context` are in the kept segment
        self._load_kept()
        self._open_following()
        self._peek_create()

    def read(self, max_bytes: int) -> list[Record]:
        """The next records: at least one, and about `max_bytes` of them; [] if there is none at the moment. Raises
        OSError."""
        records: list[Record] = []
        taken = 0
        while taken < max_bytes and (data := self._next_chunk(min(max_bytes - taken, _CHUNK_BYTES))) is not None:
            end = 0
            for found in whole_records(data, self.sequence):
                self._take(found, records)
                end = found.end
            self._current().offset += end
            taken += end
        return records

    def is_complete(self) -> bool:
        """Whether everything was read and nothing more will be written: FINISH was read, or the writer is dead."""
        if self.finished or self._at_end:
            return True
        if self._writer_is_alive():
            return False
        segment = self._segment
        self._at_end = (segment is None or segment.size() <= segment.offset) and self._following() is None
        return self._at_end

    def writer_alive(self) -> bool:
        """Whether a process holds the writer's lock."""
        return self._writer_is_alive()

    def delete_before(self, sequence: int) -> None:
        """Deletes segments that were read to their end and whose records are all below `sequence`. The caller has saved
        a durable position that settles them. Their CREATE and DECLARE records are kept. Raises OSError."""
        settled = [segment for segment in self._passed if segment.last < sequence]
        # First those whose context is kept already: deleting them needs no space, and frees some on a full disk.
        unkept = [record.sequence for record in self._context[self._kept :]]
        at_once = [segment for segment in settled if not any(segment.first <= n <= segment.last for n in unkept)]
        self._delete_segments(at_once)
        if len(at_once) < len(settled):
            self._keep_context(sequence)
            self._delete_segments(settled)

    def can_delete(self, sequence: int) -> bool:
        """Whether `delete_before` would delete anything."""
        return any(segment.last < sequence for segment in self._passed)

    def _delete_segments(self, segments: list[_Passed]) -> None:
        for segment in segments:
            with contextlib.suppress(FileNotFoundError):
                self._files.unlink(self.path / segment_name(segment.ordinal))
        self._passed = [segment for segment in self._passed if segment not in segments]

    def close(self) -> None:
        """Closes the open segment. Nothing can be read afterwards."""
        self._at_end = True
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    # Finding the next record.

    def _next_chunk(self, wanted: int) -> memoryview | None:
        """Bytes that begin with the next record; None if there is none at the moment."""
        while not self._at_end and (self._segment is not None or self._open_following()):
            segment = self._current()
            data = segment.read(wanted)
            if data and self._is_next(data):
                return data
            if not self._is_final(len(data)):
                return None
            data = segment.rest()  # read again, as records may have been appended before the segment became final
            if not self._is_next(data):
                self._skip_damage(segment, data)
        return None

    def _is_next(self, data: memoryview) -> bool:
        return next(whole_records(data, self.sequence), None) is not None

    def _is_final(self, unread: int) -> bool:
        """Whether nothing more will be appended to the current segment: another one follows, or the writer is dead. The
        writer's lock is only tested if there are unread bytes."""
        if self._following() is not None:
            return True
        # In this order, as a writer may begin another segment and then die.
        return (unread > 0 or self._writer_dead) and not self._writer_is_alive()

    def _skip_damage(self, segment: SegmentFile, data: memoryview) -> None:
        """Continues after damaged bytes, in this segment or the next one."""
        skipped = find_record(data, self.sequence)
        length = len(data) if skipped is None else skipped
        following = self._following() if skipped is None else None
        if length:
            is_torn = skipped is None and following is None and is_torn_record(data)
            self._note_damage(segment, data[:length], is_torn)
        segment.offset += length
        if skipped is None:
            self._end_segment(segment)

    def _end_segment(self, segment: SegmentFile) -> None:
        self._passed.append(_Passed(segment.ordinal, self._segment_first, self.sequence))
        self._segment_first = self.sequence + 1
        if not self._open_following():
            self._at_end = True
            self._report_pending(0, 0)

    def _following(self) -> int | None:
        """The ordinal of the next segment that exists; None if there is none."""
        current = 0 if self._segment is None else self._segment.ordinal
        if self._segment is not None and not self._writer_dead:  # the common case, made quick
            return current + 1 if os.path.exists(f"{self.path}/{segment_name(current + 1)}") else None
        return next((ordinal for ordinal in segment_ordinals(self.path) if ordinal > current), None)

    def _open_following(self) -> bool:
        ordinal = self._following()
        if ordinal is None:
            return False
        opened = SegmentFile(self.path, ordinal)
        if self._segment is None:
            self._prefix_deleted = ordinal != 1
        else:
            self._segment.close()
        self._segment = opened
        if opened.header is not None:
            self._reach(opened.header.first_sequence)
            self.id = opened.header.journal_id
        return True

    def _current(self) -> SegmentFile:
        assert self._segment is not None
        return self._segment

    def _writer_is_alive(self) -> bool:
        self._writer_dead = self._writer_dead or not is_locked(self.path / WRITER_LOCK)
        return not self._writer_dead

    # The content of records.

    def _take(self, found: FoundRecord, records: list[Record]) -> None:
        self._reach(found.sequence)
        self.sequence = found.sequence
        if found.kind not in KNOWN_TYPES:
            self.unknown[found.kind] = self.unknown.get(found.kind, 0) + 1
            return
        record = Record(found.sequence, RecordType(found.kind), found.payload)
        self._note_context(record)
        if record.sequence >= self._from:
            records.append(record)

    def _note_context(self, record: Record) -> None:
        if record.kind is RecordType.FINISH:
            self.finished = True
        if record.kind not in (RecordType.CREATE, RecordType.DECLARE):
            return
        if not self._context or record.sequence > self._context[-1].sequence:
            self._context.append(record._replace(payload=bytes(record.payload)))
        with contextlib.suppress(ValueError):  # the checksum is right, so another release wrote it like this
            if record.kind is RecordType.CREATE:
                self.create = decode_json(record.payload)
            else:
                self.keys.update(decode_declare(record.payload))

    def _peek_create(self) -> None:
        """Reads the CREATE record at once, so that callers know the run before they read anything."""
        if self._segment is None or self.create:
            return
        first = next(whole_records(self._segment.read(_CHUNK_BYTES), 0), None)
        if first is not None and first.kind == RecordType.CREATE:
            with contextlib.suppress(ValueError):
                self.create = decode_json(first.payload)

    # CREATE and DECLARE records of deleted segments, in a segment with ordinal 0 that readers write.

    def _load_kept(self) -> None:
        try:
            kept = SegmentFile(self.path, KEPT_ORDINAL)
        except FileNotFoundError:
            return
        try:
            self._read_kept(kept)
        finally:
            kept.close()
        self._kept = len(self._context)
        self._report_pending(0, 0)

    def _read_kept(self, kept: SegmentFile) -> None:
        last = 0
        while data := kept.read(max(1, kept.size() - kept.offset)):
            end = 0
            for found in whole_records(data, last):
                if found.kind in (RecordType.CREATE, RecordType.DECLARE):
                    self._note_context(Record(found.sequence, RecordType(found.kind), found.payload))
                last, end = found.sequence, found.end
            kept.offset += end
            if end < len(data):
                skipped = find_record(data[end:], last) or len(data) - end
                self._note_damage(kept, data[end : end + skipped], is_torn=False)
                kept.offset += skipped

    def _keep_context(self, below: int) -> None:
        kept = [record for record in self._context if record.sequence < below]
        if len(kept) <= self._kept:
            return
        parts: list[Payload] = [encode_segment_header(SegmentHeader(self.id, KEPT_ORDINAL, 1))]
        for record in kept:
            parts += [encode_record_header(record.sequence, record.kind, record.payload), record.payload]
        path = self.path / segment_name(KEPT_ORDINAL)
        replace_file(self._files, path, self.path / (NEW_PREFIX + path.name), [b"".join(parts)], durable=True)
        self._files.sync_directory(self.path)
        self._kept = len(kept)

    # Reporting damage.

    def _note_damage(self, segment: SegmentFile, data: memoryview, is_torn: bool) -> None:
        if is_torn:
            what = "the last record is torn, as a crash or a power cut leaves it; it had not been synced"
        elif segment.offset == 0:
            what = "the header of the segment is damaged"
        else:
            what = "bytes that are not a record: a checksum or a length is wrong"
        damage = Damage(segment.name, segment.offset, len(data), what, is_torn)
        if self._quarantine and not is_torn:
            damage = damage._replace(quarantined=self._copy_away(damage, data))
        self._pending.append(damage)

    def _reach(self, sequence: int) -> None:
        """Notes that the next record has this sequence: those between it and the last one that was read are missing."""
        expected = self.sequence + 1
        if self._prefix_deleted and not self.sequence:  # only settled records were deleted
            expected = sequence if self._from == 1 else self._from
        expected = max(expected, self._from)
        missing = max(0, sequence - expected)
        if missing and not self._pending:
            segment = self._current()
            what = "records are missing before this place"
            self._pending.append(Damage(segment.name, segment.offset, 0, what))
        if self._from > 1 and sequence <= self._from:
            self._pending.clear()  # all of it was settled before
        self._report_pending(expected, missing)
        self.sequence = max(self.sequence, sequence - 1)

    def _report_pending(self, first_missing: int, missing: int) -> None:
        """Reports the pending damage. All missing records count for the first place, as their real places are
        unknown."""
        for damage in self._pending:
            if missing:
                damage = damage._replace(first_missing=first_missing, missing_records=missing)
                missing = 0
            self.damage.append(damage)
        self._pending.clear()

    def _copy_away(self, damage: Damage, data: memoryview) -> str:
        """Copies damaged bytes into `damaged/`, with a text that describes them; returns the path, "" if that
        failed."""
        directory = self.path / DAMAGED
        path = directory / f"{damage.file}-{damage.offset}.bin"
        text = f"{damage.file}, {damage.length} bytes from offset {damage.offset} on: {damage.what}.\n"
        with contextlib.suppress(OSError):
            with contextlib.suppress(FileExistsError):
                self._files.make_directory(directory)
            for target, content in ((path, data), (path.with_suffix(".txt"), text.encode())):
                temporary = directory / (NEW_PREFIX + target.name)
                replace_file(self._files, target, temporary, [content], durable=False)
            return str(path)
        return ""
