"""Makes endpoints of handlers: reads the message, checks the role, limits time and memory, and turns errors into
MLflow's form."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from runstream_service.concurrency.deadlines import with_call_timeout
from runstream_service.core.caller import Role
from runstream_service.database import effects
from runstream_service.http.bodies import Bodies
from runstream_service.http.callers import caller_of, set_error
from runstream_service.http.json_responses import json_response_in_thread_if_long
from runstream_service.http.mlflow_errors import MlflowError, error_response
from runstream_service.mlflow.request import check_query, read
from runstream_service.mlflow.route_kinds import JsonRoute, RawHandler, RawRoute


def endpoint_of(entry: JsonRoute | RawRoute, bodies: Bodies) -> RawHandler:
    """A line of the table of routes as an endpoint. The body of its request is counted in `bodies`, unless the route
    streams it."""
    if isinstance(entry, JsonRoute):
        endpoint = _with_body_counted(_with_message(entry), bodies)
    else:
        endpoint = entry.handler if entry.streams else _with_body_counted(entry.handler, bodies)
    return guarded(endpoint if entry.role is None else _with_role(endpoint, entry.role))


def _with_role(endpoint: RawHandler, role: Role) -> RawHandler:
    async def allowed(request: Request) -> Response:
        caller_of(request).check(role)
        return await endpoint(request)

    return allowed


def _with_message(call: JsonRoute) -> RawHandler:
    async def endpoint(request: Request) -> Response:
        message = await read(request, call.message)
        caller = None if call.role is None else caller_of(request)
        answer = await with_call_timeout(call.handler(caller, message))
        return await json_response_in_thread_if_long(
            answer, status=call.status, accept_encoding=request.headers.get("accept-encoding", "")
        )

    return endpoint


def _with_body_counted(endpoint: RawHandler, bodies: Bodies) -> RawHandler:
    async def counted(request: Request) -> Response:
        async with bodies.counted(request) as same_request:
            return await endpoint(same_request)

    return counted


def guarded(endpoint: RawHandler) -> RawHandler:
    """Turns every exception of an endpoint into a response in MLflow's form."""

    async def answer(request: Request) -> Response:
        with effects.watched() as effects_of_request:
            try:
                check_query(request)
                return await endpoint(request)
            except Exception as error:
                set_error(request.scope, error)
                return error_response(error, outcome_is_unknown=effects_of_request.possible)

    return answer


async def unknown(request: Request) -> Response:
    """The endpoint for all paths and methods that are not in the table of routes."""
    raise MlflowError("ENDPOINT_NOT_FOUND", f"runstream has no endpoint {request.method} {request.url.path[:200]}.")
