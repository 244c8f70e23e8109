"""Forms of requests other than those that MLflow's Python client sends: each case is answered as stock answers it."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.mlflow.parity.calls import Call, Peer
from tests.mlflow.parity.compare import comparable
from tests.support.rest import Rest
from tests.support.serve import ServeProcess

TEXT = {"Content-Type": "text/plain"}
# What the cases ask for.
RUN_AND_MODEL = (
    Call("POST", "experiments/create", {"name": "{salt}"}, learns={"«experiment»": ("experiment_id",)}),
    Call(
        "POST",
        "runs/create",
        {"experiment_id": "«experiment»", "start_time": 1, "run_name": "a"},
        learns={"«run»": ("run", "info", "run_id")},
    ),
    Call(
        "POST",
        "logged-models",
        {"experiment_id": "«experiment»", "name": "a"},
        learns={"«model»": ("model", "info", "model_id")},
    ),
)
THINGS = (
    *RUN_AND_MODEL,
    Call("POST", "runs/log-metric", {"run_id": "«run»", "key": "a", "value": 1, "timestamp": 1}),
    Call("POST", "registered-models/create", {"name": "{salt}"}),
    Call("POST", "model-versions/create", {"name": "{salt}", "source": "s3://bucket/a"}),
    Call("POST", "registered-models/alias", {"name": "{salt}", "alias": "best", "version": "1"}),
)
# Every GET of MLflow's routes whose request is a message.
GETS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("experiments/get", {"experiment_id": "«experiment»"}),
    ("experiments/get-by-name", {"experiment_name": "{salt}"}),
    ("experiments/search", {"max_results": 10, "filter": "name = '{salt}'", "order_by": ["name"]}),
    ("runs/get", {"run_id": "«run»"}),
    ("runs/get", {"run_uuid": "«run»"}),
    ("metrics/get-history", {"run_id": "«run»", "metric_key": "a"}),
    ("metrics/get-history-bulk-interval", {"run_ids": ["«run»"], "metric_key": "a"}),
    ("artifacts/list", {"run_id": "«run»"}),
    ("logged-models/«model»", {}),
    ("logged-models/«model»/artifacts/directories", {"artifact_directory_path": "a"}),
    ("registered-models/get", {"name": "{salt}"}),
    ("registered-models/get-latest-versions", {"name": "{salt}", "stages": ["None"]}),
    ("registered-models/search", {"filter": "name = '{salt}'"}),
    ("registered-models/alias", {"name": "{salt}", "alias": "best"}),
    ("model-versions/get", {"name": "{salt}", "version": "1"}),
    ("model-versions/get-download-uri", {"name": "{salt}", "version": "1"}),
    ("model-versions/search", {"filter": "name = '{salt}'"}),
    ("/api/2.0/mlflow-artifacts/artifacts", {"path": "a"}),
)


@pytest.fixture
def peers(ours: Rest, theirs: Rest) -> tuple[Peer, Peer]:
    """Stock and our service, with the same things in them, which the test may change."""
    return _filled(theirs, ours, THINGS)


@pytest.fixture
def peers_of_a_run(ours: Rest, theirs: Rest) -> tuple[Peer, Peer]:
    """Stock and our service, with a run and a logged model, which the test may change."""
    return _filled(theirs, ours, RUN_AND_MODEL)


@pytest.fixture(scope="module")
def shared_peers(server: str, stock: str) -> Iterator[tuple[Peer, Peer]]:
    """Stock and our service, with the same things in them, for tests that do not depend on what others write there."""
    with contextlib.closing(Rest(stock)) as theirs, contextlib.closing(Rest(server)) as ours:
        yield _filled(theirs, ours, THINGS)


def _filled(theirs: Rest, ours: Rest, calls: Sequence[Call]) -> tuple[Peer, Peer]:
    salt = uuid.uuid4().hex
    found = Peer(theirs, salt), Peer(ours, salt)
    for call in calls:
        assert [peer.do(call).status for peer in found] == [200, 200]
    return found


def _both(peers: tuple[Peer, Peer], call: Call) -> list[Any]:
    return [comparable(peer.do(call), peer.names) for peer in peers]


@pytest.mark.parametrize(("path", "message"), GETS, ids=[path for path, _ in GETS])
@pytest.mark.parametrize("headers", [{}, TEXT], ids=["no type", "text"])
def test_a_get_without_a_query_reads_its_body(
    path: str, message: dict[str, Any], headers: dict[str, str], shared_peers: tuple[Peer, Peer]
) -> None:
    stock, ours = _both(
        shared_peers, Call("GET", path, content=json.dumps(message, ensure_ascii=False), headers=headers)
    )
    assert ours == stock
    assert ours[0] == 200
    with_query = urlencode(message, doseq=True)
    if with_query:
        by_query = _both(shared_peers, Call("GET", path, message))
        assert by_query == [stock, ours]


def test_the_query_is_read_rather_than_the_body(shared_peers: tuple[Peer, Peer]) -> None:
    for path in ("runs/get?unknown=1", "runs/get?run_id=" + "0" * 32):
        stock, ours = _both(shared_peers, Call("GET", path, content='{"run_id": "«run»"}'))
        assert ours == stock
        assert ours[0] in (400, 404)


@pytest.mark.parametrize("body", ["no JSON", "", '"{}"', "{}"])
def test_a_get_with_a_body_that_says_nothing_is_one_without(body: str, shared_peers: tuple[Peer, Peer]) -> None:
    for path in ("runs/get", "/api/3.0/mlflow/server-info"):
        answers = _both(shared_peers, Call("GET", path, content=body))
        assert answers[0][0] == answers[1][0]
    assert _both(shared_peers, Call("GET", "runs/get", content=body))[1][1]["message"].startswith(
        "Missing value for required"
    )


WHOLE = ("100000", "1e+05", "1E5", "1e05", "100000.0", "1.e5", ".1e6", "+100000", "0100000", "1_000_00", "\t100000")
NO_WHOLE = ("1.5", "", "1e400", "ten", "NaN", "1 0", "0x10", "1e", "9" * 500)
REAL = ("0.5", "5e-1", ".5", "+.5", "5E-01", "0.50", "NaN", "Infinity", "-Infinity", "Inf", "-inf", "1e999", " 0.5")
NO_REAL = ("", "half", "0,5", "1e", "--1", "9" * 500 + "x")


@pytest.mark.parametrize("text", WHOLE)
def test_whole_numbers_may_be_texts_in_any_notation(text: str, peers_of_a_run: tuple[Peer, Peer]) -> None:
    metric = {"key": "b", "value": "1", "timestamp": text, "step": text}
    run = {"experiment_id": "«experiment»", "run_name": "b", "start_time": text}
    calls = (
        Call("POST", "runs/log-metric", {"run_id": "«run»", **metric}),
        Call("POST", "runs/log-batch", {"run_id": "«run»", "metrics": [{**metric, "key": "c"}]}),
        *(Call("GET", "metrics/get-history", {"run_id": "«run»", "metric_key": key}) for key in "bc"),
        Call("POST", "runs/update", {"run_id": "«run»", "end_time": text, "status": "FINISHED"}),
        Call("POST", "runs/create", run, learns={"«second»": ("run", "info", "run_id")}),
        Call("POST", "runs/search", {"experiment_ids": ["«experiment»"], "max_results": "1000"}),
        Call("POST", "experiments/search", {"filter": "name = '{salt}'", "max_results": "10"}),
        Call("GET", "metrics/get-history", {"run_id": "«run»", "metric_key": "b", "max_results": "10"}),
        Call("GET", "registered-models/search", {"filter": "name = '{salt}'", "max_results": "10"}),
        Call("POST", "runs/outputs", {"run_id": "«run»", "models": [{"model_id": "«model»", "step": text}]}),
        Call(
            "GET",
            "metrics/get-history-bulk-interval",
            {
                "run_ids": ["«run»"],
                "metric_key": "b",
                "start_step": "100000",
                "end_step": "100000",
                "max_results": "10",
            },
        ),
        Call("GET", "runs/get", {"run_id": "«run»"}),
    )
    # Each text is read by all decoders, of metrics and of other messages; a few of them are sent in all fields.
    for call in calls if text in WHOLE[:3] else calls[:5]:
        stock, ours = _both(peers_of_a_run, call)
        assert ours == stock, call
        assert ours[0] == 200, call


@pytest.mark.parametrize("text", NO_WHOLE)
def test_what_is_no_whole_number_is_refused(text: str, shared_peers: tuple[Peer, Peer]) -> None:
    metric = {"key": "b", "value": 1, "timestamp": 1, "step": 1}
    for field in ("timestamp", "step"):
        bad = {**metric, field: text}
        for call in (
            Call("POST", "runs/log-metric", {"run_id": "«run»", **bad}),
            Call("POST", "runs/log-batch", {"run_id": "«run»", "metrics": [bad]}),
        ):
            assert shared_peers[1].do(call).error[:2] == (400, "INVALID_PARAMETER_VALUE"), call
    for path, body in (("runs/update", {"end_time": text}), ("runs/create", {"start_time": text})):
        assert shared_peers[1].do(Call("POST", path, {"run_id": "«run»", **body})).error[:2] == (
            400,
            "INVALID_PARAMETER_VALUE",
        )


@pytest.mark.parametrize("text", REAL)
def test_values_may_be_texts_in_any_notation(text: str, peers_of_a_run: tuple[Peer, Peer]) -> None:
    metric = {"key": "b", "value": text, "timestamp": 1}
    for call in (
        Call("POST", "runs/log-metric", {"run_id": "«run»", **metric}),
        Call("POST", "runs/log-batch", {"run_id": "«run»", "metrics": [{**metric, "key": "c"}]}),
        *(Call("GET", "metrics/get-history", {"run_id": "«run»", "metric_key": key}) for key in "bc"),
    ):
        stock, ours = _both(peers_of_a_run, call)
        assert ours == stock, call
        assert ours[0] == 200, call


@pytest.mark.parametrize("text", NO_REAL)
def test_what_is_no_number_is_refused(text: str, shared_peers: tuple[Peer, Peer]) -> None:
    metric = {"key": "b", "value": text, "timestamp": 1}
    for path, body in (("runs/log-metric", metric), ("runs/log-batch", {"metrics": [metric]})):
        answer = shared_peers[1].do(Call("POST", path, {"run_id": "«run»", **body}))
        assert answer.error[:2] == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize(
    ("unit", "number"),
    [
        ("milliseconds", 1_795_838_192_309),
        ("microseconds", 1_795_838_192_309_976),
        ("nanoseconds", 1_795_838_192_309_976_050),
        ("nanoseconds as text", "1.795838192309976050e18"),
    ],
)
def test_a_time_is_the_same_in_every_unit(unit: str, number: int | str, ours: Rest, experiment_id: str) -> None:
    ms = 1_795_838_192_309
    created = ours.post("runs/create", {"experiment_id": experiment_id, "start_time": number}).body["run"]["info"]
    run_id = created["run_id"]
    metric = {"value": 1, "timestamp": number}
    assert ours.post("runs/log-metric", {"run_id": run_id, "key": "a", **metric}).status == 200
    assert ours.post("runs/log-batch", {"run_id": run_id, "metrics": [{"key": "b", **metric}]}).status == 200
    ended = ours.post("runs/update", {"run_id": run_id, "status": "FINISHED", "end_time": number}).body["run_info"]
    assert (created["start_time"], ended["end_time"]) == (ms, ms)
    for key in "ab":
        history = ours.get("metrics/get-history", {"run_id": run_id, "metric_key": key}).body["metrics"]
        assert [point["timestamp"] for point in history] == [ms]


def test_times_in_seconds_are_stored_as_they_came_and_warned_of_once(
    ours: Rest, service: ServeProcess, experiment_id: str
) -> None:
    run_id = ours.post("runs/create", {"experiment_id": experiment_id}).body["run"]["info"]["run_id"]
    now = int(time.time())
    for step in (0, 1):
        body = {"run_id": run_id, "key": "a", "value": 1, "timestamp": now + step, "step": step}
        assert ours.post("runs/log-metric", body).status == 200
    history = ours.get("metrics/get-history", {"run_id": run_id, "metric_key": "a"}).body["metrics"]
    assert [point["timestamp"] for point in history] == [now, now + 1]
    assert ours.post("runs/log-metric", {**body, "timestamp": 1, "key": "b"}).status == 200
    warnings = [record for record in service.log_records if record["action"] == "times_in_seconds"]
    assert [(record["run_id"], record["given"]) for record in warnings] == [(run_id, now)]


def test_a_time_of_a_run_before_the_year_1_is_refused_with_the_callers_number(ours: Rest, experiment_id: str) -> None:
    run_id = ours.post("runs/create", {"experiment_id": experiment_id, "start_time": -1}).body["run"]["info"]["run_id"]
    for number in (-(10**15), -(2**63)):
        for path, field in (("runs/create", "start_time"), ("runs/update", "end_time")):
            body = {"run_id": run_id, "experiment_id": experiment_id, field: number}
            status, code, message = ours.post(path, body).error
            assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
            assert message.startswith(f"Invalid value {number} for parameter '{field}' supplied: it is before the year")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "//api/2.0/mlflow/experiments/get?experiment_id=«experiment»", None),
        ("GET", "/%2Fapi/2.0/mlflow/experiments/get?experiment_id=«experiment»", None),
        ("GET", "//ajax-api/2.0/mlflow/experiments/get?experiment_id=«experiment»", None),
        ("POST", "//api/2.0/mlflow/runs/log-metric", {"run_id": "«run»", "key": "b", "value": 1, "timestamp": 1}),
        ("POST", "//api/2.0/mlflow/runs/search", {"experiment_ids": ["«experiment»"]}),
        ("GET", "//get-artifact?run_id=«run»&path=a", None),
        ("PATCH", "//api/2.0/mlflow/logged-models/«model»/tags", {"tags": [{"key": "a", "value": "b"}]}),
        ("DELETE", "//api/2.0/mlflow/logged-models/«model»", None),
    ],
)
def test_a_slash_too_many_before_a_path_does_not_matter(
    method: str, path: str, body: Any, peers_of_a_run: tuple[Peer, Peer]
) -> None:
    stock, ours = _both(peers_of_a_run, Call(method, path, body))
    assert ours == stock


@pytest.mark.parametrize("path", ["/api//2.0/mlflow/runs/get", "///api/2.0/mlflow//runs///get"])
def test_stock_redirects_to_what_we_answer_at_once(path: str, shared_peers: tuple[Peer, Peer]) -> None:
    stock, ours = (peer.do(Call("GET", f"{path}?run_id=«run»")) for peer in shared_peers)
    assert (stock.status, ours.status) == (308, 200)
    assert "/api/2.0/mlflow/runs/get?run_id=" in stock.headers["location"]


def test_slashes_in_the_path_of_a_file_are_the_callers(ours: Rest, theirs: Rest) -> None:
    folder = uuid.uuid4().hex
    proxy = "/api/2.0/mlflow-artifacts/artifacts"
    for path in (f"{proxy}//{folder}/a", f"{proxy}/{folder}//b", f"/{proxy}/{folder}/c"):
        stock, mine = (rest.request("PUT", path, b"content") for rest in (theirs, ours))
        assert mine.status == stock.status, path
    listed = [rest.request("GET", f"{proxy}?path={folder}").body["files"] for rest in (theirs, ours)]
    assert listed[0] == listed[1]
    assert [file["path"] for file in listed[1]] == ["b", "c"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a\n", "name: begins or ends with the control character '\\n', such as the end of a line; remove it"),
        ("a\r\n", "name: begins or ends with the control character '\\r', such as the end of a line; remove it"),
        ("a\tb", "name: has the control character '\\t' after 'a'; names are one line of text"),
    ],
)
def test_a_name_of_more_than_one_line_is_refused_with_what_is_wrong_in_it(name: str, message: str, ours: Rest) -> None:
    salted = uuid.uuid4().hex + name
    answer = ours.post("experiments/create", {"name": salted})
    assert answer.error == (400, "INVALID_PARAMETER_VALUE", message.replace("'a'", repr(salted[:33])))


def test_the_first_of_a_repeated_query_parameter_counts(shared_peers: tuple[Peer, Peer]) -> None:
    for path in (
        "experiments/get?experiment_id=«experiment»&experiment_id=0",
        "runs/get?run_id=«run»&run_id=x",
        "runs/get?run_id=x&run_id=«run»",
        "metrics/get-history?run_id=«run»&metric_key=a&metric_key=b&max_results=1&max_results=x",
    ):
        stock, ours = _both(shared_peers, Call("GET", path))
        assert ours == stock, path


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        # What none can be called is not there.
        ("POST", "runs/delete-tag", {"run_id": "«run»", "key": "k" * 300}),
        ("POST", "experiments/delete-experiment-tag", {"experiment_id": "«experiment»", "key": "k" * 300}),
        ("DELETE", f"logged-models/«model»/tags/{'k' * 300}", {}),
        ("GET", "registered-models/get", {"name": "n" * 300}),
        ("GET", "registered-models/get", {"name": "a\nb{salt}"}),
        ("GET", "registered-models/alias", {"name": "n" * 300, "alias": "a"}),
        ("DELETE", "registered-models/delete", {"name": "n" * 300}),
        ("GET", "model-versions/get", {"name": "n" * 300, "version": "1"}),
        ("DELETE", "model-versions/delete", {"name": "n" * 300, "version": "1"}),
        ("GET", "metrics/get-history-bulk-interval", {"run_ids": ["", "«run»"], "metric_key": "a"}),
        ("POST", "logged-models/search", {"experiment_ids": []}),
        ("POST", "logged-models/search", {}),
        # What differs from a field that is not there.
        ("POST", "runs/update", {"run_id": "«run»", "run_name": "null"}),
        ("POST", "runs/log-metric", {"run_id": "«run»", "key": "b", "value": "null", "timestamp": 1}),
        ("POST", "runs/set-tag", {"run_id": "«run»", "key": "null", "value": "null"}),
        ("GET", "logged-models/«model»", {"allow_deleted": "TRUE"}),
        # A dataset has a name and a digest.
        *(
            ("POST", "runs/log-metric", {"run_id": "«run»", "key": "b", "value": 1, "timestamp": 1, **half})
            for half in ({"dataset_name": "d"}, {"dataset_digest": "1"}, {"dataset_name": "d", "model_id": "«model»"})
        ),
        (
            "POST",
            "runs/log-batch",
            {"run_id": "«run»", "metrics": [{"key": "b", "value": 1, "timestamp": 1, "dataset_name": "d"}]},
        ),
    ],
)
def test_what_is_odd_is_answered_as_stock_does(
    method: str, path: str, body: Any, shared_peers: tuple[Peer, Peer]
) -> None:
    stock, ours = _both(shared_peers, Call(method, path, body))
    assert ours == stock


@pytest.mark.parametrize("text", ["null", "None", "true"])
def test_a_text_that_is_no_time_is_refused(text: str, shared_peers: tuple[Peer, Peer]) -> None:
    answers = _both(shared_peers, Call("POST", "runs/update", {"run_id": "«run»", "end_time": text}))
    assert [(status, body["error_code"]) for status, body in answers] == [(400, "INVALID_PARAMETER_VALUE")] * 2


@pytest.mark.parametrize("headers", [{}, TEXT], ids=["no type", "text"])
def test_what_a_browser_asks_about_first_may_have_any_type(headers: dict[str, str], peers: tuple[Peer, Peer]) -> None:
    named = '{"name": "{salt}", "key": "k", "description": "d"}'
    for method, path in (("PATCH", "registered-models/update"), ("DELETE", "registered-models/delete-tag")):
        stock, ours = _both(peers, Call(method, path, content=named, headers=headers))
        assert ours == stock
        assert ours[0] == 200


def test_a_file_is_uploaded_for_a_run_by_either_name_of_its_id(ours: Rest, experiment_id: str) -> None:
    run_id = ours.post("runs/create", {"experiment_id": experiment_id}).body["run"]["info"]["run_id"]
    for name in ("run_id", "run_uuid"):
        path = f"/ajax-api/2.0/mlflow/upload-artifact?{name}={run_id}&path={name}.txt"
        assert ours.request("POST", path, b"content", {"Content-Type": "application/octet-stream"}).status == 200
    files = ours.get("artifacts/list", {"run_id": run_id}).body["files"]
    assert [file["path"] for file in files] == ["run_id.txt", "run_uuid.txt"]
