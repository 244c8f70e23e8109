"""Appends the records of one run handle to its journal.

A process that dies leaves complete records and at most one torn one, as each record is one write. A power cut may
remove what was appended after the last `sync`, also in part and in any order, and nothing else. A segment is synced
before the next one begins, so only the last segment can be affected.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runstream.journal.files import OS_FILES, Files, write_all
from runstream.journal.format import (
    MAX_PAYLOAD_BYTES,
    RECORD_HEADER_BYTES,
    SEGMENT_BYTES,
    SEGMENT_HEADER_BYTES,
    Payload,
    RecordType,
    SegmentHeader,
    encode_json,
    encode_record_header,
    encode_segment_header,
)
from runstream.journal.layout import NEW_PREFIX, WRITER_LOCK, segment_name
from runstream.journal.locks import FileLock

if TYPE_CHECKING:
    from runstream.journal.directory import Directory


class JournalWriter:
    """The only writer that a journal ever has. Not thread-safe.

    After a failed `sync` it is unknown what is on disk: from then on `append` and `sync` raise the same error, and the
    caller continues in a new journal. A failed `append` leaves nothing behind, and the next one may succeed.
    """

    def __init__(self, path: Path, journal_id: str, lock: FileLock, files: Files = OS_FILES) -> None:
        """Only `create` calls this."""
        self.id = journal_id
        self.path = path
        self.sequence = 0  # of the last appended record
        self.unsynced = False  # whether something was appended since the last `sync`
        self.size_bytes = 0  # bytes that were ever appended, headers included
        self._files = files
        self._lock = lock
        self._fd = -1
        self._ordinal = 0
        self._segment_bytes = 0
        self._names_unsynced = False  # a segment was added to the directory since the last `sync`
        self._torn = False  # a failed append could not be undone: a part of it follows `_segment_bytes`
        self._failed: OSError | None = None  # the error of a failed sync

    @classmethod
    def create(cls, root: Directory, create: dict[str, Any]) -> JournalWriter:
        """Makes a journal that begins with this CREATE record. Readers see it only when it is complete. It is not
        synced yet. Raises OSError, and then leaves nothing behind."""
        return cls.create_with(OS_FILES, root.journals_path, os.urandom(16).hex(), create)

    @classmethod
    def create_with(cls, files: Files, journals: Path, journal_id: str, create: dict[str, Any]) -> JournalWriter:
        """As `create`, with other files and a chosen id; for tests."""
        temporary = journals / (NEW_PREFIX + journal_id)
        files.make_directory(temporary)
        writer: JournalWriter | None = None
        try:
            lock = FileLock.acquire(temporary / WRITER_LOCK)
            if lock is None:
                raise BlockingIOError(errno.EWOULDBLOCK, "another process writes this journal", str(temporary))
            writer = cls(temporary, journal_id, lock, files)
            writer._begin_segment()
            writer.append(RecordType.CREATE, encode_json(create))
            files.rename(temporary, journals / journal_id)
        except BaseException:
            if writer is not None:
                writer.close()
            _remove_directory(temporary)
            raise
        writer.path = journals / journal_id
        writer._names_unsynced = True
        return writer

    @property
    def usable(self) -> bool:
        """Whether an `append` may succeed, perhaps after a wait: no sync has failed."""
        return self._failed is None

    def append(self, kind: RecordType, payload: Payload) -> int:
        """Writes one record to the page cache; returns its sequence. Raises OSError if that failed, ValueError if the
        payload is longer than MAX_PAYLOAD_BYTES."""
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise ValueError(f"a record of {len(payload)} bytes; at most {MAX_PAYLOAD_BYTES}")
        self._check_usable()
        length = RECORD_HEADER_BYTES + len(payload)
        if self._segment_bytes + length > SEGMENT_BYTES and self._segment_bytes > SEGMENT_HEADER_BYTES:
            self._rotate()
        sequence = self.sequence + 1
        self._write([encode_record_header(sequence, kind, payload), payload])
        self.sequence = sequence
        self._segment_bytes += length
        self.size_bytes += length
        self.unsynced = True
        return sequence

    def sync(self) -> None:
        """Returns when everything that was appended is on disk, and survives a power cut. Raises OSError."""
        self._check_open()
        if not self.unsynced and not self._names_unsynced:
            return
        try:
            self._files.sync(self._fd)
            if self._names_unsynced:
                self._files.sync_directory(self.path)
                if self._ordinal == 1:
                    self._files.sync_directory(self.path.parent)
        except OSError as error:
            self._failed = error  # the kernel may have dropped the pages, and the next fdatasync would succeed
            raise
        self.unsynced = self._names_unsynced = False

    def close(self) -> None:
        """Closes the file and frees the lock, without a sync. May be called again; never raises."""
        self._close_segment()
        self._lock.release()

    def abandon_in_child(self) -> None:
        """In a forked child: closes the inherited descriptors. Journal and lock stay the parent's."""
        self.close()

    def _check_open(self) -> None:
        if self._failed is not None:
            raise OSError(self._failed.errno, f"a sync of the journal failed: {self._failed}", str(self.path))
        if self._fd < 0:
            raise OSError(errno.EBADF, "the journal is closed", str(self.path))

    def _check_usable(self) -> None:
        self._check_open()
        if self._files.is_deleted(self._fd):  # a write would succeed, but nobody could ever read it
            raise FileNotFoundError(errno.ENOENT, "the journal was deleted", str(self.path))

    def _rotate(self) -> None:
        self.sync()
        self._begin_segment()

    def _begin_segment(self) -> None:
        """Begins another segment. It gets its name when its header is written, so that no reader finds half a
        header."""
        ordinal = self._ordinal + 1
        name = segment_name(ordinal)
        temporary = self.path / (NEW_PREFIX + name)
        header = encode_segment_header(SegmentHeader(self.id, ordinal, self.sequence + 1))
        fd = self._files.create(temporary)
        try:
            write_all(self._files, fd, [header])
            self._files.rename(temporary, self.path / name)
        except BaseException:
            self._files.close(fd)
            with contextlib.suppress(OSError):
                self._files.unlink(temporary)
            raise
        self._close_segment()
        self._fd, self._ordinal, self._segment_bytes = fd, ordinal, len(header)
        self.size_bytes += len(header)
        self._names_unsynced = True

    def _write(self, parts: list[Payload]) -> None:
        if self._torn:
            self._undo_append()
        try:
            write_all(self._files, self._fd, parts)
        except BaseException:
            self._torn = True
            with contextlib.suppress(OSError):
                self._undo_append()
            raise

    def _undo_append(self) -> None:
        """Cuts off what a failed append has left. That may happen later, as a reader takes a torn record for one that
        is still being written while the writer lives."""
        self._files.truncate(self._fd, self._segment_bytes)
        self._torn = False

    def _close_segment(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                self._files.close(fd)


def _remove_directory(path: Path) -> None:
    with contextlib.suppress(OSError):
        for name in os.listdir(path):
            os.unlink(path / name)
        os.rmdir(path)
