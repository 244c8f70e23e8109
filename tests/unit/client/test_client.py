"""The read side: columns, and errors that say what to do."""

import math
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest

import runstream
from runstream.v1 import run_pb2
from tests.unit.client.ledger import Point, Refused
from tests.unit.client.reference_service import ReferenceService
from tests.unit.client.services import Service, store


@pytest.fixture
def run_id(service: Service) -> str:
    """A run with points of two ranks."""
    points: list[Point] = [("loss", -5, 0, -0.0, 1, 1)]
    for step in range(20):
        points.append(("loss", step, 1_000_000 + step, step / 3, 0, 0))
        points.append(("nan", step, 1_000_000 + step, math.nan, 0, 0))
    return store(service.address, "n", points)


def test_history_comes_back_in_columns_and_as_points(service: Service, run_id: str) -> None:
    with runstream.Client(service.address) as client:
        history = client.history(run_id, "loss")
    assert len(history) == 21
    assert [(one.rank, one.attempt, len(one)) for one in history.series] == [(0, 0, 20), (1, 1, 1)]
    assert list(history.steps) == [*range(20), -5]
    assert list(history.times_unix_us) == [*range(1_000_000, 1_000_020), 0]
    assert list(history.values[:20]) == [step / 3 for step in range(20)]
    assert history[3] == runstream.Point(3, 1_000_003, 1.0, 0, 0)
    assert history[-1] == runstream.Point(-5, 0, -0.0, 1, 1)
    assert math.copysign(1, history[-1].value) == -1
    assert history[1:3] == list(history)[1:3]
    with pytest.raises(IndexError):
        history[21]
    assert np.frombuffer(history.series[0].values)[3] == 1.0


def test_history_is_filtered(service: Service, run_id: str) -> None:
    client = runstream.Client(service.address)
    assert list(client.history(run_id, "loss", rank=1).steps) == [-5]
    assert list(client.history(run_id, "loss", attempt=0, min_step=3, max_step=5).steps) == [3, 4, 5]
    assert len(client.history(run_id, "unknown")) == 0
    assert all(map(math.isnan, client.history(run_id, "nan").values))


def test_latest_and_get_run(service: Service, run_id: str) -> None:
    client = runstream.Client(service.address)
    latest = [one for one in client.latest(run_id) if one.key == "loss"]
    assert [(one.rank, one.step) for one in latest] == [(0, 19), (1, -5)]
    run = client.get_run(run_id)
    assert (run.run_id, run.name, run.status, run.end_time_unix_us) == (run_id, "n", "RUNNING", None)


def test_an_unknown_run_is_not_found_and_the_error_names_address_reason_and_field(service: Service) -> None:
    client = runstream.Client(service.address)
    for call in (client.get_run, lambda run_id: client.history(run_id, "loss")):
        with pytest.raises(runstream.NotFound) as caught:
            call("0" * 32)
        error = caught.value
        assert (error.code, error.reason, error.field, error.retryable) == (
            "NOT_FOUND",
            "RUN_NOT_FOUND",
            "run_id",
            False,
        )
        assert service.address in str(error)


def test_a_service_that_is_away_is_unavailable_and_the_message_says_how_to_set_the_address(
    service: Service,
) -> None:
    address = service.address
    service.stop()
    with pytest.raises(runstream.Unavailable, match="RUNSTREAM_ADDRESS") as caught:
        runstream.Client(address).get_run("0" * 32)
    assert caught.value.retryable
    assert address in str(caught.value)


