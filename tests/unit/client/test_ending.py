"""How runs end: what finish() says is true, nothing raises, and nobody waits for what cannot come."""

import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import runstream
from runstream import _ending
from runstream import run as run_module
from runstream._lifecycle import process_state
from runstream.journal import RecordType
from tests.support.polling import until_now
from tests.unit.client.conftest import StartRun
from tests.unit.client.stored_journals import TestAgent


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """No thread of runstream can be started until `threads.append(True)`; all others can."""
    allowed: list[bool] = []
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("runstream-") and not allowed:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr("runstream._recorder._RETRY_S", 0.0)
    return allowed


def test_without_a_thread_nothing_raises_and_one_warning_says_so(
    agent: TestAgent, threads: list[bool], caplog: pytest.LogCaptureFixture
) -> None:
    with runstream.start_run("e", params={"a": 1}) as run:
        run.log({"loss": 1.0})
        run.set_tags({"b": 2})
        assert not run.flush(1)
        assert (run.stats().logged, run.stats().waiting) == (1, 1)
    assert not run.finish()
    stats = run.stats()
    assert (stats.logged, stats.waiting, dict(stats.refused)) == (1, 0, {"no_threads": 1})
    assert caplog.text.count("no thread can be started (can't start new thread)") == 1
    assert "bug" not in caplog.text
    threads.append(True)  # so that the handle is let go of here, and not in the next test
    assert process_state.recorder.start()
    process_state.recorder.wake()
    until_now(lambda: not process_state.recorder.running)


def test_a_run_that_ended_without_a_thread_does_not_keep_the_next_one(agent: TestAgent, threads: list[bool]) -> None:
    with runstream.start_run("e") as run:
        run.log({"loss": 1.0})
    threads.append(True)
    with runstream.start_run("e") as other:
        other.log({"loss": 2.0})
    assert other.finish()
    until_now(lambda: not process_state.recorder.running)
    assert dict(run.stats().refused) == {"no_threads": 1}


def test_a_thread_that_can_be_started_later_records_what_was_logged_before(
    agent: TestAgent, threads: list[bool]
) -> None:
    run = runstream.start_run("e")
    run.log({"loss": 1.0})
    threads.append(True)
    run.log({"loss": 2.0})
    assert run.flush(120)
    assert agent.values("loss") == [1.0, 2.0]
    assert run.finish()


def test_points_that_the_agent_settles_at_the_last_moment_count(agent: TestAgent, start: StartRun) -> None:
    agent.held = True
    run = start("e")
    for step in range(2_000):
        run.log({"loss": 1.0}, step=step)
    threading.Timer(0.3, lambda: setattr(agent, "held", False)).start()
    until_now(lambda: run.stats().on_disk == 2_000)
    assert run.finish(timeout=120)
    assert (run.stats().acknowledged, dict(run.stats().refused)) == (2_000, {})
    assert agent.status(run.run_id) == "FINISHED"


def test_after_its_end_a_run_makes_no_other_journal(agent: TestAgent, start: StartRun) -> None:
    """At the exit, one run may wait for the service for long, while the journals of the others are settled and deleted.
    An empty one would look like that of a process that died."""
    run, other = start("e"), start("e")
    run.log({"loss": 1.0})
    ending = run._begin_at_exit("FINISHED")
    agent.wait_for(lambda: agent.status(run.run_id) == "FINISHED")
    assert ending is not None
    until_now(ending.is_over)
    journal = run.stats().journal_path
    with agent.lock:
        agent.directory.delete_journal(Path(journal))
    until_now(lambda: run.stats().journal_path != journal)
    for _ in range(2):
        other.log({"loss": 2.0})
        assert other.flush(120)
    assert [str(path) for path in agent.directory.journals()] == [other.stats().journal_path]
    run._end_finish()


