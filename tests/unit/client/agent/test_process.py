"""The agent as a process: there is one, it inherits nothing, sends everything, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import grpc
import psutil
import pytest

from runstream.agent import launch
from runstream.agent.launch import ensure_agent
from runstream.journal import Directory
from runstream.v1 import run_pb2
from tests.support.agents import agents_of, gone, kill
from tests.unit.client.agent.conftest import started, started_without_waits, works_on
from tests.unit.client.ledger import Refused
from tests.unit.client.reference_service import ReferenceService
from tests.unit.client.services import Service
from tests.unit.client.transport.conftest import delete, until
from tests.unit.client.transport.journals import Trainer

pytestmark = pytest.mark.real_only("what agents do; the same on both")


def settled(trainer: Trainer) -> None:
    until(lambda: trainer.position().records == trainer.journal.sequence)


def test_an_agent_sends_a_journal_and_ends_when_nothing_is_left(service: Service, directory: Directory) -> None:
    trainer = Trainer.start(directory, service.address)
    trainer.log(range(2_000))
    agent = started(directory)
    settled(trainer)
    trainer.finish()
    until(lambda: trainer.position().finished)
    trainer.die()
    until(lambda: gone(agent))
    assert not agents_of(directory.path)
    assert not directory.agent_runs()
    assert directory.journals() == []
    status = json.loads(directory.agent_status_path.read_text())
    assert status["ended_unix_us"]
    assert status["addresses"][service.address]["acknowledged_points"] == 2_000
    log = directory.agent_log_path.read_text()
    assert "has started" in log
    assert "nothing is left to do" in log


def test_an_agent_stays_while_a_writer_lives_that_writes_nothing(service: Service, directory: Directory) -> None:
    trainer = Trainer.start(directory, service.address)
    agent = started(directory)
    settled(trainer)
    works_on(directory)
    assert not gone(agent)


def test_an_agent_inherits_nothing_of_the_training_process(
    service: Service, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    trainer = Trainer.start(directory, service.address)
    agent = started(directory)
    settled(trainer)
    assert agent.ppid() not in (os.getpid(), 0) or os.getpid() == 1
    assert os.getsid(agent.pid) != os.getsid(0)
    assert agent.cwd() == "/"
    assert agent.nice() == 5
    assert agent.environ()["CUDA_VISIBLE_DEVICES"] == ""
    links = {number: os.readlink(f"/proc/{agent.pid}/fd/{number}") for number in os.listdir(f"/proc/{agent.pid}/fd")}
    assert [links["0"], links["1"], links["2"]] == ["/dev/null", "/dev/null", str(directory.agent_log_path)]
    assert not [link for link in links.values() if link.startswith("pipe:")]
    os.close(write_end)
    assert os.read(read_end, 1) == b"", "nobody else holds the pipe"
    os.close(read_end)
    ensure_agent(directory)
    assert psutil.Process().children() == [] or agent not in psutil.Process().children(recursive=True)


def test_an_agent_is_small_and_loads_only_what_it_uses(service: Service, directory: Directory) -> None:
    trainer = Trainer.start(directory, service.address)
    agent = started(directory)
    trainer.log(range(10))
    settled(trainer)
    assert agent.memory_info().rss < 50e6
    loaded = {Path(mapped.path).name.partition(".")[0] for mapped in agent.memory_maps()}
    assert "cygrpc" in loaded
    assert not loaded & {"_asyncio", "_ssl"}


def test_of_agents_that_start_at_the_same_time_one_stays(service: Service, directory: Directory) -> None:
    command = [sys.executable, "-m", "runstream.agent", "run", "--detach", "--dir", str(directory.path)]
    trainer = Trainer.start(directory, service.address)
    environment = launch.environment(os.environ)
    for process in [subprocess.Popen(command, env=environment, cwd="/") for _ in range(3)]:
        assert process.wait(60) == 0
    until(lambda: directory.agent_runs())
    until(lambda: len(agents_of(directory.path)) == 1)
    trainer.log(range(1_000))
    settled(trainer)
    assert service.values("loss") == [float(step) for step in range(1_000)]


def test_an_agent_in_the_foreground_says_that_another_one_runs(service: Service, directory: Directory) -> None:
    Trainer.start(directory, service.address)
    agent = started(directory)
    command = [sys.executable, "-m", "runstream.agent", "run", "--dir", str(directory.path)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=250, env=launch.environment(os.environ))
    assert second.returncode == 1
    assert f"an agent already runs for {directory.path} (pid {agent.pid})" in second.stderr


def test_an_agent_that_is_killed_at_random_moments_is_started_again_and_every_point_is_stored_once(
    service: Service, directory: Directory
) -> None:
    chance = random.Random(3)
    trainers = [Trainer.start(directory, service.address) for _ in range(3)]
    step = 0
    for _ in range(6):
        agent = started_without_waits(directory)
        kill_s = time.monotonic() + chance.uniform(0.0, 1.5)
        while time.monotonic() < kill_s:
            for number, trainer in enumerate(trainers):
                trainer.log(range(step, step + 200), f"key{number}", batch=50)
            step += 200
            time.sleep(0.05)
        kill(agent)
    started_without_waits(directory)
    for number, trainer in enumerate(trainers):
        settled(trainer)
        assert service.values(f"key{number}") == [float(value) for value in range(step)]
        assert trainer.position().acknowledged_points == trainer.logged


def test_journals_of_dead_writers_are_drained_when_the_service_comes_back(
    service: Service, directory: Directory
) -> None:
    service.stop()
    trainer = Trainer.start(directory, service.address)
    trainer.log(range(5_000))
    trainer.die()
    started(directory)
    until(lambda: trainer.position().last_error)
    service.start()
    until(lambda: not agents_of(directory.path))
    assert service.values("loss") == [float(step) for step in range(5_000)]
    assert service.run(trainer.run_id).status == run_pb2.RUN_STATUS_FAILED


def test_sigterm_ends_an_agent_after_it_has_saved_its_positions(service: Service, directory: Directory) -> None:
    trainer = Trainer.start(directory, service.address)
    agent = started(directory)
    trainer.log(range(50_000), batch=100)
    agent.send_signal(signal.SIGTERM)
    until(lambda: gone(agent))
    position = trainer.position()
    assert position.acknowledged_points == len(service.values("loss"))


def test_an_agent_whose_directory_is_deleted_ends(service: Service, directory: Directory) -> None:
    trainer = Trainer.start(directory, service.address)
    agent = started(directory)
    settled(trainer)
    delete(directory.path)
    until(lambda: gone(agent))


def test_an_agent_that_is_started_by_an_operator_stays(service: Service, directory: Directory) -> None:
    command = [sys.executable, "-m", "runstream.agent", "run", "--stay", "--dir", str(directory.path)]
    with (
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=launch.environment(os.environ)) as process,
        contextlib.ExitStack() as ends,
    ):
        ends.callback(process.kill)
        until(lambda: directory.agent_runs())
        assert ensure_agent(directory).state == "running"
        works_on(directory)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert "has started" in process.stderr.read()


def test_an_agent_that_cannot_be_started_is_named_with_the_reason(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setattr(sys, "exec_prefix", "/nowhere")
    monkeypatch.setattr(sys, "base_exec_prefix", "/nowhere")
    state = ensure_agent(directory)
    assert (state.state, state.failures) == ("failed", 1)
    assert "no Python was found" in state.reason
    assert ensure_agent(directory).failures == 1, "the next try waits"


def test_an_agent_that_dies_at_once_is_named_with_the_end_of_its_log(
    directory: Directory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "python-that-fails"
    broken.write_text("#!/bin/sh\necho no such module >&2\nexit 7\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    assert ensure_agent(directory).state == "starting"
    until(lambda: ensure_agent(directory).state == "failed")
    state = ensure_agent(directory)
    assert "ended with 7" in state.reason
    assert "no such module" in state.reason


@pytest.mark.parametrize("executable", ["", None, "/bin/true"])
def test_without_a_usable_sys_executable_the_python_of_the_prefix_is_used(
    executable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    assert os.path.basename(launch.python_executable()).startswith("python")


def test_a_fork_does_not_inherit_failed_starts_of_agents(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = launch._launchers.setdefault(directory.path, launch._Launcher())
    launcher.pid, launcher.failures, launcher.not_before_s = 1, 5, 1e18
    monkeypatch.setattr(launch, "_start", lambda *_: None)
    assert ensure_agent(directory).failures == 0


def test_a_log_that_grows_is_restarted(service: Service, tmp_path: Path) -> None:
    directory = Directory(tmp_path / "d")
    directory.make()
    from runstream.agent import process

    process._set_up_log(directory.agent_log_path, to_stderr=False)
    try:
        for _ in range(12_000):
            process.logger.info("x" * 100)
    finally:
        for handler in list(process.logger.handlers):
            process.logger.removeHandler(handler)
            handler.close()
    sizes = [path.stat().st_size for path in directory.agent_log_path.parent.glob("agent.log*")]
    assert len(sizes) == 2
    assert max(sizes) <= 1024 * 1024


@pytest.mark.reference_only("refuses a run, and accepts it later")
def test_a_run_that_the_service_refuses_stays_on_disk_and_does_not_keep_an_agent_alive(
    service: ReferenceService, directory: Directory
) -> None:
    service.runs.broken = Refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "no such experiment")
    trainer = Trainer.start(directory, service.address)
    trainer.log(range(10))
    trainer.finish()
    trainer.die()
    ensure_agent(directory)  # the agent may have ended before the next line
    until(lambda: (found := trainer.position()) is not None and found.run_state == "refused")
    until(lambda: not agents_of(directory.path))
    service.runs.broken = None
    until(lambda: ensure_agent(directory) and not trainer.path.exists())
    assert service.values("loss") == [float(step) for step in range(10)]
