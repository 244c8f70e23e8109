"""A request for every RPC and every HTTP route, about things that exist. `<run_id>` is the id of a run, and so on.

A new method or route needs a line here: tests/access/test_matrix.py fails without one.
"""

from __future__ import annotations

import dataclasses
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

from google.protobuf import message_factory
from google.protobuf.json_format import ParseDict
from starlette.routing import BaseRoute

from runstream.v1 import access_pb2, ingest_pb2, query_pb2, run_pb2
from runstream_service.auth.anonymous import Anonymous
from runstream_service.core.caller import Role
from runstream_service.http.app import HttpApp
from runstream_service.http.command_line import CommandLinePages
from runstream_service.http.paths import WEB_API
from runstream_service.http.sign_in import SignIn
from runstream_service.http.sign_in_paths import COMMAND_LINE
from runstream_service.mlflow.route_kinds import JsonRoute, RawRoute
from runstream_service.mlflow.routes import routes, table
from runstream_service.monitoring.metrics import Metrics
from runstream_service.monitoring.readiness import Readiness
from runstream_service.server.wiring import Core, Queries
from runstream_service.web.page_files import PageFiles
from runstream_service.web.page_routes import PAGE_FILE, PLACES, page_routes
from runstream_service.web.route_kinds import WebRoute
from runstream_service.web.routes import routes as web_routes
from runstream_service.web.routes import table as web_table

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor
    from google.protobuf.message import Message


# Every file of proto/ that has a service.
FILES = (ingest_pb2, run_pb2, query_pb2, access_pb2)

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Things:
    """One of each kind of object, by name or id. All texts have the same form whether the object exists or not."""

    workspace: str
    experiment_id: str
    experiment: str
    run_id: str
    key: str
    model: str  # a registered model
    version: str
    alias: str
    model_id: str  # a logged model
    token_id: str
    view_id: str  # a saved view
    new: str  # what does not exist yet

    def fill(self, request: Any) -> Any:
        """The request with the names in the place of what stands for them."""
        if isinstance(request, str):
            return re.sub(r"<(\w+)>", lambda found: str(getattr(self, found[1])), request)
        if isinstance(request, Mapping):
            return {name: self.fill(value) for name, value in request.items()}
        return [self.fill(part) for part in request] if isinstance(request, list) else request

    def mask(self, text: str) -> str:
        """The text without names, ids and times, so that texts about different objects can be compared."""
        for one in dataclasses.fields(self):
            value = getattr(self, one.name)
            if not value.isdigit():
                text = text.replace(value, f"<{one.name}>")
        return _MADE_UP.sub("<made up>", text)


# Ids, times, tokens, and names of runs that the service made up.
_MADE_UP = re.compile(r"\b[0-9a-f]{32}\b|\brst_\w+|\b[a-z]+-[a-z]+-\d+\b|\d+")


def absent() -> Things:
    """Names and ids that nobody has."""
    name = uuid.uuid4().hex
    return Things(
        workspace=f"team-{name}",
        experiment_id=str(10**12 + uuid.uuid4().int % 10**6),
        experiment=f"experiment {name}",
        run_id=uuid.uuid4().hex,
        key="loss",
        model=f"model {name}",
        version="1",
        alias="champion",
        model_id=f"m-{uuid.uuid4().hex}",
        view_id=uuid.uuid4().hex,
        token_id=str(10**12 + uuid.uuid4().int % 10**6),
        new=f"new {uuid.uuid4().hex}",
    )


# -- RPCs ------------------------------------------------------------------------------------------------------------

