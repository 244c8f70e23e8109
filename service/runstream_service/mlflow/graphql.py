"""GraphQL: MLflow's UI sends a handful of queries, which correspond to routes of routes.py.

This module has the endpoint, and calls the handlers of those routes; graphql_queries.py executes queries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import orjson
from starlette.requests import Request

from runstream_service.concurrency import threads
from runstream_service.core.caller import Caller
from runstream_service.http.callers import caller_of, set_caller
from runstream_service.http.mlflow_errors import invalid
from runstream_service.mlflow.json_size import in_thread_if_big
from runstream_service.mlflow.request import convert, normalise, parse_json, read_body
from runstream_service.mlflow.route_kinds import JsonRoute, RawRoute

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import Message

MAX_CHARACTERS = 100_000
_ROOTS = {
    "mlflowGetExperiment": "2.0/mlflow/experiments/get",
    "mlflowGetMetricHistoryBulkInterval": "2.0/mlflow/metrics/get-history-bulk-interval",
    "mlflowGetRun": "2.0/mlflow/runs/get",
    "mlflowListArtifacts": "2.0/mlflow/artifacts/list",
    "mlflowSearchDatasets": "2.0/mlflow/experiments/search-datasets",
    "mlflowSearchModelVersions": "2.0/mlflow/model-versions/search",
    "mlflowSearchRuns": "2.0/mlflow/runs/search",
}


@dataclass(slots=True)
class QueryContext:
    """What belongs to one request: its caller, and the experiments that it has looked up already. The query is executed
    in a thread with its own event loop; handlers are called on `handler_loop`, the loop of the service."""

    caller: Caller
    handler_loop: asyncio.AbstractEventLoop
    experiments: dict[str, asyncio.Task[Any]] = field(default_factory=dict)


class GraphQL:
    """The endpoint /graphql. `entries` is the table of routes.py."""

    def __init__(self, entries: Sequence[JsonRoute | RawRoute]) -> None:
        self._entries = {root: _only(entries, path) for root, path in _ROOTS.items()}

    async def answer(self, request: Request) -> Response:
        """The response to a request, with the errors of its query. Raises MlflowError if it is not a GraphQL
        request."""
        asked = await _read(request)
        query, variables, operation = asked.get("query"), asked.get("variables"), asked.get("operationName")
        if not isinstance(query, str):
            raise invalid("'query' must be the text of a GraphQL query.")
        if not isinstance(variables, dict | None):
            raise invalid("'variables' must be an object.")
        if not isinstance(operation, str | None):
            raise invalid("'operationName' must be a text.")
        if len(query) > MAX_CHARACTERS:
            raise invalid(f"'query' exceeds the maximum length of {MAX_CHARACTERS} characters")
        asking = QueryContext(caller_of(request), asyncio.get_running_loop())
        accepted = request.headers.get("accept-encoding", "")
        return await threads.GRAPHQL.run(self._answer_in_thread, asking, query, variables, operation, accepted)

    def _answer_in_thread(
        self, asked: QueryContext, query: str, variables: dict[str, Any] | None, operation: str | None, accepted: str
    ) -> Response:
        # Imported with the first query, since it takes 60 ms at the start of the service, and only MLflow's UI needs
        # it.
        from runstream_service.mlflow.graphql_queries import QueryExecutor

        return QueryExecutor(self.call).answer(asked, query, variables, operation, accepted)

    async def call(self, asked: QueryContext, root: str, given: dict[str, Any]) -> Any:
        """The result of the REST route of a root field, `root`, with the input `given`."""
        calling = asyncio.run_coroutine_threadsafe(self._call(asked.caller, root, given), asked.handler_loop)
        return await asyncio.wrap_future(calling)

    async def _call(self, caller: Caller, root: str, given: dict[str, Any]) -> Any:
        entry, fields = self._entries[root], normalise(given)
        if isinstance(entry, JsonRoute):
            return await entry.handler(caller, convert(fields, entry.message))
        return orjson.loads((await entry.handler(_request(caller, entry.method, fields))).body)


def _only(entries: Sequence[JsonRoute | RawRoute], path: str) -> JsonRoute | RawRoute:
    found = [entry for entry in entries if entry.path == path]
    if len(found) != 1:
        raise ValueError(f"GraphQL needs one route {path} in the table of routes, which has {len(found)}")
    return found[0]


def _request(caller: Caller, method: str, fields: dict[str, Any]) -> Request:
    """A request for a RawRoute, which reads its request itself."""
    is_get = method == "GET"
    scope = {
        "type": "http",
        "method": method,
        "headers": [],
        "query_string": urlencode(fields, doseq=True).encode() if is_get else b"",
    }

    set_caller(scope, caller)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"" if is_get else orjson.dumps(fields)}

    return Request(scope, receive)


async def _read(request: Request) -> dict[str, Any]:
    """The JSON object in a request: the body of a POST, or the query of a GET, whose field `variables` is JSON."""
    if request.method == "POST":
        body = await read_body(request)
        return await in_thread_if_big(body, parse_json, body, request.headers.get("content-type", ""))
    asked: dict[str, Any] = dict(request.query_params)
    if "variables" in asked:
        asked["variables"] = parse_json(asked["variables"].encode(), "")
    return asked
