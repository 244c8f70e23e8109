"""A handle whose derived id leads to another run, since its own has ended."""

from __future__ import annotations

import logging
import os
import uuid

import pytest

from runstream import run as run_module
from tests.support.polling import until_now
from tests.unit.client.conftest import StartRun
from tests.unit.client.stored_journals import TestAgent


@pytest.fixture
def in_a_job(agent: TestAgent, monkeypatch: pytest.MonkeyPatch) -> str:
    """A launcher that gives each launch the same id; returns the id of the run that the service makes for this one."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", uuid.uuid4().hex)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    agent.other_run_id = uuid.uuid4().hex
    return agent.other_run_id


def test_everything_goes_to_the_run_that_the_service_names(
    agent: TestAgent, start: StartRun, in_a_job: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "runstream")
    run = start("e", params={"lr": 0.1})
    run.log({"loss": 1.0}, step=0)
    run.set_tags({"t": 1})
    assert run.run_id == in_a_job
    assert run.finish()
    stored = agent.runs[in_a_job]
    assert (stored.params, stored.tags, stored.status) == ({"lr": "0.1"}, {"t": "1"}, "FINISHED")
    assert list(agent.runs) == [in_a_job]
    assert agent.values("loss") == [1.0]
    assert repr(run).startswith(f"<runstream.Run {in_a_job} ")
    (record,) = [record for record in caplog.records if "has ended" in record.getMessage()]
    assert record.levelno == logging.INFO


def test_an_id_that_was_read_before_the_service_answered_is_reported_when_it_changes(
    agent: TestAgent,
    start: StartRun,
    in_a_job: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_module, "_WAIT_FOR_ID_S", 0.05)
    agent.held = True
    run = start("e")
    before = run.run_id
    assert before != in_a_job
    monkeypatch.setattr(run_module, "_WAIT_FOR_ID_S", 300.0)
    assert run.run_id == before  # it waits only once, or this would take too long
    agent.held = False
    run.log({"loss": 1.0})
    assert run.flush(120)
    assert run.run_id == in_a_job
    until_now(lambda: caplog.records)
    (warning,) = caplog.records
    assert before in warning.getMessage()
    assert in_a_job in warning.getMessage()


def test_an_id_that_is_final_is_not_waited_for(
    agent: TestAgent, start: StartRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "_WAIT_FOR_ID_S", 300.0)
    agent.held = True
    run_id = uuid.uuid4().hex
    for run in (start("e"), start("e", run_id=run_id)):
        assert run.run_id
    agent.held = False


def test_a_forked_child_writes_to_the_same_run(agent: TestAgent, start: StartRun, in_a_job: str) -> None:
    run = start("e")
    assert run.run_id == in_a_job
    pid = os.fork()
    if pid == 0:
        run.log({"child": 1.0})
        os._exit(0 if run.flush(20) and run.run_id == in_a_job else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert list(agent.runs) == [in_a_job]
    assert agent.values("child") == [1.0]


def test_the_record_says_who_asks_and_how_long_ago_it_started(agent: TestAgent, start: StartRun, in_a_job: str) -> None:
    start("e", rank=2, attempt=0)
    explicit = uuid.uuid4().hex
    start("e", run_id=explicit, attempt=3)
    agent.wait_for(lambda: len(agent.creates) == 2)
    records = {record["run_id"]: record for record in agent.creates}
    by_id = records.pop(explicit)
    (derived,) = records.values()
    assert (derived["derived"], derived["rank"], derived["attempt"]) == (True, 2, 0)
    assert (by_id["derived"], by_id["rank"], by_id["attempt"]) == (False, 0, 3)
    # The process is older than the handle, which was made for this run.
    assert 0 < by_id["age_us"] < derived["age_us"]
    assert derived["pid"] == os.getpid()


def test_a_child_asks_for_its_run_with_the_age_of_its_parent(agent: TestAgent, start: StartRun) -> None:
    """Otherwise it would set a run to running that has ended in the meantime."""
    run = start("e")
    assert run.flush(120)
    pid = os.fork()
    if pid == 0:
        run.log({"child": 1.0})
        os._exit(0 if run.flush(20) else 1)
    assert os.waitpid(pid, 0)[1] == 0
    parent, child = agent.creates
    assert child["time_unix_us"] - child["age_us"] == pytest.approx(parent["time_unix_us"] - parent["age_us"], abs=5)
    assert (parent["ends_run"], child["ends_run"], child["derived"]) == (True, False, False)