RPCS: Mapping[str, Fields] = {
    # The first message of the stream.
    "IngestService.Append": {"open": {"run_id": "<run_id>", "producer_id": "AAECAwQFBgcICQoLDA0ODw=="}},
    "RunService.CreateExperiment": {"name": "<new>"},
    "RunService.GetExperiment": {"experiment_id": "<experiment_id>"},
    "RunService.ListExperiments": {"page_size": 1},
    "RunService.CreateRun": {"experiment": "<new>", "params": {"a": "1"}},
    "RunService.GetRun": {"run_id": "<run_id>"},
    "RunService.ListRuns": {"experiment_id": "<experiment_id>"},
    "RunService.SearchRuns": {"experiment_ids": ["<experiment_id>"]},
    "RunService.FinishRun": {"run_id": "<run_id>", "status": "RUN_STATUS_FINISHED"},
    "RunService.LogParams": {"run_id": "<run_id>", "params": {"a": "1"}},
    "RunService.SetTags": {"run_id": "<run_id>", "tags": {"a": "1"}},
    "RunService.DeleteRun": {"run_id": "<run_id>"},
    "RunService.RestoreRun": {"run_id": "<run_id>"},
    "RunService.MoveRun": {"run_id": "<run_id>", "experiment_id": "<experiment_id>"},
    "RunService.DeleteSeries": {"run_id": "<run_id>", "keys": ["<key>"]},
    "RunService.SetRetention": {"experiment_id": "<experiment_id>", "retention_days": 30},
    "QueryService.History": {"run_id": "<run_id>"},
    "QueryService.Latest": {"run_ids": ["<run_id>"]},
    "QueryService.Chart": {"run_ids": ["<run_id>"], "keys": ["<key>"], "axis": "AXIS_STEP", "max_buckets": 10},
    "QueryService.Aggregate": {"run_id": "<run_id>", "key": "<key>", "max_buckets": 10},
    "QueryService.Tail": {"run_id": "<run_id>"},
    "AccessService.WhoAmI": {},
    "AccessService.CreateWorkspace": {"name": "<key>-of-an-admin"},
    "AccessService.ListWorkspaces": {},
    "AccessService.GetWorkspaceLimits": {},
    "AccessService.SetWorkspaceLimits": {"limits": {"file_bytes": "1000000000"}},
    "AccessService.CreateToken": {"name": "<new>", "role": "ROLE_READ"},
    "AccessService.ListTokens": {},
    "AccessService.RevokeToken": {"token_id": "<token_id>"},
    "AccessService.CreateTrackingUri": {"expires_in_s": 60},
    "AccessService.ListAuditEvents": {},
}


def methods() -> Iterator[MethodDescriptor]:
    """Every method of every service in proto/."""
    for file in FILES:
        for service in file.DESCRIPTOR.services_by_name.values():
            yield from service.methods


def short_name(method: MethodDescriptor) -> str:
    """Such as RunService.GetRun."""
    return f"{method.containing_service.name}.{method.name}"


def message_for(method: MethodDescriptor, request: Fields) -> Message:
    """The request of a method."""
    return ParseDict(dict(request), message_factory.GetMessageClass(method.input_type)())


# -- HTTP routes -----------------------------------------------------------------------------------------------------

_DATASET = {"name": "d", "digest": "1", "source_type": "s", "source": "s"}
_PAIR = {"key": "a", "value": "1"}
_ONE_RUN, _ONE_EXPERIMENT, _ONE_MODEL = (
    {"run_id": "<run_id>"},
    {"experiment_id": "<experiment_id>"},
    {"name": "<model>"},
)
_ONE_VERSION = {**_ONE_MODEL, "version": "<version>"}
_OF_LOGGED_MODEL = {"model_id": "<model_id>"}
_ONE_VIEW = {"view_id": "<view_id>"}
_FILE = {"path": "<experiment_id>/<run_id>/artifacts/file"}
_GRAPHQL = {
    "query": '{ mlflowGetRun(input: {runId: "<run_id>"}) { run { info { runId } } apiError { message } } }',
}
_MODEL_JSON = '{"run_id": "<run_id>", "artifact_path": "m", "flavors": {}, "utc_time_created": "2026-01-01"}'
_HISTORY = {"metric_key": "<key>"}

