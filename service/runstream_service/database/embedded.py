"""A real PostgreSQL in the data directory: created on first use, adopted if it still runs, restarted when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import asyncpg
import psutil
import structlog

from runstream._backoff import Backoff
from runstream_service.database.connections import Connection
from runstream_service.database.postgres_files import (
    Account,
    account_for,
    check_reachable,
    clean_environment,
    cluster_name,
    last_failure,
    lock_directory,
    processes_of,
    programs_for,
    read_postmaster,
    remove_stale_pid_file,
    runs_on,
    socket_directory_for,
)
from runstream_service.errors.startup import StartupError

log = structlog.get_logger()

DATABASE = "runstream"
POLL_S = 0.05
# PostgreSQL replays its log after a crash, which may take minutes. The service waits for it and reports it this often.
RECOVERY_LOG_EVERY_S = 5.0
# Backends outlive a killed postmaster until they notice; a new one must not start before they are gone.
ORPHANS_QUIT_AFTER_S, ORPHANS_KILL_AFTER_S = 2.0, 10.0
START_RETRY_FOR_S = 60.0
FIRST_RESTART_BACKOFF_S, LONGEST_RESTART_BACKOFF_S = 0.2, 30.0
# Messages of a failed start that succeeds soon afterwards: processes that are just ending still have shared memory, or
# a lock file.
PASSING = ("pre-existing shared memory block", 'lock file "')

# Settings of PostgreSQL for a laptop: modest memory, full durability. They are passed on the command line, so that a
# newer release can change them.
OPTIONS: Mapping[str, str] = {
    "listen_addresses": "",  # the unix socket in a private directory is the only way in
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    "shared_buffers": "256MB",
    "maintenance_work_mem": "128MB",
    "work_mem": "16MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "autovacuum": "on",
    "jit": "off",
    "timezone": "UTC",
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "postgresql-%a.log",  # seven files, one a weekday
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
    "log_timezone": "UTC",
}


class PostgresDied(Exception):
    """PostgreSQL ended while it started. `passing`: another attempt will probably succeed."""

    def __init__(self, last_words: str, *, passing: bool) -> None:
        super().__init__(f"PostgreSQL ended while starting: {last_words}")
        self.passing = passing


class EmbeddedPostgres:
    """PostgreSQL in `data_dir/postgres`. Only one process of this machine at a time can use a directory.

    `options` overrides single server settings (tests switch fsync off).
    """

    def __init__(self, data_dir: Path, *, options: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir.expanduser().resolve()
        self.cluster = self.data_dir / "postgres"
        self._options = {**OPTIONS, **(options or {})}
        self._lock: BinaryIO | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._process: psutil.Process | None = None
        self._socket_directory: Path | None = None
        self._is_new = False

    @property
    def url(self) -> str:
        """The URL of its unix socket. Valid once started, and the same after a restart."""
        return f"postgresql://postgres@/{DATABASE}?host={quote(str(self._socket_directory), safe='')}&port=5432"

    @property
    def pid(self) -> int | None:
        """The postmaster's process id; None unless started."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Starts PostgreSQL, or adopts one that runs; returns when it answers.

        Raises:
            StartupError: the directory is in use, not writable or not reachable, or PostgreSQL does not start.
        """
        self._lock = lock_directory(self.data_dir)
        try:
            await asyncio.to_thread(self._prepare)
            await self._bring_up()
        except BaseException as error:
            await self.stop()
            if isinstance(error, PostgresDied):
                raise StartupError(f"{error} (more in {self.cluster / 'log'})", exit_code=1) from error
            raise

    async def supervise(self) -> None:
        """Starts PostgreSQL again whenever it dies. Runs until cancelled."""
        while True:
            await self._wait_until_gone(math.inf)
            log.error("The embedded PostgreSQL died; starting it again", action="embedded_postgres_died", pid=self.pid)
            backoff = Backoff(FIRST_RESTART_BACKOFF_S, LONGEST_RESTART_BACKOFF_S, jitter=0)
            while True:
                try:
                    await self._bring_up()
                    break
                except Exception as error:  # any exception: if the supervisor ended, the service would end
                    wait_s = backoff.next_s()
                    log.error(
                        "The embedded PostgreSQL did not start; trying again",
                        action="embedded_postgres_restart_failed",
                        error=repr(error),
                        retry_after_s=wait_s,
                    )
                await asyncio.sleep(wait_s)

    async def stop(self, *, within_s: float = 30.0) -> None:
        """Stops PostgreSQL (fast shutdown; an immediate one after `within_s`) and releases the directory."""
        try:
            for number, patience_s in ((signal.SIGINT, within_s), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
                if self._signal(number) and await self._wait_until_gone(patience_s):
                    log.info(
                        "The embedded PostgreSQL has stopped", action="embedded_postgres_stopped", signal=number.name
                    )
                    break
        finally:
            self._process = self._child = None
            if self._socket_directory is not None:
                with contextlib.suppress(OSError):  # not empty: PostgreSQL was killed and left its socket
                    self._socket_directory.rmdir()
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    def kill(self) -> None:
        """Ends PostgreSQL at once, for a forced exit. Nothing committed is lost: the next start replays the log."""
        self._signal(signal.SIGQUIT)

    # -- the directory -----------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Determines account, programs and socket directory, and creates the cluster on first use."""
        self._account: Account = account_for(self.cluster)
        check_reachable(self.data_dir, self._account)
        self._programs = programs_for(self.data_dir, self._account)
        self._socket_directory = socket_directory_for(self.cluster, self._account)
        if not self.cluster.exists():
            self._initialise()

    def _initialise(self) -> None:
        """Runs initdb in a temporary directory and renames it, so that an unfinished cluster is never used."""
        unfinished = self.data_dir / "postgres.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if self._account.switch:
            os.chown(unfinished, self._account.uid, self._account.gid)
        command = [str(self._programs / "initdb"), "--pgdata", str(unfinished)]
        command += ["--username", "postgres", "--auth", "trust"]  # only this account can enter the socket's directory
        command += ["--encoding", "UTF8", "--locale-provider", "builtin", "--locale", "C.UTF-8", "--no-instructions"]
        done = subprocess.run(  # noqa: S603 - our own command line
            command,
            cwd="/",
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            **self._account.popen_options(),
        )
        if done.returncode != 0:
            last_line = done.stdout.decode(errors="replace").strip().splitlines()[-1:]
            raise StartupError(f"initdb failed in {self.data_dir}: {' '.join(last_line)}", exit_code=1)
        unfinished.rename(self.cluster)
        self._is_new = True
        log.info("Created a new PostgreSQL cluster", action="embedded_postgres_created", directory=str(self.cluster))

    # -- the process -------------------------------------------------------------------------------------------------

    async def _bring_up(self) -> None:
        """Adopts or starts PostgreSQL, waits until it is ready, and makes sure that the database exists."""
        begun = time.monotonic()
        adopted = await self._adopt()
        while not adopted:
            await self._wait_for_orphans()
            self._launch()
            try:
                await self._wait_until_ready()
                break
            except PostgresDied as error:
                if not error.passing or time.monotonic() - begun > START_RETRY_FOR_S:
                    raise
                log.warning("PostgreSQL cannot start yet", action="embedded_postgres_start_delayed", error=str(error))
                await asyncio.sleep(1.0)
        await self._ensure_database()
        log.info(
            "The embedded PostgreSQL is ready",
            action="embedded_postgres_adopted" if adopted else "embedded_postgres_started",
            pid=self.pid,
            seconds=round(time.monotonic() - begun, 3),
        )

    async def _adopt(self) -> bool:
        """Takes over a PostgreSQL that runs on the cluster already; waits for its end if it is stopping."""
        postmaster = read_postmaster(self.cluster)
        if postmaster is None:
            return False
        try:
            process = psutil.Process(postmaster.pid)
        except psutil.NoSuchProcess:
            return False
        if not runs_on(process, self.cluster):
            return False
        if self._child is None or self._child.pid != postmaster.pid:
            self._child = None  # otherwise this process started it, and a later step failed
        self._process = process
        if postmaster.socket_directory:  # perhaps started under another TMPDIR
            self._socket_directory = postmaster.socket_directory
        try:
            await self._wait_until_ready()
        except PostgresDied:
            return False
        return True

    async def _wait_for_orphans(self) -> None:
        """Waits for the backends of a postmaster that was killed; signals them when they do not end."""
        begun = time.monotonic()
        while orphans := list(processes_of(self.cluster)):
            waited_s = time.monotonic() - begun
            if waited_s > ORPHANS_QUIT_AFTER_S:
                log.warning(
                    "Old PostgreSQL processes are still running", action="embedded_postgres_orphans", count=len(orphans)
                )
                for orphan in orphans:
                    # Their shared memory is lost with the postmaster; the replay of the log restores what was in it.
                    orphan.send_signal(signal.SIGQUIT if waited_s < ORPHANS_KILL_AFTER_S else signal.SIGKILL)
                await asyncio.sleep(1.0)
            await asyncio.sleep(POLL_S)
        remove_stale_pid_file(self.cluster / "postmaster.pid")
        assert self._socket_directory is not None, "prepared before"
        remove_stale_pid_file(self._socket_directory / ".s.PGSQL.5432.lock")

    def _launch(self) -> None:
        """Starts `postgres` in a session of its own, so that Ctrl-C in the terminal only reaches the service, which
        then stops everything in order."""
        command = [str(self._programs / "postgres"), "-D", str(self.cluster), "-k", str(self._socket_directory)]
        options = {**self._options, "cluster_name": cluster_name(self.cluster)}
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        with open(self.data_dir / "postgres-start.log", "wb") as output:
            self._child = subprocess.Popen(  # noqa: S603 - our own command line
                command,
                cwd="/",
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **self._account.popen_options(),
            )
        self._process = psutil.Process(self._child.pid)

    async def _wait_until_ready(self) -> None:
        """Waits until PostgreSQL answers. Raises PostgresDied if its process ends before."""
        next_report = time.monotonic() + RECOVERY_LOG_EVERY_S
        while self._alive():
            postmaster = read_postmaster(self.cluster)
            if postmaster and postmaster.pid == self.pid and postmaster.status == "ready":
                return
            if time.monotonic() > next_report:
                status = postmaster.status if postmaster else "starting"
                message = "PostgreSQL is not ready yet; after a crash it replays its log, which may take minutes"
                log.info(message, action="embedded_postgres_recovering", status=status)
                next_report += RECOVERY_LOG_EVERY_S
            await asyncio.sleep(POLL_S / 2)
        raise self._death()

    async def _ensure_database(self) -> None:
        if not self._is_new:  # else PostgreSQL would log a failure
            with contextlib.suppress(asyncpg.InvalidCatalogNameError):  # the first start ended before it made one
                await (await self._connect(DATABASE)).close()
                return
        connection = await self._connect("postgres")
        try:
            await connection.execute(f'CREATE DATABASE "{DATABASE}"')
            self._is_new = False
        finally:
            await connection.close()

    async def _connect(self, database: str) -> Connection:
        return await asyncpg.connect(self.url, database=database, timeout=30, command_timeout=60)

    def _alive(self) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        return self._process is not None and runs_on(self._process, self.cluster)

    async def _wait_until_gone(self, patience_s: float) -> bool:
        give_up = time.monotonic() + patience_s
        while self._alive():
            if time.monotonic() > give_up:
                return False
            await asyncio.sleep(POLL_S)
        return True

    def _signal(self, number: signal.Signals) -> bool:
        """Signals the postmaster; returns False if it has ended. (psutil checks that the pid still is that of the same
        process.)"""
        if not self._alive() or self._process is None:
            return False
        try:
            self._process.send_signal(number)
        except psutil.NoSuchProcess:
            return False
        return True

    def _death(self) -> PostgresDied:
        """The error of a failed start, with PostgreSQL's last message. Messages from before its log collector started
        are in postgres-start.log, later ones in the files of the collector."""
        early = last_failure(self.data_dir / "postgres-start.log")
        logs = sorted((self.cluster / "log").glob("*.log"), key=lambda path: path.stat().st_mtime)
        words = early or (last_failure(logs[-1]) if logs else "")
        # Without a message it was killed, by a person or by a system that is short of memory.
        passing = not words or any(passing in early for passing in PASSING)
        return PostgresDied(words or f"it left no message, {self._ended()}", passing=passing)

    def _ended(self) -> str:
        code = self._child.poll() if self._child is not None else None
        if code is None:
            return "and how it ended is not known"
        return f"and was killed by {signal.Signals(-code).name}" if code < 0 else f"and ended with exit code {code}"


def url_of_running(data_dir: Path) -> str:
    """The URL of the embedded PostgreSQL of a service that runs in a directory. Raises StartupError if none runs
    there."""
    postmaster = read_postmaster(data_dir.expanduser().resolve() / "postgres")
    if postmaster is None or postmaster.socket_directory is None or postmaster.status != "ready":
        raise StartupError(
            f"no PostgreSQL runs in {data_dir}; start the service there, or name another database with --database",
            setting="--data-dir",
            example="./runstream-data",
        )
    host = quote(str(postmaster.socket_directory), safe="")
    return f"postgresql://postgres@/{DATABASE}?host={host}&port={postmaster.port}"