@pytest.mark.reference_only("refuses a call with each status")
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, runstream.InvalidArgument),
        (grpc.StatusCode.NOT_FOUND, runstream.NotFound),
        (grpc.StatusCode.ALREADY_EXISTS, runstream.AlreadyExists),
        (grpc.StatusCode.FAILED_PRECONDITION, runstream.FailedPrecondition),
        (grpc.StatusCode.UNAUTHENTICATED, runstream.Unauthenticated),
        (grpc.StatusCode.PERMISSION_DENIED, runstream.PermissionDenied),
        (grpc.StatusCode.UNAVAILABLE, runstream.Unavailable),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, runstream.Overloaded),
        (grpc.StatusCode.DEADLINE_EXCEEDED, runstream.DeadlineExceeded),
        (grpc.StatusCode.INTERNAL, runstream.ServiceError),
        (grpc.StatusCode.DATA_LOSS, runstream.ServiceError),
        (grpc.StatusCode.UNIMPLEMENTED, runstream.ServiceError),
    ],
)
def test_every_status_has_its_exception(
    service: ReferenceService, code: grpc.StatusCode, kind: type[runstream.RunstreamError]
) -> None:
    service.runs.faults = [Refused(code, "REASON", "in words", retry_s=1.5, field="where")]
    with pytest.raises(kind, match="in words") as caught:
        runstream.Client(service.address).get_run("0" * 32)
    error = caught.value
    assert type(error) is kind
    assert isinstance(error, runstream.RunstreamError)
    assert (error.reason, error.field, error.retry_after_s) == ("REASON", "where", 1.5)


@pytest.mark.reference_only("sends what the real service never does")
def test_an_error_with_unreadable_details_keeps_its_status_code(service: ReferenceService) -> None:
    class Odd(Refused):
        def abort(self, context: grpc.ServicerContext) -> None:
            context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff\xff"),))
            context.abort(grpc.StatusCode.NOT_FOUND, "odd")

    service.runs.faults = [Odd(grpc.StatusCode.NOT_FOUND, "")]
    with pytest.raises(runstream.NotFound, match="odd"):
        runstream.Client(service.address).get_run("0" * 32)


def test_a_wrong_run_id_is_refused_by_the_client() -> None:
    with pytest.raises(ValueError, match="32 hex digits"):
        runstream.Client("127.0.0.1:1").history("nonsense", "loss")


def test_a_string_is_one_key_in_every_call(service: Service) -> None:
    run_id = store(service.address, "n", [(key, 0, 0, 1.0, 0, 0) for key in ("loss", "l", "o", "s")])
    client = runstream.Client(service.address)
    assert [piece.key for piece in client.stream_history(run_id, "loss")] == ["loss"]
    assert [piece.key for piece in client.stream_history(run_id, iter(["s", "loss"]))] == ["loss", "s"]
    assert [piece.key for piece in client.stream_history(run_id, np.array(["loss"]))] == ["loss"]
    assert len(list(client.stream_history(run_id))) == 4


