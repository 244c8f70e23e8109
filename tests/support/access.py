"""A service that asks for tokens, and tokens for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from runstream_service.auth.access import Access
from runstream_service.auth.operator import operator_in
from runstream_service.core.caller import Role
from runstream_service.database.pool import Database
from tests.support import preloaded
from tests.support.serve import COMMAND, command_environment

if TYPE_CHECKING:
    from tests.support.serve import ServeProcess

T = TypeVar("T")

AUTH = ("--auth", "on")


def as_operator(serve: ServeProcess, *arguments: str) -> str:
    """Runs a command that works in the database of a service; returns its output. Raises RuntimeError if it fails."""
    command = [*COMMAND, *arguments, "--data-dir", str(serve.data_dir)]
    done = preloaded.run(command, command_environment(), timeout_s=60)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {done.stderr}")
    return done.stdout


def make_workspace(serve: ServeProcess, name: str) -> None:
    """Creates a workspace, as `runstream workspace create` does, in a fraction of its time."""

    async def create(access: Access) -> None:
        await access.workspaces.create(await operator_in(access, "default"), name)

    _in_database(serve.database_url, create)


def make_token(
    serve: ServeProcess,
    *,
    name: str,
    role: str = "write",
    workspace: str = "default",
    expires_in_s: float | None = None,
) -> str:
    """Creates a token, as `runstream token create` does; returns its text."""

    async def create(access: Access) -> str:
        caller = await operator_in(access, workspace)
        return (await access.tokens.create(caller, name, Role.of(role), expires_in_s=expires_in_s)).text

    return _in_database(serve.database_url, create)


def execute(serve: ServeProcess, statement: str, *arguments: object) -> list[asyncpg.Record]:
    """Executes a statement in the database of a service; returns its rows."""

    async def run() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(serve.database_url)
        try:
            return list(await connection.fetch(statement, *arguments))
        finally:
            await connection.close()

    return _in_a_thread(run)


def _in_database(url: str, work: Callable[[Access], Awaitable[T]]) -> T:
    async def run() -> T:
        database = await Database.open(url, max_size=1)
        try:
            return await work(Access.of(database, is_on=True))
        finally:
            await database.close()

    return _in_a_thread(run)


def _in_a_thread(run: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs in a thread, because the thread of a test that drives a browser already has an event loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(run())).result()


def everything_stored(serve: ServeProcess) -> str:
    """All rows of all tables of a service as text, and its files."""

    async def rows() -> list[str]:
        connection = await asyncpg.connect(serve.database_url)
        try:
            tables = await connection.fetch("SELECT format('%I', tablename) FROM pg_tables WHERE schemaname = 'public'")
            queries = [f"SELECT stored::text FROM {table} stored" for (table,) in tables]
            return [str(text) for query in queries for (text,) in await connection.fetch(query)]
        finally:
            await connection.close()

    files = [path.read_text(errors="replace") for path in (serve.data_dir / "artifacts").rglob("*") if path.is_file()]
    return "\n".join([*asyncio.run(rows()), *files])
