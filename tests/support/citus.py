"""A Citus cluster for tests: `RUNSTREAM_TEST_CITUS` is the URL of a database on its coordinator, in which the workers
are registered. Each test gets a copy of a distributed template, on all nodes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import asyncpg

from runstream_service.database.distribute import distribute
from tests.support.databases import with_database

VARIABLE = "RUNSTREAM_TEST_CITUS"
SKIP_REASON = f"no Citus cluster: {VARIABLE} is not set"
SHARDS = 8
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Node:
    """A server of the cluster, as the coordinator reaches it."""

    host: str
    port: int


class CitusCluster:
    """The databases of one session of tests on a cluster. Each has the same name on all nodes."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.workers: list[Node] = []
        self._template = f"runstream_template_{os.getpid()}"

    async def open(self) -> None:
        """Makes the template: an empty database of this release, distributed."""
        connection = await asyncpg.connect(self.url)
        try:
            rows = await connection.fetch(
                "SELECT nodename, nodeport FROM pg_dist_node WHERE groupid <> 0 AND isactive ORDER BY nodeid"
            )
        finally:
            await connection.close()
        self.workers = [Node(*row) for row in rows]
        url = await self.create_plain(self._template)
        await self.add_extension(self._template)
        await distribute(url, shards=SHARDS, agree=lambda _: True, report=lambda _: None)
        await self._everywhere(
            "postgres",
            f"ALTER DATABASE {self._template} WITH ALLOW_CONNECTIONS false",
            # Citus has a process of its own in each database, and nobody may be in one that is copied.
            f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{self._template}'",
        )

    async def close(self) -> None:
        """Drops the template."""
        await self.drop(self._template)

    def urls(self, name: str) -> list[str]:
        """The URLs of a database on all nodes, the coordinator's first."""
        parts = urlsplit(self.url)
        workers = [
            parts._replace(netloc=f"{_user(parts.netloc)}{node.host}:{node.port}").geturl() for node in self.workers
        ]
        return [with_database(url, name) for url in (self.url, *workers)]

    async def _everywhere(self, database: str, *statements: str) -> None:
        await asyncio.gather(*(_administrate(url, *statements) for url in self.urls(database)))

    async def create_plain(self, name: str) -> str:
        """Creates an empty database on all nodes, without the extension; returns its URL on the coordinator."""
        await self._everywhere("postgres", f"CREATE DATABASE {name}")
        return self.urls(name)[0]

    async def add_extension(self, name: str, *, register: bool = True) -> None:
        """Creates the extension in a database on all nodes, and registers the workers."""
        await self._everywhere(name, "CREATE EXTENSION citus")
        if register:
            await self.register(name)

    async def register(self, name: str) -> None:
        """Registers the workers in a database."""
        nodes = (f"SELECT citus_add_node('{node.host}', {node.port})" for node in self.workers)
        await _administrate(self.urls(name)[0], *nodes)

    async def drop(self, name: str) -> None:
        """Drops a database on all nodes, the coordinator's first: its processes connect to those of the workers."""
        for url in self.urls("postgres"):
            await _administrate(
                url,
                f"DO $$BEGIN IF EXISTS (SELECT FROM pg_database WHERE datname = '{name}') "
                f"THEN ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false; END IF; END$$",
                f"DROP DATABASE IF EXISTS {name} WITH (FORCE)",
            )

    @contextlib.asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """The URL of a distributed database of its own; dropped afterwards."""
        name = f"test_{os.getpid()}_{next(_numbers)}"
        try:
            copy = f"CREATE DATABASE {name} TEMPLATE {self._template} STRATEGY FILE_COPY"
            await self._everywhere("postgres", copy)
            yield self.urls(name)[0]
        finally:
            await self.drop(name)

    @contextlib.asynccontextmanager
    async def plain_database(self) -> AsyncIterator[str]:
        """The URL of an empty database without the extension; dropped afterwards."""
        name = f"test_{os.getpid()}_{next(_numbers)}"
        try:
            yield await self.create_plain(name)
        finally:
            await self.drop(name)


def name_of(url: str) -> str:
    """The database of a URL."""
    return urlsplit(url).path.removeprefix("/")


async def crash(url: str) -> None:
    """Kills a process of a server as the kernel might (kill -9): the server ends all others, and recovers."""
    connection = await asyncpg.connect(url)
    with contextlib.suppress(asyncpg.PostgresError, OSError):
        await connection.execute("COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID'", timeout=10)
    connection.terminate()


async def cut_off(url: str) -> None:
    """Cuts the connections that the coordinator has to a worker, some in the middle of a commit."""
    connection = await asyncpg.connect(url)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name LIKE 'citus_internal%'"
    )
    await connection.close()


def _user(netloc: str) -> str:
    user, at, _ = netloc.rpartition("@")
    return user + at


async def _administrate(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    # The notice that databases of a cluster are made node by node does not matter here.
    connection.add_log_listener(lambda *_: None)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
