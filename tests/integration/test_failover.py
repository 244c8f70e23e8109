"""To which of several servers the service connects; and what happens with one that takes no writes."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from runstream_service.database.failover import NEXT_SERVER_AFTER_S
from runstream_service.database.pool import Database
from runstream_service.errors.core import DatabaseUnavailable


def beside(url: str, *hosts: str) -> str:
    """The URL with other servers before its own."""
    parts = urlsplit(url)
    own = parse_qs(parts.query)["host"][0]
    ports = ",".join([*(host.partition(":")[2] for host in hosts), "5432"])
    names = ",".join([*(host.partition(":")[0] for host in hosts), own])
    return f"{parts.scheme}://{parts.netloc}{parts.path}?host={names}&port={ports}"


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that accepts connections and never answers, like one whose machine is frozen."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


def asked(silent: socket.socket) -> int:
    """How many connections arrived since the last call."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            silent.accept()[0].close()
            count += 1
    return count


async def test_a_silent_server_and_one_that_refuses_hold_up_the_first_connection_alone(
    database_url: str, silent: socket.socket
) -> None:
    begun = time.monotonic()
    address = f"127.0.0.1:{silent.getsockname()[1]}"
    database = await Database.open(beside(database_url, address, "127.0.0.1:1"))
    try:
        assert time.monotonic() - begun >= NEXT_SERVER_AFTER_S
        assert asked(silent) == 1
        writer = await database.connect_writer()
        assert asked(silent) == 0, "it does not ask the one first that answered"
        writer.terminate()
        await database.ping()
    finally:
        await database.close()


async def test_servers_that_take_no_writes_are_not_used_and_the_error_says_why(database_url: str) -> None:
    database = await Database.open(database_url)
    name = await database.fetchval("SELECT current_database()")
    try:
        await database.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        with pytest.raises(DatabaseUnavailable, match="takes no writes"):
            await Database.open(beside(database_url, "127.0.0.1:1"))
        with pytest.raises(DatabaseUnavailable, match="takes no writes"):
            await database.connect_writer()
        await database.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        (await database.connect_writer()).terminate()
    finally:
        await database.close()


async def test_connections_to_a_server_that_came_to_take_no_writes_are_dropped(database: Database) -> None:
    async with database.acquire() as connection:
        stale = connection.get_server_pid()
    # What a standby says to whoever is connected to it and writes.
    with pytest.raises(DatabaseUnavailable, match="25006"):
        await database.execute("SET transaction_read_only = on; CREATE TABLE x ()")
    async with database.acquire() as connection:
        assert connection.get_server_pid() != stale
