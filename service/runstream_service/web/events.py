"""Server-sent events: new points of runs, and changes of runs, as they happen."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated

import orjson
from msgspec import Meta
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from runstream_service.core.names import parse_run_id
from runstream_service.errors.core import CoreError, Draining, InvalidField, Retryable
from runstream_service.http.admission import release_slots
from runstream_service.http.callers import recheck, set_lasting
from runstream_service.http.page_errors import body_of
from runstream_service.web.request import Message

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.web.live.hub import Hub
    from runstream_service.web.live.subscription import Subscription

# How long a browser waits before it reconnects; by default it waits some seconds.
_RETRY_MS = 500
# Something is sent at least this often, so that no proxy closes the connection as idle.
_QUIET_S = 15.0
# The caller is authenticated again this often: when a session has ended or a role was revoked, the stream ends within
# this time. (A token that is revoked ends it at once.)
_RECHECK_S = 15.0
_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # otherwise nginx holds events back until it has 4 kB of them
}


class Follow(Message):
    """GET events. `run`: runs whose points and changes are sent; `status`: runs of which only changes are sent."""

    run: Annotated[tuple[str, ...], Meta(max_length=50)] = ()
    status: Annotated[tuple[str, ...], Meta(max_length=150)] = ()
    last_event_id: str | None = None


class EventHandlers:
    """One method per route of routes.py."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def follow(self, caller: Caller, message: Follow) -> Response:
        points_of = [parse_run_id(run_id, field="run").hex for run_id in dict.fromkeys(message.run)]
        states_of = [parse_run_id(run_id, field="status").hex for run_id in message.status]
        if not points_of and not states_of:
            raise InvalidField("run: is missing; name the runs to follow, as in events?run=...&run=...", field="run")
        async with contextlib.AsyncExitStack() as stack:
            subscription = await stack.enter_async_context(
                self._hub.subscribed(caller, points_of=points_of, states_of=states_of, since=message.last_event_id)
            )
            return _EventStream(subscription, stack.pop_all())


class _EventStream(Response):
    """Sends events until the client disconnects or the stream is ended."""

    def __init__(self, subscription: Subscription, stack: contextlib.AsyncExitStack) -> None:
        super().__init__()
        self._subscription = subscription
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        release_slots(scope)
        set_lasting(scope)
        async with self._stack:
            if scope["method"] == "HEAD":
                return await Response(headers=_HEADERS)(scope, receive, send)
            return await StreamingResponse(self._pieces(scope), headers=_HEADERS)(scope, receive, send)

    async def _pieces(self, scope: Scope) -> AsyncIterator[bytes]:
        yield b"retry: %d\n\n" % _RETRY_MS
        checked = time.monotonic()
        try:
            while True:
                data = await self._subscription.next(_QUIET_S)
                # A browser remembers an id without data, but gets no event.
                yield data or b": \nid: " + self._subscription.position() + b"\n\n"
                if time.monotonic() - checked >= _RECHECK_S:
                    checked = time.monotonic()
                    await _recheck(scope)
        except Draining:
            return  # the browser reconnects to another replica, and continues where it was
        except CoreError as error:
            yield b"event: end\ndata: " + orjson.dumps(body_of(error)) + b"\n\n"


async def _recheck(scope: Scope) -> None:
    with contextlib.suppress(Retryable):  # the database does not answer; checked again later
        await recheck(scope)
