"""Everything that callers talk to: gRPC, HTTP, ingest, tails, queries. A process has one front end at most."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any
from uuid import UUID

import grpc
import structlog
import uvicorn
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from runstream.v1 import access_pb2, access_pb2_grpc, ingest_pb2, query_pb2, run_pb2, run_pb2_grpc
from runstream_service.auth.access import Access
from runstream_service.auth.anonymous import Anonymous
from runstream_service.auth.authenticator_router import AuthenticatorRouter
from runstream_service.auth.command_line import CommandLineSignIns
from runstream_service.auth.refused_calls import RefusedCalls
from runstream_service.auth.sessions import Sessions
from runstream_service.auth.tokens import Tokens
from runstream_service.core.run_states import RunStates
from runstream_service.core.stream_lifetime import StreamLifetime
from runstream_service.database.commit_notifier import CommitNotifier
from runstream_service.http.app import HttpApp
from runstream_service.http.command_line import CommandLinePages
from runstream_service.http.monitoring import monitoring_app
from runstream_service.http.protocol import BoundedProtocol
from runstream_service.http.sign_in import SignIn
from runstream_service.http.sign_in_paths import OIDC_CALLBACK
from runstream_service.ingest.limits import MAX_HELD_POINTS
from runstream_service.ingest.metrics import IngestMetrics
from runstream_service.ingest.pipeline import IngestPipeline
from runstream_service.limits.metrics import LimitMetrics
from runstream_service.limits.workspace_limits import WorkspaceLimits
from runstream_service.mlflow.routes import routes as mlflow_routes
from runstream_service.monitoring.metrics import READS
from runstream_service.monitoring.readiness import SHUTDOWN
from runstream_service.query.reading.reader_thread import ReaderThread
from runstream_service.query.tail.metrics import TailMetrics
from runstream_service.query.tail.tail import Tail
from runstream_service.rpc.access_servicer import AccessServicer
from runstream_service.rpc.health import add_health
from runstream_service.rpc.ingest_servicer import ingest_handler
from runstream_service.rpc.interceptor import MAX_CALL_BYTES, CallInterceptor
from runstream_service.rpc.query_servicer import query_handler
from runstream_service.rpc.run_servicer import RunServicer
from runstream_service.rpc.tail_handler import tail_handler
from runstream_service.server.grpc_events import all_wakeups_read
from runstream_service.server.lasting_tasks import LastingTasks
from runstream_service.server.loop_delay import LoopDelay
from runstream_service.server.pool_shares import PoolShares
from runstream_service.server.settings import Address
from runstream_service.server.sockets import MONITORING, HttpServer, grpc_port_options, listen_grpc, listen_http
from runstream_service.server.wiring import build_services
from runstream_service.tls.connections import HandshakeFailures
from runstream_service.tls.metrics import TlsMetrics
from runstream_service.tls.server_tls import ServerTls
from runstream_service.web.live.hub import Hub
from runstream_service.web.live.metrics import LiveMetrics
from runstream_service.web.page_files import PageFiles
from runstream_service.web.page_routes import page_routes
from runstream_service.web.routes import routes as web_routes
from runstream_service.web.routes import table as web_table

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from runstream_service.artifacts.store import ArtifactStore
    from runstream_service.auth.external_identity import ExternalIdentity
    from runstream_service.concurrency.deadlines import Deadline
    from runstream_service.database.pool import Database
    from runstream_service.http.pages import RenderMetrics
    from runstream_service.ingest.backpressure import HotTableGate
    from runstream_service.monitoring.metrics import Metrics
    from runstream_service.monitoring.readiness import Readiness
    from runstream_service.server.settings import Settings

log = structlog.get_logger()

_MANY_CALLS = 1_000_000
GRPC_OPTIONS = (
    # Append has its own, smaller limit.
    ("grpc.max_receive_message_length", MAX_CALL_BYTES),
    # Clients may ping every 10 s, even without a call; a connection ends after five pings that come too early.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 5),
    # The service pings clients, so that the streams of a machine that vanished end within 80 s.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),  # a minute by default, and keepalive waits for a ping that is under way
    # A thousand workers may connect at the same moment. By default, gRPC cancels calls at random if more than a
    # thousand wait to be accepted. Here they wait, and those above --max-streams are refused and repeated.
    ("grpc.server.max_pending_requests", _MANY_CALLS),
    ("grpc.server.max_pending_requests_hard_limit", _MANY_CALLS),
)

SERVICES = tuple(
    file.DESCRIPTOR.services_by_name[name].full_name
    for file, name in (
        (ingest_pb2, "IngestService"),
        (run_pb2, "RunService"),
        (query_pb2, "QueryService"),
        (access_pb2, "AccessService"),
    )
)


class Frontend:
    """The front end of this process; implements FrontEnds. Call `listen`, then `serve`; `stop` may be called at any
    time."""

    def __init__(
        self,
        settings: Settings,
        *,
        version: str,
        metrics: Metrics,
        readiness: Readiness,
        render_metrics: RenderMetrics | None = None,
        shares_ports: bool = False,
    ) -> None:
        """`render_metrics` makes the page /metrics, by default with the metrics of this process. With `shares_ports`,
        other processes of this replica listen on the same ports."""
        self._settings = settings
        self._version = version
        self._metrics = metrics
        self._readiness = readiness
        self._render_metrics = render_metrics or metrics.render
        self._shares_ports = shares_ports
        self._shares = PoolShares.of(settings.pool_size)
        self._identity = _identity(settings)
        jwts = self._identity.jwts if self._identity else None
        self._authenticator = AuthenticatorRouter(jwts) if settings.auth else Anonymous()
        self._limits = WorkspaceLimits(
            settings.workspace_limits,
            LimitMetrics(metrics.registry, by_workspace=settings.metrics_by_workspace),
        )
        self._refused_calls = RefusedCalls(metrics.registry)
        self._sign_in = self._make_sign_in() if settings.auth else None
        self._command_line = CommandLinePages() if settings.auth else None
        self._lifetime = StreamLifetime(settings.max_connection_age_s, watching=self._authenticator.watching)
        self._tasks = LastingTasks()
        self._pipeline: IngestPipeline | None = None
        self._tail: Tail | None = None
        self._hub: Hub | None = None
        self._reader: ReaderThread | None = None
        self._grpc: grpc.aio.Server | None = None
        self._tls_metrics = TlsMetrics(metrics.registry)
        self._tls_failures = HandshakeFailures(self._tls_metrics)
        self._http: dict[HttpServer, asyncio.Task[None]] = {}
        self.serving = 0
        self.grpc_address = settings.grpc_listen
        self.http_address = settings.http_listen
        self.monitoring_address = settings.monitoring_listen

    def _make_sign_in(self) -> SignIn:
        return SignIn(
            self._authenticator,
            session_s=self._settings.session_s,
            public_url=self._settings.public_url,
            provider=self._identity.provider if self._identity else None,
        )

    @property
    def gate(self) -> HotTableGate:
        """Stops ingest when too many points wait for roll-up."""
        assert self._pipeline is not None, "it serves"
        return self._pipeline.gate

    @property
    def crashed(self) -> list[asyncio.Future[Any]]:
        """The process has to end when one of these is done."""
        writers = [] if self._pipeline is None else [self._pipeline.crashed]
        return [*writers, *self._tasks.all]

    def report_crash(self) -> bool:
        """Logs what of `crashed` is done, and why; returns whether anything is, so that the process has to end. (A
        writer logs its own failure.)"""
        return self._tasks.report_ended() or (self._pipeline is not None and self._pipeline.crashed.done())

    async def streaming_runs(self) -> Collection[UUID]:
        """The runs that have open ingest streams in this process."""
        return () if self._pipeline is None else self._pipeline.streaming_runs()

    # -- startup -----------------------------------------------------------------------------------------------------

    async def listen(self) -> None:
        """Opens the ports, before anything else, so that a port in use is reported at once. HTTP starts before there is
        a database: PostgreSQL may take minutes to replay its log, and /healthz has to answer meanwhile."""
        tls = self._start_tls()
        with all_wakeups_read():
            grpc.aio.init_grpc_aio()
        self._grpc = grpc.aio.server(
            interceptors=[
                CallInterceptor(
                    self._metrics,
                    self._authenticator,
                    refused_calls=self._refused_calls,
                    trusted_proxies=self._settings.trusted_proxies,
                    check=self._check_database,
                )
            ],
            options=(
                *grpc_port_options(shared=self._shares_ports),
                *GRPC_OPTIONS,
                *self._lifetime.grpc_options(),
            ),
        )
        self.grpc_address = listen_grpc(
            self._grpc,
            self._settings.grpc_listen,
            shared=self._shares_ports,
            credentials=None if tls is None else tls.grpc_credentials(),
        )
        self._start_http(tls)
        self._start_monitoring()
        self._tasks.start("loop watcher", LoopDelay(self._metrics.registry).run())

    def _start_tls(self) -> ServerTls | None:
        if self._settings.tls is None:
            return None
        tls = ServerTls(self._settings.tls, self._tls_metrics, self._tls_failures)
        self._tasks.start("certificate watcher", tls.run())
        return tls

    def _start_http(self, tls: ServerTls | None) -> None:
        listeners = listen_http(self._settings.http_listen, shared=self._shares_ports)
        self.http_address = Address(self._settings.http_listen.host, listeners[0].getsockname()[1])
        self._http_app = HttpApp(
            readiness=self._readiness,
            metrics=self._metrics,
            authenticator=self._authenticator,
            page=page_routes(PageFiles.read()),
            refused_calls=self._refused_calls,
            render_metrics=None if self._settings.monitoring_listen else self._render_metrics,
            version=self._version,
            allowed_hosts=self._settings.names,
            trusted_proxies=self._settings.trusted_proxies,
            path_prefix=self._settings.path_prefix,
            sign_in=self._sign_in,
            command_line=self._command_line,
        )
        self._serve_http("HTTP server", self._http_app, listeners, tls=None if tls is None else tls.http_context)

    def _start_monitoring(self) -> None:
        """Serves /metrics, /healthz and /readyz on a port of their own, without TLS: Kubernetes and Prometheus may have
        neither a token nor a certificate."""
        address = self._settings.monitoring_listen
        if address is None:
            return
        listeners = listen_http(address, MONITORING, shared=self._shares_ports)
        self.monitoring_address = Address(address.host, listeners[0].getsockname()[1])
        app = monitoring_app(self._readiness, self._metrics, self._render_metrics, self._version)
        self._serve_http("monitoring server", app, listeners)

    def _serve_http(
        self, name: str, app: ASGIApp, listeners: list[socket.socket], *, tls: ssl.SSLContext | None = None
    ) -> None:
        config = uvicorn.Config(
            app,
            http=BoundedProtocol,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,  # http/forwarded.py does that, and supports X-Forwarded-Host as well
            ws="none",
        )
        server = HttpServer(config, tls=tls, on_tls_hello=self._tls_failures.add_tls_to_plaintext)
        self._http[server] = self._tasks.start(name, server.serve(sockets=listeners))

    async def serve(self, database: Database, artifacts: ArtifactStore) -> None:
        """Starts ingest, tails and reads, and serves all calls; see FrontEnds.serve."""
        assert self._grpc is not None, "it listens"
        if isinstance(self._authenticator, AuthenticatorRouter):
            self._authenticator.use(database)
            self._tasks.start("token watcher", self._authenticator.run())
        self._refused_calls.use(database)
        self._tasks.start("record of refused calls", self._refused_calls.run())
        if self._sign_in is not None:
            self._sign_in.use(Sessions(database, session_s=self._settings.session_s))
        if self._command_line is not None:
            self._command_line.use(CommandLineSignIns(database, Tokens(database)))
        await self._limits.refresh(database)  # before the first call
        self._tasks.start("reader of limits", self._limits.run(database))
        notifier = CommitNotifier(database)
        self._tasks.start("commit notifier", notifier.run())
        self._pipeline = self._start_ingest(database, notifier)
        await self._readiness.listen(self._pipeline.on_readiness)
        self._grpc.add_generic_rpc_handlers((ingest_handler(self._pipeline, self._lifetime),))
        self._reader = await self._start_reader(database)
        self._tail = Tail(
            database,
            notifier,
            TailMetrics(self._metrics.registry),
            self._lifetime,
            max_catching_up=self._shares.tails,
        )
        self._tasks.start("tail reader", self._tail.run())
        self._grpc.add_generic_rpc_handlers((tail_handler(self._tail),))
        self._serve_calls(self._grpc, database, artifacts, self._pipeline, self._reader, self._tail)
        await add_health(self._grpc, self._readiness, SERVICES)
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), self._grpc)
        await self._grpc.start()
        self.serving = 1

    def _start_ingest(self, database: Database, notifier: CommitNotifier) -> IngestPipeline:
        pipeline = IngestPipeline(
            database,
            IngestMetrics(self._metrics.registry),
            writers=self._settings.writers,
            max_queued_points=self._settings.max_queued_points,
            max_streams=self._settings.max_streams,
            max_held_points=MAX_HELD_POINTS // self._settings.workers,
            max_openings=self._shares.openings,
            max_series_per_run=self._settings.max_series_per_run,
            limits=self._limits,
            on_commit=notifier.notify,
            hot_points_max=self._settings.hot_points_max,
        )
        pipeline.start()
        return pipeline

    async def _start_reader(self, database: Database) -> ReaderThread:
        reader = await ReaderThread.start(lambda: database.open_for_reads(max_size=self._shares.reads))
        self._metrics.watch(READS, reader.database)
        self._tasks.start("reader thread", reader.ended())
        return reader

    def _serve_calls(
        self,
        server: grpc.aio.Server,
        database: Database,
        artifacts: ArtifactStore,
        pipeline: IngestPipeline,
        reader: ReaderThread,
        tail: Tail,
    ) -> None:
        """Adds the handlers of single calls: runs, reads, and the HTTP routes, which use both."""
        access = Access.of(database, is_on=self._settings.auth, public_url=self._settings.public_url)
        core, queries = build_services(
            database, pipeline, artifacts, reader, access, shares=self._shares, limits=self._limits
        )
        runs = RunServicer(core.experiments, core.runs, core.run_moves, core.run_search, core.experiment_activity)
        run_pb2_grpc.add_RunServiceServicer_to_server(runs, server)
        server.add_generic_rpc_handlers((query_handler(queries),))
        access_pb2_grpc.add_AccessServiceServicer_to_server(AccessServicer(access), server)
        self._hub = Hub(tail, core.runs, RunStates(database), self._lifetime, LiveMetrics(self._metrics.registry))
        self._tasks.start("events for pages", self._hub.run())
        self._http_app.serve([*mlflow_routes(core), *web_routes(web_table(core, queries, self._hub))])

    def _check_database(self) -> None:
        if self._pipeline is not None:
            self._pipeline.check_database()

    # -- shutdown ----------------------------------------------------------------------------------------------------

    async def stop(self, deadline: Deadline) -> None:
        """Stops what accepts calls, then the parts that process them."""
        await self._readiness.fails(SHUTDOWN, "shutting down")
        # Streams end with DRAINING when their batches are committed and acknowledged; gRPC waits for that.
        if self._pipeline is not None:
            self._pipeline.drain()
        if self._hub is not None:
            self._hub.drain()
        if self._tail is not None:
            self._tail.drain()
        if self._grpc is not None:
            with shutdown_step("stop gRPC"):
                await self._grpc.stop(deadline.share(0.5))
        with shutdown_step("stop HTTP"):
            await self._stop_http(deadline.share(0.3))
        if self._reader is not None:
            with shutdown_step("end the reads"):
                await self._reader.stop(within_s=deadline.share(0.3))
        if self._pipeline is not None:
            await self._pipeline.stop()
        await self._tasks.cancel()
        if self._identity is not None:
            with shutdown_step("close the connections to issuers of tokens"):
                await self._identity.close()

    async def _stop_http(self, within_s: float) -> None:
        if not self._http:
            return
        for server in self._http:
            server.should_exit = True
        _, unfinished = await asyncio.wait(self._http.values(), timeout=within_s)
        if unfinished:
            for server in self._http:
                server.force_exit = True
            await asyncio.wait(unfinished, timeout=1.0)


def _identity(settings: Settings) -> ExternalIdentity | None:
    if settings.oidc is None and settings.kubernetes is None:
        return None
    # Imported here: most services accept no tokens of others, and do not need to load the libraries for them.
    from runstream_service.auth.external_identity import ExternalIdentity

    return ExternalIdentity(settings.oidc, settings.kubernetes, redirect_uri=settings.public_url + OIDC_CALLBACK)


@contextlib.contextmanager
def shutdown_step(name: str) -> Iterator[None]:
    """A step of the shutdown: an error in the block is logged, and not raised, so that the next steps are done. `name`
    goes on as in "Could not ..."."""
    try:
        yield
    except Exception:
        log.exception(f"Could not {name}", action="shutdown_step_failed", step=name)