# The fields of the body, or of the query of GET and DELETE; those of the template of the path are among them.
HTTP: Mapping[str, Fields] = {
    "POST runs/log-metric": {**_ONE_RUN, "key": "<key>", "value": 1.5, "timestamp": 1, "step": 1},
    "POST runs/log-batch": {**_ONE_RUN, "metrics": [], "params": [_PAIR], "tags": [_PAIR]},
    "POST runs/log-parameter": {**_ONE_RUN, **_PAIR},
    "POST runs/set-tag": {**_ONE_RUN, **_PAIR},
    "GET metrics/get-history": {**_ONE_RUN, **_HISTORY},
    "GET metrics/get-history-bulk": {**_ONE_RUN, **_HISTORY},
    "GET metrics/get-history-bulk-interval": {"run_ids": "<run_id>", **_HISTORY},
    "POST experiments/create": {"name": "<new>"},
    "GET experiments/get": _ONE_EXPERIMENT,
    "GET experiments/get-by-name": {"experiment_name": "<experiment>"},
    "POST experiments/update": {**_ONE_EXPERIMENT, "new_name": "<new>"},
    "POST experiments/delete": _ONE_EXPERIMENT,
    "POST experiments/restore": _ONE_EXPERIMENT,
    "POST experiments/set-experiment-tag": {**_ONE_EXPERIMENT, **_PAIR},
    "POST experiments/delete-experiment-tag": {**_ONE_EXPERIMENT, "key": "tag"},
    "GET experiments/search": {"max_results": 10, "filter": "name = '<experiment>'"},
    "POST experiments/search": {"max_results": 10, "filter": "name = '<experiment>'"},
    "POST runs/create": {**_ONE_EXPERIMENT, "start_time": 1, "run_name": "a"},
    "GET runs/get": _ONE_RUN,
    "POST runs/search": {"experiment_ids": ["<experiment_id>"]},
    "POST runs/update": {**_ONE_RUN, "run_name": "b"},
    "POST runs/delete": _ONE_RUN,
    "POST runs/restore": _ONE_RUN,
    "POST runs/delete-tag": {**_ONE_RUN, "key": "tag"},
    "POST runs/log-inputs": {**_ONE_RUN, "datasets": [{"dataset": _DATASET}]},
    "POST runs/outputs": {**_ONE_RUN, "models": [{"model_id": "<model_id>", "step": 1}]},
    "POST runs/log-model": {**_ONE_RUN, "model_json": _MODEL_JSON},
    "POST experiments/search-datasets": {"experiment_ids": ["<experiment_id>"]},
    "GET mlflow-artifacts/artifacts": {"path": "<experiment_id>/<run_id>/artifacts"},
    "GET mlflow-artifacts/artifacts/{path:path}": _FILE,
    "PUT mlflow-artifacts/artifacts/{path:path}": {"path": "<experiment_id>/<run_id>/artifacts/<new>"},
    "DELETE mlflow-artifacts/artifacts/{path:path}": _FILE,
    "POST mlflow-artifacts/mpu/create/{path:path}": _FILE,
    "POST mlflow-artifacts/mpu/complete/{path:path}": _FILE,
    "POST mlflow-artifacts/mpu/abort/{path:path}": _FILE,
    "GET mlflow-artifacts/presigned/{path:path}": _FILE,
    "POST artifacts/presigned-upload-url": {},
    "POST artifacts/presigned-download-url": {},
    "GET artifacts/list": _ONE_RUN,
    "GET get-artifact": {**_ONE_RUN, "path": "file"},
    "GET model-versions/get-artifact": {**_ONE_VERSION, "path": "file"},
    "POST upload-artifact": {**_ONE_RUN, "path": "<new>"},
    "POST logged-models": {**_ONE_EXPERIMENT, "source_run_id": "<run_id>"},
    "POST logged-models/search": {"experiment_ids": ["<experiment_id>"]},
    "GET logged-models/{model_id}": _OF_LOGGED_MODEL,
    "PATCH logged-models/{model_id}": {**_OF_LOGGED_MODEL, "status": "LOGGED_MODEL_READY"},
    "DELETE logged-models/{model_id}": _OF_LOGGED_MODEL,
    "POST logged-models/{model_id}/params": {**_OF_LOGGED_MODEL, "params": [_PAIR]},
    "PATCH logged-models/{model_id}/tags": {**_OF_LOGGED_MODEL, "tags": [_PAIR]},
    "DELETE logged-models/{model_id}/tags/{tag_key:path}": {**_OF_LOGGED_MODEL, "tag_key": "tag"},
    "GET logged-models/{model_id}/artifacts/directories": _OF_LOGGED_MODEL,
    "GET logged-models/{model_id}/artifacts/files": {**_OF_LOGGED_MODEL, "artifact_file_path": "file"},
    "POST registered-models/create": {"name": "<new>"},
    "GET registered-models/get": _ONE_MODEL,
    "POST registered-models/rename": {**_ONE_MODEL, "new_name": "<new>"},
    "PATCH registered-models/update": {**_ONE_MODEL, "description": "d"},
    "DELETE registered-models/delete": _ONE_MODEL,
    "GET registered-models/search": {"filter": "name = '<model>'"},
    "GET registered-models/get-latest-versions": _ONE_MODEL,
    "POST registered-models/get-latest-versions": _ONE_MODEL,
    "POST registered-models/set-tag": {**_ONE_MODEL, **_PAIR},
    "DELETE registered-models/delete-tag": {**_ONE_MODEL, "key": "tag"},
    "POST registered-models/alias": {**_ONE_VERSION, "alias": "<alias>"},
    "GET registered-models/alias": {**_ONE_MODEL, "alias": "<alias>"},
    "DELETE registered-models/alias": {**_ONE_MODEL, "alias": "<alias>"},
    "POST model-versions/create": {**_ONE_MODEL, "source": "s3://elsewhere/m"},
    "GET model-versions/get": _ONE_VERSION,
    "GET model-versions/get-download-uri": _ONE_VERSION,
    "PATCH model-versions/update": {**_ONE_VERSION, "description": "d"},
    "DELETE model-versions/delete": _ONE_VERSION,
    "GET model-versions/search": {"filter": "name = '<model>'"},
    "POST model-versions/transition-stage": {**_ONE_VERSION, "stage": "Staging"},
    "POST model-versions/set-tag": {**_ONE_VERSION, **_PAIR},
    "DELETE model-versions/delete-tag": {**_ONE_VERSION, "key": "tag"},
    "GET workspaces": {},
    "POST workspaces": {"name": "of-<run_id>"},
    "GET workspaces/{workspace_name}": {"workspace_name": "<workspace>"},
    "PATCH workspaces/{workspace_name}": {"workspace_name": "<workspace>", "description": "d"},
    "DELETE workspaces/{workspace_name}": {"workspace_name": "<workspace>"},
    "GET server-info": {},
    "GET server-features": {},
    "GET ui-telemetry": {},
    "GET gateway-proxy": {},
    "POST traces/search": {},
    "POST traces/metrics": {},
    "POST datasets/search": {},
    "GET scorers/list": {},
    "GET graphql": _GRAPHQL,
    "POST graphql": _GRAPHQL,
    "GET web/me": {},
    "POST web/charts": {"run_ids": ["<run_id>"], "keys": ["<key>"]},
    "POST web/aggregate": {**_ONE_RUN, "key": "<key>"},
    "GET web/experiments": {},
    "POST web/runs/search": {"experiment_ids": ["<experiment_id>"], "metrics": ["<key>"]},
    "POST web/runs/overviews": {"run_ids": ["<run_id>"]},
    "GET web/runs/{run_id}": _ONE_RUN,
    "POST web/runs/{run_id}/edit": {**_ONE_RUN, "name": "b", "set_tags": {"a": "1"}},
    "POST web/runs/delete": {"run_ids": ["<run_id>"]},
    "POST web/runs/move": {"run_ids": ["<run_id>"], "experiment_id": "<experiment_id>"},
    "POST web/runs/restore": {"run_ids": ["<run_id>"]},
    "POST web/import/experiments": {"name": "<new>", "created_unix_us": 1_700_000_000_000_000},
    "POST web/import/logged-models": {"model_id": "m-new", "experiment_id": "<experiment_id>", "name": "<new>"},
    "POST web/import/registered-models": {"name": "<new>"},
    "POST web/import/model-versions": {"name": "<model>", "version": 77, "source": "s3://bucket/model"},
    "GET web/views": {},
    "POST web/views": {"name": "<new>", "state": "/r/<run_id>"},
    "GET web/views/{view_id}": _ONE_VIEW,
    "PUT web/views/{view_id}": {**_ONE_VIEW, "state": "/r/<run_id>?x=time"},
    "DELETE web/views/{view_id}": _ONE_VIEW,
    "GET web/keys": _ONE_EXPERIMENT,
    "GET web/runs/{run_id}/stragglers": {**_ONE_RUN, "key": "<key>"},
    "GET web/events": {"run": "<run_id>"},
}  # fmt: skip

