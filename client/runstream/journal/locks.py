"""File locks by flock: the kernel frees them when the process ends, however it ends.

A lock belongs to the open file, which a forked child inherits. The child closes its descriptor, and the parent keeps
the lock. Other programs that are started do not inherit it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path


class FileLock:
    """A lock that this process holds."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fd = fd

    @classmethod
    def acquire(cls, path: Path) -> FileLock | None:
        """Locks a file, which is made if need be; None if another process holds the lock. Does not wait. Raises
        OSError."""
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                if not _try_lock(fd, fcntl.LOCK_EX):
                    os.close(fd)
                    return None
            except OSError:
                os.close(fd)
                raise
            lock = cls(path, fd)
            if lock.in_place():
                return lock
            lock.release()  # the file was deleted after we opened it: another process may lock a new file

    def in_place(self) -> bool:
        """Whether the path still names the locked file. If not, another process can lock the same path."""
        try:
            there, ours = os.stat(self._path), os.fstat(self._fd)
        except OSError:
            return False
        return (there.st_ino, there.st_dev) == (ours.st_ino, ours.st_dev)

    def write(self, text: str) -> None:
        """Replaces the content of the file, which only people and messages use. Raises OSError."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, text.encode(), 0)

    def release(self) -> None:
        """Frees the lock; in a forked child, only closes the child's descriptor. May be called again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock. False if there is no such file; True if it cannot be found out, since taking a
    living process for a dead one does harm.

    It takes a shared lock for a moment, so an `acquire` at the same moment may fail.
    """
    try:
        fd = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    try:
        return not _try_lock(fd, fcntl.LOCK_SH)
    except OSError:
        return True
    finally:
        os.close(fd)


def _try_lock(fd: int, operation: int) -> bool:
    try:
        fcntl.flock(fd, operation | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True
