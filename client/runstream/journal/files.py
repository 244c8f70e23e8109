"""The operations of the journal on the file system, behind a small interface. Tests replace it by a model of the page
cache, which loses at a power cut what was not synced."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from runstream.journal.format import Payload


class Files(Protocol):
    """Operations that change files. Every method may raise OSError. Reading is not part of it: readers see what is in
    the page cache."""

    def make_directory(self, path: Path) -> None:
        """Makes a directory that does not exist, for this user alone."""

    def create(self, path: Path) -> int:
        """Opens an empty file for `append`, for this user alone, and returns its descriptor. An old file is emptied."""

    def append(self, fd: int, parts: Sequence[Payload]) -> int:
        """Writes at the end of the file; returns how many bytes were written, which may not be all."""

    def truncate(self, fd: int, size: int) -> None:
        """Cuts the file to this size in bytes."""

    def sync(self, fd: int) -> None:
        """Returns when the file's data and size are on disk."""

    def close(self, fd: int) -> None:
        """Closes the file."""

    def is_deleted(self, fd: int) -> bool:
        """Whether the file was deleted, so that it has no name any more."""

    def overwrite(self, path: Path, data: bytes) -> int:
        """Overwrites the content of an existing file in place; returns a descriptor for `sync`."""

    def rename(self, old: Path, new: Path) -> None:
        """Renames a file or directory in one step; an existing file `new` is replaced."""

    def unlink(self, path: Path) -> None:
        """Deletes a file."""

    def sync_directory(self, path: Path) -> None:
        """Returns when the names in the directory are on disk."""


class OsFiles:
    """The operating system's files."""

    def make_directory(self, path: Path) -> None:
        os.mkdir(path, 0o700)

    def create(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)

    def append(self, fd: int, parts: Sequence[Payload]) -> int:
        return os.writev(fd, parts)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        # macOS has no fdatasync, and its fsync leaves data in the drive's cache, which has to be enough there.
        getattr(os, "fdatasync", os.fsync)(fd)

    def close(self, fd: int) -> None:
        os.close(fd)

    def is_deleted(self, fd: int) -> bool:
        return os.fstat(fd).st_nlink == 0

    def overwrite(self, path: Path, data: bytes) -> int:
        fd = os.open(path, os.O_WRONLY)
        try:
            written = os.pwrite(fd, data, 0)
            os.ftruncate(fd, written)
            if written < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except BaseException:
            os.close(fd)
            raise
        return fd

    def rename(self, old: Path, new: Path) -> None:
        os.rename(old, new)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def sync_directory(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


OS_FILES = OsFiles()


def write_all(files: Files, fd: int, parts: Sequence[Payload]) -> None:
    """Appends everything, even if the kernel accepts it in pieces. After an OSError, a part of it may be in the
    file."""
    total = sum(len(part) for part in parts)
    written = files.append(fd, parts)
    if written == total:
        return
    rest = memoryview(b"".join(parts))[written:]
    while rest:
        rest = rest[files.append(fd, [rest]) :]


def replace_file(files: Files, path: Path, temporary: Path, parts: Sequence[Payload], *, durable: bool) -> None:
    """Writes a file under a temporary name and renames it, so that readers see either the old or the new content.
    `durable`: it is synced before the rename; the caller syncs the directory. Raises OSError."""
    try:
        fd = files.create(temporary)
        try:
            write_all(files, fd, parts)
            if durable:
                files.sync(fd)
        finally:
            files.close(fd)
        files.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            files.unlink(temporary)
        raise


def replace_file_on_full_disk(files: Files, path: Path, temporary: Path, data: bytes, *, durable: bool) -> None:
    """As `replace_file`, but if the disk has no room for another file, overwrites the existing one. Meanwhile, and
    after a crash, a reader may find a mixture of the old and the new content. Raises OSError."""
    try:
        replace_file(files, path, temporary, [data], durable=durable)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        try:
            fd = files.overwrite(path, data)
        except FileNotFoundError:
            raise error from None
        try:
            if durable:
                files.sync(fd)
        finally:
            files.close(fd)