# Further requests of some of them, which name other objects, or several.
FURTHER: Mapping[str, tuple[Fields, ...]] = {
    "RunService.GetExperiment": ({"name": "<experiment>"},),
    "RunService.CreateRun": ({"experiment": "<experiment>", "name": "a"},),
    "QueryService.Latest": ({"run_ids": ["<run_id>"], "keys": ["<key>"]},),
    "QueryService.History": ({"run_id": "<run_id>", "keys": ["<key>"]},),
    "POST runs/log-metric": (
        {**_ONE_RUN, "key": "m", "value": 1, "timestamp": 1, "model_id": "<model_id>"},
        {"run_uuid": "<run_id>", "key": "m", "value": 1, "timestamp": 1},
    ),
    "POST runs/log-batch": (
        {**_ONE_RUN, "metrics": [{"key": "m", "value": 1, "timestamp": 1, "step": 1, "model_id": "<model_id>"}]},
        {**_ONE_RUN, "metrics": [{"key": "m", "value": 1, "timestamp": 1, "step": 1, "run_id": "<run_id>"}]},
    ),
    "POST runs/log-inputs": ({**_ONE_RUN, "models": [{"model_id": "<model_id>"}]},),
    "POST runs/search": ({"experiment_ids": ["<experiment_id>"], "filter": "attributes.run_id = '<run_id>'"},),
    "GET mlflow-artifacts/artifacts": ({"path": "<experiment_id>"}, {"path": "<experiment_id>/models/<model_id>"}),
    "GET model-versions/search": ({"filter": "run_id = '<run_id>'"},),
    "GET mlflow-artifacts/artifacts/{path:path}": (
        {"path": "%2e/<experiment_id>/./<run_id>//artifacts/file"},
        {"path": "<experiment_id>%2F<run_id>%252Fartifacts%2Ffile"},
        {"path": "0<experiment_id>/<run_id>/artifacts/file"},
        {"path": "<experiment_id>/models/<model_id>/artifacts/file"},
    ),
    "POST logged-models": (_ONE_EXPERIMENT,),
    "POST logged-models/search": (
        {"experiment_ids": ["<experiment_id>"], "filter": "source_run_id = '<run_id>'"},
        {"experiment_ids": ["<experiment_id>"], "datasets": [{"dataset_name": "d"}]},
    ),
    "POST model-versions/create": (
        {**_ONE_MODEL, "source": "runs:/<run_id>/artifacts/m", **_ONE_RUN},
        {**_ONE_MODEL, "source": "mlflow-artifacts:/<experiment_id>/<run_id>/artifacts/m", **_ONE_RUN},
        {**_ONE_MODEL, "source": "models:/<model>/1"},
        {**_ONE_MODEL, "source": "models:/<model>@<alias>"},
        {**_ONE_MODEL, "source": "models:/<model_id>", **_OF_LOGGED_MODEL},
        {**_ONE_MODEL, "source": "mlflow-artifacts:/<experiment_id>/models/<model_id>/artifacts", **_OF_LOGGED_MODEL},
    ),
    "POST web/runs/search": (
        {"experiment_ids": ["<experiment_id>"]},
        {"filter": "attributes.run_id = '<run_id>'", "lifecycle": "all"},
    ),
    "POST graphql": tuple(
        {"query": f"{{ {field} {{ apiError {{ message }} {answer} }} }}"}
        for field, answer in (
            ('mlflowGetExperiment(input: {experimentId: "<experiment_id>"})', "experiment { name }"),
            ('mlflowListArtifacts(input: {runId: "<run_id>"})', "rootUri files { path }"),
            ('mlflowSearchRuns(input: {experimentIds: ["<experiment_id>"]})', "runs { info { runId } }"),
            (
                'mlflowGetMetricHistoryBulkInterval(input: {runIds: ["<run_id>"], metricKey: "<key>"})',
                "metrics { key value }",
            ),
            ("mlflowSearchModelVersions(input: {filter: \"run_id = '<run_id>'\"})", "modelVersions { name }"),
        )
    ),
}

