"""A file system of its own, which can be filled to the last byte."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

_BYTES = 256 << 20
_PIECES = (1 << 20, 1 << 12, 1)


@contextlib.contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    """In memory, at this path.

    Raises:
        RuntimeError: this user or this machine cannot mount one.
    """
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={_BYTES},mode=0755", "runstream-bench", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    except OSError as error:
        raise RuntimeError(f"a small disk cannot be mounted: {error}") from error
    if done.returncode:
        raise RuntimeError(f"a small disk cannot be mounted, which takes root on Linux: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=False)  # noqa: S603, S607 - our own words


@contextlib.contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Fills it, so that nothing more can be written to it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in _PIECES:
            piece = bytes(size)
            try:
                while True:
                    file.write(piece)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
        os.fsync(file.fileno())
    try:
        yield
    finally:
        ballast.unlink()
