"""Every RPC and every HTTP route, called by all kinds of callers who must not call it, and by those who may."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple
from urllib.parse import quote, urlencode

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from starlette.routing import Mount, Route

from runstream.v1 import access_pb2_grpc, ingest_pb2_grpc, query_pb2_grpc, run_pb2_grpc
from runstream_bench.http_client import Answer
from runstream_service.core.caller import Role
from runstream_service.http.authentication import PUBLIC_PATHS
from runstream_service.http.sign_in_paths import COMMAND_LINE_TOKEN, SIGN_IN_PATHS
from runstream_service.rpc.roles import ROLES, role_of
from runstream_service.server.frontend import SERVICES
from runstream_service.web.page_routes import PAGE_FILE
from tests.access.conftest import Team, make_things
from tests.support.access import execute, make_token
from tests.support.markdown import ROOT, table_of
from tests.support.requests_of_routes import (
    HTTP,
    OWNED,
    PAGES,
    RPCS,
    Entry,
    Fields,
    Things,
    absent,
    entries,
    key_of,
    message_for,
    methods,
    names_in,
    paths_of,
    requests_of,
    served_routes,
    short_name,
)
from tests.support.rest import Rest
from tests.support.serve import ServeProcess

SECURITY = ROOT / "docs" / "security.md"
METHODS = tuple(methods())
ROUTES = entries()
BELOW = {role: [lower for lower in Role if lower < role] for role in Role}
# What those who may call get from the routes that only say that there is no such thing here.
NOT_OK = {
    **dict.fromkeys(
        (
            "POST mlflow-artifacts/mpu/create/{path:path}",
            "POST mlflow-artifacts/mpu/complete/{path:path}",
            "POST mlflow-artifacts/mpu/abort/{path:path}",
            "GET mlflow-artifacts/presigned/{path:path}",
            "POST artifacts/presigned-upload-url",
            "POST artifacts/presigned-download-url",
        ),
        501,
    ),
    "DELETE workspaces/{workspace_name}": 400,
}


UNKNOWN = tuple(f"/{prefix}/{{path:path}}" for prefix in ("api", "ajax-api", "web/api"))
DELETED_FIRST = {
    "POST runs/restore": "runs/delete",
    "POST experiments/restore": "experiments/delete",
    "POST web/runs/restore": "/web/api/runs/delete",
}


@pytest.fixture(scope="module")
def things(serve: ServeProcess, a: Team) -> Iterator[Things]:
    """What team A has; at the end it must still have all of it, as it was."""
    made = fresh_things(serve, a)
    before = _state(serve, made)
    yield made
    assert _state(serve, made) == before


@pytest.fixture(scope="module")
def unnamed(serve: ServeProcess, a: Team) -> Things:
    """More of the same, which only requests that read may name: another team may create objects with the same names."""
    return fresh_things(serve, a)


@pytest.fixture(scope="module")
def mine(serve: ServeProcess, b: Team) -> Things:
    """The objects of the team that tries to reach those of another."""
    return fresh_things(serve, b)


def fresh_things(serve: ServeProcess, team: Team) -> Things:
    """New objects of a team, with a token."""
    made = make_things(team)
    name = f"token {made.new}"
    make_token(serve, name=name, role="read", workspace=team.name)
    ((token_id,),) = execute(serve, "SELECT token_id FROM tokens WHERE name = $1", name)
    return replace(made, token_id=str(token_id))


def _state(serve: ServeProcess, things: Things) -> list[str]:
    """All stored rows and files of these objects."""
    of_run, of_experiment = f"run_id = '{things.run_id}'", f"experiment_id = {things.experiment_id}"
    of_model = f"model_id = '{things.model_id}'"
    of_name = (
        f"registered_model_id IN (SELECT registered_model_id FROM registered_models WHERE name = '{things.model}')"
    )
    where = {
        **dict.fromkeys(("runs", "experiments", "experiment_tags"), of_experiment),
        **dict.fromkeys(("params", "tags", "series", "producers"), of_run),
        **dict.fromkeys(("logged_models", "logged_model_params", "logged_model_tags"), of_model),
        "tokens": f"token_id = {things.token_id}",
        "saved_views": f"view_id = '{things.view_id}'",
        **dict.fromkeys(
            ("registered_models", "registered_model_tags", "registered_model_aliases", "model_versions"), of_name
        ),
    }
    statements = (f"SELECT '{name} ' || t::text AS row FROM {name} t WHERE {rows}" for name, rows in where.items())
    return sorted(row["row"] for row in execute(serve, " UNION ALL ".join(statements)))


# -- the tables have everything --------------------------------------------------------------------------------------


def test_every_method_of_every_service_has_a_role_and_a_request() -> None:
    assert set(map(_full_name, METHODS)) == ROLES.keys()
    assert {short_name(one) for one in METHODS} == RPCS.keys()
    assert {one.containing_service.full_name for one in METHODS} == set(SERVICES)


def test_every_route_that_is_served_has_a_role_or_is_public_and_has_a_request() -> None:
    with_role = {(entry.method, path) for entry in ROUTES for path in paths_of(entry)}
    for route in served_routes():
        assert isinstance(route, Route | Mount)
        if route.path in PUBLIC_PATHS | SIGN_IN_PATHS | PAGES | {COMMAND_LINE_TOKEN}:
            continue
        if route.path in (
            "/api/{path:path}",
            "/ajax-api/{path:path}",
            "/web/api/{path:path}",
        ):  # says that there is no such route
            continue
        assert isinstance(route, Route)
        served = {(method, route.path) for method in route.methods or () if method != "HEAD"}
        assert served <= with_role, f"{route.path} is in no table"
    assert {key_of(entry) for entry in ROUTES} == HTTP.keys()
    public = {path for entry in ROUTES if entry.role is None for path in paths_of(entry)}
    assert public <= PUBLIC_PATHS


def _full_name(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def test_the_document_says_what_each_call_needs() -> None:
    documented = {row[0]: [cell.split(", ") for cell in row[1:]] for row in table_of(SECURITY, "needs")}
    for role in Role:
        rpcs, routes = documented[str(role)]
        assert rpcs == sorted(name.rpartition("/")[2] for name, needed in ROLES.items() if needed is role)
        if role >= Role.MANAGE:
            assert routes == sorted(key_of(entry) for entry in ROUTES if entry.role is role)


# -- gRPC ------------------------------------------------------------------------------------------------------------

STUBS = {
    "IngestService": ingest_pb2_grpc.IngestServiceStub,
    "RunService": run_pb2_grpc.RunServiceStub,
    "QueryService": query_pb2_grpc.QueryServiceStub,
    "AccessService": access_pb2_grpc.AccessServiceStub,
}


class Outcome(NamedTuple):
    """How a call ended, and what it said."""

    status: str
    text: str


def call(channel: grpc.Channel, method: MethodDescriptor, request: Fields, token: str) -> Outcome:
    """Sends one request. Of a stream, the first answer is enough."""
    stub = getattr(STUBS[method.containing_service.name](channel), method.name)
    message = message_for(method, request)
    metadata = [("authorization", f"Bearer {token}")] if token else []
    answer = None
    try:
        answer = stub(iter([message]) if method.client_streaming else message, metadata=metadata, timeout=20)
        first = next(answer, None) if method.server_streaming else answer
    except grpc.RpcError as error:
        return Outcome(error.code().name, error.details() or "")
    finally:
        if method.server_streaming and answer is not None:
            answer.cancel()
    return Outcome("OK", str(first))


@pytest.mark.parametrize("method", METHODS, ids=short_name)
def test_an_rpc_is_open_to_those_who_may_and_to_nobody_else(
    method: MethodDescriptor,
    things: Things,
    a: Team,
    admin: str,
    invalid_tokens: Mapping[str, str],
    channel: grpc.Channel,
    serve: ServeProcess,
) -> None:
    role = role_of(_full_name(method))
    request = RPCS[short_name(method)]
    for wrong, token in invalid_tokens.items():
        assert call(channel, method, things.fill(request), token).status == "UNAUTHENTICATED", wrong
    tokens = {**{Role.of(name): token for name, token in a.tokens.items()}, Role.ADMIN: admin}
    for lower in BELOW[role]:
        assert call(channel, method, things.fill(request), tokens[lower]).status == "PERMISSION_DENIED", lower
    own = things if role is Role.READ else fresh_things(serve, a)
    outcome = call(channel, method, own.fill(request), tokens[role])
    assert outcome.status == "OK", outcome


@pytest.mark.parametrize("method", METHODS, ids=short_name)
def test_an_rpc_about_what_another_team_has_is_answered_as_if_it_were_not_there(
    method: MethodDescriptor, things: Things, unnamed: Things, mine: Things, b: Team, channel: grpc.Channel
) -> None:
    things = unnamed if role_of(_full_name(method)) is Role.READ else things
    for request in requests_of(short_name(method)):
        for theirs, nobodys in pairs(request, things, mine):
            found, missing = (call(channel, method, one.fill(request), b.token) for one in (theirs, nobodys))
            assert (found.status, theirs.mask(found.text)) == (missing.status, nobodys.mask(missing.text))


def pairs(request: Fields, things: Things, mine: Things) -> Iterator[tuple[Things, Things]]:
    """What a request of another team may name: things of this team, and in their place such that nobody has. First all
    of them, then one at a time while the others are the caller's own."""
    names = names_in(request)
    for chosen in (names, *([name] for name in names if len(names) > 1)):
        nobodys = absent()
        yield (
            replace(mine, new=absent().new, **{name: getattr(things, name) for name in chosen}),
            replace(mine, new=absent().new, **{name: getattr(nobodys, name) for name in chosen}),
        )


