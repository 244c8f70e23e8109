"""The run that CreateRun leads to, when it is not the one whose id the handle came with."""

from __future__ import annotations

import logging
import os
import threading
import uuid

import grpc
import pytest

from runstream import _joining
from runstream.v1 import run_pb2
from tests.unit.client.ledger import Refused


@pytest.fixture
def in_a_job(service, monkeypatch):
    """A launcher that gives the same id to each launch; the service knows that this is another one."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", uuid.uuid4().hex)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    service.runs.other_run_id = uuid.uuid4().hex
    return service.runs.other_run_id


def test_everything_goes_to_the_run_that_the_service_names(service, start, in_a_job, caplog):
    caplog.set_level(logging.INFO, "runstream")
    run = start("e", params={"lr": 0.1})
    run.log({"loss": 1.0}, step=0)
    run.set_tags({"t": 1})
    assert run.run_id == in_a_job
    assert run.finish()
    stored = service.ledger.runs[in_a_job]
    assert (dict(stored.params), dict(stored.tags), stored.status) == (
        {"lr": "0.1"},
        {"t": "1"},
        run_pb2.RUN_STATUS_FINISHED,
    )
    assert list(service.ledger.runs) == [in_a_job]
    assert service.ledger.values("loss") == [1.0]
    assert repr(run).startswith(f"<runstream.Run {in_a_job} ")
    (record,) = [record for record in caplog.records if "has ended" in record.getMessage()]
    assert record.levelno == logging.INFO


def test_an_id_that_was_read_before_the_service_answered_is_reported_when_it_changes(
    service, start, in_a_job, caplog, monkeypatch
):
    monkeypatch.setattr(_joining, "_WAIT_FOR_ID_S", 0.05)
    service.runs.hold = threading.Event()
    run = start("e")
    before = run.run_id
    assert before != in_a_job
    monkeypatch.setattr(_joining, "_WAIT_FOR_ID_S", 300.0)
    assert run.run_id == before  # it waits only once, or this would take too long
    service.runs.hold.set()
    run.log({"loss": 1.0})
    assert run.flush(20)
    assert run.run_id == in_a_job
    (warning,) = caplog.records
    assert before in warning.getMessage()
    assert in_a_job in warning.getMessage()


def test_an_id_that_is_final_is_not_waited_for(service, start, monkeypatch):
    monkeypatch.setattr(_joining, "_WAIT_FOR_ID_S", 300.0)
    service.runs.hold = threading.Event()
    run_id = uuid.uuid4().hex
    for run in (start("e"), start("e", run_id=run_id)):
        assert run.run_id
    service.runs.hold.set()


def test_a_forked_child_writes_to_the_same_run(service, start, in_a_job):
    run = start("e")
    assert run.run_id == in_a_job
    pid = os.fork()
    if pid == 0:
        run.log({"child": 1.0})
        os._exit(0 if run.flush(20) and run.run_id == in_a_job else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert list(service.ledger.runs) == [in_a_job]
    assert service.ledger.values("child") == [1.0]


def test_the_request_says_who_asks_and_how_long_ago_it_started(service, start, in_a_job, monkeypatch):
    start("e", rank=2, attempt=0)
    explicit = uuid.uuid4().hex
    start("e", run_id=explicit, attempt=3)
    service.ledger.wait_for(lambda: len(service.runs.calls) == 2)
    requests = {request.run_id: request for _, request in service.runs.calls}
    by_id = requests.pop(explicit)
    (derived,) = requests.values()
    assert (derived.derived, derived.rank, derived.attempt) == (True, 2, 0)
    assert (by_id.derived, by_id.rank, by_id.attempt) == (False, 0, 3)
    # The process has been there for longer than the handle, which was made for this run.
    assert 0 < by_id.age_us < derived.age_us


def test_how_long_ago_it_started_is_measured_anew_when_the_service_was_away(service, start):
    service.stop()
    run = start("e", settings={"backoff_first_s": 0.01, "backoff_max_s": 0.05})
    assert not run.flush(0.3)
    service.start()
    service.ledger.wait_for(lambda: len(service.runs.calls) == 1)
    assert service.runs.calls[0][1].age_us > 300_000


def test_a_run_of_that_id_in_another_experiment_is_joined_all_the_same(service, start, caplog):
    service.runs.faults = [Refused(grpc.StatusCode.ALREADY_EXISTS, "RUN_IN_OTHER_EXPERIMENT")]
    run = start("e", run_id=uuid.uuid4().hex)
    run.log({"loss": 1.0})
    assert run.flush(20)
    asked = [request.experiment for method, request in service.runs.calls if method == "CreateRun"]
    assert asked == ["e", ""]
    assert "points go to the run of that id" in caplog.text