@pytest.mark.parametrize("call", ["tail", "latest", "stream_history", "chart", "delete_series"])
def test_the_request_has_the_one_key_that_was_asked_for(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    requests = []

    def seen(address: str, request: Any, *_: Any) -> Any:
        requests.append(request)
        return iter(())

    for name in ("tail", "latest", "history", "chart"):
        monkeypatch.setattr(f"runstream.client._query_calls.{name}", seen)
    client = runstream.Client("127.0.0.1:1")
    monkeypatch.setattr(
        client, "_call", lambda stub, method, request: seen("", request) and run_pb2.DeleteSeriesResponse()
    )
    getattr(client, call)("0" * 32, "loss")
    assert list(requests[0].keys) == ["loss"]


def test_an_empty_list_of_keys_is_refused_and_does_not_mean_all_keys() -> None:
    client = runstream.Client("127.0.0.1:1")
    calls: list[Any] = [client.tail, client.latest, client.stream_history, client.chart, client.delete_series]
    for call in calls:
        with pytest.raises(ValueError, match="keys is empty"):
            call("0" * 32, [])
        with pytest.raises(TypeError, match="keys must be strings, not int"):
            call("0" * 32, [1])
    with pytest.raises(TypeError, match="stream_history"):
        client.history("0" * 32, ["loss"])  # type: ignore[arg-type]


def test_a_timeout_of_zero_has_passed_and_an_infinite_one_is_none(service: Service, run_id: str) -> None:
    client = runstream.Client(service.address)
    for call in (
        lambda: client.history(run_id, "loss", timeout=0),
        lambda: client.chart(run_id, "loss", timeout=0),
        lambda: client.aggregate(run_id, "loss", timeout=0),
        lambda: runstream.Client(service.address, timeout=0).latest(run_id),
        lambda: runstream.Client(service.address, timeout=0).get_run(run_id),
    ):
        with pytest.raises(runstream.DeadlineExceeded):
            call()
    assert len(client.history(run_id, "loss", timeout=math.inf)) == 21
    assert runstream.Client(service.address, timeout=math.inf).get_run(run_id).name == "n"


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda client, run: client.history(run, "loss", timeout=-1),
            ValueError,
            "timeout must be a number of seconds",
        ),
        (lambda client, run: client.history(run, "loss", timeout=math.nan), ValueError, "timeout must be a number"),
        (lambda client, run: client.history(run, "loss", timeout="soon"), TypeError, "timeout must be .* not str"),
        (lambda client, run: runstream.Client(timeout=-1), ValueError, "timeout must be a number of seconds from 0"),
        (lambda client, run: client.history(run, "loss", rank=1.5), TypeError, "rank must be an integer; this is 1.5"),
        (lambda client, run: client.history(run, "loss", rank=-2), ValueError, "rank must be between -1 and"),
        (lambda client, run: client.tail(run, rank="0"), TypeError, "rank must be an integer; this is a str"),
        (lambda client, run: client.history(run, "loss", attempt=-1), ValueError, "attempt must be between 0"),
        (lambda client, run: client.history(run, "loss", min_step="3"), TypeError, "min_step must be an integer"),
        (
            lambda client, run: client.history(run, "loss", max_step=2**63),
            TypeError,
            "max_step .* does not fit into 64",
        ),
        (lambda client, run: client.chart(run, "loss", max_buckets=0), ValueError, "max_buckets must be between 1"),
        (lambda client, run: client.chart(run, "loss", max_buckets=None), TypeError, "max_buckets must be an integer"),
        (lambda client, run: client.chart(run, "loss", min_position=[1]), TypeError, "min_position must be an integer"),
        (lambda client, run: client.list_experiments(limit=-1), ValueError, "limit must be between 0"),
        (lambda client, run: client.get_experiment(1.5), TypeError, "experiment must be an integer"),
        (lambda client, run: client.set_retention(1, -1), ValueError, "days must be between 0"),
        (lambda client, run: client.latest(run, 5), TypeError, "keys must be strings, not int"),
        (lambda client, run: client.latest(5), TypeError, "run_ids must be strings, not int"),
        (lambda client, run: client.chart([run, None], "loss"), TypeError, "run_ids must be strings, not NoneType"),
    ],
)
def test_a_wrong_argument_is_named(
    call: Callable[[runstream.Client, str], object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        call(runstream.Client("127.0.0.1:1"), "0" * 32)


def test_whole_numbers_of_any_type_are_steps_and_ranks(service: Service, run_id: str) -> None:
    client = runstream.Client(service.address)
    limits: Any = {"rank": np.int64(0), "attempt": 0.0, "min_step": np.float32(3), "max_step": np.array([5])}
    assert list(client.history(run_id, "loss", **limits).steps) == [3, 4, 5]


TORN = Refused(grpc.StatusCode.INTERNAL, "", "Received RST_STREAM with error code 2")


@pytest.mark.reference_only("tears tails one after the other")
def test_a_tail_continues_after_broken_connections(service: ReferenceService, run_id: str) -> None:
    with runstream.Client(service.address) as client:
        tail = client.tail(run_id)
        next(tail)
        service.queries.tail_faults = [TORN, TORN, TORN]
        service.queries.tail_faults.insert(0, Refused(grpc.StatusCode.UNAVAILABLE, "DRAINING"))
        service.queries.tail_faults.insert(0, TORN)
        tear_open_tails(service)
        cursor = next(tail).cursor
    assert service.queries.tail_faults == []
    assert set(service.queries.cursors[1:]) == {b"1"}, "from the last cursor on"
    assert int(cursor) == len(service.queries.cursors) >= 6


@pytest.mark.reference_only("tears every tail")
def test_a_tail_that_keeps_failing_raises_in_the_end(service: ReferenceService, run_id: str) -> None:
    with runstream.Client(service.address) as client:
        tail = client.tail(run_id)
        next(tail)
        service.queries.tail_faults = [TORN] * 50
        tear_open_tails(service)
        with pytest.raises(runstream.ServiceError):
            next(tail)
    assert len(service.queries.cursors) <= 10


def tear_open_tails(service: Service) -> None:
    service.stop()
    service.start()
