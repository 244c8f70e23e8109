"""The application of --monitoring-listen: what Kubernetes and Prometheus ask for, and nothing else."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.types import ASGIApp

from runstream_service.http.app import CountRequests
from runstream_service.http.pages import RenderMetrics, monitoring_routes
from runstream_service.monitoring.metrics import Metrics
from runstream_service.monitoring.readiness import Readiness


def monitoring_app(readiness: Readiness, metrics: Metrics, render_metrics: RenderMetrics, version: str) -> ASGIApp:
    """An ASGI application without TLS and authentication, since a kubelet has no client certificate and Prometheus
    would need a token. It shows no data of users, who need not be able to reach its port."""
    return CountRequests(Starlette(routes=monitoring_routes(readiness, render_metrics, version)), metrics)
