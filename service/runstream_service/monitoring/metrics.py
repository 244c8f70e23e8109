"""The registry of a process, and its metrics of calls, of the database and of the process itself. The metrics of all
other parts of the service are in the same registry."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

if TYPE_CHECKING:
    from runstream_service.database.pool import Database

# From the read of a cached row to that of a long history.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


# Labels of the two pools of connections: that of the event loop, and that of the reader thread.
CALLS, READS = "calls", "reads"


class Metrics:
    """The registry, and the metrics of calls, of the database and of the process."""

    def __init__(self, *, version: str) -> None:
        # The *_created series double the page, and rate() does not need them.
        disable_created_metrics()
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        Gauge(
            "runstream_build_info", "Always 1; the labels say what runs.", ["version", "python"], registry=self.registry
        ).labels(version, platform.python_version()).set(1)
        self._grpc_requests = Counter(
            "runstream_grpc_requests_total", "gRPC calls that ended, by method and status code.",
            ["method", "code"], registry=self.registry,
        )  # fmt: skip
        self._grpc_seconds = Histogram(
            "runstream_grpc_request_seconds", "Time that gRPC calls took, by method; not of ingest streams.",
            ["method"], buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._http_requests = Counter(
            "runstream_http_requests_total", "HTTP requests, by route and status.",
            ["method", "route", "status"], registry=self.registry,
        )  # fmt: skip
        self._http_seconds = Histogram(
            "runstream_http_request_seconds", "Time that HTTP requests took, by route.",
            ["method", "route"], buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._http_children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._database_up = Gauge(
            "runstream_database_up", "1 while PostgreSQL answers, asked every few seconds; else 0.",
            registry=self.registry,
        )  # fmt: skip
        self._ready = Gauge("runstream_ready", "1 while /readyz answers 200; else 0.", registry=self.registry)
        self._pool_capacity = Gauge(
            "runstream_database_pool_capacity_connections", "The most connections that a pool opens.",
            ["pool"], registry=self.registry,
        )  # fmt: skip
        self._pool_size = Gauge(
            "runstream_database_pool_connections", "Open connections of a pool.", ["pool"], registry=self.registry
        )
        self._pool_in_use = Gauge(
            "runstream_database_pool_connections_in_use", "Connections of a pool that are at work.",
            ["pool"], registry=self.registry,
        )  # fmt: skip

    def grpc_ended(self, method: str, code: str, seconds: float | None) -> None:
        """Counts a gRPC call. `method` is as in `/runstream.v1.RunService/GetRun`; `seconds` is None for streams, which
        last."""
        self._grpc_requests.labels(method, code).inc()
        if seconds is not None:
            self._grpc_seconds.labels(method).observe(seconds)

    def http_ended(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """Counts an HTTP request. `route` is the template, so that ids in paths make no new series; `seconds` is None
        for an answer that lasts, such as events."""
        key = (method, route, status)
        children = self._http_children.get(key)
        if children is None:  # looking both up by their labels takes longer than counting
            requests = self._http_requests.labels(method, route, str(status))
            children = self._http_children[key] = (requests, self._http_seconds.labels(method, route))
        children[0].inc()
        if seconds is not None:
            children[1].observe(seconds)

    def database_answers(self, up: bool) -> None:
        """Records whether PostgreSQL answered the last ping."""
        self._database_up.set(1 if up else 0)

    async def readiness(self, ready: bool) -> None:
        """Records whether this replica is ready. (It is async because it is a listener of Readiness.)"""
        self._ready.set(1 if ready else 0)

    def watch(self, pool: str, database: Database) -> None:
        """Shows the size and use of a pool, CALLS or READS, as they are whenever the metrics are read."""
        self._pool_capacity.labels(pool).set(database.capacity)
        self._pool_size.labels(pool).set_function(lambda: database.size)
        self._pool_in_use.labels(pool).set_function(lambda: database.in_use)

    async def render(self, accept: str) -> tuple[bytes, str]:
        """All metrics and their content type, in the format that the Accept header asks for."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type
