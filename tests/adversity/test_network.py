"""The network between client and service cuts, stalls, slices and delays; points still arrive exactly once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import runstream
from runstream_bench.tcp_proxy import Direction, Proxy
from tests.support.agents import end_agents
from tests.support.polling import until_now
from tests.support.serve import ServeProcess


@pytest.fixture(scope="module")
def serve(tmp_path_factory) -> Iterator[ServeProcess]:
    from tests.support.databases import short_directory

    with short_directory() as directory, ServeProcess(directory) as running:
        yield running


@pytest.fixture(scope="module")
def machine(tmp_path_factory) -> Iterator[Path]:
    """The directory of journals of all these runs: one agent sends them."""
    directory = tmp_path_factory.mktemp("machine")
    yield directory
    end_agents(directory)


@pytest.fixture(autouse=True)
def on_one_machine(machine, journal_directory, monkeypatch) -> None:
    monkeypatch.setenv("RUNSTREAM_DIR", str(machine))


@pytest.fixture
def proxy(serve) -> Iterator[Proxy]:
    with Proxy(serve.grpc_address) as between:
        yield between


def _assert_stored(serve: ServeProcess, run: runstream.Run, count: int) -> None:
    assert run.stats().refused == {}
    with runstream.Client(serve.grpc_address) as client:
        points = client.history(run.run_id, "loss")
    assert [point.step for point in points] == list(range(count))


def test_connections_that_are_cut_again_and_again(serve, proxy):
    with runstream.start_run("network", "cut", address=proxy.address) as run:
        for step in range(20_000):
            run.log({"loss": step}, step=step)
            if step % 2_000 == 1_000:
                until_now(proxy.cut)
        assert run.flush(120)
    _assert_stored(serve, run, 20_000)


def test_connections_that_break_in_the_middle_of_a_message(serve, proxy):
    proxy.cut_after_bytes = 60_000
    with runstream.start_run("network", "torn", address=proxy.address) as run:
        for step in range(30_000):
            run.log({"loss": step}, step=step)
        until_now(lambda: proxy.cuts >= 3)
        proxy.cut_after_bytes = 0
        assert run.flush(120)
    _assert_stored(serve, run, 30_000)


def test_pieces_of_a_few_bytes_that_come_late(serve, proxy):
    proxy.slice_bytes, proxy.delay_s = 500, 0.001
    with runstream.start_run("network", "sliced", address=proxy.address) as run:
        for step in range(3_000):
            run.log({"loss": step}, step=step)
        assert run.flush(120)
    _assert_stored(serve, run, 3_000)


def test_a_silent_network_stops_neither_training_nor_memory_and_all_arrives_afterwards(serve, proxy):
    with runstream.start_run("network", "stalled", address=proxy.address) as run:
        run.log({"loss": 0}, step=0)
        assert run.flush(120)
        proxy.stall()
        for step in range(1, 50_000):
            run.log({"loss": step}, step=step)  # would not return if it waited for the network
        assert not run.flush(0.5)
        proxy.resume()
        assert run.flush(120)
    _assert_stored(serve, run, 50_000)


def test_a_connection_that_a_firewall_forgot_is_replaced_within_forty_seconds(serve, proxy):
    with runstream.start_run("network", "forgotten", address=proxy.address) as run:
        run.log({"loss": 0}, step=0)
        assert run.flush(120)
        proxy.freeze()
        run.log({"loss": 1}, step=1)
        assert run.flush(50), "a ping of gRPC's own, with a minute for its answer, kept keepalive waiting"
    _assert_stored(serve, run, 2)


def test_a_service_that_is_not_there_yet(serve, proxy):
    proxy.refuse = True
    with runstream.start_run("network", "early", address=proxy.address) as run:
        for step in range(1_000):
            run.log({"loss": step}, step=step)
        assert not run.flush(1.0)
        proxy.refuse = False
        assert run.flush(120)
    _assert_stored(serve, run, 1_000)


def _await_reconnect(run: runstream.Run, before: int) -> None:
    until_now(lambda: run.stats().reconnects > before)


def test_connections_that_are_ended_while_idle_are_not_reported(serve, proxy, caplog):
    with runstream.start_run("network", "idle", address=proxy.address) as run:
        for step in range(5):
            run.log({"loss": step}, step=step)
            assert run.flush(120)
            reconnects = run.stats().reconnects
            proxy.cut()
            _await_reconnect(run, reconnects)
    _assert_stored(serve, run, 5)
    assert [record.getMessage() for record in caplog.records] == []


def test_points_whose_acknowledgements_do_not_come_are_not_said_to_be_lost(serve, proxy, caplog):
    run = runstream.start_run("network", "no-acks", address=proxy.address)
    run.log({"loss": 0}, step=0)
    assert run.flush(120)
    proxy.stall(Direction.ANSWERS)
    for step in range(1, 100):
        run.log({"loss": step}, step=step)
    with runstream.Client(serve.grpc_address) as client:
        until_now(lambda: len(client.history(run.run_id, "loss")) == 100)
        assert not run.finish(timeout=0.5)
        assert (run.stats().on_disk, dict(run.stats().refused)) == (99, {})
        assert "99 points, and 1 params, tags and ends of the run, are on disk" in caplog.text
        assert len(client.history(run.run_id, "loss")) == 100
