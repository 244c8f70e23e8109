"""Starts the workers, watches them, and replaces those that end or hang. Implements FrontEnds with processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from runstream._backoff import Backoff
from runstream_service.errors.startup import StartupError
from runstream_service.ingest.backpressure import HotTableGate
from runstream_service.ingest.metrics import IngestMetrics
from runstream_service.server.channel import Channel, NoAnswer
from runstream_service.server.combined_metrics import CombinedMetrics, Samples
from runstream_service.server.sockets import GRPC, HTTP, MONITORING, Reservation
from runstream_service.tls.server_tls import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from runstream_service.artifacts.store import ArtifactStore
    from runstream_service.concurrency.deadlines import Deadline
    from runstream_service.database.pool import Database
    from runstream_service.database.replica import ReplicaId
    from runstream_service.server.settings import Address, Settings

log = structlog.get_logger()

# Arguments of the interpreter; those of worker.main follow.
PROGRAM: tuple[str, ...] = ("-m", "runstream_service.server.worker")

PING_EVERY_S = 1.0
# A worker hangs if it does not answer PINGS_MISSED pings in a row, for HUNG_AFTER_S in all. Not one ping: after a pause
# of this process, or of the whole machine, the answer to the first one seems to be late.
HUNG_AFTER_S, PINGS_MISSED = 20.0, 4
# A worker that has not started by then hangs, too. It has to load its modules, perhaps from a slow disk.
STARTS_WITHIN_S = 120.0
# For the metrics of a worker, and for its open streams.
ASK_TIMEOUT_S = 5.0
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 30.0
# After a worker that lived this long, the next one starts without a long wait.
LIVED_S = 60.0

DIED, HUNG, STOPPED = "died", "hung", "stopped"


class WorkerMetrics:
    """How many workers serve, and how many had to be replaced."""

    def __init__(self, registry: CollectorRegistry, serving: Callable[[], int]) -> None:
        Gauge("runstream_workers", "Processes of this replica that serve (--workers).", registry=registry).set_function(
            serving
        )
        self.replaced = Counter(
            "runstream_workers_replaced_total",
            "Workers that were replaced, by reason: died, hung (and were killed), stopped (by a SIGTERM).",
            ["reason"], registry=registry,
        )  # fmt: skip
        for reason in (DIED, HUNG, STOPPED):
            self.replaced.labels(reason)


@dataclass(frozen=True, slots=True)
class Ended:
    """A worker that has ended, or could not be started. `reason` is DIED, HUNG or STOPPED; `refusal` is why it could
    not start, if it said so. `pid` and `exit_code` are None if there was no process."""

    reason: str
    pid: int | None
    exit_code: int | None
    refusal: StartupError | None

    @property
    def exit_name(self) -> str:
        """The signal that killed it, or its exit code."""
        if self.exit_code is not None and self.exit_code < 0:
            with contextlib.suppress(ValueError):
                return signal.Signals(-self.exit_code).name
        return f"exit code {self.exit_code}"


class WorkerProcess:
    """The process of a worker, and the channel to it."""

    def __init__(self, process: asyncio.subprocess.Process, channel: Channel) -> None:
        self.process = process
        self.channel = channel
        self.started = asyncio.Event()
        self.ready = False
        self.refusal: StartupError | None = None

    async def watch(self) -> str:
        """Waits until the process has ended, and kills it if it hangs. Returns the reason: DIED, HUNG or STOPPED."""
        reading = asyncio.create_task(self.channel.run())
        exited = asyncio.create_task(self.process.wait())
        started = asyncio.create_task(self.started.wait())
        try:
            hangs = not await self._within(STARTS_WITHIN_S, exited, started)
            hangs = hangs or await self._hangs(exited)
            if hangs and not exited.done():
                self.kill()
            code = await exited
            # Read the messages that it sent just before its end.
            await asyncio.wait([reading], timeout=1.0)
        finally:
            self.ready = False
            for task in (reading, exited, started):
                task.cancel()
        return HUNG if hangs else STOPPED if code == 0 else DIED

    async def _hangs(self, exited: asyncio.Task[int]) -> bool:
        """Pings the worker; returns True when it hangs, False when it has ended."""
        missed = 0
        while missed < PINGS_MISSED:
            if await self._within(PING_EVERY_S, exited):
                return False
            try:
                await self.channel.ask("ping", timeout_s=HUNG_AFTER_S / PINGS_MISSED)
                missed = 0
            except NoAnswer:
                missed += 1
        return True

    @staticmethod
    async def _within(timeout_s: float, *tasks: asyncio.Task[Any]) -> bool:
        """Waits until one of the tasks is done; returns False after `timeout_s`."""
        done, _ = await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)

    def kill(self) -> None:
        """Ends the process with SIGKILL, if it has not ended."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()


