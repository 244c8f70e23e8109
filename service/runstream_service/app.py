"""Wires everything together: startup, main loop, shutdown. The one place that knows all parts."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import json
import os
import signal
import sys
from collections.abc import Awaitable, Iterator
from typing import Any

import grpc
import structlog
import uvicorn
import uvloop
from google.protobuf.internal import api_implementation
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from runstream.v1 import ingest_pb2, query_pb2, run_pb2, run_pb2_grpc
from runstream_service import runtime
from runstream_service.artifacts.store import ArtifactStore
from runstream_service.cannot_start import CannotStart
from runstream_service.core.errors import DatabaseUnavailable
from runstream_service.core.lifetime import Lifetime
from runstream_service.deadline import Deadline
from runstream_service.http.app import HttpApp
from runstream_service.http.protocol import BoundedProtocol
from runstream_service.ingest.metrics import IngestMetrics
from runstream_service.ingest.pipeline import IngestPipeline
from runstream_service.listening import HttpServer, listen_grpc, listen_http
from runstream_service.liveness.loop import LivenessLoop
from runstream_service.liveness.metrics import LivenessMetrics
from runstream_service.loop_delay import LoopDelay
from runstream_service.metrics import Metrics
from runstream_service.mlflow.routes import routes as mlflow_routes
from runstream_service.pool_shares import PoolShares
from runstream_service.query.tail.metrics import TailMetrics
from runstream_service.query.tail.tail import Tail
from runstream_service.readiness import DATABASE, MIGRATIONS, SHUTDOWN, Readiness, watch_database
from runstream_service.retention.loop import RetentionLoop
from runstream_service.retention.metrics import RetentionMetrics
from runstream_service.rollup.loop import RollupLoop, RollupOptions
from runstream_service.rollup.metrics import RollupMetrics
from runstream_service.rpc.health import add_health
from runstream_service.rpc.ingest_servicer import ingest_handler
from runstream_service.rpc.interceptor import MAX_CALL_BYTES, CallInterceptor
from runstream_service.rpc.query_servicer import query_handler
from runstream_service.rpc.run_servicer import RunServicer
from runstream_service.rpc.tail_handler import tail_handler
from runstream_service.settings import Address, Settings
from runstream_service.storage.commit_notifier import CommitNotifier
from runstream_service.storage.database import Database
from runstream_service.storage.embedded import EmbeddedPostgres
from runstream_service.storage.external import open_external
from runstream_service.storage.migrate import migrate
from runstream_service.storage.replica import ReplicaId
from runstream_service.wiring import wire_calls

log = structlog.get_logger()

_MANY_CALLS = 1_000_000
GRPC_OPTIONS = (
    ("grpc.so_reuseport", 0),  # so that a port that is in use is an error, instead of being shared
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
    for file, name in ((ingest_pb2, "IngestService"), (run_pb2, "RunService"), (query_pb2, "QueryService"))
)


def run(settings: Settings) -> int:
    """Runs the service until a signal ends it; returns the exit code. Raises CannotStart."""
    backend = api_implementation.Type()
    if backend != "upb":
        raise CannotStart(
            f"protobuf runs on its {backend!r} backend, which is many times slower than 'upb'; "
            "unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION, or install a wheel of protobuf for this machine"
        )
    runtime.before_start()
    try:
        return uvloop.run(Service(settings).run())
    except CannotStart:
        raise
    except Exception:
        log.exception("The service failed for a bug; please report it", action="service_failed")
        return 1


class Service:
    """One replica."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._version = importlib.metadata.version("runstream")
        self._metrics = Metrics(version=self._version)
        self._readiness = Readiness()
        self._shares = PoolShares.of(settings.pool_size)
        self._lifetime = Lifetime(settings.max_connection_age_s)
        self._postgres: EmbeddedPostgres | None = None
        self._database: Database | None = None
        self._pipeline: IngestPipeline | None = None
        self._tail: Tail | None = None
        self._grpc: grpc.aio.Server | None = None
        self._http: uvicorn.Server | None = None
        # Tasks that run as long as the service. If one ends before it is stopped, the service ends.
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stop_requested = asyncio.Event()

    async def run(self) -> int:
        """Startup, main loop, shutdown."""
        self._handle_signals()
        try:
            started = await self._unless_stopped(self._startup())
            if not started:
                return 0
            runtime.after_start()
            self._announce()
            return await self._main_loop()
        except DatabaseUnavailable as error:
            raise CannotStart(f"the database went away: {error.message}", setting="--database", exit_code=1) from error
        finally:
            await self._shutdown()

    # -- startup -----------------------------------------------------------------------------------------------------

    async def _startup(self) -> None:
        """Opens ports first, since a port in use can be reported at once. Starts HTTP before the database, which may
        take minutes to replay its log, while /healthz has to answer."""
        settings = self._settings
        await self._readiness.listen(self._metrics.readiness)
        options = (*GRPC_OPTIONS, *self._lifetime.grpc_options())
        self._grpc = grpc.aio.server(
            interceptors=[CallInterceptor(self._metrics, check=self._check_database)], options=options
        )
        self._grpc_address = listen_grpc(self._grpc, settings.grpc_listen)
        self._start_http()
        self._tasks["loop watcher"] = asyncio.create_task(LoopDelay(self._metrics.registry).run())

        self._database = await self._open_database()
        # After the database: artifacts are below --data-dir by default, and errors should name that setting.
        self._artifacts = ArtifactStore.open(settings.artifacts)
        self._artifacts.tidy()
        self._metrics.watch(self._database)
        await self._readiness.passes(DATABASE)
        await migrate(self._database)
        await self._readiness.passes(MIGRATIONS)
        self._tasks["database monitor"] = asyncio.create_task(
            watch_database(self._database, self._readiness, self._metrics)
        )

        notifier = CommitNotifier(self._database)
        self._tasks["commit notifier"] = asyncio.create_task(notifier.run())
        self._pipeline = self._start_ingest(self._database, notifier)
        await self._readiness.listen(self._pipeline.on_readiness)
        self._start_rollup(self._database, self._pipeline)
        self._start_retention(self._database)
        self._start_liveness(self._database, self._pipeline)
        self._grpc.add_generic_rpc_handlers((ingest_handler(self._pipeline, self._lifetime),))
        self._serve_calls(self._grpc, self._database, self._pipeline)
        self._tail = Tail(
            self._database,
            notifier,
            TailMetrics(self._metrics.registry),
            self._lifetime,
            max_catching_up=self._shares.tails,
        )
        self._tasks["tail reader"] = asyncio.create_task(self._tail.run())
        self._grpc.add_generic_rpc_handlers((tail_handler(self._tail),))
        await add_health(self._grpc, self._readiness, SERVICES)
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), self._grpc)
        await self._grpc.start()

    def _start_ingest(self, database: Database, notifier: CommitNotifier) -> IngestPipeline:
        pipeline = IngestPipeline(
            database,
            IngestMetrics(self._metrics.registry),
            writers=self._settings.writers,
            max_queued_points=self._settings.max_queued_points,
            max_streams=self._settings.max_streams,
            max_openings=self._shares.openings,
            max_series_per_run=self._settings.max_series_per_run,
            on_commit=notifier.notify,
            hot_rows_max=self._settings.hot_rows_max,
        )
        pipeline.start()
        return pipeline

    def _start_rollup(self, database: Database, pipeline: IngestPipeline) -> None:
        options = RollupOptions(
            epoch_rows=self._settings.epoch_rows,
            epoch_seconds=self._settings.epoch_seconds,
            max_read_age_s=self._settings.max_read_age_s,
        )
        loop = RollupLoop(database, RollupMetrics(self._metrics.registry), pipeline.gate, options)
        self._tasks["roll-up"] = asyncio.create_task(loop.run())

    def _start_retention(self, database: Database) -> None:
        metrics = RetentionMetrics(self._metrics.registry)
        loop = RetentionLoop(database, metrics, self._artifacts, purge_after_days=self._settings.purge_after_days)
        self._tasks["retention"] = asyncio.create_task(loop.run())

    def _start_liveness(self, database: Database, pipeline: IngestPipeline) -> None:
        loop = LivenessLoop(
            database,
            LivenessMetrics(self._metrics.registry),
            pipeline.streaming_runs,
            silent_after_s=self._settings.silent_run_after_s,
        )
        self._tasks["liveness"] = asyncio.create_task(loop.run())

    def _serve_calls(self, server: grpc.aio.Server, database: Database, pipeline: IngestPipeline) -> None:
        """Adds the handlers of single calls: runs, reads, and MLflow's routes, which use both."""
        core, queries = wire_calls(database, pipeline, self._artifacts, shares=self._shares)
        run_pb2_grpc.add_RunServiceServicer_to_server(RunServicer(core.experiments, core.runs), server)
        server.add_generic_rpc_handlers((query_handler(queries),))
        self._http_app.serve(mlflow_routes(core))

    def _check_database(self) -> None:
        if self._pipeline is not None:
            self._pipeline.check_database()

    def _start_http(self) -> None:
        listeners = listen_http(self._settings.http_listen)
        self._http_address = Address(self._settings.http_listen.host, listeners[0].getsockname()[1])
        self._http_app = HttpApp(
            readiness=self._readiness,
            metrics=self._metrics,
            version=self._version,
            allowed_hosts=self._settings.allowed_hosts,
            trusted_proxies=self._settings.trusted_proxies,
            path_prefix=self._settings.path_prefix,
        )
        config = uvicorn.Config(
            self._http_app,
            http=BoundedProtocol,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,  # http/forwarded.py does that, and supports X-Forwarded-Host as well
            ws="none",
        )
        self._http = HttpServer(config)
        self._tasks["HTTP server"] = asyncio.create_task(self._http.serve(sockets=listeners))

    async def _open_database(self) -> Database:
        """Connects to the external database, or starts the embedded one and connects to it."""
        url, replica = self._settings.database_url, ReplicaId.of_this_process(self._version)
        if url is None:
            self._postgres = EmbeddedPostgres(self._settings.data_dir)
            await self._postgres.start()
            self._tasks["PostgreSQL supervisor"] = asyncio.create_task(self._postgres.supervise())
            return await Database.open(self._postgres.url, max_size=self._settings.pool_size, replica=replica)
        return await open_external(
            url, pool_size=self._settings.pool_size, wait_s=self._settings.database_wait_s, replica=replica
        )

    def _announce(self) -> None:
        """Reports the addresses of the service: as JSON for a program, or in the log for a person."""
        grpc_address, http_url = str(self._grpc_address), f"http://{self._http_address}{self._settings.path_prefix}"
        where = str(self._postgres.data_dir) if self._postgres else "the given database"
        log.info("The service is ready", action="service_ready", grpc=grpc_address, http=http_url, data=where)
        if self._settings.json_ready:
            sys.stdout.write(json.dumps({"grpc": grpc_address, "http": http_url}) + "\n")
        elif sys.stdout.isatty():
            sys.stdout.write(BANNER.format(version=self._version, grpc=grpc_address, http=http_url, data=where))
        sys.stdout.flush()

    # -- main loop ---------------------------------------------------------------------------------------------------

    async def _main_loop(self) -> int:
        """Waits for a signal, or for a task that should not have ended."""
        stopped = asyncio.create_task(self._stop_requested.wait())
        assert self._pipeline is not None
        endings: list[asyncio.Future[Any]] = [stopped, self._pipeline.crashed, *self._tasks.values()]
        await asyncio.wait(endings, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        ended = [name for name, task in self._tasks.items() if task.done()]
        for name in ended:
            error = self._tasks[name].exception()
            log.critical(f"The {name} ended unexpectedly", action="service_failed", task=name, exc_info=error)
        return 1 if ended or self._pipeline.crashed.done() else 0

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: signal.Signals) -> None:
        """The first signal requests a stop, the second forces it."""
        if not self._stop_requested.is_set():
            log.info("Shutting down", action="shutdown_started", signal=number.name)
            self._stop_requested.set()
            return
        log.warning("A second signal: ending at once", action="shutdown_forced", signal=number.name)
        if self._postgres is not None:
            self._postgres.kill()
        os._exit(128 + number)

    async def _unless_stopped(self, work: Awaitable[None]) -> bool:
        """Does the work, but cancels it when a signal arrives; returns whether it was done."""
        task = asyncio.ensure_future(work)
        stopped = asyncio.ensure_future(self._stop_requested.wait())
        await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if task.done():
            await task
            return True
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return False

    # -- shutdown ----------------------------------------------------------------------------------------------------

    async def _shutdown(self) -> None:
        """Stops the intake, then the parts that process it, then the database; all within `--shutdown-grace`."""
        deadline = Deadline(self._settings.shutdown_grace_s)
        await self._readiness.fails(SHUTDOWN, "shutting down")
        # Streams end with DRAINING when their batches are committed and acknowledged; gRPC waits for that.
        if self._pipeline is not None:
            self._pipeline.drain()
        if self._tail is not None:
            self._tail.drain()
        if self._grpc is not None:
            with _step("stop gRPC"):
                await self._grpc.stop(deadline.share(0.5))
        if self._http is not None:
            with _step("stop HTTP"):
                await self._stop_http(self._http, deadline.share(0.3))
        if self._pipeline is not None:
            await self._pipeline.stop()
        for name in ("loop watcher", "roll-up", "retention", "liveness", "tail reader", "commit notifier"):
            await self._cancel(name)
        for name in ("database monitor", "PostgreSQL supervisor"):
            await self._cancel(name)
        if self._database is not None:
            with _step("close the pool"):
                await self._database.close(within_s=deadline.share(0.3))
        if self._postgres is not None:
            with _step("stop PostgreSQL"):
                await self._postgres.stop(within_s=deadline.share(0.8))
        if self._stop_requested.is_set():  # otherwise the reason was logged already
            log.info("The service has stopped", action="service_stopped", seconds_left=round(deadline.left_s(), 1))

    async def _stop_http(self, server: uvicorn.Server, within_s: float) -> None:
        server.should_exit = True
        task = self._tasks["HTTP server"]
        await asyncio.wait([task], timeout=within_s)
        if not task.done():
            server.force_exit = True
            await asyncio.wait([task], timeout=1.0)
        await self._cancel("HTTP server")

    async def _cancel(self, name: str) -> None:
        if (task := self._tasks.get(name)) is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@contextlib.contextmanager
def _step(name: str) -> Iterator[None]:
    """A step of the shutdown: if it fails, that is logged, and the next steps are done nevertheless."""
    try:
        yield
    except Exception:
        log.exception(f"Could not {name}", action="shutdown_step_failed", step=name)


BANNER = """
  runstream {version} is ready

    gRPC   {grpc}
    HTTP   {http}
    data   {data}

  Log the first point from another terminal:

    export RUNSTREAM_ADDRESS={grpc}
    python -c "import runstream; runstream.start_run('hello').log({{'loss': 0.5}}, step=1)"

  Ctrl-C stops it.

"""
