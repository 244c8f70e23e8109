"""What MLflow's clients repeat: after 429 everything, after 503 from 3.18 on nothing that creates something."""

from __future__ import annotations

import asyncio
import threading
import uuid
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests
from requests.adapters import HTTPAdapter
from starlette.requests import Request
from starlette.responses import Response
from urllib3.util import Retry

from runstream_bench.tcp_proxy import Proxy, socket_of, through
from runstream_service.auth.anonymous import Anonymous
from runstream_service.database import effects
from runstream_service.errors import core as errors
from runstream_service.http.app import HttpApp
from runstream_service.http.mlflow_errors import error_response
from runstream_service.mlflow.endpoints import guarded
from runstream_service.monitoring.metrics import Metrics
from runstream_service.monitoring.readiness import Readiness
from tests.support.rest import Rest
from tests.support.serve import ServeProcess

CREATING = {
    "experiments/create": {"name": "NAME"},
    "runs/create": {"experiment_id": "0", "tags": [{"key": "name", "value": "NAME"}]},
    "registered-models/create": {"name": "NAME"},
    "logged-models": {"experiment_id": "0", "name": "NAME"},
}
SEARCHES = {
    "experiments/create": ("POST", "experiments/search", {"max_results": 10, "filter": "name = 'NAME'"}, "experiments"),
    "runs/create": ("POST", "runs/search", {"experiment_ids": ["0"], "filter": "tags.name = 'NAME'"}, "runs"),
    "registered-models/create": ("GET", "registered-models/search", {"filter": "name = 'NAME'"}, "registered_models"),
    "logged-models": ("POST", "logged-models/search", {"experiment_ids": ["0"], "filter": "name = 'NAME'"}, "models"),
}


def client_of_3_18() -> requests.Session:
    """Repeats what creates something as MLflow 3.18 does: after 408, 429 and failed connections, with Retry-After."""
    session = requests.Session()
    retry = Retry(total=20, read=0, status_forcelist=[408, 429], allowed_methods=None, backoff_factor=0.05)
    session.mount("http://", HTTPAdapter(max_retries=retry))
    return session


def test_what_could_not_begin_is_answered_so_that_it_is_repeated(database_url: str, data_dir: Path) -> None:
    with (
        Proxy(socket_of(database_url)) as proxy,
        ServeProcess(data_dir, arguments=["--database", through(database_url, proxy.address)]) as serve,
    ):
        rest = Rest(serve.http_url)
        for route, body in CREATING.items():
            name = uuid.uuid4().hex
            proxy.refuse = True
            proxy.cut()
            serve.wait_until("/readyz", 503)
            answer = rest.post(route, _named(body, name))
            assert (answer.status, answer.body["error_code"]) == (429, "TEMPORARILY_UNAVAILABLE"), answer.content
            assert int(answer.headers["retry-after"]) >= 1
            # The database comes back while the client waits for its next try.
            threading.Timer(1.5, setattr, (proxy, "refuse", False)).start()
            with client_of_3_18() as session:
                url = f"{serve.http_url}/api/2.0/mlflow/{route}"
                created = session.post(url, json=_named(body, name), timeout=30)
            assert created.status_code == 200, created.text
            method, path, query, field = SEARCHES[route]
            found = rest.get(path, _named(query, name)) if method == "GET" else rest.post(path, _named(query, name))
            assert len(found.body[field]) == 1, route
            serve.wait_until("/readyz", 200)
        rest.close()


@pytest.mark.parametrize(
    ("error", "begun", "status"),
    [
        (errors.NotConnected("no"), False, 429),
        (errors.NotConnected("no"), True, 503),
        (errors.DatabaseUnavailable("lost"), True, 503),
        (errors.DatabaseUnavailable("lost"), False, 503),
        (errors.Draining("going"), False, 429),
        (errors.Overloaded("full"), True, 429),
        (errors.ReadTooSlow("moved"), True, 503),
    ],
)
async def test_a_request_that_may_have_done_something_is_not_said_to_have_done_nothing(
    error: errors.CoreError, begun: bool, status: int
) -> None:
    async def endpoint(_request: Request) -> Response:
        if begun:
            await asyncio.create_task(_begin())
        raise error

    answer = await guarded(endpoint)(Request({"type": "http", "query_string": b""}))
    assert answer.status_code == status
    assert ("retry-after" in answer.headers) == isinstance(error, errors.Retryable)


async def _begin() -> None:
    """As the database does when it has given out a connection; in a task of the request."""
    effects.are_possible()


@pytest.mark.parametrize(("away_s", "retry_after"), [(0.0, "1"), (12.4, "12"), (3_600.0, "30")])
async def test_a_client_comes_again_after_as_long_as_the_database_has_been_away(
    away_s: float, retry_after: str
) -> None:
    """Seven tries of a second each would be over before most failovers are."""
    assert error_response(errors.NotConnected("no", away_s=away_s)).headers["retry-after"] == retry_after


async def test_a_request_before_the_database_is_there_is_repeated() -> None:
    app = HttpApp(readiness=Readiness(), metrics=Metrics(version="test"), authenticator=Anonymous(), version="test")
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"{}"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/api/2.0/mlflow/runs/create", "headers": []}
    await app(scope, receive, send)
    assert (sent[0]["status"], dict(sent[0]["headers"])[b"retry-after"]) == (429, b"1")
    assert orjson.loads(sent[1]["body"])["error_code"] == "TEMPORARILY_UNAVAILABLE"


def _named(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {key: _named(item, name) for key, item in value.items()}
    if isinstance(value, list):
        return [_named(item, name) for item in value]
    return value.replace("NAME", name) if isinstance(value, str) else value
