"""The HTTP application: what Prometheus, Kubernetes and a curious person with a browser ask for."""

from __future__ import annotations

import html
import time
from collections.abc import Mapping, MutableMapping
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

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


def make_app(*, readiness: Readiness, metrics: Metrics, version: str) -> ASGIApp:
    """The ASGI application, with every request counted."""

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

    routes = [
        Route("/", index),
        Route("/metrics", metrics_page),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/version", version_page),
    ]
    return CountRequests(Starlette(routes=routes), metrics, {route.endpoint: route.path for route in routes})


def json(body: object, *, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(body), status_code=status, media_type="application/json")


class CountRequests:
    """Counts requests by the template of their route: paths have ids in them, and strangers choose paths."""

    def __init__(self, app: ASGIApp, metrics: Metrics, templates: Mapping[Any, str]) -> None:
        self._app = app
        self._metrics = metrics
        self._templates = templates

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
            route = self._templates.get(scope.get("endpoint"), "unknown")
            # Methods are the client's choice as well.
            method = (
                scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE") else "other"
            )
            self._metrics.http_ended(method, route, status, time.perf_counter() - begun)
