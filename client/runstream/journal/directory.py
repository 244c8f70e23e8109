"""The directory of journals, chosen once per process, with the files that the agent shares with training processes.

It is `RUNSTREAM_DIR`, else `$XDG_STATE_HOME/runstream` (`~/.local/state/runstream`). If that cannot be written, or is
on a network file system, whose locks and syncs are not reliable: `/var/tmp/runstream-<uid>`, else
`$TMPDIR/runstream-<uid>`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runstream.journal.files import OS_FILES
from runstream.journal.layout import DAMAGED, NEW_PREFIX, WRITER_LOCK
from runstream.journal.locks import FileLock, is_locked

logger = logging.getLogger("runstream")

LAYOUT = "v1"  # a release with another layout uses another name, and leaves this directory to older agents
DEFAULT_LIMIT_BYTES = 10 * 1024**3
# Other users may write there, so _make_private checks what it finds.
SHARED_DIRECTORY = Path("/var/tmp")  # noqa: S108
_TEMPORARY_DIRECTORY = Path("/tmp")  # noqa: S108
_KEPT_DAMAGED_BYTES = 256 * 1024**2  # how much is kept of what was quarantined in deleted journals; the newest
_TOTAL_VALID_S = 1.0  # how long a measured total size is used
_ABANDONED_AFTER_S = 60.0  # a half-made or half-deleted journal that is older was left by a process that died
_LOCK_TRIES, _LOCK_PAUSE_S = 5, 0.02
# File systems whose locks or syncs do not hold across machines, or whose data may not survive a crash.
# fmt: off
_NETWORK_TYPES = frozenset((
    "9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "fhgfs", "gfs", "gfs2", "gpfs", "lustre",
    "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "wekafs",
))
# fmt: on
_LOCAL_FUSE_TYPES = frozenset(("fuse.fuse-overlayfs", "fuse.ext4", "fuse.ntfs-3g"))  # others: sshfs, glusterfs, ...


class Directory:
    """A directory with journals. `reason` says why it was chosen, `warning` what is risky about it, or is empty."""

    def __init__(self, path: Path, reason: str = "", warning: str = "", limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self.path = Path(os.path.abspath(path))
        self.reason = reason
        self.warning = warning
        self.limit_bytes = limit_bytes  # where `total_bytes` reaches this, writers refuse new points and count them
        self._layout = self.path / LAYOUT
        self.journals_path = self._layout / "journals"
        self.agent_lock_path = self._layout / "agent.lock"
        self.agent_status_path = self._layout / "agent.json"
        self.agent_log_path = self._layout / "agent.log"
        self.bell_path = self._layout / "bell"
        self.credentials_path = self._layout / "credentials"
        self.damaged_path = self._layout / DAMAGED  # what was quarantined in journals that are deleted
        self._total = (-_TOTAL_VALID_S, 0)  # when the total was measured, by the monotonic clock, and its bytes

    @classmethod
    def choose(cls, environ: Mapping[str, str] = os.environ, mounts: str | None = None) -> Directory:
        """Chooses the directory of this process, and makes it if need be. `mounts` is the text of /proc/self/mountinfo.
        If none can be used, raises an OSError that says what was tried."""
        mounts = _read_mounts() if mounts is None else mounts
        limit_bytes = _limit_bytes(environ)
        if named := environ.get("RUNSTREAM_DIR", "").strip():
            chosen = cls(Path(named), "RUNSTREAM_DIR names it", limit_bytes=limit_bytes)
            if file_system := network_file_system(chosen.path, mounts):
                chosen.warning = (
                    f"RUNSTREAM_DIR={named} is on a network file system ({file_system}), whose locks and syncs are not "
                    "reliable: after a crash, points may be missing; use a directory on a local disk"
                )
            chosen.make()
            return chosen
        return _first_usable(environ, mounts, limit_bytes)

    @classmethod
    def open(cls, path: Path) -> Directory:
        """An existing directory, such as a copy from another machine; nothing is made in it. Raises FileNotFoundError
        if it has no journals of this layout."""
        directory = cls(path, "it was named")
        if not directory.journals_path.is_dir():
            raise FileNotFoundError(f"{path} has no {LAYOUT}/journals: it is not a directory of runstream")
        return directory

    def chosen(self) -> str:
        """A text with the path, and why it was chosen."""
        return f"{self.path} ({self.reason})" if self.reason else str(self.path)

    def make(self) -> None:
        """Makes the directory, for this user alone, if it does not exist. Raises OSError if it cannot be written."""
        if self.journals_path.is_dir():
            _check_writable(self.journals_path)
            return
        for path in (*reversed(self.journals_path.parents), self.journals_path):
            with contextlib.suppress(FileExistsError):
                if not path.is_dir():
                    os.mkdir(path, 0o700)
                    OS_FILES.sync_directory(path.parent)  # otherwise a power cut may remove the directory
        _check_writable(self.journals_path)

    def journals(self) -> list[Path]:
        """The directories of all journals, in no order."""
        try:
            names = os.listdir(self.journals_path)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [self.journals_path / name for name in names if not name.startswith(".")]

    def delete_journal(self, path: Path) -> None:
        """Deletes a journal in which everything is settled. What was quarantined in it is moved to `damaged_path`.
        Raises OSError."""
        gone = path.with_name(NEW_PREFIX + path.name)
        os.rename(path, gone)  # first, so that no reader finds a half-deleted journal
        if (gone / DAMAGED).is_dir():
            self.damaged_path.mkdir(mode=0o700, exist_ok=True)
            with contextlib.suppress(OSError):  # a journal with this id was there before
                os.rename(gone / DAMAGED, self.damaged_path / path.name)
            _bound(self.damaged_path, _KEPT_DAMAGED_BYTES)
        _delete_tree(gone)

    def delete_abandoned(self) -> None:
        """Deletes half-made and half-deleted journals of processes that died."""
        with contextlib.suppress(OSError):
            for path in self.journals_path.iterdir():
                old = time.time() - path.stat().st_mtime > _ABANDONED_AFTER_S
                if path.name.startswith(NEW_PREFIX) and old and not is_locked(path / WRITER_LOCK):
                    _delete_tree(path)

    def agent_lock(self) -> FileLock | None:
        """Takes the lock of this directory's only agent, and writes this process's pid into its file; None if another
        process holds it. Raises OSError."""
        for attempt in range(_LOCK_TRIES):
            if attempt:
                time.sleep(_LOCK_PAUSE_S)  # `agent_runs` holds it for a moment
            lock = FileLock.acquire(self.agent_lock_path)
            if lock is not None:
                with contextlib.suppress(OSError):  # on a full disk; the lock holds nevertheless
                    lock.write(f"{os.getpid()}\n")
                return lock
        return None

    def agent_runs(self) -> bool:
        """Whether a process holds the agent's lock."""
        return is_locked(self.agent_lock_path)

    def agent_pid(self) -> int:
        """The pid in the lock's file, for messages; 0 if there is none. The agent may have ended since."""
        try:
            return int(self.agent_lock_path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0

    def read_agent_status(self) -> dict[str, Any]:
        """The content of agent.json, which the agent writes once a second and leaves when it ends; empty if it cannot
        be read."""
        try:
            status = json.loads(self.agent_status_path.read_bytes())
        except (OSError, ValueError):
            return {}
        return status if isinstance(status, dict) else {}

    def ring_bell(self) -> None:
        """Notifies the agent that something was appended, by the time of the file `bell`, which it polls. Never raises:
        the agent reads all journals once a second anyway."""
        now_ns = time.time_ns()
        with contextlib.suppress(OSError):
            try:
                # With an explicit time: the kernel's stays the same for some milliseconds.
                os.utime(self.bell_path, ns=(now_ns, now_ns))
            except FileNotFoundError:
                os.close(os.open(self.bell_path, os.O_WRONLY | os.O_CREAT, 0o600))

    def bell_time_ns(self) -> int:
        """A number that changes whenever a process calls `ring_bell`; 0 if none ever has."""
        try:
            return os.stat(self.bell_path).st_mtime_ns
        except OSError:
            return 0

    def total_bytes(self) -> int:
        """The size of all journals, as it was at most a second ago."""
        now_s = time.monotonic()
        if now_s - self._total[0] >= _TOTAL_VALID_S:
            self._total = (now_s, _size_of(self.journals_path) + _size_of(self.damaged_path))
        return self._total[1]

    def is_full(self) -> bool:
        """Whether writers have to refuse new points."""
        return self.total_bytes() >= self.limit_bytes


def network_file_system(path: Path, mounts: str) -> str:
    """The type of the network file system that a path is on; empty if it is on a local one. The path need not exist.
    `mounts` is the text of /proc/self/mountinfo; if it is empty (not Linux), every path counts as local."""
    real = os.path.realpath(path)
    best, found = "", ""
    for line in mounts.splitlines():
        mount_fields, separator, file_system = line.partition(" - ")
        parts = mount_fields.split(" ")
        if not separator or len(parts) < 5 or not file_system:
            continue
        point = _unescaped(parts[4])
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):  # a later mount on the same place hides the earlier one
            best, found = point, file_system.split(" ")[0]
    is_network = found in _NETWORK_TYPES or (found.startswith("fuse.") and found not in _LOCAL_FUSE_TYPES)
    return found if is_network else ""


