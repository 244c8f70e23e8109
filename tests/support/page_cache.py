"""Files as a machine has them that may lose power: what was written is seen by everybody at once, and what was not
synced may be gone after the power cut, in part, and in any order.

Everything happens in a real directory, which is what the page cache shows. Beside it, each file and directory has the
content of its last sync and the operations since then. A power cut applies some of those operations, and parts of them,
to what was synced, and writes the result into another real directory.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from runstream.journal.files import OS_FILES
from runstream.journal.format import Payload

_SECTOR_BYTES = 512


@dataclass
class _File:
    synced: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)  # write at offset; None: cut to this size

    def after_power_cut(self, random: Random | None) -> bytes:
        if random is None:
            return self.synced
        content = bytearray(self.synced)
        pending = list(self.pending)
        if random.random() < 0.5:
            random.shuffle(pending)
        for offset, data in pending:
            if data is None:
                if random.random() < 0.5:
                    del content[offset:]
                continue
            written = _survivors(data, random)
            if written is not None:
                content.extend(bytes(max(0, offset + len(written) - len(content))))
                content[offset : offset + len(written)] = written
        return bytes(content)


def _survivors(data: bytes, random: Random) -> bytes | None:
    """What of a write is on disk after all."""
    match random.randrange(6):
        case 0:
            return None
        case 1 | 2:
            return data
        case 3:
            return data[: random.randint(0, len(data))]
        case 4:
            return bytes(len(data))  # the size of the file, without the data
        case _:
            sectors = (data[start : start + _SECTOR_BYTES] for start in range(0, len(data), _SECTOR_BYTES))
            return b"".join(sector if random.random() < 0.5 else bytes(len(sector)) for sector in sectors)


@dataclass
class _Directory:
    synced: dict[str, _File | _Directory] = field(default_factory=dict)
    now: dict[str, _File | _Directory] = field(default_factory=dict)
    # What each operation does to the names: those with None are removed.
    pending: list[dict[str, _File | _Directory | None]] = field(default_factory=list)

    def change(self, change: dict[str, _File | _Directory | None]) -> None:
        self.pending.append(change)
        _apply(self.now, change)

    def after_power_cut(self, random: Random | None) -> dict[str, _File | _Directory]:
        names = dict(self.synced)
        if random is None:
            return names
        share = random.choice((0.0, 0.5, 0.9, 1.0))
        for change in self.pending:
            if random.random() < share:
                _apply(names, change)
        return names


def _apply(names: dict[str, _File | _Directory], change: dict[str, _File | _Directory | None]) -> None:
    for name, value in change.items():
        if value is None:
            names.pop(name, None)
        else:
            names[name] = value


class PageCache:
    """The interface `Files`, with a model of what is on disk. `free_bytes` limits how much can still be written."""

    def __init__(self, root: Path) -> None:
        """Everything below `root` counts as on disk."""
        self.root = root
        self.free_bytes: int | None = None
        self._tree = _load(root)
        self._open: dict[int, tuple[Path, _File]] = {}

    def power_cut(self, target: Path, random: Random) -> None:
        """Writes what is on disk into a new directory."""
        for fd in list(self._open):
            self.close(fd)
        _store(self._tree, target, random)

    def synced(self, target: Path) -> None:
        """Writes what every power cut leaves into a new directory."""
        _store(self._tree, target, None)

    def make_directory(self, path: Path) -> None:
        OS_FILES.make_directory(path)
        self._directory(path.parent).change({path.name: _Directory()})

    def create(self, path: Path) -> int:
        fd = OS_FILES.create(path)
        directory = self._directory(path.parent)
        file = directory.now.get(path.name)
        if isinstance(file, _File):
            file.pending.append((0, None))
        else:
            file = _File()
            directory.change({path.name: file})
        self._open[fd] = (path, file)
        return fd

    def append(self, fd: int, parts: Sequence[Payload]) -> int:
        data = b"".join(parts)
        fitting = len(data) if self.free_bytes is None else min(self.free_bytes, len(data))
        if data and not fitting:
            raise OSError(errno.ENOSPC, "No space left on device")
        if self.free_bytes is not None:
            self.free_bytes -= fitting
        offset = os.fstat(fd).st_size
        written = OS_FILES.append(fd, [data[:fitting]])
        self._open[fd][1].pending.append((offset, data[:written]))
        return written

    def truncate(self, fd: int, size: int) -> None:
        OS_FILES.truncate(fd, size)
        self._open[fd][1].pending.append((size, None))

    def sync(self, fd: int) -> None:
        file = self._open[fd][1]
        with open(f"/proc/self/fd/{fd}", "rb") as reopened:
            file.synced = reopened.read()
        file.pending.clear()

    def close(self, fd: int) -> None:
        self._open.pop(fd, None)
        OS_FILES.close(fd)

    def is_deleted(self, fd: int) -> bool:
        return OS_FILES.is_deleted(fd)

    def overwrite(self, path: Path, data: bytes) -> int:
        fd = OS_FILES.overwrite(path, data)
        file = self._directory(path.parent).now[path.name]
        assert isinstance(file, _File)
        file.pending += [(0, data), (len(data), None)]
        self._open[fd] = (path, file)
        return fd

    def rename(self, old: Path, new: Path) -> None:
        assert old.parent == new.parent
        OS_FILES.rename(old, new)
        directory = self._directory(old.parent)
        directory.change({old.name: None, new.name: directory.now[old.name]})

    def unlink(self, path: Path) -> None:
        OS_FILES.unlink(path)
        self._directory(path.parent).change({path.name: None})

    def sync_directory(self, path: Path) -> None:
        directory = self._directory(path)
        directory.synced = dict(directory.now)
        directory.pending.clear()

    def _directory(self, path: Path) -> _Directory:
        directory = self._tree
        for name in path.relative_to(self.root).parts:
            found = directory.now[name]
            assert isinstance(found, _Directory)
            directory = found
        return directory


def _load(path: Path) -> _Directory:
    directory = _Directory()
    for entry in path.iterdir():
        loaded = _load(entry) if entry.is_dir() else _File(entry.read_bytes())
        directory.synced[entry.name] = directory.now[entry.name] = loaded
    return directory


def _store(directory: _Directory, target: Path, random: Random | None) -> None:
    target.mkdir()
    for name, entry in directory.after_power_cut(random).items():
        if isinstance(entry, _Directory):
            _store(entry, target / name, random)
        else:
            (target / name).write_bytes(entry.after_power_cut(random))
