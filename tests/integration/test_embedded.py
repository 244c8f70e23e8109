"""The embedded PostgreSQL, with its real settings, killed in many ways."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest
import structlog.testing

from runstream_service.database import embedded
from runstream_service.database.embedded import EmbeddedPostgres
from runstream_service.database.postgres_files import ensure_private_directory, processes_of, remove_stale_pid_file
from runstream_service.errors.startup import StartupError
from tests.support.tasks import end

SMALL = {"shared_buffers": "16MB"}
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another account")


@contextlib.asynccontextmanager
async def running(directory: Path) -> AsyncIterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(directory, options=SMALL)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def query(server: EmbeddedPostgres, statement: str) -> object:
    connection = await asyncpg.connect(server.url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def abandon(server: EmbeddedPostgres) -> None:
    """Leaves what kill -9 of the service leaves: PostgreSQL still runs, and the lock is free."""
    assert server._lock is not None
    server._lock.close()
    if server._child is not None:
        server._child.returncode = 0  # no ResourceWarning about a child that we leave behind on purpose


async def test_keeps_data_over_a_restart_and_leaves_no_process(data_dir: Path) -> None:
    async with running(data_dir) as server:
        await query(server, "CREATE TABLE kept AS SELECT 42 AS x")
        socket_directory = server._socket_directory
    assert list(processes_of(server.cluster)) == []
    assert socket_directory is not None
    assert not socket_directory.exists()
    async with running(data_dir) as server:
        assert await query(server, "SELECT x FROM kept") == 42


async def test_is_durable_and_listens_on_no_port(data_dir: Path) -> None:
    async with running(data_dir) as server:
        settings = {name: await query(server, f"SHOW {name}") for name in ("fsync", "synchronous_commit", "jit")}
        assert settings == {"fsync": "on", "synchronous_commit": "on", "jit": "off"}
        assert await query(server, "SHOW listen_addresses") == ""
        assert await query(server, "SHOW full_page_writes") == "on"
        assert list(server.cluster.glob("log/postgresql-*.log"))


async def test_second_holder_of_a_directory_is_refused(data_dir: Path) -> None:
    async with running(data_dir):
        with pytest.raises(StartupError, match=rf"another `runstream serve` \(process {os.getpid()}\)"):
            await EmbeddedPostgres(data_dir).start()


async def test_running_postgres_of_a_killed_service_is_adopted(data_dir: Path) -> None:
    first = EmbeddedPostgres(data_dir, options=SMALL)
    await first.start()
    abandon(first)
    async with running(data_dir) as second:
        assert second.pid == first.pid
        assert await query(second, "SELECT 1") == 1
    assert list(processes_of(second.cluster)) == []


async def test_adopted_postgres_is_reached_also_under_another_tmpdir(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = EmbeddedPostgres(data_dir, options=SMALL)
    await first.start()
    abandon(first)
    other = data_dir / "tmp"
    other.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(other))
    async with running(data_dir) as second:
        assert second.url == first.url
        assert await query(second, "SELECT 1") == 1


async def test_supervisor_restarts_a_killed_postmaster_while_its_backends_linger(data_dir: Path) -> None:
    async with running(data_dir) as server:
        busy = await asyncpg.connect(server.url)
        # A backend in the middle of a computation does not notice that its postmaster is gone.
        computing = asyncio.create_task(busy.execute("SELECT count(*) FROM generate_series(1, 20000000)"))
        while await query(server, "SELECT count(*) FROM pg_stat_activity WHERE state = 'active'") != 2:
            await asyncio.sleep(0.01)
        with structlog.testing.capture_logs() as logs:
            supervisor = asyncio.create_task(server.supervise())
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            while not any(log["action"] == "embedded_postgres_started" for log in logs):
                await asyncio.sleep(0.01)
            await end(supervisor)
        assert await query(server, "SELECT 1") == 1
        assert logs[0]["action"] == "embedded_postgres_died"
        await asyncio.gather(computing, return_exceptions=True)
        busy.terminate()


async def test_postgres_that_is_killed_while_it_starts_is_started_again(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch, launched = EmbeddedPostgres._launch, list[int]()

    def launch_and_kill_the_first(server: EmbeddedPostgres) -> None:
        launch(server)
        assert server._child is not None
        launched.append(server._child.pid)
        if len(launched) == 1:
            server._child.kill()

    monkeypatch.setattr(EmbeddedPostgres, "_launch", launch_and_kill_the_first)
    with structlog.testing.capture_logs() as logs:
        async with running(data_dir) as server:
            assert await query(server, "SELECT 1") == 1
    assert len(launched) == 2
    (delayed,) = (entry for entry in logs if entry.get("action") == "embedded_postgres_start_delayed")
    # The kernel ends a process with SIGSEGV that is killed just while it becomes PostgreSQL.
    assert re.search("left no message, and was killed by SIG(KILL|SEGV)", delayed["error"])


async def test_supervisor_restarts_an_adopted_postgres(data_dir: Path) -> None:
    first = EmbeddedPostgres(data_dir, options=SMALL)
    await first.start()
    abandon(first)
    async with running(data_dir) as second:
        supervisor = asyncio.create_task(second.supervise())
        assert second.pid is not None
        os.kill(second.pid, signal.SIGQUIT)
        while second.pid == first.pid:
            await asyncio.sleep(0.01)
        while True:
            with contextlib.suppress(OSError, asyncpg.CannotConnectNowError):
                assert await query(second, "SELECT 1") == 1
                break
            await asyncio.sleep(0.01)
        await end(supervisor)


async def test_supervisor_goes_on_whatever_a_restart_ends_with(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [asyncpg.InternalClientError("cannot switch to state 12"), asyncpg.InterfaceError("x"), KeyError("y")]
    async with running(data_dir) as server:
        connect = asyncpg.connect

        async def connect_at_last(*arguments: Any, **options: Any) -> Any:
            if failures:
                raise failures.pop()
            return await connect(*arguments, **options)

        monkeypatch.setattr(asyncpg, "connect", connect_at_last)
        with structlog.testing.capture_logs() as logs:
            supervisor = asyncio.create_task(server.supervise())
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            ready = {"embedded_postgres_started", "embedded_postgres_adopted"}
            while not any(log["action"] in ready for log in logs):
                assert not supervisor.done()
                await asyncio.sleep(0.01)
            await end(supervisor)
        assert [log["action"] for log in logs].count("embedded_postgres_restart_failed") == 3
        assert await query(server, "SELECT 1") == 1


async def test_stale_pid_file_whose_number_somebody_else_has_now_does_no_harm(data_dir: Path) -> None:
    async with running(data_dir) as server:
        pid_file = server.cluster / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
    owner = pid_file.parent.stat()
    # Of PostgreSQL's own account: that is the case in which PostgreSQL itself would refuse.
    stranger = subprocess.Popen(["sleep", "60"], **server._account.popen_options())
    try:
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        os.chown(pid_file, owner.st_uid, owner.st_gid)
        async with running(data_dir) as server:
            assert server.pid != stranger.pid
            assert await query(server, "SELECT 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_pid_file_of_a_postgres_is_never_removed(data_dir: Path) -> None:
    pid_file = data_dir / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n")
    remove_stale_pid_file(pid_file)
    assert not pid_file.exists()
    pid_file.write_text("garbage")
    remove_stale_pid_file(pid_file)
    assert pid_file.exists()


async def test_crash_recovery_is_waited_for_and_reported(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(data_dir) as server:
        await query(server, "CREATE TABLE filled AS SELECT generate_series(1, 300000) AS x")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
    monkeypatch.setattr(embedded, "RECOVERY_LOG_EVERY_S", 0.0)
    with structlog.testing.capture_logs() as logs:
        async with running(data_dir) as server:
            assert await query(server, "SELECT count(*) FROM filled") == 300_000
    assert "embedded_postgres_recovering" in [log["action"] for log in logs]


async def test_interrupted_initdb_is_done_again(data_dir: Path) -> None:
    (data_dir / "postgres.new").mkdir()
    (data_dir / "postgres.new" / "PG_VERSION").write_text("18")
    async with running(data_dir) as server:
        assert await query(server, "SELECT 1") == 1


async def test_directory_deeper_than_a_socket_path_may_be_long_works(data_dir: Path) -> None:
    async with running(data_dir / ("x" * 80) / ("y" * 80)) as server:
        assert await query(server, "SELECT 1") == 1


async def test_a_broken_cluster_is_reported_with_the_message_of_postgres(data_dir: Path) -> None:
    async with running(data_dir) as server:
        pass
    (server.cluster / "global" / "pg_control").write_bytes(b"no control data")
    with pytest.raises(StartupError, match="pg_control") as caught:
        await EmbeddedPostgres(data_dir, options=SMALL).start()
    assert caught.value.exit_code == 1


async def test_data_dir_that_is_a_file_is_refused(data_dir: Path) -> None:
    (data_dir / "file").touch()
    with pytest.raises(StartupError, match=r"--data-dir \(RUNSTREAM_DATA_DIR\): cannot write"):
        await EmbeddedPostgres(data_dir / "file" / "below").start()


@root_only
async def test_directory_closed_to_the_unprivileged_account_is_refused_and_stays_closed(data_dir: Path) -> None:
    closed = data_dir / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(StartupError, match=r"'nobody'.* cannot enter .*example: --data-dir /var/lib/runstream"):
        await EmbeddedPostgres(closed / "data").start()
    assert closed.stat().st_mode & 0o777 == 0o700


@root_only
async def test_root_runs_postgres_as_nobody(data_dir: Path) -> None:
    async with running(data_dir) as server:
        assert psutil.Process(server.pid).uids().effective == pwd.getpwnam("nobody").pw_uid


@root_only
def test_somebody_elses_socket_directory_is_not_taken(data_dir: Path) -> None:
    from runstream_service.database.postgres_files import account_for

    account = account_for(data_dir / "missing")
    (data_dir / "theirs").mkdir()
    (data_dir / "link").symlink_to(data_dir)
    assert not ensure_private_directory(data_dir / "theirs", account)
    assert not ensure_private_directory(data_dir / "link", account)
    assert ensure_private_directory(data_dir / "ours", account)
    assert ensure_private_directory(data_dir / "ours", account)


@root_only
async def test_works_as_an_ordinary_user_too(data_dir: Path) -> None:
    user = pwd.getpwnam("nobody")
    os.chown(data_dir, user.pw_uid, user.pw_gid)
    # That user may be unable to read this checkout, so the imports come first.
    script = f"""
import asyncio, concurrent.futures.thread, encodings.idna, os, pathlib, uuid
from runstream_service.database.embedded import EmbeddedPostgres
async def main():
    server = EmbeddedPostgres(pathlib.Path({str(data_dir / "data")!r}), options={SMALL!r})
    await server.start()
    await server.stop()
os.setgroups([]); os.setgid({user.pw_gid}); os.setuid({user.pw_uid})
asyncio.run(main())
"""
    command = [sys.executable, "-c", script]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (data_dir / "data" / "postgres").stat().st_uid == user.pw_uid