def _unescaped(text: str) -> str:
    """The path as it is: mountinfo writes blanks and some other characters as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _read_mounts() -> str:
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def _first_usable(environ: Mapping[str, str], mounts: str, limit_bytes: int) -> Directory:
    refused: list[str] = []
    for path, what, is_shared in _candidates(environ):
        reason = f"{what}; {'; '.join(refused)}" if refused else what
        directory = Directory(path, reason, limit_bytes=limit_bytes)
        if file_system := network_file_system(directory.path, mounts):
            refused.append(f"{path} is on a network file system ({file_system})")
            continue
        try:
            if is_shared:
                _make_private(path)
            directory.make()
        except OSError as error:
            refused.append(f"{path} cannot be used: {error.strerror or error}")
            continue
        return directory
    raise OSError(f"no directory for journals: {'; '.join(refused)}; set RUNSTREAM_DIR to one that can be written")


def _candidates(environ: Mapping[str, str]) -> list[tuple[Path, str, bool]]:
    """The directories to try, as (path, reason, whether other users may write to its parent)."""
    candidates: list[tuple[Path, str, bool]] = []
    state = environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(state):  # as the specification of XDG_STATE_HOME says, relative paths are ignored
        candidates.append((Path(state) / "runstream", "it is below XDG_STATE_HOME", False))
    elif home := _home(environ):
        candidates.append((home / ".local" / "state" / "runstream", "it is the default", False))
    name = f"runstream-{os.getuid()}"
    candidates.append((SHARED_DIRECTORY / name, "it is on this node", True))
    temporary = environ.get("TMPDIR", "")
    above = Path(temporary) if os.path.isabs(temporary) else _TEMPORARY_DIRECTORY
    candidates.append((above / name, "it is on this node", True))
    return candidates


def _home(environ: Mapping[str, str]) -> Path | None:
    home = environ.get("HOME", "")
    if not home:
        with contextlib.suppress(ImportError, KeyError):  # a container's user id may have no entry
            import pwd

            home = pwd.getpwuid(os.getuid()).pw_dir
    return Path(home) if os.path.isabs(home) else None


def _make_private(path: Path) -> None:
    """Makes a directory in a place where other users may have made something of its name. Raises OSError if it does not
    belong to this user."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise PermissionError(f"{path} is not a directory of this user: another user made it")
    if status.st_mode & 0o077:
        os.chmod(path, 0o700)


