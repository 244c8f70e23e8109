"""Connections to PostgreSQL that go silent without being closed: every wait on them ends, and the pool serves again."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import runstream
from runstream_bench import http_client
from runstream_bench.tcp_proxy import Direction, Proxy, socket_of, through
from runstream_service.database import connections
from runstream_service.database.pool import Database
from runstream_service.errors.core import DatabaseUnavailable
from tests.support.serve import ServeProcess

# Some ten times what it takes on a quiet machine: the next ping, which is not answered for two seconds, then the next
# one, which finds what is silent.
SOON_S = 30.0


@pytest.fixture
def proxy(database_url: str) -> Iterator[Proxy]:
    with Proxy(socket_of(database_url)) as between:
        yield between


@pytest.fixture
async def database(database_url: str, proxy: Proxy) -> AsyncIterator[Database]:
    opened = await Database.open(through(database_url, proxy.address), max_size=3)
    yield opened
    await opened.close(within_s=0.1)


async def _ping_until_silent_ones_are_cut(database: Database) -> None:
    """Does what the monitor of the database does, in less time."""
    with pytest.raises(DatabaseUnavailable):
        await database.ping(timeout_s=0.5)
    give_up = time.monotonic() + SOON_S
    while time.monotonic() < give_up:
        await database.ping(timeout_s=5)
        await asyncio.sleep(0.2)
        if not database.in_use:
            return
    raise AssertionError("the pool is still in use")


async def test_calls_on_frozen_connections_end_and_the_pool_serves_again(database: Database, proxy: Proxy) -> None:
    await database.ping()
    async with database.acquire(), database.acquire(), database.acquire():
        pass
    assert proxy.freeze() == 4
    hanging = [asyncio.create_task(database.fetchval("SELECT 1")) for _ in range(3)]
    waiting = asyncio.create_task(database.fetchval("SELECT 2"))
    await _ping_until_silent_ones_are_cut(database)
    for outcome in await asyncio.wait_for(asyncio.gather(*hanging, return_exceptions=True), 5):
        assert isinstance(outcome, DatabaseUnavailable)
    assert await asyncio.wait_for(waiting, 5) == 2
    assert await database.fetchval("SELECT 3") == 3


async def test_a_statement_whose_answer_was_lost_ends_soon_after_postgres_has_ended_it(
    database: Database, proxy: Proxy
) -> None:
    await database.ping()
    hanging = asyncio.create_task(database.execute("SELECT pg_sleep(4)"))
    while not await database.fetchval("SELECT true FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(4)'"):
        await asyncio.sleep(0.01)
    begun = time.monotonic()
    proxy.freeze()
    await _ping_until_silent_ones_are_cut(database)
    with pytest.raises(DatabaseUnavailable):
        await asyncio.wait_for(hanging, 5)
    assert time.monotonic() - begun > 4, "while PostgreSQL works for it, it is not cut"


async def test_a_long_statement_on_a_connection_that_works_is_left_alone(database: Database, proxy: Proxy) -> None:
    await database.ping()
    long = asyncio.create_task(database.fetchval("SELECT 42 FROM pg_sleep(4)"))
    while not await database.fetchval("SELECT true FROM pg_stat_activity WHERE query LIKE 'SELECT 42%'"):
        await asyncio.sleep(0.01)
    proxy.stall()
    with pytest.raises(DatabaseUnavailable):
        await database.ping(timeout_s=0.5)
    proxy.resume()
    while not long.done():
        await database.ping(timeout_s=5)
        await asyncio.sleep(0.1)
    assert long.result() == 42


@pytest.mark.parametrize("direction", [Direction.REQUESTS, Direction.ANSWERS])
async def test_without_any_ping_the_driver_gives_up_somewhat_later_than_the_server(
    database_url: str, proxy: Proxy, direction: Direction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "ANSWER_MARGIN_S", 0.5)
    impatient = connections.ConnectionKind("runstream", 1)
    database = await Database.open(through(database_url, proxy.address), max_size=1, kind=impatient)
    try:
        proxy.stall(direction)
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match="did not answer in time"):
            async with database.transaction() as connection:
                await connection.fetchval("SELECT 1")
        assert time.monotonic() - began < SOON_S, "the limit of another kind of connection"
        proxy.resume()
        assert await database.fetchval("SELECT 1") == 1
    finally:
        await database.close(within_s=0.1)


async def test_every_session_watches_its_socket_and_has_a_driver_that_waits_longer_than_the_server(
    database: Database,
) -> None:
    kinds = {
        "pool": connections.POOL,
        "writer": connections.WRITER,
        "rollup": connections.ROLLUP,
        "notifier": connections.NOTIFIER,
        "migration": connections.MIGRATION,
    }
    async with database.acquire() as pooled:
        made: dict[str, Any] = {
            "pool": pooled,
            "writer": await database.connect_writer(),
            "rollup": await database.connect_rollup(),
            "notifier": await database.connect_notifier(),
            "migration": await database.connect_migration(),
        }
        for name, connection in made.items():
            sock = connection._transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20_000
            server_s = await connection.fetchval(
                "SELECT extract(epoch FROM current_setting('statement_timeout')::interval)"
            )
            assert server_s == kinds[name].statement_timeout_s
            assert connection._config.command_timeout == server_s + 5
            if name != "pool":
                connection.terminate()


# From the freeze until every call is answered and everything works again. Measured: 4 to 6 s.
SERVICE_SOON_S = 40.0


def test_a_service_whose_connections_are_frozen_answers_all_calls_and_recovers(
    database_url: str, data_dir: Path
) -> None:
    with (
        Proxy(socket_of(database_url)) as proxy,
        ServeProcess(
            data_dir,
            arguments=["--database", through(database_url, proxy.address), "--epoch-seconds", "1"],
        ) as serve,
        runstream.Client(serve.grpc_address) as client,
        runstream.start_run("frozen", "connections", address=serve.grpc_address) as run,
        ThreadPoolExecutor(30) as threads,
    ):
        run.log({"loss": 0.0}, step=0)
        assert run.flush(120)
        updates = client.tail(run.run_id, ["loss"])
        next(updates)  # of what is committed from here on
        heard = threads.submit(_steps_until, updates, 1)
        list(threads.map(lambda _: _search(serve), range(20)))  # the pool has all of its connections
        serve.wait_for_action("epoch_rolled")
        assert proxy.freeze() >= 10
        begun = time.monotonic()
        answers = list(threads.map(lambda _: _search(serve), range(20)))
        assert set(answers) <= {200, 429, 503}, answers
        while _search(serve) != 200:
            assert time.monotonic() - begun < SERVICE_SOON_S
        run.log({"loss": 1.0}, step=1)
        assert run.flush(SERVICE_SOON_S)
        assert heard.result(SERVICE_SOON_S) == [1]
        rolled = serve.actions().count("epoch_rolled")
        serve.wait_for_action("epoch_rolled", count=rolled + 1, timeout_s=SERVICE_SOON_S)
        assert serve.get("/readyz")[0] == 200
        assert time.monotonic() - begun < SERVICE_SOON_S
        print(f"all of it within {time.monotonic() - begun:.1f} s", serve.actions().count("silent_connections_cut"))
        serve.wait_for_action("silent_connections_cut")


def _search(serve: ServeProcess) -> int:
    """A read of MLflow's routes; the status of the answer."""
    url = f"{serve.http_url}/api/2.0/mlflow/experiments/search?max_results=5"
    return http_client.get(url, timeout_s=SERVICE_SOON_S).status


def _steps_until(updates: Iterator[runstream.TailUpdate], last: int) -> list[int]:
    steps: list[int] = []
    for update in updates:
        steps += [step for series in update.series for step in series.steps]
        if last in steps:
            break
    return steps