# -- HTTP ------------------------------------------------------------------------------------------------------------


def send(rest: Rest, entry: Entry, path: str, request: Fields, token: str) -> Answer:
    """Sends one request, as MLflow's clients do: fields of GET in the query, others in the body."""
    where = re.sub(r"{(\w+)(:path)?}", lambda found: quote(str(request[found[1]]), safe="/%"), path)
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {token}"} if token else {})}
    if entry.method == "GET" or path.endswith("upload-artifact"):
        where += f"?{urlencode({name: value for name, value in request.items() if f'{{{name}' not in path})}"
    return rest.request(entry.method, where, None if entry.method == "GET" else json.dumps(request).encode(), headers)


@pytest.fixture(scope="module")
def rest(serve: ServeProcess) -> Iterator[Rest]:
    """A caller who says with each request who it is."""
    with contextlib.closing(Rest(serve.http_url)) as opened:
        yield opened


@pytest.mark.parametrize("entry", ROUTES, ids=key_of)
def test_a_route_is_open_to_those_who_may_and_to_nobody_else(
    entry: Entry,
    things: Things,
    a: Team,
    admin: str,
    invalid_tokens: Mapping[str, str],
    rest: Rest,
    serve: ServeProcess,
) -> None:
    key, tokens = key_of(entry), {**a.tokens, "admin": admin}
    for path in paths_of(entry):
        if entry.role is None:
            assert send(rest, entry, path, things.fill(HTTP[key]), "").status == 200
            continue
        for wrong, token in invalid_tokens.items():
            answer = send(rest, entry, path, things.fill(HTTP[key]), token)
            assert answer.error[:2] == (401, "UNAUTHENTICATED"), wrong
        for lower in BELOW[entry.role]:
            answer = send(rest, entry, path, things.fill(HTTP[key]), tokens[str(lower)])
            assert answer.error[:2] in ((403, "PERMISSION_DENIED"), (403, "FORBIDDEN")), lower
        own = things if entry.role is Role.READ else fresh_things(serve, a)
        if key in DELETED_FIRST:
            assert a.rest.post(DELETED_FIRST[key], own.fill(HTTP[key])).status == 200
        answer = send(rest, entry, path, own.fill(HTTP[key]), tokens[str(entry.role)])
        assert answer.status == NOT_OK.get(key, getattr(entry, "status", 200)), answer


