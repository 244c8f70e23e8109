"""Every route is sent what no client should send: it succeeds, or blames the caller in MLflow's form."""

from __future__ import annotations

import dataclasses
import json
import re
import socket
import uuid
from collections.abc import Iterator, Mapping
from typing import Any
from unittest.mock import MagicMock
from urllib.parse import quote_plus, urlsplit

import pytest
from msgspec.structs import fields

from runstream_bench.http_client import Answer
from runstream_service.core.caller import Role
from runstream_service.core.pages import make_token
from runstream_service.mlflow.route_kinds import JsonRoute, RawRoute
from runstream_service.mlflow.routes import table
from runstream_service.server.wiring import Core
from tests.support.polling import until_now
from tests.support.rest import Rest
from tests.support.serve import ServeProcess

ROUTES = (
    *table(Core(**{one.name: MagicMock() for one in dataclasses.fields(Core)})),
    *(RawRoute(method, "/graphql", Role.READ, MagicMock()) for method in ("GET", "POST")),
)

# What a field may be instead of what it should be. The integers are those around which types end.
VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 2**31, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**200, 1.5, 1e300),
    *("", " ", "a\0b", "\ud800", "\U0001f600", "x" * 100_000, "'\"", "../..", "%00", "-1", "9" * 30, "NaN"),
    *([], [None], [1], ["a", "a"], ["\0"], ["\ud800"], [{}], {}, {"key": 1}),
)
# The same where a list or a dictionary is expected. Elsewhere, lists such as those above are as wrong as these.
ENTRIES: tuple[Any, ...] = (
    *([{"key": "k", "value": 1}], [{"key": "\0", "value": "\0"}], [{"key": "\ud800", "value": "\ud800"}]),
    *([{"key": "k", "value": "x" * 100_000}], [{"key": "x" * 10_000}], [{"key": "k", "value": None}] * 2),
)
BODIES = (
    *(
        b"",
        b"null",
        b"1",
        b"[]",
        b'"\\"{}\\""',
        b'"{}"',
        b"{",
        b"\xff\xfe",
        b'{"a": "\xff"}',
        b'{"\\ud800": "\\udc00"}',
    ),
    *(b'{"\\u0000": 1, "run_id": "\\u0000"}', b'{"a": NaN}', b'{"a": 1e999}', b'{"runId": "a", "run_id": "b"}'),
    *(b'{"a":' * depth + b"1" + b"}" * depth for depth in (300, 700, 1_000, 100_000)),
    *(b'{"a":' + b"[" * depth + b"]" * depth + b"}" for depth in (300, 700, 1_000, 100_000)),
)
# What a query may be as a whole.
QUERIES = ("%00=%00", "%ff=%fe", "=", "&&&", "run_id=%ff", "run_id=%ed%a0%80", "name=%00", "path=%ff", "a[]=1&a=2")
# A server reads lines of some 64 KiB at most.
MAX_QUERY_VALUE = 30_000

# Requests of the routes that read theirs themselves.
_DATASET = {"name": "d", "digest": "1", "source_type": "s", "source": "s"}
_METRIC = {"key": "m", "value": 1.5, "timestamp": 1, "step": 1}
_OF_RAW: dict[str, dict[str, Any]] = {
    "runs/log-metric": {"run_id": "", "model_id": "", "dataset_name": "d", "dataset_digest": "1", **_METRIC},
    "runs/log-batch": {"run_id": "", "metrics": [_METRIC], "params": [], "tags": []},
    "metrics/get-history": {"run_id": "", "metric_key": "m", "max_results": "1", "page_token": "x"},
    "metrics/get-history-bulk": {"run_id": "", "metric_key": "m", "max_results": "1"},
    "metrics/get-history-bulk-interval": {
        "run_ids": "",
        "metric_key": "m",
        "start_step": "0",
        "end_step": "1",
        "max_results": "1",
    },
    "get-artifact": {"run_uuid": "", "path": "p", "name": "", "version": "1"},
    "artifacts/files": {"artifact_file_path": "p"},
    "upload-artifact": {"run_uuid": "", "path": "p"},
    "graphql": {"query": "{ mlflowGetRun(input: {runId: 1}) { run { info { runId } } } }", "variables": {}},
}
_OF_FIELD: dict[str, Any] = {
    "timestamp": 1,
    "max_results": 1,
    "tags": [{"key": "k", "value": "v"}],
    "params": [{"key": "k", "value": "v"}],
    "datasets": [{"dataset": _DATASET, "tags": []}],
    "order_by": [],
    "stage": "Staging",
    "version": "1",
}


@pytest.fixture
def things(ours: Rest) -> dict[str, str]:
    """What is there of each kind, so that a request is wrong in one field only."""
    name = f"model-{uuid.uuid4().hex}"
    experiment_id = _made(ours, "experiments/create", name=name)["experiment_id"]
    run_id = _made(ours, "runs/create", experiment_id=experiment_id)["run"]["info"]["run_id"]
    model = _made(ours, "logged-models", experiment_id=experiment_id, source_run_id=run_id)["model"]
    _made(ours, "registered-models/create", name=name)
    _made(ours, "model-versions/create", name=name, source=f"runs:/{run_id}/model", run_id=run_id)
    return {
        "experiment_id": experiment_id,
        "run_id": run_id,
        "run_uuid": run_id,
        "run_ids": run_id,
        "name": name,
        "model_id": model["info"]["model_id"],
        "source_run_id": run_id,
    }


