"""The handle: how a run starts, what its params, tags and settings become, and how it ends."""

from __future__ import annotations

import math
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import runstream
from runstream._settings import Settings
from runstream.journal import RecordType
from runstream.transport.limits import Limits
from tests.support.polling import until_now
from tests.unit.client.conftest import StartRun
from tests.unit.client.stored_journals import TestAgent


def test_a_run_is_created_filled_and_finished(agent: TestAgent, start: StartRun) -> None:
    with start("digits", "mlp", params={"lr": 0.1}, tags={"who": "me"}) as run:
        run.log({"loss": 0.5}, step=3, time_unix_us=42)
        run.log_params({"depth": 2})
        run.set_tags({"who": "you"})
    stored = agent.runs[run.run_id]
    assert (stored.experiment, stored.name) == ("digits", "mlp")
    assert dict(stored.params) == {"lr": "0.1", "depth": "2"}
    assert dict(stored.tags) == {"who": "you"}
    assert stored.status == "FINISHED"
    assert agent.points == [("loss", 3, 42, 0.5, 0, 0)]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("x"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(0), "FINISHED"),
        (SystemExit(2), "FAILED"),
    ],
    ids=repr,
)
def test_an_exception_sets_the_end_status(agent: TestAgent, start: StartRun, error: BaseException, status: str) -> None:
    run = start("e")
    run.log({"loss": 1.0})
    with pytest.raises(type(error)), run:
        raise error
    assert agent.status(run.run_id) == status
    assert len(agent.points) == 1


def test_other_ranks_detach_without_ending_the_run(agent: TestAgent, start: StartRun) -> None:
    first = start("e")
    second = start("e", run_id=first.run_id, rank=1, attempt=2)
    second.log({"loss": 1.0}, step=0)
    assert second.finish()
    assert agent.status(first.run_id) == "RUNNING"
    assert agent.points[0][4:] == (1, 2)
    assert first.finish()
    assert agent.status(first.run_id) == "FINISHED"


def test_a_rank_alone_in_its_run_ends_it(agent: TestAgent, start: StartRun) -> None:
    run = start("e", rank=3)
    assert run.finish("KILLED")
    assert agent.status(run.run_id) == "KILLED"


def test_a_loop_of_trainings_in_one_job_makes_one_run_each_and_open_handles_share(
    agent: TestAgent, start: StartRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_STEP_ID", str(time.time_ns() % 1_000_000))
    first, beside = start("e", "n"), start("e", "n")
    assert first.run_id == beside.run_id
    first.finish()
    assert start("e", "n").run_id != first.run_id


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"experiment": 7}, TypeError),
        ({"experiment": ""}, ValueError),
        ({"experiment": "e" * 501}, ValueError),
        ({"name": "a\nb"}, ValueError),
        ({"run_id": "xyz"}, ValueError),
        ({"run_id": 7}, TypeError),
        ({"rank": -1}, ValueError),
        ({"rank": "0"}, TypeError),
        ({"attempt": 2**31}, ValueError),
        ({"params": [1]}, TypeError),
        ({"params": {7: 1}}, TypeError),
        ({"params": {"k" * 251: 1}}, ValueError),
        ({"params": {"k": "v" * 6_001}}, ValueError),
        ({"tags": {"k": "v" * 8_001}}, ValueError),
        ({"tags": {"": "v"}}, ValueError),
        ({"tags": {"k": "\ud800"}}, ValueError),
        ({"address": "localhost"}, ValueError),
        ({"address": "http://localhost:5000"}, ValueError),
        ({"address": 50051}, TypeError),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_wrong_argument_raises_at_once(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        runstream.start_run(**arguments)


def test_a_param_that_changes_before_it_is_written_is_refused_and_the_others_are_written(
    agent: TestAgent, start: StartRun, caplog: pytest.LogCaptureFixture
) -> None:
    run = start("e", settings={"quick_interval_s": 60.0}, params={"a": 1, "b": 2})
    run.log_params({"a": 5, "c": 3, "b": 2})
    run.set_tags({"after": "yes"})
    assert run.flush(120)
    stored = agent.runs[run.run_id]
    assert stored.params == {"a": "1", "b": "2", "c": "3"}
    assert stored.tags == {"after": "yes"}
    assert caplog.text.count("param 'a' refused: it has another value already") == 1


def test_the_newest_value_of_a_tag_wins_and_only_one_of_an_interval_is_written(
    agent: TestAgent, start: StartRun
) -> None:
    run = start("e", settings={"quick_interval_s": 60.0})
    for value in range(2_000):
        run.set_tags({"n": value, f"once{value % 20}": value})
    assert run.flush(120)
    assert agent.runs[run.run_id].tags["n"] == "1999"
    assert len(agent.runs[run.run_id].tags) == 21
    assert sum("n" in payload for _, kind, payload in agent.records if kind is RecordType.TAGS) < 10


def test_start_run_and_log_do_not_wait_for_a_service_that_is_away(agent: TestAgent, start: StartRun) -> None:
    agent.held = True
    begun = time.monotonic()
    run = start("e", params={"a": 1})
    run.log({"loss": 1.0})
    assert time.monotonic() - begun < 10.0  # the service is away forever
    assert not run.flush(0.05)
    agent.held = False
    assert run.flush(120)


def test_finish_without_a_service_keeps_its_deadline_and_says_where_everything_is(
    agent: TestAgent, start: StartRun, caplog: pytest.LogCaptureFixture
) -> None:
    agent.held = True
    run = start("e")
    for _ in range(100):
        run.log({"loss": 1.0})
    begun = time.monotonic()
    assert not run.finish(timeout=0.3)
    assert time.monotonic() - begun < 10.0
    assert (run.stats().on_disk, run.stats().waiting, dict(run.stats().refused)) == (100, 0, {})
    assert f"100 points, and 1 params, tags and ends of the run, are on disk in {agent.directory.path}" in caplog.text
    assert f"`runstream sync {agent.directory.path}`" in caplog.text
    assert not run.finish()
    agent.held = False
    agent.wait_for(lambda: agent.status(run.run_id) == "FINISHED")
    assert len(agent.points) == 100


def test_after_finish_points_are_refused_and_no_thread_is_left(agent: TestAgent, start: StartRun) -> None:
    before = {thread.name for thread in threading.enumerate()}
    run = start("e")
    run.log({"loss": 1.0})
    assert run.finish()
    run.log({"loss": 2.0})
    assert dict(run.stats().refused) == {"finished": 1}
    until_now(lambda: not our_threads() - before)


def our_threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("runstream-")}


