"""The HTTP application: the page, MLflow's routes, MLflow's web UI, pages about the service itself."""

from __future__ import annotations

import time
from collections.abc import MutableMapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from runstream_service.auth.authenticator import Authenticator
from runstream_service.auth.refused_calls import RefusedCalls
from runstream_service.errors.core import NotConnected
from runstream_service.http.admission import Admission, WorkspaceAdmission
from runstream_service.http.authentication import Authenticate
from runstream_service.http.callers import is_lasting
from runstream_service.http.command_line import CommandLinePages
from runstream_service.http.forwarded import Forwarded
from runstream_service.http.mlflow_ui import find_ui, mlflow_ui_routes
from runstream_service.http.origin_check import HostAndOriginCheck
from runstream_service.http.pages import RenderMetrics, about_routes, monitoring_routes
from runstream_service.http.paths import WEB_API, BelowMlflowUi, PathPrefix, SingleSlashes
from runstream_service.http.refusals import refused
from runstream_service.http.safe_headers import SafeHeaders
from runstream_service.http.sign_in import SignIn
from runstream_service.monitoring.metrics import Metrics
from runstream_service.monitoring.readiness import Readiness

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


class HttpApp:
    """The ASGI application; it counts every request. Until the database is ready, it only serves its own pages and the
    UI, and asks other clients to try again. Without `render_metrics`, it has no /metrics."""

    def __init__(
        self,
        *,
        readiness: Readiness,
        metrics: Metrics,
        authenticator: Authenticator,
        version: str,
        page: Sequence[BaseRoute] = (),
        refused_calls: RefusedCalls | None = None,
        render_metrics: RenderMetrics | None = None,
        allowed_hosts: Sequence[str] = (),
        trusted_proxies: Sequence[str] = (),
        path_prefix: str = "",
        sign_in: SignIn | None = None,
        command_line: CommandLinePages | None = None,
    ) -> None:
        """`page`: the routes of runstream's own page. Without `sign_in`, the authenticator lets everybody in."""
        ui = find_ui()
        self._always = [
            *page,
            *about_routes(readiness, version, has_ui=ui is not None, has_metrics=render_metrics is not None),
            *monitoring_routes(readiness, render_metrics, version),
            *(sign_in.routes() if sign_in else ()),
            *(command_line.routes() if command_line else ()),
            *mlflow_ui_routes(ui),
        ]
        self._starlette = Starlette(routes=[*self._always, *_starting()])
        # Built from the inside out. HostAndOriginCheck checks paths and the Host, so the middlewares that set them run
        # before it; and so does Authenticate, since what has to be checked depends on how the caller was authenticated.
        guarded = HostAndOriginCheck(WorkspaceAdmission(self._starlette), allowed_hosts)
        identified = Authenticate(guarded, authenticator, refused_calls, is_on=sign_in is not None)
        admitted = SafeHeaders(Admission(identified))
        located = SingleSlashes(PathPrefix(BelowMlflowUi(admitted), path_prefix))
        self._app = CountRequests(Forwarded(located, trusted_proxies), metrics)

    def serve(self, routes: Sequence[BaseRoute]) -> None:
        """Adds routes. They are tried before the others, since they get most requests."""
        self._starlette.router.routes[:] = [*routes, *self._always]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def _starting() -> list[BaseRoute]:
    begun = time.monotonic()

    async def starting(request: Request) -> Response:
        away_s = time.monotonic() - begun
        return refused(
            request.scope,
            NotConnected("runstream is starting: its database is not ready yet. Try again.", away_s=away_s),
        )

    paths = (
        f"{WEB_API}{{path:path}}",
        "/api/{path:path}",
        "/ajax-api/{path:path}",
        "/graphql",
        "/get-artifact",
        "/model-versions/get-artifact",
    )
    return [Route(path, starting, methods=list(_METHODS)) for path in paths]


class CountRequests:
    """Counts requests by the template of their route, because paths contain ids, and any caller can make up paths."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        status = 500  # unless the application answers

        async def watching_send(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watching_send)
        finally:
            # Starlette leaves the route that it chose in the scope.
            route = getattr(scope.get("route"), "path", "unknown")
            # A caller can make up methods as well.
            method = scope["method"] if scope["method"] in _METHODS else "other"
            took_s = None if is_lasting(scope) else time.perf_counter() - begun
            self._metrics.http_ended(method, route, status, took_s)