@pytest.mark.parametrize("entry", [one for one in ROUTES if one.role is not None], ids=key_of)
def test_a_route_answers_about_what_another_team_has_as_if_it_were_not_there(
    entry: Entry, things: Things, unnamed: Things, mine: Things, b: Team, rest: Rest
) -> None:
    things = unnamed if entry.role is Role.READ else things
    for request in requests_of(key_of(entry)):
        for path in paths_of(entry):
            for theirs, nobodys in pairs(request, things, mine):
                found, missing = (send(rest, entry, path, one.fill(request), b.token) for one in (theirs, nobodys))
                assert _visible(found, theirs) == _visible(missing, nobodys)


def _visible(answer: Answer, things: Things) -> tuple[int, str | None, str]:
    """All of an answer that could tell one object from another."""
    return answer.status, answer.headers.get("content-type"), things.mask(answer.content.decode())


@pytest.mark.parametrize("path", sorted(PAGES - {"/static-files", PAGE_FILE} | {"/web/page/any/main.js"}))
def test_pages_of_the_service_need_any_role(path: str, rest: Rest, a: Team, invalid_tokens: Mapping[str, str]) -> None:
    assert {rest.request("GET", path, headers=_bearer(token)).status for token in invalid_tokens.values()} == {401}
    # 400: the page for `runstream login`, without what the command adds. 308: only a slash is missing.
    assert rest.request("GET", path, headers=_bearer(a.tokens["read"])).status in (200, 308, 400)


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} if token else {}


@pytest.mark.parametrize("path", sorted(PUBLIC_PATHS))
def test_public_paths_say_nothing_about_workspaces(path: str, rest: Rest, things: Things, a: Team) -> None:
    answer = rest.request("GET", path)
    assert answer.status == 200
    for secret in (a.name, *(getattr(things, name) for name in OWNED)):
        if len(secret) > 4:
            assert secret.encode() not in answer.content


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "PROPFIND", "get", "X"])
def test_other_methods_get_nowhere_without_a_token(method: str, things: Things, rest: Rest) -> None:
    for path in (
        "/api/2.0/mlflow/runs/get",
        "/get-artifact",
        "/graphql",
        "/",
        "/api/2.0/mlflow/no-such-thing",
        "/web/api/experiments",
    ):
        answer = rest.request(method, f"{path}?run_id={things.run_id}&path=file")
        assert answer.status in (400, 401)
        assert things.run_id.encode() not in answer.content
