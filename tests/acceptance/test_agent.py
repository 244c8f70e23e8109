"""The agent with the real service: kills, outages, many writers. Every point is stored once."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import runstream
from runstream.agent import launch
from runstream.agent.launch import ensure_agent
from runstream.agent.sync import sync
from runstream.journal import Directory
from tests.support.agents import agents_of, kill, short_lived_agents
from tests.support.polling import until_now
from tests.unit.client.transport.journals import Trainer

KILLS = 5  # the fourth is one of the service; `SOAK_SECONDS` makes it more


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Directory]:
    """An empty directory; no agent is left behind."""
    with short_lived_agents(tmp_path / "state", monkeypatch) as made:
        yield made


def settled(trainer: Trainer) -> None:
    until_now(lambda: trainer.position().records == trainer.journal.sequence)


def assert_stored_once(client: runstream.Client, run_id: str, key: str, count: int) -> None:
    assert list(client.history(run_id, key).steps) == list(range(count))


def test_eight_ranks_of_a_node_share_a_stream_and_the_run_is_whole(serve, client, directory):
    run_id = os.urandom(16).hex()
    ranks = [Trainer.start(directory, serve.grpc_address, run_id, rank=rank, ends_run=rank == 0) for rank in range(8)]
    ensure_agent(directory)
    ranks[0].params(lr="0.1")
    for rank, trainer in enumerate(ranks):
        trainer.log(range(20_000), f"key{rank}", batch=250)
    for trainer in ranks:
        trainer.finish(ends_run=trainer is ranks[0])
    for trainer in ranks:
        settled(trainer)
        trainer.die()
    for rank in range(8):
        assert_stored_once(client, run_id, f"key{rank}", 20_000)
    info = client.get_run(run_id)
    assert (info.status, info.params, info.name) == ("FINISHED", {"lr": "0.1"}, "n")
    until_now(lambda: not agents_of(directory.path))
    assert directory.journals() == []


def test_agent_and_service_are_killed_at_random_while_writers_write_and_every_point_is_stored_once(
    serve, client, directory
):
    chance = random.Random(int(os.environ.get("KILL_SEED", "11")))
    run_id = os.urandom(16).hex()
    writers = [Trainer.start(directory, serve.grpc_address, run_id, rank=rank, ends_run=False) for rank in range(3)]
    soaks_until = time.monotonic() + float(os.environ.get("SOAK_SECONDS", "0"))
    give_up = soaks_until + 120
    step, kills, next_kill_s = 0, 0, 0.0
    while kills < KILLS or time.monotonic() < soaks_until:
        assert time.monotonic() < give_up, f"only {kills} kills"
        for rank, writer in enumerate(writers):
            writer.log(range(step, step + 300), f"key{rank}", batch=100)
        step += 300
        ensure_agent(directory)
        launch._launchers[directory.path].not_before_s = 0.0  # the waits after failures are not what is tested
        if time.monotonic() > next_kill_s:
            next_kill_s = time.monotonic() + chance.uniform(0.3, 2.0)
            kills += 1
            if kills % 5 == 4:
                serve.kill()
                serve.start()
            elif (pid := directory.agent_pid()) and directory.agent_runs():
                with contextlib.suppress(psutil.NoSuchProcess):
                    kill(psutil.Process(pid))
        time.sleep(0.03)

    def all_settled() -> bool:
        launch._launchers[directory.path].not_before_s = 0.0
        ensure_agent(directory)  # again and again, as a program does: the last one may have been killed just now
        return all(writer.position().records == writer.journal.sequence for writer in writers)

    until_now(all_settled, timeout_s=120)
    for rank in range(len(writers)):
        assert_stored_once(client, run_id, f"key{rank}", step)


def test_what_a_killed_process_has_logged_during_an_outage_arrives_and_its_run_has_failed(serve, client, directory):
    serve.kill()
    trainer = Trainer.start(directory, serve.grpc_address)
    trainer.log(range(100_000))
    trainer.die()
    ensure_agent(directory)
    until_now(lambda: trainer.position().last_error)  # the agent has tried to reach the service
    serve.start()
    until_now(lambda: not agents_of(directory.path))
    assert_stored_once(client, trainer.run_id, "loss", 100_000)
    assert client.get_run(trainer.run_id).status == "FAILED"


def test_a_run_that_is_deleted_takes_no_points_and_its_restoration_is_noticed(serve, client, directory):
    trainer = Trainer.start(directory, serve.grpc_address)
    ensure_agent(directory)
    trainer.log(range(1_000))
    settled(trainer)
    client.delete_run(trainer.run_id)
    trainer.log(range(1_000, 2_000))
    settled(trainer)
    assert trainer.position().refused == {"run_deleted": 1_000}
    client.restore_run(trainer.run_id)
    until_now(lambda: trainer.position().run_state == "created")
    trainer.log(range(2_000, 3_000))
    settled(trainer)
    steps = list(client.history(trainer.run_id, "loss").steps)
    assert steps == [*range(1_000), *range(2_000, 3_000)]


def test_keys_that_the_service_refuses_are_counted_by_reason(serve, client, directory):
    trainer = Trainer.start(directory, serve.grpc_address)
    ensure_agent(directory)
    trainer.log(range(10), "k" * 251)
    trainer.log(range(10))
    settled(trainer)
    assert trainer.position().refused == {"key_too_long": 10}
    assert trainer.position().acknowledged_points == 10
    assert_stored_once(client, trainer.run_id, "loss", 10)


def test_sync_sends_what_an_agent_has_begun(serve, client, directory):
    trainer = Trainer.start(directory, serve.grpc_address, host=os.uname().nodename)
    ensure_agent(directory)
    until_now(lambda: directory.agent_runs() and directory.agent_pid())
    trainer.log(range(200_000))
    os.kill(directory.agent_pid(), signal.SIGKILL)
    until_now(lambda: not directory.agent_runs())
    trainer.log(range(200_000, 210_000))
    trainer.finish()
    trainer.die()
    assert sync(directory.path).ok
    assert_stored_once(client, trainer.run_id, "loss", 210_000)
    assert client.get_run(trainer.run_id).status == "FINISHED"
