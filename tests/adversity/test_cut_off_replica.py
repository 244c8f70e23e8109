"""One replica has lost PostgreSQL, or is full, and another is well: clients go where they are served.

`CUT_SECONDS=600` makes the outage ten minutes long (CONTRIBUTING.md).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import runstream
from runstream_bench.tcp_proxy import Proxy, socket_of, through
from tests.support.databases import short_directory
from tests.support.polling import until_now
from tests.support.producers import Producers, assert_exactly_once
from tests.support.serve import ServeProcess

SECONDS = float(os.environ.get("CUT_SECONDS", "5"))
CLIENTS = 4
POINTS_PER_S = 50 if SECONDS < 60 else 2_000
# It is asked every two seconds, has two to answer, and is given five more.
SENT_ELSEWHERE_S = 30.0


def _streams(replica: ServeProcess) -> float:
    return replica.metric("runstream_streams_open")


def _ready(replica: ServeProcess) -> bool:
    return replica.metric("runstream_ready") == 1


@pytest.fixture
def proxy(database_url: str) -> Iterator[Proxy]:
    """The proxy between one replica and PostgreSQL."""
    with Proxy(socket_of(database_url)) as between:
        yield between


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as made:
        yield made


def _refuse(proxy: Proxy) -> None:
    proxy.refuse = True
    proxy.cut()


def _hole(proxy: Proxy) -> None:
    proxy.stall()


@pytest.mark.timeout(240 + 2 * SECONDS)
@pytest.mark.parametrize("harm", [_refuse, _hole])
def test_clients_of_a_replica_that_is_cut_off_from_postgres_go_to_another(
    database_url: str, directory: Path, proxy: Proxy, harm: Callable[[Proxy], None]
) -> None:
    behind = ["--database", through(database_url, proxy.address)]
    with (
        ServeProcess(directory / "well", arguments=["--database", database_url]) as well,
        ServeProcess(directory / "cut", arguments=behind) as cut,
        contextlib.ExitStack() as stack,
    ):
        address = f"ipv4:{well.grpc_address},{cut.grpc_address}"
        crews: list[Producers] = []
        while not (crews and _streams(cut)):  # which replica a client takes is chance
            crews.append(stack.enter_context(Producers(address, CLIENTS, POINTS_PER_S, apart=True)))
            until_now(lambda: _streams(well) + _streams(cut) >= CLIENTS * len(crews))
        harm(proxy)
        until_now(lambda: _streams(cut) == 0, timeout_s=SENT_ELSEWHERE_S)
        until_now(lambda: _streams(well) > 0, timeout_s=SENT_ELSEWHERE_S)
        ends = time.monotonic() + SECONDS
        jobs = 0
        while time.monotonic() < ends or jobs < 5:
            # New jobs find the replica that serves them, also when they ask the other one first.
            with runstream.start_run("cut off", f"job {jobs}", address=address) as run:
                run.log({"loss": 1.0}, step=1)
                assert run.flush(120), run.stats()
            assert run.stats().refused == {}
            jobs += 1
            time.sleep(0.5 if SECONDS < 60 else 10)
        assert _streams(cut) == 0
        for crew in crews:
            assert_exactly_once(well.grpc_address, crew.run_id, crew.stop())
        proxy.restore()
        until_now(lambda: _ready(cut))
        with runstream.start_run("cut off", "afterwards", address=cut.grpc_address) as run:
            run.log({"loss": 1.0}, step=1)
            assert run.flush(120), run.stats()


def test_clients_that_find_a_full_replica_go_to_another(database_url: str, directory: Path) -> None:
    on_database = ["--database", database_url]
    with (
        ServeProcess(directory / "free", arguments=on_database) as free,
        ServeProcess(directory / "full", arguments=[*on_database, "--max-streams", "1"]) as full,
        runstream.start_run("full", "first", address=full.grpc_address) as first,
    ):
        first.log({"loss": 1.0}, step=1)
        assert first.flush(120)
        with Producers(f"ipv4:{free.grpc_address},{full.grpc_address}", CLIENTS, POINTS_PER_S, apart=True) as crew:
            until_now(lambda: _streams(free) == CLIENTS)
            assert _streams(full) == 1
            reports = crew.stop()
        assert_exactly_once(free.grpc_address, crew.run_id, reports)