def test_any_number_of_runs_has_one_thread(agent: TestAgent, start: StartRun) -> None:
    before = {thread for thread in threading.enumerate() if thread.name != "runstream-recorder"}
    runs = [start("e") for _ in range(50)]
    for run in runs:
        run.log({"loss": 1.0})
    until_now(lambda: [thread.name for thread in set(threading.enumerate()) - before] == ["runstream-recorder"])
    for run in runs:
        assert run.finish()
    assert len(agent.points) == 50
    assert {run.status for run in agent.runs.values()} == {"FINISHED"}


def test_stats_add_up_while_everything_moves(agent: TestAgent, start: StartRun) -> None:
    run = start("e")
    for step in range(3_000):
        run.log({"loss": 1.0, "bad": None}, step=step)
        if step % 100 == 0:
            stats = run.stats()
            assert stats.logged == 2 * (step + 1)
            settled = stats.acknowledged + sum(stats.refused.values())
            assert stats.logged == stats.waiting + stats.on_disk + settled
    assert run.flush(120)
    assert (run.stats().acknowledged, run.stats().waiting) == (3_000, 0)


def test_settings_come_from_the_environment_and_bad_ones_are_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from runstream._settings import from_environment

    settings = from_environment(None, {"RUNSTREAM_ADDRESS": "unix:/tmp/x", "RUNSTREAM_BUFFER_POINTS": "5"})
    assert (settings.address, settings.max_points) == ("unix:/tmp/x", 5)
    assert from_environment("dns:///host:1", {"RUNSTREAM_ADDRESS": "other:2"}).address == "dns:///host:1"
    assert from_environment(None, {}).address == "127.0.0.1:50051"
    assert from_environment(None, {"RUNSTREAM_BUFFER_BYTES": "lots"}).max_bytes == 64 * 1024 * 1024
    assert "RUNSTREAM_BUFFER_BYTES" in caplog.text


@pytest.mark.parametrize("timeout", [math.inf, None, 20, "soon", math.nan], ids=str)
def test_flush_and_finish_take_any_timeout(agent: TestAgent, start: StartRun, timeout: Any) -> None:
    run = start("e")
    run.log({"loss": 1.0})
    assert run.flush(timeout)
    assert run.finish(timeout=timeout)
    assert agent.status(run.run_id) == "FINISHED"


def test_a_negative_timeout_has_passed(agent: TestAgent, start: StartRun) -> None:
    agent.held = True
    run = start("e")
    run.log({"loss": 1.0})
    assert not run.flush(-1)
    agent.held = False
    assert run.flush(120)


def test_the_document_of_deadlines_says_what_client_and_agent_do() -> None:
    document = Path(__file__).parents[3] / "docs" / "deadlines.md"
    rows = re.findall(r"^\|[^|]+\| ([0-9.]+) s \|[^|]+\| `(\w+_s)` \|$", document.read_text(), re.MULTILINE)
    assert len(rows) == 5
    defaults = {**Settings()._asdict(), **vars(Limits())}
    assert {name: float(seconds) for seconds, name in rows} == {name: defaults[name] for _, name in rows}
