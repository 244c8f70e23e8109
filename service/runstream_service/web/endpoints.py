"""Makes endpoints of lines of the table: checks the role, reads the message, limits time and memory, encodes the answer
of the handler, and turns errors into the page's form."""

from __future__ import annotations

import gzip
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from runstream_service.concurrency.deadlines import with_call_timeout
from runstream_service.database import effects
from runstream_service.errors.core import NotFound
from runstream_service.http.bodies import Bodies
from runstream_service.http.callers import caller_of, set_error
from runstream_service.http.json_responses import json_response_in_thread_if_long
from runstream_service.http.page_errors import error_response
from runstream_service.query.reading.read_transaction import compute
from runstream_service.web.binary import Arrays
from runstream_service.web.large_answers import LargeAnswers
from runstream_service.web.request import read
from runstream_service.web.route_kinds import Answer, WebRoute

Endpoint = Callable[[Request], Awaitable[Response]]

# Smaller answers take longer to compress than to send.
_GZIP_BYTES = 65_536
_LOOPBACK = ("127.0.0.1", "::1", "local")


def endpoint_of(call: WebRoute, bodies: Bodies, large: LargeAnswers) -> Endpoint:
    """A line of the table of routes as an endpoint."""

    async def endpoint(request: Request) -> Response:
        caller = caller_of(request)
        caller.check(call.role)
        async with bodies.counted(request) as same_request:
            message = await read(same_request, call.message)
        answer = call.handler(caller, message)
        return await _encoded(request, await (answer if call.lasts else with_call_timeout(answer)), large)

    return guarded(endpoint)


def guarded(endpoint: Endpoint) -> Endpoint:
    """Turns every exception of an endpoint into a response in the page's form."""

    async def answer(request: Request) -> Response:
        with effects.watched() as effects_of_request:
            try:
                return await endpoint(request)
            except Exception as error:
                set_error(request.scope, error)
                return error_response(error, outcome_is_unknown=effects_of_request.possible)

    return answer


async def unknown(request: Request) -> Response:
    """The endpoint for all paths and methods that are not in the table of routes."""
    raise NotFound(f"runstream has no endpoint {request.method} {request.url.path[:200]}", field="path")


async def _encoded(request: Request, answer: Answer, large: LargeAnswers) -> Response:
    if isinstance(answer, Response):
        return answer
    accepted = "" if _is_on_this_machine(request) else request.headers.get("accept-encoding", "")
    if isinstance(answer, Arrays):
        return large.response(*await compute(answer.values, _arrays, answer, accepted))
    return await json_response_in_thread_if_long(answer, accept_encoding=accepted)


def _is_on_this_machine(request: Request) -> bool:
    """Whether the client is on this machine, so that compressing the response would only take time."""
    return request.client is None or request.client.host in _LOOPBACK


def _arrays(answer: Arrays, accept_encoding: str) -> tuple[bytes, dict[str, str]]:
    data, headers = answer.encode(), {"cache-control": "no-store", "content-type": "application/octet-stream"}
    if len(data) >= _GZIP_BYTES and "gzip" in accept_encoding:
        data = gzip.compress(data, compresslevel=1)
        headers |= {"content-encoding": "gzip", "vary": "accept-encoding"}
    return data, headers
