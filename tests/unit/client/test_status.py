"""Each status means: retry here, retry elsewhere, or give up. One table for streams, unary calls and `Client`."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

import runstream
from runstream import _status
from runstream._endpoint import Endpoint
from runstream._lifecycle import process_state
from runstream._status import Failure, Retry, to_exception
from runstream.transport.limits import Limits
from runstream.v1 import run_pb2
from runstream_service.database.embedded import EmbeddedPostgres
from tests.unit.client.conftest import StartRun
from tests.unit.client.ledger import Refused
from tests.unit.client.real_service import RealServer, RealService
from tests.unit.client.reference_service import ReferenceService

pytestmark = pytest.mark.reference_only("one of two replicas fails as the test says")

ELSEWHERE, HERE, A_FEW_TIMES, NEVER = Retry.ELSEWHERE, Retry.HERE, Retry.A_FEW_TIMES, Retry.NEVER
WHEN_ALLOWED = Retry.WHEN_ALLOWED

TABLE = [
    ("UNAVAILABLE", "", ELSEWHERE),
    ("UNAVAILABLE", "DRAINING", ELSEWHERE),
    ("UNAVAILABLE", "DATABASE_UNAVAILABLE", ELSEWHERE),
    ("UNAVAILABLE", "DATABASE_CHANGED", ELSEWHERE),
    ("RESOURCE_EXHAUSTED", "OVERLOADED", ELSEWHERE),
    ("RESOURCE_EXHAUSTED", "LIMIT_REACHED", ELSEWHERE),
    ("DEADLINE_EXCEEDED", "", ELSEWHERE),
    ("ABORTED", "FENCED", HERE),
    ("ABORTED", "READ_TOO_SLOW", HERE),
    ("CANCELLED", "", HERE),
    ("INTERNAL", "INTERNAL", A_FEW_TIMES),
    ("UNKNOWN", "", A_FEW_TIMES),
    ("DATA_LOSS", "LEDGER_BEHIND", A_FEW_TIMES),
    ("RESOURCE_EXHAUSTED", "", NEVER),
    ("INVALID_ARGUMENT", "INVALID_FIELD", NEVER),
    ("NOT_FOUND", "RUN_NOT_FOUND", NEVER),
    ("ALREADY_EXISTS", "PARAM_CHANGED", NEVER),
    ("FAILED_PRECONDITION", "RUN_DELETED", NEVER),
    ("OUT_OF_RANGE", "SEQUENCE_GAP", NEVER),
    ("UNIMPLEMENTED", "", NEVER),
    ("PERMISSION_DENIED", "", WHEN_ALLOWED),
    ("UNAUTHENTICATED", "UNAUTHENTICATED", WHEN_ALLOWED),
    ("NOT_FOUND", "WORKSPACE_NOT_FOUND", WHEN_ALLOWED),
]
GO_ELSEWHERE = [(code, reason) for code, reason, retry in TABLE if retry is ELSEWHERE]


@pytest.fixture
def pair(service: ReferenceService) -> Iterator[tuple[ReferenceService, ReferenceService]]:
    """Two replicas, each with a database of its own unless a test joins them."""
    other = ReferenceService()
    yield service, other
    other.stop()
    assert other.ledger.violations == []


def both(pair: tuple[ReferenceService, ReferenceService]) -> str:
    return "ipv4:" + ",".join(service.address for service in pair)


def test_the_table_has_every_status_of_grpc() -> None:
    assert {code for code, _, _ in TABLE} == {code.name for code in grpc.StatusCode} - {"OK"}


@pytest.mark.parametrize(("code", "reason", "retry"), TABLE)
def test_a_failure_and_the_exception_made_of_it_say_whether_to_try_again(code: str, reason: str, retry: Retry) -> None:
    failure = Failure(code, "words", reason)
    assert failure.retry is retry
    assert to_exception(failure, Endpoint("somewhere")).retryable == (retry in (ELSEWHERE, HERE))


def test_resource_exhausted_with_a_time_to_wait_means_overload_and_not_a_large_message() -> None:
    assert Failure("RESOURCE_EXHAUSTED", "", retry_after_s=1.0).retry is ELSEWHERE


def test_a_status_that_grpc_does_not_have_yet_is_tried_a_few_times() -> None:
    assert Failure("MADE_UP", "").retry is A_FEW_TIMES


@pytest.mark.parametrize(("code", "reason"), GO_ELSEWHERE)
@pytest.mark.parametrize("what", ["open", "call"])
def test_a_run_leaves_a_replica_that_cannot_serve_it_for_one_that_can(
    pair: tuple[ReferenceService, ReferenceService], start_carried: StartRun, what: str, code: str, reason: str
) -> None:
    bad, good = pair
    refused = Refused(grpc.StatusCode[code], reason, retry_s=0.01)

    def fault(event: str, number: int) -> None:
        if event == "open" and what == "open":
            raise refused

    bad.ledger.fault = fault
    for name in ("runs", "producers", "points"):  # one database
        setattr(bad.ledger, name, getattr(good.ledger, name))
    bad.runs.broken = refused if what == "call" else None
    for number in range(20):  # each takes one of the two at random
        process_state.recorder.stop_stores()
        run = start_carried("e", tags={"a": number}, address=both(pair))
        run.log({"loss": float(number)}, step=number)
        assert run.flush(120), run.stats()
        assert run.finish(timeout=120)
        if bad.ledger.opens or (what == "call" and bad.runs.calls):
            break
    else:
        pytest.fail("no run found the bad replica in twenty tries")
    assert good.ledger.values("loss") == [float(step) for step in range(number + 1)]
    assert {run.status for run in good.ledger.runs.values()} == {run_pb2.RUN_STATUS_FINISHED}


@pytest.fixture
def stopping(postgres: EmbeddedPostgres, real_server: RealServer) -> Iterator[RealServer]:
    """A further replica of the real service."""
    with RealServer(postgres, database_url=real_server.database.url) as server:
        yield server


@pytest.mark.real_only("two replicas of the real service")
def test_a_run_goes_on_at_another_replica_when_its_own_stops(
    service: RealService, stopping: RealServer, start_carried: StartRun
) -> None:
    with RealService(stopping) as first:
        for _ in range(20):  # each run takes one of the two at random
            process_state.recorder.stop_stores()
            run = start_carried("e", address=f"ipv4:{first.address},{service.address}")
            for step in range(100):
                run.log({"loss": float(step)}, step=step)
            assert run.flush(120), run.stats()
            if first.connections:
                break
        else:
            pytest.fail("no run found the first replica in twenty tries")
        earlier = service.connections
        stopping.stop()
        for step in range(100, 200):
            run.log({"loss": float(step)}, step=step)
        assert run.flush(120), run.stats()
    assert service.connections > earlier
    assert list(runstream.Client(service.address).history(run.run_id, "loss").values) == [float(n) for n in range(200)]
    assert run.finish(timeout=120)
    assert service.run(run.run_id).status == run_pb2.RUN_STATUS_FINISHED


def test_a_run_leaves_a_replica_that_never_answers_open(
    pair: tuple[ReferenceService, ReferenceService], start_carried: StartRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runstream.transport.transport.Limits", lambda: Limits(open_timeout_s=0.3))
    silent, good = pair
    silent.ledger.runs = good.ledger.runs

    def fault(event: str, number: int) -> None:
        if event == "open":
            silent.ledger.lock.wait_for(lambda: False, 3)

    silent.ledger.fault = fault
    for number in range(20):
        process_state.recorder.stop_stores()
        run = start_carried("e", address=both(pair))
        run.log({"loss": float(number)}, step=number)
        assert run.flush(120), run.stats()
        assert run.finish(timeout=120)
        if silent.ledger.opens:
            break
    else:
        pytest.fail("no run found the silent replica in twenty tries")
    assert good.ledger.values("loss") == [float(step) for step in range(number + 1)]


@pytest.mark.parametrize(("code", "reason"), GO_ELSEWHERE)
def test_the_next_call_of_a_reader_goes_to_another_replica(
    pair: tuple[ReferenceService, ReferenceService], code: str, reason: str
) -> None:
    bad, good = pair
    run_id = "1" * 32
    good.ledger.runs[run_id] = bad.ledger.runs[run_id] = run_pb2.Run(run_id=run_id)
    bad.runs.broken = Refused(grpc.StatusCode[code], reason, retry_s=0.01)
    client = runstream.Client(both(pair))
    failures = 0
    for _ in range(60):
        try:
            assert client.get_run(run_id).run_id == run_id
            if failures:
                break
            client.close()  # found the good one at once: try again
        except runstream.RunstreamError as error:
            failures += error.retryable
    else:
        pytest.fail(f"{failures} failures in a row")
    client.close()


@pytest.mark.parametrize("code", ["UNAVAILABLE", "UNAUTHENTICATED"])
def test_an_error_of_a_reader_says_what_to_do(service: ReferenceService, code: str) -> None:
    service.runs.broken = Refused(grpc.StatusCode[code], "")
    with runstream.Client(service.address) as client, pytest.raises(runstream.RunstreamError) as caught:
        client.get_run("0" * 32)
    assert service.address in str(caught.value)
    assert _status.advice(Failure(code, "")) in str(caught.value)


def test_a_failure_names_its_reason_beside_its_status_unless_they_are_the_same() -> None:
    assert str(Failure("UNAUTHENTICATED", "no token", "UNAUTHENTICATED")) == "UNAUTHENTICATED: no token"
    assert str(Failure("NOT_FOUND", "no such run", "RUN_NOT_FOUND")) == "NOT_FOUND RUN_NOT_FOUND: no such run"
    assert str(Failure("UNAVAILABLE", "gone")) == "UNAVAILABLE: gone"


@pytest.mark.parametrize("reason", ["OVERLOADED", "LIMIT_REACHED"])
def test_an_overloaded_service_or_workspace_is_not_taken_for_a_large_message(reason: str) -> None:
    assert _status.advice(Failure("RESOURCE_EXHAUSTED", "", reason)) == ""
