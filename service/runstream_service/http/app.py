"""The HTTP application: what Prometheus, Kubernetes and a curious person with a browser ask for."""

from __future__ import annotations

import html
import time
from collections.abc import MutableMapping, Sequence
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from runstream_service.metrics import Metrics
from runstream_service.readiness import Readiness

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>runstream</title>
<style>body {{ font: 1rem/1.6 system-ui; max-width: 42rem; margin: 4rem auto; padding: 0 1rem }}
pre {{ background: #8881; padding: 1rem; overflow: auto }}</style>
<h1>runstream {version}</h1>
<p>This service keeps metric points of training runs in PostgreSQL. It is <b>{state}</b>.</p>
<pre>import runstream

with runstream.start_run(experiment="digits", name="first") as run:
    run.log({{"loss": 0.5}}, step=1)</pre>
<p><a href="/metrics">/metrics</a> for Prometheus · <a href="/healthz">/healthz</a> the process lives ·
<a href="/readyz">/readyz</a> it can serve · <a href="/version">/version</a></p>
"""


class HttpApp:
    """The ASGI application, with every request counted. Before the database is there it knows the pages of `_shell`
    only, and answers to MLflow's clients that they should try again."""

    def __init__(self, *, readiness: Readiness, metrics: Metrics, version: str) -> None:
        self._starlette = Starlette(routes=[*_shell(readiness, metrics, version), *_starting()])
        self._counted = CountRequests(self._starlette, metrics)

    def serve(self, routes: Sequence[BaseRoute]) -> None:
        """From now on, these as well."""
        kept = self._starlette.router.routes[: -len(_starting())]
        self._starlette.router.routes[:] = [*kept, *routes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._counted(scope, receive, send)


def _starting() -> list[BaseRoute]:
    async def starting(_request: Request) -> Response:
        body = {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "runstream is starting: its database is not ready."}
        response = json(body, status=503)
        response.headers["retry-after"] = "1"
        return response

    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    return [Route(path, starting, methods=methods) for path in ("/api/{path:path}", "/ajax-api/{path:path}")]


def _shell(readiness: Readiness, metrics: Metrics, version: str) -> list[BaseRoute]:
    """What is answered whatever the state of the service is."""

    async def metrics_page(request: Request) -> Response:
        body, content_type = metrics.render(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    async def healthz(_request: Request) -> Response:
        return json({"status": "alive"})

    async def readyz(_request: Request) -> Response:
        if readiness.ready:
            return json({"status": "ready"})
        return json({"status": "not ready", "problems": readiness.problems}, status=503)

    async def version_page(_request: Request) -> Response:
        return json({"name": "runstream", "version": version})

    async def index(_request: Request) -> Response:
        state = "ready" if readiness.ready else f"not ready ({', '.join(readiness.problems)})"
        return HTMLResponse(PAGE.format(version=html.escape(version), state=html.escape(state)))

    return [
        Route("/", index),
        Route("/metrics", metrics_page),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/version", version_page),
    ]


def json(body: object, *, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(body), status_code=status, media_type="application/json")


class CountRequests:
    """Counts requests by the template of their route: paths have ids in them, and strangers choose paths."""

    def __init__(self, app: Starlette, metrics: Metrics) -> None:
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
            # Methods are the client's choice as well.
            method = (
                scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE") else "other"
            )
            self._metrics.http_ended(method, route, status, time.perf_counter() - begun)
