"""Opens producers and declares their series: the questions to PostgreSQL before the first batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar
from uuid import UUID

from runstream_service.core.names import parse_run_id
from runstream_service.database.pool import server_start_id_of
from runstream_service.errors.core import InvalidField, LedgerBehind, RunDeleted, RunNotFound
from runstream_service.ingest.limits import MLFLOW_ATTEMPT, MLFLOW_RANK
from runstream_service.ingest.producer import Producer
from runstream_service.ingest.series import ResolvedSeries, resolve_series
from runstream_service.sharing.slots import FairSlots

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from runstream.v1 import ingest_pb2
    from runstream_service.core.caller import Caller
    from runstream_service.database.pool import Database
    from runstream_service.ingest.decode import EncodedDeclare
    from runstream_service.ingest.metrics import IngestMetrics
    from runstream_service.ingest.producer import Listener

T = TypeVar("T")

# Both include the wait for a turn. Our own clients give up an Open after 30 s. A Declare may have to wait for a
# thousand others, of two thousand series each.
OPEN_TIMEOUT_S = 25.0
DECLARE_TIMEOUT_S = 300.0


class WhileAccepting(Protocol):
    """Returns the result of some work, and raises an error if it takes too long or the replica stops accepting streams
    (IngestPipeline has it)."""

    async def __call__(self, work: Coroutine[object, object, T], timeout_s: float, /) -> T: ...


class ProducerOpener:
    """Opens producers and declares series, on at most `max_at_once` connections of the pool for all Opens and Declares.

    Further ones wait. When a job begins, hundreds of streams open at once; without the bound, reads would wait behind
    all of them for a connection. `max_series_per_run` returns the bound for a workspace, by its id.
    """

    def __init__(
        self,
        database: Database,
        metrics: IngestMetrics,
        while_accepting: WhileAccepting,
        *,
        max_at_once: int,
        max_series_per_run: Callable[[int], int],
        open_timeout_s: float,
        declare_timeout_s: float,
    ) -> None:
        self._database = database
        self._metrics = metrics
        self._while_accepting = while_accepting
        self._max_series_per_run = max_series_per_run
        self._open_timeout_s = open_timeout_s
        self._declare_timeout_s = declare_timeout_s
        self._open_slots = FairSlots("openings", max_at_once)
        self._declaring = FairSlots("declarations", max_at_once)

    async def open(self, caller: Caller, request: ingest_pb2.Open, listener: Listener) -> Producer:
        """Open a producer; any older session of it is fenced.

        Raises:
            InvalidField: an id is malformed, or the producer belongs to another run, rank or attempt.
            RunNotFound, RunDeleted: points cannot be stored in the run.
            LedgerBehind: the database does not know batches that the client got acknowledged.
            Draining, DatabaseUnavailable.
        """
        run_id, producer_id = _parse_open(request)
        opening = self._open(caller, request, run_id, producer_id, listener)
        return await self._while_accepting(opening, self._open_timeout_s)

    async def _open(
        self,
        caller: Caller,
        request: ingest_pb2.Open,
        run_id: UUID,
        producer_id: UUID,
        listener: Listener,
    ) -> Producer:
        async with self._open_slots.slot(), self._database.acquire() as connection:
            row = await connection.fetchrow(
                "SELECT * FROM open_producer($1, $2, $3, $4, $5)",
                caller.workspace_id, run_id, producer_id, request.rank, request.attempt,
            )  # fmt: skip
            server_start_id = server_start_id_of(connection)
        assert row is not None
        run_state, session, committed_number = row
        _check_run(run_state, request)
        if committed_number + 1 < request.first_unacked:
            lost = request.first_unacked - 1 - committed_number
            self._metrics.acknowledged_batches_lost(lost)
            raise LedgerBehind(
                f"open.first_unacked: batches up to {request.first_unacked - 1} were acknowledged, but the database "
                f"knows {committed_number}: it was restored to an older state. Continue under a new producer_id",
                field="open.first_unacked",
            )
        return Producer(
            producer_id,
            run_id,
            request.rank,
            request.attempt,
            session,
            committed_number,
            server_start_id,
            listener,
            caller.workspace_id,
        )

    async def declare_in_turn(self, producer: Producer, encoded: EncodedDeclare) -> None:
        """Wait for a turn, then `declare`. When a job begins, thousands of declarations come at once: they wait
        encoded, and are decoded only when they may use the database. Raises MalformedMessage, and what `declare`
        raises."""
        await self._while_accepting(self._declare_in_turn(producer, encoded), self._declare_timeout_s)

    async def _declare_in_turn(self, producer: Producer, encoded: EncodedDeclare) -> None:
        async with self._declaring.slot():
            await self.declare(producer, encoded.decode())

    async def declare(self, producer: Producer, request: ingest_pb2.Declare) -> None:
        """Assign series to the declared indexes; if a key gets none, its points are refused.

        Raises:
            InvalidField: an index got two keys.
            DatabaseChanged: the database server was restarted or replaced after the producer was opened.
            Draining, DatabaseUnavailable.
        """
        keys = producer.new_keys([(series.series_index, series.key) for series in request.series])
        if not keys:
            return
        resolving = self._resolve(producer, set(keys.values()))
        producer.bind(keys, await self._while_accepting(resolving, self._declare_timeout_s))

    async def _resolve(self, producer: Producer, keys: set[str]) -> ResolvedSeries:
        async with self._open_slots.slot(), self._database.acquire() as connection:
            if server_start_id_of(connection) != producer.server_start_id:
                raise producer.server_changed_error()
            return await resolve_series(
                connection,
                producer.run_id,
                producer.rank,
                producer.attempt,
                sorted(keys),
                max_series_per_run=self._max_series_per_run(producer.workspace_id),
            )


def _parse_open(request: ingest_pb2.Open) -> tuple[UUID, UUID]:
    run_id = parse_run_id(request.run_id, field="open.run_id")
    if len(request.producer_id) != 16 or not any(request.producer_id):
        raise InvalidField(
            f"open.producer_id: {len(request.producer_id)} bytes; send the 16 bytes of a UUID, fresh per producer",
            field="open.producer_id",
        )
    if request.rank < MLFLOW_RANK:
        raise InvalidField(f"open.rank: {request.rank} is negative; count from 0", field="open.rank")
    if request.attempt < 0 or (request.rank == MLFLOW_RANK and request.attempt != MLFLOW_ATTEMPT):
        hint = "count from 0" if request.attempt < 0 else f"points of rank {MLFLOW_RANK} have attempt {MLFLOW_ATTEMPT}"
        raise InvalidField(f"open.attempt: {request.attempt}; {hint}", field="open.attempt")
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
