"""The application of --monitoring-listen: what Kubernetes and Prometheus ask for, and nothing else."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from runstream_service.http.pages import RenderMetrics, monitoring_routes
from runstream_service.readiness import Readiness


class MonitoringApp:
    """An ASGI application without TLS and authentication: a kubelet has no client certificate, and Prometheus would
    need a token. It shows no data of users, and its port need not be reachable for them."""

    def __init__(self, readiness: Readiness, render_metrics: RenderMetrics, version: str) -> None:
        self._app = Starlette(routes=monitoring_routes(readiness, render_metrics, version))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
