"""PostgreSQL for tests: one server a session, one migrated template, a fresh copy for each test."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import os
import re
import shutil
import subprocess
import tempfile
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg

from runstream_service.database.embedded import DATABASE, EmbeddedPostgres
from runstream_service.database.postgres_files import INSTALLATION, WHEEL

TEMPLATE = "runstream_template"
# Nothing here outlives the session. Tests that kill PostgreSQL start their own, with fsync on.
FAST = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "64MB", "max_connections": "100"}
MEMORY = Path("/dev/shm")
MEMORY_NEEDED_BYTES = 2 << 30
_numbers = itertools.count(1)
(_WHEEL,) = importlib.util.find_spec(WHEEL).submodule_search_locations  # type: ignore[union-attr, misc]  # installed
PROGRAMS = Path(_WHEEL, INSTALLATION, "bin")  # pg_dump and the like, of the version of the server


@contextlib.contextmanager
def short_directory(*, in_memory: bool = True) -> Iterator[Path]:
    """A temporary directory that PostgreSQL's account can traverse to (pytest's own are closed to others).

    In memory where there is room: a database is made in 11 ms instead of 50 to 330, and kill -9 leaves the same behind.
    What measures the cost of fsync asks for a disk.
    """
    directory = Path(
        tempfile.mkdtemp(prefix="runstream-test-", dir=MEMORY if in_memory and _memory_has_room() else None)
    )
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        # A cluster has a thousand files: rm takes half of the time of shutil.rmtree.
        subprocess.run(["rm", "-rf", str(directory)], stderr=subprocess.DEVNULL, check=False)


def _memory_has_room() -> bool:
    return MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MEMORY_NEEDED_BYTES


def with_database(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    base, _, query = url.partition("?")
    return f"{base.rsplit('/', 1)[0]}/{name}?{query}"


async def make_template(postgres: EmbeddedPostgres) -> None:
    """Makes the database from which all others are copied, on a cluster of `place_cluster`."""
    await _administrate(postgres, f"CREATE DATABASE {TEMPLATE} TEMPLATE {DATABASE} STRATEGY FILE_COPY")


@contextlib.asynccontextmanager
async def fresh_database(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """The URL of a migrated database of its own; dropped afterwards."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    await _administrate(postgres, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
    try:
        yield with_database(postgres.url, name)
    finally:
        await _administrate(postgres, f"DROP DATABASE {name} WITH (FORCE)")


async def _administrate(postgres: EmbeddedPostgres, statement: str) -> None:
    if postgres not in _administrators:
        _administrators[postgres] = _Administrator(postgres.url)
    await _administrators[postgres].execute(statement)


class _Administrator:
    """One connection for all tests, which saves two new ones for each. It lives in a thread with an event loop, since
    each test has a loop of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="administrator", daemon=True).start()

    async def execute(self, statement: str) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._execute(statement), self._loop))

    async def _execute(self, statement: str) -> None:
        if self._connection is None or self._connection.is_closed():  # a test may end all connections of a server
            self._connection = await asyncpg.connect(self._url)
        await self._connection.execute(statement)


_administrators: weakref.WeakKeyDictionary[EmbeddedPostgres, _Administrator] = weakref.WeakKeyDictionary()


def schema_of(url: str) -> str:
    """The schema of a database as SQL, without its rows."""
    command = [str(PROGRAMS / "pg_dump"), "--schema-only", url]
    dump = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return re.sub(r"(?m)^\\(un)?restrict .*\n", "", dump)  # with a new key in each dump
