"""Bounds how many requests are under way at a time, of all callers and of each workspace."""

from __future__ import annotations

import functools
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from runstream_service.errors.core import Overloaded
from runstream_service.http.pages import OPEN_PATHS
from runstream_service.http.paths import route_path
from runstream_service.http.refusals import refused
from runstream_service.sharing.capacity import SharedCapacity
from runstream_service.sharing.current import NO_WORKSPACE, current_workspace

# Each request may hold a body and a response. The bound is many times what a replica serves in a second. The pages for
# monitoring are outside of it.
MAX_REQUESTS = 1_000

_SLOTS = "runstream.slots"


class _Slot:
    """One of the requests that are allowed at a time. It is released once: when its request ends, or earlier."""

    def __init__(self, scope: Scope, release: Callable[[], None]) -> None:
        self._release: Callable[[], None] | None = release
        scope.setdefault(_SLOTS, []).append(self)

    def release(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release()


def release_slots(scope: Scope) -> None:
    """Releases the slots of a request before it ends: for a response that lasts as long as somebody reads it, and is
    bounded elsewhere."""
    for slot in scope.get(_SLOTS, ()):
        slot.release()


class Admission:
    """ASGI middleware: a request above the bound gets 429 and Retry-After at once. (uvicorn's own limit also counts
    idle connections, and would refuse Kubernetes' probes with 503.)"""

    def __init__(self, app: ASGIApp, max_requests: int = MAX_REQUESTS) -> None:
        self._app = app
        self._max_requests = max_requests
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or route_path(scope) in OPEN_PATHS:
            return await self._app(scope, receive, send)
        if self._under_way >= self._max_requests:
            full = Overloaded(f"This replica serves {self._max_requests:,} requests already; try again.")
            return await refused(scope, full)(scope, receive, send)
        self._under_way += 1
        slot = _Slot(scope, self._release)
        try:
            return await self._app(scope, receive, send)
        finally:
            slot.release()

    def _release(self) -> None:
        self._under_way -= 1


class WorkspaceAdmission:
    """ASGI middleware: keeps one workspace from using up the bound of all requests. It runs after authentication, which
    costs something, while Admission runs before it."""

    def __init__(self, app: ASGIApp, max_requests: int = MAX_REQUESTS) -> None:
        self._app = app
        self._requests = SharedCapacity(max_requests)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        workspace_id = current_workspace()
        if scope["type"] != "http" or workspace_id == NO_WORKSPACE:  # a public path
            return await self._app(scope, receive, send)
        if not self._requests.try_take(workspace_id):
            full = Overloaded(
                f"This replica serves {self._requests.held_by(workspace_id):,} requests of this workspace already, as "
                "many as its share; try again."
            )
            return await refused(scope, full)(scope, receive, send)
        slot = _Slot(scope, functools.partial(self._requests.release, workspace_id))
        try:
            return await self._app(scope, receive, send)
        finally:
            slot.release()
