"""Accepts streams, distributes their batches and the writes over HTTP over the writers, bounds all of it, drains."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import structlog

from runstream_service.concurrency.deadlines import with_timeout
from runstream_service.concurrency.tasks import abandon
from runstream_service.errors.core import (
    DatabaseUnavailable,
    Draining,
    Fenced,
    LimitReached,
    Overloaded,
    Retryable,
)
from runstream_service.ingest.backpressure import HotTableGate, PointBudget
from runstream_service.ingest.limits import MAX_HELD_POINTS
from runstream_service.ingest.opening import DECLARE_TIMEOUT_S, OPEN_TIMEOUT_S, ProducerOpener
from runstream_service.ingest.producer import Producer
from runstream_service.ingest.writer import QuietWriter, Writer
from runstream_service.ingest.writer_router import QUIET_POINTS, WriterRouter
from runstream_service.limits.workspace_limits import Limits, WorkspaceLimits
from runstream_service.sharing.capacity import SharedCapacity
from runstream_service.sharing.loop_turns import LoopTurns
from runstream_service.sharing.urgent import UrgentWork

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from runstream.v1 import ingest_pb2
    from runstream_service.core.caller import Caller
    from runstream_service.database.pool import Database
    from runstream_service.ingest.append_stream import AppendStream
    from runstream_service.ingest.group import Pending
    from runstream_service.ingest.http_writes import PendingWrite
    from runstream_service.ingest.metrics import IngestMetrics
    from runstream_service.ingest.producer import Listener, PendingBatch

T = TypeVar("T")

log = structlog.get_logger()

# A producer takes 4 KB, and 18 bytes more for each series above 64: a tenth of what a stream with one producer takes.
PRODUCERS_PER_STREAM = 4
# When a replica has been without its database for this long, its streams are sent to other replicas. A restart of
# PostgreSQL is often shorter.
WITHOUT_DATABASE_S = 5.0
# How long a write over HTTP waits for room in the queue before it is refused and has to be sent again: HTTP has no flow
# control that reaches the client.
_BUDGET_TIMEOUT_S = 0.5
# Points of a stream that would wait longer than this for the points per second of their workspace are refused, so that
# their users learn why. And after how long a workspace with too many streams may try again.
_RATE_WAIT_S, _STREAMS_RETRY_S = 60.0, 5.0
# MLflow's clients give up a request after 120 s.
WRITE_TIMEOUT_S = 60.0


class IngestPipeline:
    """The ingest path of one replica. `max_queued_points` bounds the points that wait, `max_streams` the open streams,
    `max_producers` the producers of all of them (by default four times as many), `max_openings` the connections of the
    pool that opening and declaring take, `hot_points_max` the points that are stored and not rolled up yet. `on_commit`
    is called after each commit; it must not wait."""

    def __init__(
        self,
        database: Database,
        metrics: IngestMetrics,
        *,
        writers: int = 2,
        max_queued_points: int = 400_000,
        max_streams: int = 5_000,
        max_producers: int | None = None,
        max_openings: int = 5,
        max_series_per_run: int = 2_000_000,
        max_held_points: int = MAX_HELD_POINTS,
        hot_points_max: int = 20_000_000,
        limits: WorkspaceLimits | None = None,
        on_commit: Callable[[], None] = lambda: None,
        open_timeout_s: float = OPEN_TIMEOUT_S,
        declare_timeout_s: float = DECLARE_TIMEOUT_S,
        write_timeout_s: float = WRITE_TIMEOUT_S,
        without_database_s: float = WITHOUT_DATABASE_S,
    ) -> None:
        self.metrics = metrics
        self.gate = HotTableGate(hot_points_max, metrics)
        self.limits = limits or WorkspaceLimits(Limits())
        self.budget = PointBudget(max_queued_points, self.gate, self.limits)
        self._max_producers = max_producers or PRODUCERS_PER_STREAM * max_streams
        self._max_series_per_run = max_series_per_run
        self._held_points = SharedCapacity(max_held_points)
        self.urgent = UrgentWork(on_pause=metrics.paused)
        self.turns = LoopTurns(lambda: self.urgent.is_under_way)
        self.opener = ProducerOpener(
            database,
            metrics,
            self._while_accepting,
            max_at_once=max_openings,
            max_series_per_run=self.max_series_per_run,
            open_timeout_s=open_timeout_s,
            declare_timeout_s=declare_timeout_s,
        )
        self._router = WriterRouter(
            [Writer(f"writer-{n}", database, self._released, metrics, on_commit, self.urgent) for n in range(writers)],
            QuietWriter("writer-quiet", database, self._released, metrics, on_commit),
            self.budget,
            self.urgent,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._calls = SharedCapacity(max_streams)
        self._streams: set[AppendStream] = set()
        # The producers that are open, and how many are open or being opened.
        self._producers: dict[UUID, Producer] = {}
        self._producer_count = 0
        self._write_timeout_s = write_timeout_s
        self._without_database_s = without_database_s
        self._draining = False
        self._not_accepting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stop_accepting_timer: asyncio.TimerHandle | None = None
        # A writer only ends when it is cancelled. Anything else is a bug, and its streams would wait forever: so the
        # process waits for this future and then ends, and another replica takes over.
        self.crashed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        metrics.watch(self.budget, self._oldest)
        metrics.streams_capacity.set(max_streams)
        self.limits.watch(lambda: self._calls.workspaces)

    def start(self) -> None:
        """Start the writers."""
        self._tasks = [asyncio.create_task(writer.run(), name=writer.name) for writer in self._router.writers]
        for task in self._tasks:
            task.add_done_callback(self._report_crash)

    @property
    def not_accepting(self) -> asyncio.Future[None]:
        """A future that is done while no streams are accepted; `not_accepting_error` says why."""
        return self._not_accepting

    def not_accepting_error(self) -> Retryable:
        """Why no streams are accepted now: this replica shuts down, or has lost its database."""
        if self._draining:
            return _draining()
        return DatabaseUnavailable(
            f"this replica has been without its database for {self._without_database_s:g} s; others may have it",
            retry_after_s=0.1,
        )

    def check_database(self) -> None:
        """Raises DatabaseUnavailable if this replica has been without its database for some seconds. A caller should
        then go to another replica at once, instead of after ten seconds in line for a connection."""
        if self._not_accepting.done() and not self._draining:
            raise self.not_accepting_error()

    @contextlib.contextmanager
    def slot(self, workspace_id: int) -> Iterator[None]:
        """One of the `max_streams` places. A call takes it before its first message, and releases it however it ends.
        So the bound also holds for calls that have not opened a stream yet. If all places are taken, the workspace with
        most streams loses one to a workspace with fewer.

        Raises:
            LimitReached: the workspace has as many streams as its limits allow.
            Overloaded: all places are taken, and no workspace has more streams than this one.
            Draining, DatabaseUnavailable: the replica accepts no streams now.
        """
        if self._not_accepting.done():
            raise self.not_accepting_error()
        self.limits.used(workspace_id)
        if 0 < self.limits.part_of(workspace_id).streams <= self._streams_of(workspace_id):
            raise self.limits.reached("streams", workspace_id, retry_after_s=_STREAMS_RETRY_S)
        if self._calls.held >= self._calls.capacity:
            self._make_room(workspace_id)
        self._calls.take(workspace_id, 1)
        self.metrics.streams_open.set(self._calls.held)
        try:
            yield
        finally:
            self._calls.release(workspace_id)
            self.metrics.streams_open.set(self._calls.held)

    def _make_room(self, workspace_id: int) -> None:
        """End a stream of the workspace that has most; its client keeps its points and opens another one. Raise
        Overloaded if no workspace has more streams than this one would have then. A stream that ends is counted until
        its last acks are sent, so for some seconds a few more than `max_streams` may be open."""
        most = max(self._streams, key=lambda stream: self._streams_of(stream.workspace_id), default=None)
        if most is None or self._streams_of(most.workspace_id) <= self._streams_of(workspace_id) + 1:
            raise Overloaded(
                f"{self._calls.held} streams are open, the most this replica takes (RUNSTREAM_MAX_STREAMS)",
                retry_after_s=1.0,
            )
        most.fail(
            Overloaded(
                f"{self._calls.held} streams are open, the most this replica takes (RUNSTREAM_MAX_STREAMS), and this "
                "one makes room for another workspace, which has fewer; open it again",
                retry_after_s=1.0,
            )
        )
        self.stream_ended(most)  # so that it makes room only once

    def _streams_of(self, workspace_id: int) -> int:
        return self._calls.held_by(workspace_id)

    def stream_began(self, stream: AppendStream) -> None:
        """Register an open stream: it fails as soon as this replica stops accepting streams."""
        self._streams.add(stream)
        if self._not_accepting.done():
            stream.fail(self.not_accepting_error())

    def stream_ended(self, stream: AppendStream) -> None:
        """Forget a stream that has ended."""
        self._streams.discard(stream)

    async def open(self, caller: Caller, request: ingest_pb2.Open, listener: Listener) -> Producer:
        """Open a producer; any older session of it is fenced. The caller closes it. Batches that were submitted are
        committed even if it has closed.

        Raises:
            InvalidField, RunNotFound, RunDeleted, LedgerBehind, Overloaded, Draining, DatabaseUnavailable.
        """
        if self._producer_count >= self._max_producers:
            raise Overloaded(
                f"{self._producer_count:,} producers are open, the most this replica takes "
                f"({PRODUCERS_PER_STREAM} for each of RUNSTREAM_MAX_STREAMS)",
                retry_after_s=1.0,
            )
        self._count_producer(+1)
        try:
            producer = await self.opener.open(caller, request, listener)
            if self._not_accepting.done():
                raise self.not_accepting_error()
        except BaseException:
            self._count_producer(-1)
            raise
        self._register(producer)
        return producer

    def close(self, producer: Producer) -> None:
        """The producer is not used by its stream any more."""
        if self._producers.get(producer.producer_id) is producer:
            del self._producers[producer.producer_id]
        self._count_producer(-1)
        self.metrics.duplicate_batches(producer.duplicate_batches)

    def _count_producer(self, change: int) -> None:
        self._producer_count += change
        self.metrics.producers_open.set(self._producer_count)

    async def _while_accepting(self, work: Coroutine[object, object, T], timeout_s: float) -> T:
        """The result of some work on the database. The work is abandoned when it takes longer than `timeout_s`, or when
        this replica stops accepting streams: its connection may hang."""
        task = asyncio.ensure_future(work)
        try:
            ends: set[asyncio.Future[Any]] = {task, self._not_accepting}
            await asyncio.wait(ends, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if self._not_accepting.done():
                raise self.not_accepting_error()
            raise DatabaseUnavailable(f"PostgreSQL has not answered within {timeout_s:g} s")
        finally:
            abandon(task)

    def max_series_per_run(self, workspace_id: int) -> int:
        """The most series of a run of a workspace."""
        return min(self._max_series_per_run, self.limits.of(workspace_id).series_per_run or self._max_series_per_run)

    def submit(self, pending: PendingBatch) -> None:
        """Hand a batch to its writer; its charge was taken from the budget."""
        self._router.submit(pending)

    def _released(self, item: Pending) -> None:
        self._router.ended(item)
        self.budget.release(item.workspace_id, item.charge)

    def must_pause(self, workspace_id: int) -> bool:
        """Whether to stop reading streams of a workspace for now, because urgent work is under way."""
        return self.urgent.bulk_is_paused and self.budget.waiting_points_of(workspace_id) > QUIET_POINTS

    def hold(self, workspace_id: int, points: int) -> None:
        """Count points that were read and wait for room, and declarations that wait for their turn. Without this bound,
        thousands of streams with messages of the largest size would take gigabytes. Raises Overloaded at the bound."""
        if not self._held_points.try_take(workspace_id, points):
            raise Overloaded(
                f"{self._held_points.held:,} points wait on this replica for room in its queue; send the batch again",
                retry_after_s=1.0,
            )

    def release_held(self, workspace_id: int, points: int) -> None:
        """Points that were counted by `hold` do not wait any more."""
        self._held_points.release(workspace_id, points)

    def check_rate(self, workspace_id: int) -> None:
        """Raises LimitReached if points that come now would have to wait longer than _RATE_WAIT_S for the points per
        second of their workspace. A shorter wait is better than an error: nothing is lost."""
        wait_s = self.budget.rate_wait_s(workspace_id, self._held_points.held_by(workspace_id))
        if wait_s > _RATE_WAIT_S:
            raise self.limits.reached("points_per_second", workspace_id, retry_after_s=_RATE_WAIT_S)

    @property
    def may_read_ahead(self) -> bool:
        """Whether streams of many producers may be read further while batches that they sent wait."""
        return 2 * self._held_points.held <= self._held_points.capacity

    async def write(self, write: PendingWrite) -> None:
        """Commit a write; returns when it is committed.

        Raises:
            Overloaded: too many points wait for roll-up, or for their commit for longer than _BUDGET_TIMEOUT_S.
            LimitReached: the workspace has reached its points per second.
            SeriesCacheStale: the series have to be looked up again.
            Draining, RunNotFound, RunDeleted, InvalidField.
            DatabaseUnavailable: there is no outcome yet; it may still be committed. A repeat has the same id, and
            stores nothing twice.
        """
        if self._draining:
            raise _draining()
        if self.gate.closed:
            raise Overloaded(
                "too many points wait for roll-up (RUNSTREAM_HOT_POINTS_MAX); try again", retry_after_s=2.0
            )
        self.limits.used(write.workspace_id)
        if not self.budget.try_acquire(write.workspace_id, write.charge):
            await self._wait_for_budget(write)
        self._router.submit(write)
        # Only the writer sets the outcome. Until then the write is under way, even if its caller has left or has waited
        # for too long.
        await asyncio.wait({write.outcome}, timeout=self._write_timeout_s)
        if not write.outcome.done():
            raise DatabaseUnavailable(f"no commit within {self._write_timeout_s:g} s; send the same request again")
        if (error := write.outcome.result()) is not None:
            raise error

    async def _wait_for_budget(self, write: PendingWrite) -> None:
        if (wait_s := self.budget.rate_wait_s(write.workspace_id)) > _BUDGET_TIMEOUT_S:
            raise self._rate_reached(write, wait_s)
        try:
            await with_timeout(self.budget.acquire(write.workspace_id, write.charge), _BUDGET_TIMEOUT_S)
        except TimeoutError:
            if wait_s := self.budget.rate_wait_s(write.workspace_id):
                raise self._rate_reached(write, wait_s) from None
            raise Overloaded(
                "too many points wait for their commit (RUNSTREAM_MAX_QUEUED_POINTS); try again", retry_after_s=1.0
            ) from None

    def _rate_reached(self, write: PendingWrite, wait_s: float) -> LimitReached:
        retry_after_s = min(max(1.0, wait_s), _RATE_WAIT_S)
        return self.limits.reached("points_per_second", write.workspace_id, retry_after_s=retry_after_s)

    async def on_readiness(self, ready: bool) -> None:
        """Called when readiness changes. When the database is back, group commits that failed are tried again at once.
        When it stays away for `without_database_s`, streams are sent to other replicas, which may still reach it."""
        if self._stop_accepting_timer is not None:
            self._stop_accepting_timer.cancel()
            self._stop_accepting_timer = None
        if not ready:
            loop = asyncio.get_running_loop()
            self._stop_accepting_timer = loop.call_later(self._without_database_s, self._stop_accepting)
            return
        if self._not_accepting.done() and not self._draining:
            self._not_accepting = asyncio.get_running_loop().create_future()
        for writer in self._router.writers:
            writer.retry_now()

    def drain(self) -> None:
        """Accept no new streams; end the open ones as soon as what they sent is committed and acknowledged."""
        self._draining = True
        self._stop_accepting()

    def _stop_accepting(self) -> None:
        if not self._not_accepting.done():
            self._not_accepting.set_result(None)
        for stream in self._streams:
            stream.fail(self.not_accepting_error())

    async def stop(self) -> None:
        """Stop the writers; what is not committed is dropped, unacknowledged."""
        if self._stop_accepting_timer is not None:
            self._stop_accepting_timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def streaming_runs(self) -> set[UUID]:
        """The runs that have open producers here."""
        return {producer.run_id for producer in self._producers.values()}

    def _oldest(self) -> float | None:
        oldest = (writer.oldest for writer in self._router.writers)
        return min((received for received in oldest if received is not None), default=None)

    def _report_crash(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None or self.crashed.done():
            return
        log.critical(f"{task.get_name()} died: {error!r}", action="writer_died", exc_info=error)
        self.crashed.set_result(error)

    def _register(self, producer: Producer) -> None:
        other = self._producers.get(producer.producer_id)
        # Two Opens of one producer may return from the database in either order; the session says which is newer.
        older, newer = (producer, other) if other and other.session > producer.session else (other, producer)
        self._producers[producer.producer_id] = newer
        if older is not None:
            older.fail(
                Fenced(
                    f"producer {producer.producer_id}: a newer stream of this producer took over",
                    field="open.producer_id",
                )
            )


def _draining() -> Draining:
    return Draining("this replica shuts down; reconnect", retry_after_s=0.1)