def _check_writable(path: Path) -> None:
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(f"{path} cannot be written")


def _limit_bytes(environ: Mapping[str, str]) -> int:
    text = environ.get("RUNSTREAM_DIR_BYTES", "").strip()
    if not text:
        return DEFAULT_LIMIT_BYTES
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    logger.warning("RUNSTREAM_DIR_BYTES=%r is not a number of bytes; using %d", text, DEFAULT_LIMIT_BYTES)
    return DEFAULT_LIMIT_BYTES


def _size_of(path: Path | str) -> int:
    """The bytes of all files below a directory."""
    total = 0
    with contextlib.suppress(OSError), os.scandir(path) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # deleted in between
                if entry.is_dir(follow_symlinks=False):
                    total += _size_of(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    return total


def _bound(path: Path, limit_bytes: int) -> None:
    """Deletes the oldest directories in a directory until the rest is below the limit."""
    kept = sorted(path.iterdir(), key=lambda entry: entry.stat().st_mtime)
    sizes = [_size_of(entry) for entry in kept]
    excess = sum(sizes) - limit_bytes
    for entry, size in zip(kept, sizes, strict=True):
        if excess <= 0:
            return
        _delete_tree(entry)
        excess -= size


def _delete_tree(path: Path) -> None:
    import shutil  # only the agent deletes, and training processes start without it

    shutil.rmtree(path, ignore_errors=True)