def test_an_unforeseen_failure_at_the_end_does_not_raise(
    agent: TestAgent,
    start: StartRun,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = start("e")
    monkeypatch.setattr(run_module, "wait_all", lambda *_: 1 / 0)
    with run:
        run.log({"loss": 1.0})
    assert "ZeroDivisionError" in caplog.text
    agent.wait_for(lambda: agent.status(run.run_id) == "FINISHED")


def test_a_second_finish_returns_what_the_first_returned(agent: TestAgent, start: StartRun) -> None:
    agent.held = True
    run = start("e")
    run.log({"loss": 1.0})
    assert not run.finish(timeout=0.1)
    agent.held = False
    assert not run.finish()
    other = start("e")
    assert other.finish()
    assert other.finish()


def test_two_threads_that_finish_one_run_finish_it_once(
    agent: TestAgent, start: StartRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_STEP_ID", str(time.time_ns() % 1_000_000))
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    before = dict(run_module._finished)
    run = start("e", "n")
    answers: list[bool] = []
    barrier = threading.Barrier(4)

    def finish() -> None:
        barrier.wait()
        answers.append(run.finish(timeout=120))

    threads = [threading.Thread(target=finish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 4
    assert [kind for _, kind, _ in agent.records].count(RecordType.FINISH) == 1
    assert sum(run_module._finished.values()) - sum(before.values()) == 1


def interrupt(after_s: float, action: Callable[[], object]) -> None:
    """Runs `action` in a signal handler of the main thread."""
    signal.signal(signal.SIGALRM, lambda *_: action())
    signal.setitimer(signal.ITIMER_REAL, after_s)


@pytest.fixture
def alarm() -> Iterator[None]:
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_a_signal_handler_may_finish_a_run_that_is_finishing(agent: TestAgent, start: StartRun, alarm: None) -> None:
    agent.held = True
    run = start("e")
    run.log({"loss": 1.0})
    inner: list[bool] = []
    interrupt(0.3, lambda: inner.append(run.finish("KILLED")))
    assert not run.finish(timeout=1.0)
    assert inner == [False]


def test_ctrl_c_leaves_without_waiting_and_what_is_left_is_counted(
    agent: TestAgent,
    start: StartRun,
    alarm: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(_ending, "_REPORT_AFTER_S", 0.1)
    agent.held = True
    run = start("e")
    run.log({"loss": 1.0})

    def ctrl_c() -> None:
        raise KeyboardInterrupt

    interrupt(0.5, ctrl_c)
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run.finish(timeout=60)
    assert time.monotonic() - begun < 10
    assert "waiting up to 60 s for the service" in caplog.text
    assert "Ctrl-C to leave" in caplog.text
    assert (run.stats().on_disk, run.stats().waiting) == (1, 0)
    assert not run.finish(), "and nobody waits again, also not at the end of the process"


def test_an_end_that_is_quick_says_nothing(agent: TestAgent, start: StartRun, caplog: pytest.LogCaptureFixture) -> None:
    with start("e") as run:
        run.log({"loss": 1.0})
    assert caplog.text == ""


def test_after_an_exception_the_traceback_does_not_wait_for_long(agent: TestAgent, start: StartRun) -> None:
    agent.held = True
    run = start("e", settings={"exit_timeout_s": 0.2})
    begun = time.monotonic()
    with pytest.raises(ValueError, match="diverged"), run:
        raise ValueError("diverged")
    assert time.monotonic() - begun < 10


def test_log_after_finish_is_reported_once(agent: TestAgent, start: StartRun, caplog: pytest.LogCaptureFixture) -> None:
    run = start("e")
    run.finish()
    for _ in range(5):
        run.log({"loss": 1.0})
        run.set_tags({"a": 1})
    assert caplog.text.count("log() was called after finish()") == 1
    assert caplog.text.count("tags refused: the run is finished") == 1
    assert dict(run.stats().refused) == {"finished": 5}


@pytest.mark.parametrize("timeout", [None, float("inf"), float("nan"), "soon", -1.0], ids=repr)
def test_a_limit_of_any_kind_ends_the_run_and_raises_nothing(agent: TestAgent, start: StartRun, timeout: Any) -> None:
    run = start("e")
    run.log({"loss": 1.0})
    assert run.flush(120)
    run.flush(timeout)
    assert run.finish(timeout=timeout) or timeout == -1.0
    agent.wait_for(lambda: [kind for _, kind, _ in agent.records].count(RecordType.FINISH) == 1)


def test_a_status_of_any_kind_ends_the_run(agent: TestAgent, start: StartRun, caplog: pytest.LogCaptureFixture) -> None:
    run: Any = start("e")
    assert run.finish(["no", "status"])
    assert agent.status(run.run_id) == "FAILED"
    assert "expected FINISHED, FAILED or KILLED" in caplog.text


def test_bad_params_and_tags_of_each_step_are_reported_once(start: StartRun, caplog: pytest.LogCaptureFixture) -> None:
    run: Any = start("e")
    for _ in range(50):
        run.set_tags({"t": "v" * 9_000})
        run.log_params([1])
    assert len(caplog.records) == 2


# Deleted, or refused.


def test_points_of_a_deleted_run_are_refused_and_nobody_waits_for_its_end(agent: TestAgent, start: StartRun) -> None:
    run = start("e")
    run.log({"loss": 1.0})
    assert run.flush(120)
    agent.run_state = "deleted"
    run.log({"loss": 1.0})
    assert not run.flush(20)
    assert dict(run.stats().refused) == {"run_deleted": 1}
    begun = time.monotonic()
    assert not run.finish(timeout=30)
    assert time.monotonic() - begun < 10
    assert agent.status(run.run_id) == "FINISHED"


def test_a_run_that_was_restored_takes_points_again_and_gets_its_end(agent: TestAgent, start: StartRun) -> None:
    run = start("e")
    agent.run_state = "deleted"
    run.log({"loss": 1.0}, step=1)
    assert not run.flush(20)
    agent.run_state = "created"
    run.log({"loss": 2.0}, step=2)
    until_now(lambda: run.flush(20))
    assert agent.values("loss") == [2.0]
    assert run.finish()
    stats = run.stats()
    assert stats.logged == stats.acknowledged + sum(stats.refused.values()) == 2


def test_nothing_waits_for_a_run_that_the_service_does_not_create(agent: TestAgent, start: StartRun) -> None:
    agent.run_state = "refused"
    run = start("e")
    run.log({"loss": 1.0})
    begun = time.monotonic()
    until_now(lambda: not run.flush(20))
    assert not run.finish(timeout=60)
    assert time.monotonic() - begun < 30
    assert run.stats().on_disk == 1, "it may be created later"


def test_an_end_that_the_service_refuses_is_no_success(agent: TestAgent, start: StartRun) -> None:
    agent.end_refused = True
    assert not start("e").finish(timeout=120)


def test_what_the_agent_reports_is_logged_once(
    agent: TestAgent, start: StartRun, caplog: pytest.LogCaptureFixture
) -> None:
    run = start("e")
    assert run.flush(120)
    agent.report("WARNING", "param 'a' refused: it has another value already")
    agent.report("ERROR", "the stream was refused")
    until_now(lambda: "the stream was refused" in caplog.text)
    agent.last_error = "UNAVAILABLE: somewhere"
    until_now(lambda: run.stats().last_error == "UNAVAILABLE: somewhere")
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]


# An agent that outlives the job.


def test_with_an_operators_agent_the_journal_is_enough(
    agent: TestAgent, start: StartRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNSTREAM_AGENT", "external")
    agent.held = True
    run = start("e")
    run.log({"loss": 1.0})
    begun = time.monotonic()
    assert run.finish(timeout=60)
    assert time.monotonic() - begun < 20
    assert run.stats().on_disk == 1
    agent.held = False
    agent.wait_for(lambda: agent.status(run.run_id) == "FINISHED")


def test_a_cell_of_a_notebook_that_is_run_again_ends_its_earlier_run(
    agent: TestAgent, start: StartRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = types.SimpleNamespace(
        kernel=types.SimpleNamespace(get_parent=lambda channel: {"metadata": {}}), user_ns={"In": ["", "train()"]}
    )
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    agent.held = True
    first = start("e")
    first.log({"loss": 1.0})
    begun = time.monotonic()
    second = start("e")
    assert time.monotonic() - begun < 10.0  # the end of the first has longer
    agent.held = False
    agent.wait_for(lambda: agent.status(first.run_id) == "FINISHED")
    assert agent.values("loss") == [1.0]
    shell.user_ns["In"].append("another cell")
    third = start("e")
    assert third.flush(120)
    assert agent.status(second.run_id) == "RUNNING"
    first.log({"loss": 2.0})
    assert dict(first.stats().refused) == {"finished": 1}
