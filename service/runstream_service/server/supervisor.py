"""Runs a replica: signals, the database, migrations, the front ends and the background work, from start to end."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import signal
import sys

import structlog
import uvloop
from google.protobuf.internal import api_implementation

from runstream_service.artifacts.store import ArtifactStore
from runstream_service.concurrency.deadlines import Deadline
from runstream_service.database.embedded import OPTIONS, EmbeddedPostgres
from runstream_service.database.external import open_external
from runstream_service.database.migrate import migrate
from runstream_service.database.pool import Database
from runstream_service.database.queries import load
from runstream_service.database.replica import ReplicaId
from runstream_service.errors.core import DatabaseUnavailable
from runstream_service.errors.startup import StartupError
from runstream_service.monitoring.metrics import CALLS, Metrics
from runstream_service.monitoring.readiness import DATABASE, MIGRATIONS, SHUTDOWN, Readiness, watch_database
from runstream_service.server import process_tuning
from runstream_service.server.background import Background
from runstream_service.server.front_ends import FrontEnds
from runstream_service.server.frontend import Frontend, shutdown_step
from runstream_service.server.lasting_tasks import LastingTasks, unless
from runstream_service.server.pool_shares import BACKGROUND_POOL_SIZE, calls_pool_size, connections_of_replica
from runstream_service.server.settings import Settings
from runstream_service.server.worker_pool import WorkerMetrics, WorkerPool

log = structlog.get_logger()

ACCESS = load("access")

# Connections to the embedded PostgreSQL besides those of the replica: for commands, and for people.
_OF_OTHERS = 20


def run(settings: Settings) -> int:
    """Runs the service until a signal ends it; returns the exit code. Raises StartupError."""
    backend = api_implementation.Type()
    if backend != "upb":
        raise StartupError(
            f"protobuf runs on its {backend!r} backend, which is many times slower than 'upb'; "
            "unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION, or install a wheel of protobuf for this machine"
        )
    process_tuning.before_start()
    try:
        return uvloop.run(Supervisor(settings).run())
    except StartupError:
        raise
    except Exception:
        log.exception("The service failed because of a bug; please report it", action="service_failed")
        return 1


class Supervisor:
    """A replica of the service. `run` may be called once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._version = importlib.metadata.version("runstream")
        self._metrics = Metrics(version=self._version)
        self._readiness = Readiness()
        self._replica = ReplicaId.of_this_process(self._version)
        self._front_ends = self._make_front_ends()
        self._background: Background | None = None
        self._postgres: EmbeddedPostgres | None = None
        self._database: Database | None = None
        self._tasks = LastingTasks()
        self._stop_requested = asyncio.Event()

    async def run(self) -> int:
        """Starts everything, waits until it should end, and stops everything; returns the exit code.

        Raises:
            StartupError: the service cannot start.
        """
        self._handle_signals()
        try:
            started = await unless(self._stop_requested, self._startup())
            if not started:
                return 0
            process_tuning.after_start()
            self._announce()
            await self._say_how_to_begin()
            return await self._main_loop()
        except DatabaseUnavailable as error:
            raise StartupError(f"the database went away: {error.message}", setting="--database", exit_code=1) from error
        finally:
            await self._shutdown()

    def _make_front_ends(self) -> FrontEnds:
        """One front end in this process, or several in workers."""
        registry = self._metrics.registry
        if self._settings.workers > 1:
            return WorkerPool(self._settings, replica=self._replica, registry=registry)
        frontend = Frontend(self._settings, version=self._version, metrics=self._metrics, readiness=self._readiness)
        WorkerMetrics(registry, lambda: frontend.serving)
        return frontend

    # -- startup -----------------------------------------------------------------------------------------------------

    async def _startup(self) -> None:
        await self._readiness.listen(self._metrics.readiness)
        await self._front_ends.listen()
        self._database = await self._open_database()
        # After the database: artifacts are below --data-dir by default, and errors should name that setting.
        artifacts = ArtifactStore.open(self._settings.artifacts)
        artifacts.delete_stale_uploads()
        self._metrics.watch(CALLS, self._database)
        await self._readiness.passes(DATABASE)
        await migrate(self._database)
        await self._readiness.passes(MIGRATIONS)
        self._tasks.start("database monitor", watch_database(self._database, self._readiness, self._metrics))
        await self._front_ends.serve(self._database, artifacts)
        self._background = Background(
            self._settings, self._database, self._metrics.registry, artifacts, self._front_ends
        )

    async def _open_database(self) -> Database:
        """Connects to the external database, or starts the embedded one and connects to it."""
        settings, replica = self._settings, self._replica
        pool_size = calls_pool_size(settings.pool_size) if settings.workers == 1 else BACKGROUND_POOL_SIZE
        if settings.database_url is None:
            self._postgres = EmbeddedPostgres(settings.data_dir, options=_embedded_options(settings))
            await self._postgres.start()
            self._tasks.start("PostgreSQL supervisor", self._postgres.supervise())
            return await Database.open(self._postgres.url, max_size=pool_size, replica=replica)
        return await open_external(
            settings.database_url, pool_size=pool_size, wait_s=settings.database_wait_s, replica=replica
        )

    def _announce(self) -> None:
        """Reports the addresses of the service: as JSON for a program, or in the log for a person."""
        front_ends, has_tls = self._front_ends, self._settings.tls is not None
        grpc_address = f"{'grpcs://' if has_tls else ''}{front_ends.grpc_address}"
        http_url = f"{'https' if has_tls else 'http'}://{front_ends.http_address}{self._settings.path_prefix}"
        addresses = {"grpc": grpc_address, "http": http_url}
        if front_ends.monitoring_address is not None:
            addresses["monitoring"] = f"http://{front_ends.monitoring_address}"
        where = str(self._postgres.data_dir) if self._postgres else "in the database of --database"
        log.info("The service is ready", action="service_ready", **addresses, data=where)
        if self._settings.json_ready:
            sys.stdout.write(json.dumps(addresses) + "\n")
        elif sys.stdout.isatty():
            sys.stdout.write(BANNER.format(version=self._version, grpc=grpc_address, http=http_url, data=where))
        sys.stdout.flush()

    async def _say_how_to_begin(self) -> None:
        """Logs how to make the first token, if the service asks for tokens and there is none yet."""
        assert self._database is not None
        if self._settings.auth and not await self._database.fetchval(ACCESS["has_token"]):
            where = "" if self._postgres is None else f" --data-dir {self._settings.data_dir}"
            log.warning(
                "There is no token yet, so every call is refused. Make the first one where the database is: "
                f"runstream token create --role admin --name admin{where or ' --database URL'}",
                action="no_tokens",
            )

    # -- main loop ---------------------------------------------------------------------------------------------------

    async def _main_loop(self) -> int:
        """Waits for a signal, or until something ends that should not; returns the exit code."""
        assert self._background is not None
        stopped = asyncio.create_task(self._stop_requested.wait())
        lasting = (self._tasks, self._background.tasks)
        endings = [*self._front_ends.crashed, *(task for tasks in lasting for task in tasks.all)]
        await asyncio.wait([stopped, *endings], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        crashes = [self._front_ends.report_crash(), *(tasks.report_ended() for tasks in lasting)]
        return 1 if any(crashes) else 0

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

    # -- shutdown ----------------------------------------------------------------------------------------------------

    async def _shutdown(self) -> None:
        """Stops the front ends, then the background work, then the database; all within `--shutdown-grace`."""
        deadline = Deadline(self._settings.shutdown_grace_s)
        await self._readiness.fails(SHUTDOWN, "shutting down")
        await self._front_ends.stop(deadline)
        if self._background is not None:
            await self._background.stop()
        await self._tasks.cancel()
        if self._database is not None:
            with shutdown_step("close the pool"):
                await self._database.close(within_s=deadline.share(0.3))
        if self._postgres is not None:
            with shutdown_step("stop PostgreSQL"):
                await self._postgres.stop(within_s=deadline.share(0.8))
        if self._stop_requested.is_set():  # otherwise the reason was logged already
            log.info("The service has stopped", action="service_stopped", seconds_left=round(deadline.left_s(), 1))


def _embedded_options(settings: Settings) -> dict[str, str]:
    """Enough connections for the workers, for commands such as `runstream status`, and for a person with psql."""
    needed = _OF_OTHERS + connections_of_replica(
        workers=settings.workers, pool_size=settings.pool_size, writers=settings.writers
    )
    return {"max_connections": str(max(int(OPTIONS["max_connections"]), needed))}


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
