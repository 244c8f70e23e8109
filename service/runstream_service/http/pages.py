"""Pages that are served in any state of the service, even without a database: for Prometheus, for Kubernetes, and for
people with a browser."""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from runstream_service.http.callers import Proof, caller_of, proof_of
from runstream_service.http.json_responses import json_response
from runstream_service.http.page_html import page
from runstream_service.monitoring.readiness import Readiness

_ABOUT = """<h1>runstream {version}</h1>
<p>This service keeps experiments, runs and their metric points in PostgreSQL. It is <b>{state}</b>.</p>
<p>Experiments, runs and charts: <a href="./">runstream's page</a>.
{ui}
{person}
<p>Scripts that use MLflow work with nothing changed but the tracking URI:</p>
<pre>mlflow.set_tracking_uri("{url}")</pre>
<p>Training loops that log many points use runstream's own client, which never makes them wait:</p>
<pre>import runstream

with runstream.start_run(experiment="digits", name="first") as run:
    run.log({{"loss": 0.5}}, step=1)</pre>
<p>{metrics}<a href="healthz">/healthz</a> whether the process is alive ·
<a href="readyz">/readyz</a> whether it can serve requests</p>
"""
_SIGNED_IN = '<p>You are <a href="signin">signed in</a> as {principal}.</p>'
_METRICS = '<a href="metrics">/metrics</a> for Prometheus · '
_WITH_UI = ' The same in <a href="mlflow/">MLflow\'s web UI</a>.'
_WITHOUT_UI = """ MLflow's web UI can be shown <a href="mlflow/">below /mlflow/</a>, on the same data. It comes with the
package mlflow: install it alongside runstream and restart the service.</p>
<pre>pip install 'runstream[server,ui]'</pre>"""


# The version of MLflow that this API corresponds to. Clients read it at /version before they use some features.
MLFLOW_VERSION = "3.17.2"

# Paths for monitoring. They are served under any Host and under any load, and at --monitoring-listen alone.
OPEN_PATHS = ("/metrics", "/healthz", "/readyz", "/health", "/version")


class MetricsUnavailable(Exception):
    """The metrics of all processes cannot be collected now. (With those of one alone, counters would seem to fall.)"""


# For an Accept header: the body of /metrics and its content type. Raises MetricsUnavailable.
RenderMetrics: TypeAlias = Callable[[str], Awaitable[tuple[bytes, str]]]


def monitoring_routes(readiness: Readiness, render_metrics: RenderMetrics | None, version: str) -> list[BaseRoute]:
    """The routes of OPEN_PATHS; without `render_metrics`, all but /metrics."""

    async def metrics_page(request: Request) -> Response:
        assert render_metrics is not None, "there is no route otherwise"
        try:
            body, content_type = await render_metrics(request.headers.get("accept", ""))
        except MetricsUnavailable as error:
            return PlainTextResponse(str(error), 503)
        return Response(body, headers={"content-type": content_type})

    async def healthz(_request: Request) -> Response:
        if readiness.alive:
            return json_response({"status": "alive", "version": version})
        return json_response({"status": "the supervisor does not answer", "version": version}, status=503)

    async def readyz(_request: Request) -> Response:
        if readiness.ready:
            return json_response({"status": "ready"})
        return json_response({"status": "not ready", "problems": readiness.problems}, status=503)

    # MLflow's clients and checks of load balancers request these two.
    async def health(_request: Request) -> Response:
        return PlainTextResponse("OK")

    async def mlflow_version(_request: Request) -> Response:
        return PlainTextResponse(MLFLOW_VERSION)

    return [
        *([] if render_metrics is None else [Route("/metrics", metrics_page)]),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/health", health),
        Route("/version", mlflow_version),
    ]


def about_routes(readiness: Readiness, version: str, *, has_ui: bool, has_metrics: bool) -> list[BaseRoute]:
    """The page about the service itself."""

    async def about(request: Request) -> Response:
        state = "ready" if readiness.ready else f"not ready ({', '.join(readiness.problems)})"
        body = _ABOUT.format(
            version=html.escape(version),
            state=html.escape(state),
            ui=_WITH_UI if has_ui else _WITHOUT_UI,
            url=html.escape(str(request.base_url).rstrip("/")),
            metrics=_METRICS if has_metrics else "",
            person=_person(request),
        )
        return page(body)

    return [Route("/about", about)]


def _person(request: Request) -> str:
    if proof_of(request.scope) is not Proof.COOKIE:
        return ""
    return _SIGNED_IN.format(principal=html.escape(caller_of(request).principal))