# What says whose an object is. The other placeholders are the same everywhere.
OWNED = ("workspace", "experiment_id", "experiment", "run_id", "model", "model_id", "token_id", "view_id")


def requests_of(key: str) -> tuple[Fields, ...]:
    """All requests of an RPC or a route."""
    return ((RPCS.get(key) or HTTP.get(key) or {}), *FURTHER.get(key, ()))


def names_in(request: Any) -> list[str]:
    """The objects that a request names: which fields of Things."""
    return [name for name in OWNED if f"<{name}>" in json.dumps(request)]


# Pages of the service itself, which need a caller with any role.
PAGES = frozenset((*PLACES, PAGE_FILE, "/mlflow", "/mlflow/", "/about", "/static-files", COMMAND_LINE))


def served_routes() -> list[BaseRoute]:
    """Those of the real application of a service that asks who its callers are."""
    app = HttpApp(
        readiness=Readiness(),
        metrics=Metrics(version="test"),
        authenticator=Anonymous(),
        page=page_routes(PageFiles.read()),
        render_metrics=MagicMock(),
        version="test",
        sign_in=SignIn(Anonymous(), session_s=60, provider=MagicMock()),
        command_line=CommandLinePages(),
    )
    app.serve([*routes(_mocked_core()), *web_routes(_web_entries())])
    return app._starlette.routes


