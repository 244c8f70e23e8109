"""Opens streams, spreads producers over writers, drains."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn
from uuid import UUID

import structlog

from runstream_service.core.errors import (
    DatabaseUnavailable,
    Draining,
    Fenced,
    InvalidField,
    LedgerBehind,
    Overloaded,
    RunDeleted,
    RunNotFound,
)
from runstream_service.core.names import parse_run_id
from runstream_service.ingest.budget import Budget
from runstream_service.ingest.gate import HotGate
from runstream_service.ingest.lanes import Lanes
from runstream_service.ingest.stream import ProducerStream
from runstream_service.ingest.writer import Writer
from runstream_service.storage.database import incarnation_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from runstream.v1 import ingest_pb2
    from runstream_service.core.caller import Caller
    from runstream_service.ingest.decode import Batch
    from runstream_service.ingest.metrics import IngestMetrics
    from runstream_service.ingest.write import MetricWrite
    from runstream_service.storage.database import Database

log = structlog.get_logger()

# HTTP has no flow control that a client would notice: it is told to come again.
_BUDGET_TIMEOUT_S = 0.5
# MLflow's clients give a request up after 120 s.
_WRITE_TIMEOUT_S = 60.0


class IngestPipeline:
    """The ingest path of one replica. `max_queued_points` bounds what waits, `max_streams` who may send,
    `max_openings` how many connections of the pool opening and declaring take, `hot_rows_max` what is stored and not
    rolled up yet. `on_commit` is called after each commit; it must not wait."""

    def __init__(
        self,
        database: Database,
        metrics: IngestMetrics,
        *,
        writers: int = 2,
        max_queued_points: int = 400_000,
        max_streams: int = 5_000,
        max_openings: int = 5,
        hot_rows_max: int = 20_000_000,
        on_commit: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self.metrics = metrics
        self._budget = Budget(max_queued_points)
        self.gate = HotGate(hot_rows_max, metrics)
        self._max_streams = max_streams
        # When a job begins, hundreds of streams open at once. Reads would wait for a connection behind all of them.
        self._openings = asyncio.Semaphore(max_openings)
        self._writers = [Writer(f"writer-{n}", database, self._budget, metrics, on_commit) for n in range(writers)]
        self._lanes = Lanes(self._writers)
        self._tasks: list[asyncio.Task[None]] = []
        self._streams: dict[UUID, ProducerStream] = {}
        self._open_streams = 0
        # Done when no new streams are taken any more.
        self.draining: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # A writer only ends when it is cancelled. Anything else is a bug, and its streams would wait for ever: whoever
        # runs the service waits for this and stops, so that another replica takes over.
        self.crashed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        metrics.watch(self._budget, self._oldest)

    def start(self) -> None:
        """Start the writers."""
        self._tasks = [asyncio.create_task(writer.run(), name=writer.name) for writer in self._writers]
        for task in self._tasks:
            task.add_done_callback(self._report_crash)

    async def open(self, caller: Caller, request: ingest_pb2.Open) -> ProducerStream:
        """Open a producer's stream; any older one of the same producer is fenced.

        Raises:
            InvalidField, RunNotFound, RunDeleted, LedgerBehind, Overloaded, Draining, DatabaseUnavailable.
        """
        self._check_room()
        run_id, producer_id = _identity(request)
        async with self._openings, self._database.acquire() as connection:
            row = await connection.fetchrow(
                "SELECT * FROM open_producer($1, $2, $3, $4, $5)",
                caller.workspace_id, run_id, producer_id, request.rank, request.attempt,
            )  # fmt: skip
            incarnation = incarnation_of(connection)
        assert row is not None
        run_state, session, committed_number = row
        _check_run(run_state, request)
        if committed_number + 1 < request.first_unacked:
            lost = request.first_unacked - 1 - committed_number
            self.metrics.acknowledged_batches_lost(lost)
            raise LedgerBehind(
                f"open.first_unacked: batches up to {request.first_unacked - 1} were acknowledged, but the database "
                f"knows {committed_number}: it was restored to an older state. Go on under a new producer_id",
                field="open.first_unacked",
            )
        stream = ProducerStream(
            producer_id, run_id, request.rank, request.attempt, session, committed_number, incarnation
        )
        self._register(stream)
        return stream

    def close(self, stream: ProducerStream, reason: str) -> None:
        """Forget a stream that ended. What it submitted is still committed."""
        if self._streams.get(stream.producer_id) is stream:
            del self._streams[stream.producer_id]
        self._open_streams -= 1
        self.metrics.streams_open.dec()
        self.metrics.stream_ended(reason, stream.duplicate_batches)

    async def declare(self, stream: ProducerStream, request: ingest_pb2.Declare) -> None:
        """Give the declared indexes their series.

        Raises:
            InvalidField: an index got two keys.
            DatabaseChanged: the stream was opened in another incarnation of the database.
            DatabaseUnavailable.
        """
        keys = stream.new_keys([(series.series_index, series.key) for series in request.series])
        if not keys:
            return
        async with self._openings, self._database.acquire() as connection:
            if incarnation_of(connection) != stream.incarnation:
                raise stream.outlived()
            rows = await connection.fetch(
                "SELECT key, series_id FROM resolve_series($1, $2, $3, $4)",
                stream.run_id, stream.rank, stream.attempt, sorted(set(keys.values())),
            )  # fmt: skip
        stream.bind(keys, {row["key"]: row["series_id"] for row in rows})

    async def submit(self, stream: ProducerStream, batch: Batch) -> None:
        """Take one batch; waits while the budget is used up or the hot table full, so that the caller stops reading.

        Raises:
            SequenceGap, UndeclaredSeries.
        """
        submission = stream.receive(batch)
        self.metrics.received.count("grpc", len(batch.value))
        if submission is None:
            return
        try:
            # Before the budget: who waits here holds nothing that others could use.
            await self.gate.passed()
            await self._budget.take(submission.charge)
        except asyncio.CancelledError:
            stream.dropped()
            raise
        # By producer, so that the batches of one are committed in order.
        self._writers[stream.producer_id.int % len(self._writers)].submit(submission)

    async def write(self, write: MetricWrite) -> None:
        """Commit a write; returns when it is committed.

        Raises:
            Overloaded: the hot table is full, or the budget is still used up after a moment.
            Draining, RunNotFound, RunDeleted, SeriesMoved, InvalidField.
            DatabaseUnavailable: there is no outcome yet; it may still be committed. Its repeat is known by its id.
        """
        if self.draining.done():
            self.refuse_draining()
        if self.gate.closed:
            raise Overloaded("too many points wait for roll-up (RUNSTREAM_HOT_ROWS_MAX); try again", retry_after_s=2.0)
        if not self._budget.take_at_once(write.charge):
            await self._wait_for_budget(write.charge)
        self._lanes.submit(write)
        too_long = DatabaseUnavailable(f"no commit within {_WRITE_TIMEOUT_S:g} s; send the same request again")
        giving_up = asyncio.get_running_loop().call_later(_WRITE_TIMEOUT_S, write.failed, too_long)
        try:
            error = await write.outcome
        finally:
            giving_up.cancel()
        if error is not None:
            raise error

    async def _wait_for_budget(self, charge: int) -> None:
        try:
            await asyncio.wait_for(self._budget.take(charge), _BUDGET_TIMEOUT_S)
        except (TimeoutError, asyncio.TimeoutError):  # two classes before Python 3.11
            raise Overloaded(
                "too many points wait for their commit (RUNSTREAM_MAX_QUEUED_POINTS); try again", retry_after_s=1.0
            ) from None

    async def readiness_changed(self, ready: bool) -> None:
        """Group commits that failed are tried again at once when the database is back."""
        if ready:
            for writer in self._writers:
                writer.try_again()

    def drain(self) -> None:
        """Take no new streams and end the open ones when what they sent is committed and acknowledged."""
        if not self.draining.done():
            self.draining.set_result(None)
        for stream in self._streams.values():
            stream.fail(_draining())

    def refuse_draining(self) -> NoReturn:
        """Raises Draining."""
        raise _draining()

    async def stop(self) -> None:
        """Stop the writers; what is not committed is dropped, unacknowledged."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _oldest(self) -> float | None:
        return min((came for writer in self._writers if (came := writer.oldest) is not None), default=None)

    def _report_crash(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None or self.crashed.done():
            return
        log.critical(f"{task.get_name()} died: {error!r}", action="writer_died", exc_info=error)
        self.crashed.set_result(error)

    def _check_room(self) -> None:
        if self.draining.done():
            self.refuse_draining()
        if self._open_streams >= self._max_streams:
            raise Overloaded(
                f"{self._open_streams} streams are open, the most this replica takes (RUNSTREAM_MAX_STREAMS)",
                retry_after_s=5.0,
            )

    def _register(self, stream: ProducerStream) -> None:
        self._open_streams += 1
        self.metrics.streams_open.inc()
        other = self._streams.get(stream.producer_id)
        # Two Opens of one producer may return from the database in either order; the session says which is newer.
        older, newer = (stream, other) if other and other.session > stream.session else (other, stream)
        self._streams[stream.producer_id] = newer
        if older is not None:
            older.fail(
                Fenced(
                    f"producer {stream.producer_id}: a newer stream of this producer took over",
                    field="open.producer_id",
                )
            )
        if self.draining.done():
            stream.fail(_draining())


def _draining() -> Draining:
    return Draining("this replica shuts down; reconnect", retry_after_s=0.1)


def _identity(request: ingest_pb2.Open) -> tuple[UUID, UUID]:
    run_id = parse_run_id(request.run_id, field="open.run_id")
    if len(request.producer_id) != 16 or not any(request.producer_id):
        raise InvalidField(
            f"open.producer_id: {len(request.producer_id)} bytes; send the 16 bytes of a UUID, fresh per producer",
            field="open.producer_id",
        )
    for name, value in (("rank", request.rank), ("attempt", request.attempt)):
        if value < 0:
            raise InvalidField(f"open.{name}: {value} is negative; count from 0", field=f"open.{name}")
    return run_id, UUID(bytes=request.producer_id)


def _check_run(run_state: str, request: ingest_pb2.Open) -> None:
    if run_state == "missing":
        raise RunNotFound(
            f"open.run_id: no run {request.run_id}; create it with RunService.CreateRun", field="open.run_id"
        )
    if run_state == "deleted":
        raise RunDeleted(
            f"open.run_id: run {request.run_id} is deleted; restore it with RunService.RestoreRun", field="open.run_id"
        )
    if run_state == "foreign":
        raise InvalidField(
            "open.producer_id: this producer belongs to another run, rank or attempt; take a fresh UUID",
            field="open.producer_id",
        )