def _made(rest: Rest, path: str, **request: str) -> Any:
    answer = rest.post(path, request)
    assert answer.status == 200, answer
    return answer.body


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_no_input_of_a_caller_is_a_bug_of_the_service(
    route: JsonRoute | RawRoute, things: Mapping[str, str], ours: Rest, service: ServeProcess
) -> None:
    failures, logged = [], len(service.log_records)
    for what, answer in _answers(route, things, ours):
        if not _is_fine(answer):
            failures.append(f"{what[:200]} -> {answer.status} {answer.content[:200]!r}")
    bugs = [record for record in service.log_records[logged:] if record["level"] == "error"]
    assert (failures, bugs) == ([], [])


def _is_fine(answer: Answer) -> bool:
    """A success, or an error that names a code and says what is wrong."""
    if answer.status < 400:
        return True
    code = re.search(r'"error_code": ?"([A-Z_]+)"', answer.content.decode())
    has_message = b'"message"' in answer.content
    return code is not None and has_message and (answer.status < 500 or code[1] == "NOT_IMPLEMENTED")


def _answers(route: JsonRoute | RawRoute, things: Mapping[str, str], rest: Rest) -> Iterator[tuple[str, Answer]]:
    path = route.path if route.path.startswith("/") else f"/api/{route.path}"
    good = {name: things.get(name, value) for name, value in _good(route).items()}
    for value in (*VALUES, *ENTRIES):
        for where, bad in _with(value, good):
            yield f"{where}={str(value)[:50]!r}", _send(route.method, path, bad, rest)
    if route.method == "GET":
        for query in QUERIES:
            yield query, rest.request("GET", f"{_filled(path, good)}?{query}")
    else:
        for body in BODIES:
            yield repr(body[:50]), rest.send(route.method, _filled(path, good), body)


def _good(route: JsonRoute | RawRoute) -> dict[str, Any]:
    """A request without a fault; "" stands for the id of something that is there."""
    if isinstance(route, JsonRoute):
        return {one.name: _OF_FIELD.get(one.name, "x") for one in fields(route.message)}
    found = next((sample for end, sample in _OF_RAW.items() if route.path.endswith(end)), {})
    return {**found, **{name.partition(":")[0]: "x" for name in re.findall(r"{(.*?)}", route.path)}}


def _with(value: Any, good: Any) -> Iterator[tuple[str, Any]]:
    """The request with the value in the place of each of its parts, and what that part is called."""
    parts = list(good.items() if isinstance(good, dict) else enumerate(good) if isinstance(good, list) else ())
    for at, part in parts:
        if isinstance(part, list | dict) or value not in ENTRIES:
            yield f".{at}", _replaced(good, at, value)
        for where, bad in _with(value, part):
            yield f".{at}{where}", _replaced(good, at, bad)


def _replaced(good: Any, at: Any, part: Any) -> Any:
    changed = good.copy()
    changed[at] = part
    return changed


def _send(method: str, path: str, request: Mapping[str, Any], rest: Rest) -> Answer:
    where = _filled(path, request)
    if method != "GET":
        return rest.send(method, where, dict(request))
    return rest.request("GET", f"{where}?{'&'.join(_parts(request))}")


def _parts(request: Mapping[str, Any]) -> Iterator[str]:
    for name, value in request.items():
        for one in value if isinstance(value, list) else [value]:
            yield f"{name}={_quoted(one)}"


def _filled(path: str, request: Mapping[str, Any]) -> str:
    return re.sub(r"{(\w+)(:path)?}", lambda found: _quoted(request[found[1]]), path)


def _quoted(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return quote_plus(text[:MAX_QUERY_VALUE], errors="surrogatepass")


@pytest.mark.parametrize(
    ("method", "path", "of"),
    [
        ("POST", "runs/search", "runs/search"),
        ("POST", "experiments/search", "experiments/search"),
        ("GET", "registered-models/search", "registered models"),
        ("GET", "model-versions/search", "model versions"),
    ],
)
def test_a_token_of_a_page_before_the_first_is_refused(method: str, path: str, of: str, ours: Rest) -> None:
    request = {"experiment_ids": ["0"], "max_results": 10, "page_token": make_token(of=of, after=[-1])}
    assert _send(method, f"/api/2.0/mlflow/{path}", request, ours).error[:2] == (400, "INVALID_PARAMETER_VALUE")


def _requests(service: ServeProcess, path: str) -> float:
    """How many requests of a route have ended, with any status."""
    name, route = "runstream_http_requests_total{", f'route="/api/2.0/mlflow/{path}"'
    lines = [line for line in service.get("/metrics")[1].splitlines() if line.startswith(name) and route in line]
    return sum(float(line.split()[-1]) for line in lines)


def test_a_client_that_goes_in_the_middle_of_its_request_is_no_bug(service: ServeProcess, ours: Rest) -> None:
    logged = len(service.log_records)
    address = urlsplit(service.http_url)
    paths = ("experiments/create", "runs/log-metric", "runs/log-batch")
    counted = sum(_requests(service, path) for path in paths)
    for path in paths:
        with socket.create_connection((address.hostname, address.port)) as connection:
            head = f"POST /api/2.0/mlflow/{path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 100\r\n"
            # The service says "go on" when the handler begins to read the body.
            connection.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
            connection.sendall(b'{"name": ')
    until_now(lambda: sum(_requests(service, path) for path in paths) == counted + len(paths))
    assert ours.get("experiments/get", {"experiment_id": "0"}).status == 200
    assert [record for record in service.log_records[logged:] if record["level"] == "error"] == []