class _BroadcastingGate(HotTableGate):
    """Sends the numbers of waiting points to the gates of all workers, which stop ingest and count how often they
    do."""

    def __init__(self, max_points: int, tell: Callable[[int, int], None]) -> None:
        super().__init__(max_points, IngestMetrics(CollectorRegistry()))  # a registry that is not shown
        self._tell = tell

    def update(self, waiting: int, overdue: int = 0) -> None:
        super().update(waiting, overdue)
        self._tell(waiting, overdue)


class WorkerPool:
    """The front ends of a replica with several workers."""

    def __init__(self, settings: Settings, *, replica: ReplicaId, registry: CollectorRegistry) -> None:
        self._settings = settings
        self._replica = replica
        self._metrics = CombinedMetrics(registry)
        self.worker_metrics = WorkerMetrics(registry, lambda: self.serving)
        self.gate = _BroadcastingGate(settings.hot_points_max, self._tell_backlog)
        self._backlog = (0, 0)
        self.grpc_address: Address = settings.grpc_listen
        self.http_address: Address = settings.http_listen
        self.monitoring_address: Address | None = settings.monitoring_listen
        self._reservations: list[Reservation] = []
        self._workers: dict[int, WorkerProcess] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._database_url: str | None = None  # set by `serve`
        self._start_ended = asyncio.Event()  # all of them serve, or one cannot start
        self._refusal: StartupError | None = None
        self._stopping = False

    @property
    def serving(self) -> int:
        """How many workers serve."""
        return sum(worker.ready for worker in self._workers.values())

    @property
    def crashed(self) -> list[asyncio.Future[Any]]:
        """The tasks that replace workers. One of them only ends early because of a bug, and then the replica has to
        end."""
        return list(self._keepers)

    def report_crash(self) -> bool:
        """Logs what of `crashed` is done, and why; returns whether anything is, so that the replica has to end."""
        ended = [task for task in self._keepers if task.done()]
        for task in ended:
            error = None if task.cancelled() else task.exception()
            log.critical("The supervision of workers ended", action="service_failed", task="workers", exc_info=error)
        return bool(ended)

    # -- startup -----------------------------------------------------------------------------------------------------

    async def listen(self) -> None:
        """Reserves the ports, and starts the workers, which listen on them."""
        if self._settings.tls is not None:
            load(self._settings.tls)  # workers load it, too, but their errors would come late
        self.grpc_address = self._reserve(self._settings.grpc_listen, GRPC)
        self.http_address = self._reserve(self._settings.http_listen, HTTP)
        if self._settings.monitoring_listen is not None:
            self.monitoring_address = self._reserve(self._settings.monitoring_listen, MONITORING)
        self._keepers = [asyncio.create_task(self._keep(number)) for number in range(self._settings.workers)]

    def _reserve(self, address: Address, names: tuple[str, str]) -> Address:
        self._reservations.append(Reservation(address, *names))
        return self._reservations[-1].address

    async def serve(self, database: Database, artifacts: ArtifactStore) -> None:
        """Tells the workers to serve, and returns when all of them do. Raises StartupError if one cannot start."""
        self._database_url = database.url
        for worker in self._workers.values():
            self._tell_serve(worker)
        await self._start_ended.wait()
        if self._refusal is not None:
            raise self._refusal

    def _tell_serve(self, worker: WorkerProcess) -> None:
        replica = self._replica
        worker.channel.tell(
            "serve",
            {
                "database_url": self._database_url,
                "replica": [replica.version, replica.host, replica.pid],
                "backlog": self._backlog,
            },
        )

    # -- keeping workers running -------------------------------------------------------------------------------------

    async def _keep(self, number: int) -> None:
        """Keeps one worker running until the replica stops."""
        backoff = Backoff(FIRST_BACKOFF_S, LONGEST_BACKOFF_S, jitter=0)
        while True:
            began = time.monotonic()
            ended = await self._run_one(number)
            if self._stopping or self._fails_start(number, ended):
                return
            if time.monotonic() - began > LIVED_S:
                backoff.reset()
            restart_in_s = backoff.next_s()
            self._report(number, ended, restart_in_s)
            await asyncio.sleep(restart_in_s)

    async def _run_one(self, number: int) -> Ended:
        """Starts a worker, and waits until it has ended."""
        try:
            worker = await self._start(number)
        except OSError as error:  # such as no more processes, or no memory
            return Ended(DIED, None, None, StartupError(f"it cannot be started: {error}", exit_code=1))
        reason = await worker.watch()
        del self._workers[number]
        self._metrics.ended(number)
        return Ended(reason, worker.process.pid, worker.process.returncode, worker.refusal)

    async def _start(self, number: int) -> WorkerProcess:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *PROGRAM, str(theirs.fileno()), str(number), str(os.getpid()),
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, pass_fds=[theirs.fileno()],
            )  # fmt: skip
        channel = await Channel.open(
            ours,
            on_question={"metrics": self._render_metrics},
            on_message={
                "started": lambda _: worker.started.set(),
                "ready": lambda _: self._is_ready(worker),
                "startup_error": lambda why: setattr(worker, "refusal", StartupError(why[0], exit_code=why[1])),
                "metrics": lambda samples: self._metrics.remember(number, samples),
            },
        )
        worker = self._workers[number] = WorkerProcess(process, channel)
        ports = {"--grpc-listen": str(self.grpc_address), "--http-listen": str(self.http_address)}
        if self.monitoring_address is not None:
            ports["--monitoring-listen"] = str(self.monitoring_address)
        channel.tell("settings", {**self._settings.texts, **ports})
        if self._database_url is not None:
            self._tell_serve(worker)
        return worker

    def _is_ready(self, worker: WorkerProcess) -> None:
        worker.ready = True
        if self._start_ended.is_set():
            log.info("A worker serves", action="worker_ready", pid=worker.process.pid)
        elif self.serving == self._settings.workers:
            self._start_ended.set()

    def _fails_start(self, number: int, ended: Ended) -> bool:
        """Whether the replica cannot start because this worker has ended. (At the start, that is an error of the
        settings or of the machine, so the worker is not replaced; later it is.)"""
        if self._start_ended.is_set() and self._refusal is None:
            return False
        self._refusal = ended.refusal or StartupError(
            f"worker {number} ended while it started ({ended.exit_name}); the log may say why", exit_code=1
        )
        self._start_ended.set()
        return True

    def _report(self, number: int, ended: Ended, restart_in_s: float) -> None:
        self.worker_metrics.replaced.labels(ended.reason).inc()
        what = "did not answer any more and was killed" if ended.reason == HUNG else f"ended ({ended.exit_name})"
        why = "" if ended.refusal is None else f": {ended.refusal}"
        log.error(
            f"Worker {number} {what}{why}. Its clients reconnect to the others; a new one starts in {restart_in_s:g} s",
            action="worker_ended",
            worker=number,
            pid=ended.pid,
            reason=ended.reason,
            exit_code=ended.exit_code,
            restart_in_s=restart_in_s,
        )

    # -- while they run ----------------------------------------------------------------------------------------------

    def _tell_backlog(self, waiting: int, overdue: int) -> None:
        self._backlog = (waiting, overdue)
        for worker in self._workers.values():
            if worker.ready:
                worker.channel.tell("backlog", self._backlog)

    async def streaming_runs(self) -> Collection[UUID]:
        """The runs that have open ingest streams in any worker. Raises NoAnswer if one does not answer: its runs must
        not seem to be silent."""
        serving = [worker for worker in self._workers.values() if worker.ready]
        answers = await asyncio.gather(*(worker.channel.ask("runs", timeout_s=ASK_TIMEOUT_S) for worker in serving))
        return {UUID(run_id) for answer in answers for run_id in answer}

    async def _render_metrics(self, accept: str) -> list[str]:
        asks = {number: _asking(worker) for number, worker in self._workers.items()}
        body, content_type = await self._metrics.render(accept, asks)
        return [body.decode(), content_type]

    # -- shutdown ----------------------------------------------------------------------------------------------------

    async def stop(self, deadline: Deadline) -> None:
        """Tells the workers to end, and kills those that take too long; releases the ports."""
        self._stopping = True
        within_s = deadline.share(0.75)
        for worker in self._workers.values():
            if worker.started.is_set():
                worker.channel.tell("stop", within_s)
            else:
                worker.kill()  # it has no streams yet
        idle = [task for number, task in enumerate(self._keepers) if number not in self._workers]
        for task in idle:  # tasks that wait before they start the next worker
            task.cancel()
        if self._keepers:
            await asyncio.wait(self._keepers, timeout=deadline.share(0.85))
        for number, worker in list(self._workers.items()):
            log.warning("A worker did not end in time and was killed", action="worker_killed", worker=number)
            worker.kill()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for reservation in self._reservations:
            reservation.close()


def _asking(worker: WorkerProcess) -> Callable[[], Any]:
    async def ask() -> Samples | None:
        if not worker.started.is_set():
            return None
        with contextlib.suppress(NoAnswer):
            samples: Samples = await worker.channel.ask("metrics", timeout_s=ASK_TIMEOUT_S)
            return samples
        return None

    return ask
