"""A worker: a front end in a process of its own, of which the supervisor runs several.

`python -m runstream_service.server.worker FD NUMBER PID` is started by worker_pool.py; FD is its end of the channel,
PID the supervisor. The worker ends when its supervisor asks for it or ends, and on SIGTERM after it has finished what
it has begun.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib.metadata
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

import structlog
import uvloop

from runstream_service.artifacts.store import ArtifactStore
from runstream_service.concurrency.deadlines import Deadline
from runstream_service.database.external import wait_for_database
from runstream_service.database.pool import Database
from runstream_service.database.replica import ReplicaId
from runstream_service.errors.core import DatabaseUnavailable
from runstream_service.errors.startup import StartupError
from runstream_service.http.pages import MetricsUnavailable
from runstream_service.monitoring import logs
from runstream_service.monitoring.metrics import CALLS, Metrics
from runstream_service.monitoring.readiness import DATABASE, MIGRATIONS, Readiness, watch_database
from runstream_service.server import process_tuning
from runstream_service.server.channel import Channel, NoAnswer
from runstream_service.server.combined_metrics import samples_of
from runstream_service.server.frontend import Frontend, shutdown_step
from runstream_service.server.lasting_tasks import LastingTasks, unless
from runstream_service.server.pool_shares import calls_pool_size
from runstream_service.server.settings import Settings, read_settings

log = structlog.get_logger()

# Longer than the supervisor waits for the other workers (ASK_TIMEOUT_S), and less than the 10 s of Prometheus.
METRICS_TIMEOUT_S = 8.0
# The supervisor pings every second. If it hangs, nothing is rolled up, and workers are not replaced.
SUPERVISOR_SILENT_S = 30.0
_CHECK_EVERY_S = 1.0
_PR_SET_PDEATHSIG = 1


class Worker:
    """A worker. `run` may be called once."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._version = importlib.metadata.version("runstream")
        self._metrics = Metrics(version=self._version)
        self._readiness = Readiness()
        loop = asyncio.get_running_loop()
        # Messages from the supervisor, in this order.
        self._setting_texts: asyncio.Future[dict[str, str]] = loop.create_future()
        self._serve_message: asyncio.Future[dict[str, Any]] = loop.create_future()
        self._stop_requested = asyncio.Event()
        self._stop_within_s = 0.0
        self._pinged_at = time.monotonic()
        self._channel: Channel
        self._settings: Settings
        self._frontend: Frontend
        self._database: Database | None = None
        self._tasks = LastingTasks()

    async def run(self, sock: socket.socket) -> int:
        """Starts everything, waits until it should end, and stops everything; returns the exit code."""
        self._channel = await Channel.open(
            sock,
            on_question={"ping": self._ping, "metrics": self._own_metrics, "runs": self._runs},
            on_message={
                "settings": self._setting_texts.set_result,
                "serve": self._serve_message.set_result,
                "backlog": self._backlog,
                "stop": self._stop,
            },
        )
        reading = asyncio.create_task(self._channel.run())
        reading.add_done_callback(_end_at_once)
        try:
            return await self._serve()
        except StartupError as refusal:
            self._channel.tell("startup_error", [str(refusal), refusal.exit_code])
            return refusal.exit_code
        except DatabaseUnavailable as error:
            self._channel.tell("startup_error", [f"the database went away: {error.message}", 1])
            return 1
        finally:
            await self._channel.flush()
            reading.remove_done_callback(_end_at_once)

    async def _serve(self) -> int:
        self._settings = read_settings(await self._setting_texts).of_worker()
        self._stop_within_s = self._settings.shutdown_grace_s
        logs.configure(level=self._settings.log_level, format=self._settings.log_format)
        structlog.contextvars.bind_contextvars(worker=self._number)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stop, self._stop_within_s)
        self._frontend = Frontend(
            self._settings,
            version=self._version,
            metrics=self._metrics,
            readiness=self._readiness,
            render_metrics=self._metrics_of_all,
            shares_ports=True,
        )
        self._channel.tell("started")
        try:
            return await self._main_loop() if await unless(self._stop_requested, self._startup()) else 0
        finally:
            await self._shutdown(Deadline(self._stop_within_s))

    # -- startup -----------------------------------------------------------------------------------------------------

    async def _startup(self) -> None:
        """Opens the ports, connects to the database, and serves. The first workers open their ports at once, to answer
        /healthz while the database starts. A worker that replaces another one opens them when it can serve, since the
        kernel would send it connections before."""
        await self._readiness.listen(self._metrics.readiness)
        replaces_another = self._serve_message.done()
        if not replaces_another:
            await self._frontend.listen()
        self._database = await self._open_database(await self._serve_message)
        self._metrics.watch(CALLS, self._database)
        await self._readiness.passes(DATABASE)
        await self._readiness.passes(MIGRATIONS)  # the supervisor applied them
        self._tasks.start("supervisor monitor", self._watch_supervisor())
        self._tasks.start("database monitor", watch_database(self._database, self._readiness, self._metrics))
        if replaces_another:
            await self._frontend.listen()
        await self._frontend.serve(self._database, ArtifactStore.open(self._settings.artifacts))
        self._backlog((await self._serve_message)["backlog"])
        process_tuning.after_start()
        self._channel.tell("ready")

    async def _open_database(self, served: dict[str, Any]) -> Database:
        """Connects to the database, which the supervisor has checked. It is waited for: when a worker replaces another
        one, it may not answer just then."""
        return await wait_for_database(
            served["database_url"],
            pool_size=calls_pool_size(self._settings.pool_size),
            wait_s=self._settings.database_wait_s,
            replica=ReplicaId(*served["replica"]),
        )

    # -- main loop ---------------------------------------------------------------------------------------------------

    async def _main_loop(self) -> int:
        stopped = asyncio.create_task(self._stop_requested.wait())
        await asyncio.wait([stopped, *self._frontend.crashed, *self._tasks.all], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        crashes = [self._frontend.report_crash(), self._tasks.report_ended()]
        return 1 if any(crashes) else 0

    async def _shutdown(self, deadline: Deadline) -> None:
        await self._frontend.stop(deadline)
        await self._tasks.cancel()
        if self._database is not None:
            with shutdown_step("close the pool"):
                await self._database.close(within_s=deadline.share(0.3))
        # So that what this worker has counted stays in the sums.
        self._channel.tell("metrics", samples_of(self._metrics.registry))

    # -- messages and questions of the supervisor ----------------------------------------------------------------------

    def _stop(self, within_s: float) -> None:
        self._stop_within_s = within_s
        self._stop_requested.set()

    def _backlog(self, points: tuple[int, int]) -> None:
        """Passes the numbers of points that wait for roll-up, and of those overdue to be dropped, on to the gate."""
        if self._frontend.serving:
            self._frontend.gate.update(*points)

    async def _ping(self, _: object) -> None:
        """Answers at once, which shows the supervisor that the event loop runs."""
        self._pinged_at = time.monotonic()

    async def _watch_supervisor(self) -> None:
        """Reports that this replica needs a restart (/healthz) while the supervisor hangs. Ingest and reads
        continue."""
        while True:
            await asyncio.sleep(_CHECK_EVERY_S)
            answers = time.monotonic() - self._pinged_at < SUPERVISOR_SILENT_S
            if answers != self._readiness.alive:
                message = "The supervisor answers again" if answers else "The supervisor hangs; it needs a restart"
                log.warning(message, action="supervisor_back" if answers else "supervisor_silent")
            await self._readiness.set_alive(answers)

    async def _own_metrics(self, _: object) -> object:
        return samples_of(self._metrics.registry)

    async def _runs(self, _: object) -> list[str]:
        return [run_id.hex for run_id in await self._frontend.streaming_runs()]

    async def _metrics_of_all(self, accept: str) -> tuple[bytes, str]:
        try:
            text, content_type = await self._channel.ask("metrics", accept, timeout_s=METRICS_TIMEOUT_S)
        except NoAnswer as error:
            raise MetricsUnavailable(
                f"The supervisor has the metrics of all workers, and did not answer: {error}"
            ) from error
        return text.encode(), content_type


def _end_at_once(_reading: object) -> None:
    """Ends the process, since its supervisor has ended. Nothing that was acknowledged is lost."""
    log.error("The supervisor has ended unexpectedly; this worker ends, too", action="worker_orphaned", pid=os.getpid())
    os._exit(1)


def _die_with(parent: int) -> None:
    """Makes the kernel kill this process when its supervisor ends, even if the event loop hangs."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


async def _run(number: int, sock: socket.socket) -> int:
    return await Worker(number).run(sock)


def main(arguments: Sequence[str]) -> int:
    """Runs the process; returns its exit code. `arguments` are the file descriptor of the channel, the number of the
    worker, and the pid of the supervisor."""
    descriptor, number, parent = map(int, arguments)
    _die_with(parent)
    # Ctrl-C and a closed terminal reach all processes; the supervisor decides what they mean.
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    logs.configure()  # with defaults, until the settings arrive
    process_tuning.before_start()
    try:
        return uvloop.run(_run(number, socket.socket(fileno=descriptor)))
    except Exception:
        log.exception("A worker failed because of a bug; please report it", action="service_failed")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