Entry = JsonRoute | RawRoute | WebRoute


def entries() -> tuple[Entry, ...]:
    """The tables of MLflow's routes, with GraphQL, and of those of the page."""
    graphql = (RawRoute(method, "/graphql", Role.READ, MagicMock()) for method in ("GET", "POST"))
    return (*table(_mocked_core()), *graphql, *_web_entries())


def _mocked_core() -> Core:
    return Core(**{one.name: MagicMock() for one in dataclasses.fields(Core)})


def _web_entries() -> tuple[WebRoute, ...]:
    queries = Queries(**{one.name: MagicMock() for one in dataclasses.fields(Queries)})
    return web_table(_mocked_core(), queries, MagicMock())


def key_of(entry: Entry) -> str:
    """The name of a route in HTTP."""
    if isinstance(entry, WebRoute):
        return f"{entry.method} web/{entry.path}"
    return f"{entry.method} {_PREFIX.sub('', entry.path)}"


_PREFIX = re.compile(r"^/?(ajax-api/)?(\d\.0/)?(mlflow/)?")


def paths_of(entry: Entry) -> tuple[str, ...]:
    """The complete paths under which a route is served."""
    if isinstance(entry, WebRoute):
        return (WEB_API + entry.path,)
    return (
        (entry.path,)
        if entry.path.startswith("/")
        else tuple(f"/{prefix}/{entry.path}" for prefix in ("api", "ajax-api"))
    )
