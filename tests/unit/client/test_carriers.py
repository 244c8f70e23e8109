"""Where no agent can be started, or no directory can be used, a thread of the training process sends."""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Iterator

import pytest

from runstream._lifecycle import process_state
from runstream._repetition import Repetition
from runstream.agent.launch import AgentState
from runstream.journal import Directory
from runstream.v1 import run_pb2
from tests.support.polling import until_now
from tests.unit.client.conftest import StartRun
from tests.unit.client.services import Service


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test has its own warnings, and leaves no thread behind."""
    monkeypatch.setattr("runstream._run_logger._said", Repetition())
    yield
    process_state.recorder.stop_stores()
    until_now(lambda: not [one for one in threading.enumerate() if one.name == "runstream-transport"])


@pytest.fixture
def no_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(environ: object) -> None:
        raise OSError("no directory for journals: everything is read-only; set RUNSTREAM_DIR to one that is not")

    monkeypatch.setattr(Directory, "choose", refuse)


def test_without_an_agent_a_thread_sends_and_one_warning_says_what_is_weaker(
    service: Service,
    start_run: StartRun,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    failed = AgentState("failed", 0, 2, "no more processes")
    monkeypatch.setattr("runstream.agent.launch.ensure_agent", lambda directory: failed)
    run = start_run("e", address=service.address)
    run.log({"loss": 1.0})
    assert run.finish(timeout=120)
    assert service.values("loss") == [1.0]
    assert caplog.text.count("no agent can be started (no more processes)") == 1
    assert "gRPC runs in this process" in caplog.text


def test_grpc_is_not_used_if_its_threads_could_not_be_started(
    service: Service,
    start_run: StartRun,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Otherwise gRPC would abort the process."""
    monkeypatch.setenv("RUNSTREAM_AGENT", "thread")
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "runstream-trial" and sum(t.name == thread.name for t in threading.enumerate()) >= 5:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    run = start_run("e", address=service.address)
    run.log({"loss": 1.0})
    until_now(lambda: "gRPC needs 16 threads in this process" in caplog.text)
    assert not run.flush(0.1)
    monkeypatch.setattr(threading.Thread, "start", start)
    assert run.finish(timeout=120)
    assert service.values("loss") == [1.0]


@pytest.mark.parametrize("library", ["gevent.monkey", "eventlet.patcher"])
def test_with_greenlets_instead_of_threads_no_thread_sends(
    service: Service,
    start_run: StartRun,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    library: str,
) -> None:
    patched = types.SimpleNamespace(is_module_patched=lambda _: True, is_monkey_patched=lambda _: True)
    monkeypatch.setenv("RUNSTREAM_AGENT", "thread")
    monkeypatch.setitem(sys.modules, library, patched)
    run = start_run("e", address=service.address)
    run.log({"loss": 1.0})
    until_now(lambda: "gRPC needs real ones: start an agent" in caplog.text)
    until_now(lambda: run.stats().on_disk == 1)


def test_an_agent_is_started_again_after_a_failed_start(
    start_run: StartRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    states = [AgentState("failed", 0, 1, "busy"), AgentState("starting"), AgentState("running", 1)]
    monkeypatch.setattr(
        "runstream.agent.launch.ensure_agent", lambda directory: states.pop(0) if len(states) > 1 else states[0]
    )
    run = start_run("e")
    until_now(lambda: len(states) < 3)
    assert not run.finish(timeout=0.1)
    assert "no agent can be started" not in caplog.text


def test_without_a_directory_points_are_sent_from_memory(
    service: Service, start_run: StartRun, no_directory: None, caplog: pytest.LogCaptureFixture
) -> None:
    run = start_run("e", address=service.address, params={"a": 1})
    for step in range(3_000):
        run.log({"loss": float(step)}, step=step)
    assert run.flush(120), run.stats()
    stats = run.stats()
    assert (stats.journal, stats.journal_path) == ("memory", "")
    assert (stats.logged, stats.acknowledged, stats.on_disk, stats.waiting) == (3_000, 3_000, 0, 0)
    assert run.finish(timeout=120)
    assert len(service.points()) == 3_000
    assert service.run(run.run_id).status == run_pb2.RUN_STATUS_FINISHED
    assert caplog.text.count("Points are kept in memory only") == 1


def test_points_in_memory_at_the_end_are_counted_and_reported_as_lost(
    service: Service, start_run: StartRun, no_directory: None, caplog: pytest.LogCaptureFixture
) -> None:
    service.stop()
    run = start_run("e", address=service.address)
    run.log({"loss": 1.0})
    until_now(lambda: run.stats().last_error)
    assert run.stats().waiting == 1
    assert not run.finish(timeout=0.2)
    stats = run.stats()
    assert (stats.waiting, stats.on_disk, dict(stats.refused)) == (0, 0, {"unacknowledged": 1})
    assert "were in memory and are lost" in caplog.text
