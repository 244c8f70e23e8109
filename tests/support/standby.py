"""A standby of a PostgreSQL, by streaming replication, on the same machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import psutil

from runstream_service.database.embedded import DATABASE, EmbeddedPostgres
from runstream_service.database.postgres_files import account_for, clean_environment, processes_of, programs_for


def socket_of(server: EmbeddedPostgres) -> str:
    """The directory of its unix socket."""
    return parse_qs(urlsplit(server.url).query)["host"][0]


def url_of(*servers: EmbeddedPostgres) -> str:
    """One URL with all of these servers."""
    hosts = ",".join(socket_of(server) for server in servers)
    return f"postgresql://postgres@/{DATABASE}?host={hosts}&port=5432"


async def start_standby(primary: EmbeddedPostgres, directory: Path, options: Mapping[str, str]) -> EmbeddedPostgres:
    """A copy of a running server that follows it, and answers reads."""
    standby = EmbeddedPostgres(directory, options=options)
    account = account_for(primary.cluster)
    standby.cluster.mkdir(mode=0o700)
    if account.switch:
        os.chown(standby.cluster, account.uid, account.gid)
    command = [str(programs_for(primary.data_dir, account) / "pg_basebackup")]
    command += ["--pgdata", str(standby.cluster), "--checkpoint", "fast", "--write-recovery-conf", "--no-sync"]
    command += ["--dbname", f"host={socket_of(primary)} port=5432 user=postgres"]
    options_of_account = {"cwd": "/", "env": clean_environment(), **account.popen_options()}
    process = await asyncio.create_subprocess_exec(*command, **options_of_account)
    assert await process.wait() == 0
    await standby.start()
    return standby


async def administrate(server: EmbeddedPostgres, *statements: str) -> object:
    """Runs statements one by one; returns the first value of the last one."""
    connection = await asyncpg.connect(server.url)
    try:
        for statement in statements[:-1]:
            await connection.execute(statement)
        value: object = await connection.fetchval(statements[-1])
        return value
    finally:
        await connection.close()


def freeze(server: EmbeddedPostgres) -> None:
    """Stops all processes of a server, as when its machine hangs: connections stay open, and nothing arrives."""
    for process in processes_of(server.cluster):
        process.suspend()


def lose(server: EmbeddedPostgres) -> None:
    """kill -9 of all processes of a server, as when its machine is lost."""
    for process in list(processes_of(server.cluster)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


async def hold_back(standby: EmbeddedPostgres) -> str:
    """Disconnects a standby from its primary; returns what `follow` needs to connect it again."""
    followed = await administrate(standby, "SHOW primary_conninfo")
    await follow(standby, "")
    return str(followed)


async def follow(standby: EmbeddedPostgres, primary_conninfo: str) -> None:
    """Lets a standby receive from this primary."""
    await administrate(
        standby, f"ALTER SYSTEM SET primary_conninfo = {_quoted(primary_conninfo)}", "SELECT pg_reload_conf()"
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


async def wait_until(server: EmbeddedPostgres, condition: str, *, timeout_s: float = 20) -> None:
    """Waits until an SQL expression is true."""
    connection = await asyncpg.connect(server.url)
    try:
        give_up = time.monotonic() + timeout_s
        while not await connection.fetchval(f"SELECT {condition}"):
            assert time.monotonic() < give_up, condition
            await asyncio.sleep(0.01)
    finally:
        await connection.close()
