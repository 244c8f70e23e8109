# ruff: noqa: N802 (the names of RPCs are the contract's)
"""A small service that keeps the contract of proto/ in memory, and breaks in the ways tests ask for.

The reference for the client: it parses with the plain (unpacked) messages, checks every rule of the ingest contract,
and stores points under the same lock as the committed number.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc

from runstream.v1 import (
    ingest_pb2,
    ingest_pb2_grpc,
    query_pb2,
    query_pb2_grpc,
    run_pb2,
    run_pb2_grpc,
    status_pb2,
)
from runstream_service.ingest import limits

# On a stream of many producers, these end the producer that they concern.
OF_ONE_PRODUCER = (
    *("INVALID_FIELD", "UNDECLARED_SERIES", "SEQUENCE_GAP", "RUN_NOT_FOUND", "RUN_DELETED", "FENCED", "LEDGER_BEHIND"),
    *("OVERLOADED", "DATABASE_UNAVAILABLE", "COMMIT_FAILED"),
)
MAX_ENTRIES = 1_000  # params or tags in one call

Point = tuple[str, int, int, float, int, int]  # key, step, time, value, rank, attempt


class Refused(Exception):
    """Ends a call with this status."""

    def __init__(self, code: grpc.StatusCode, reason: str, message: str = "as the test asked", retry_s=None, field=""):
        super().__init__(message)
        self.code, self.reason, self.retry_s, self.field = code, reason, retry_s, field

    def status(self) -> status_pb2.RpcStatus:
        """The details that the real service sends."""
        status = status_pb2.RpcStatus(code=self.code.value[0], message=str(self))
        if self.reason:
            info = status_pb2.ErrorInfo(reason=self.reason, domain="runstream")
            if self.field:
                info.metadata["field"] = self.field
            status.details.add(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=info.SerializeToString())
        if self.retry_s is not None:
            retry = status_pb2.RetryInfo()
            retry.retry_delay.FromMilliseconds(int(self.retry_s * 1000))
            status.details.add(type_url="type.googleapis.com/google.rpc.RetryInfo", value=retry.SerializeToString())
        return status

    def abort(self, context: grpc.ServicerContext) -> None:
        """Ends the call."""
        context.set_trailing_metadata((("grpc-status-details-bin", self.status().SerializeToString()),))
        context.abort(self.code, str(self))


class Cut(Exception):
    """Ends a stream without a word, as a broken connection does."""


@dataclass
class Producer:
    """A ledger row, and the bytes of each committed batch, to prove that a number is bound to its content."""

    committed: int = 0
    session: int = 0
    batches: dict[int, bytes] = field(default_factory=dict)


@dataclass
class Member:
    """A producer on a stream of many."""

    opened: ingest_pb2.Open
    producer: Producer
    session: int
    received: int
    keys: dict[int, str] = field(default_factory=dict)


def _batches_of(batches: ingest_pb2.BatchSet) -> Iterator[tuple[int, ingest_pb2.Batch]]:
    """Producer index and batch; the bytes of a batch do not depend on the set that it came in."""
    start = 0
    for index, number, count in zip(batches.producer_index, batches.number, batches.point_count, strict=True):
        rows = slice(start, start + count)
        start += count
        yield (
            index,
            ingest_pb2.Batch(
                number=number,
                point_count=count,
                series_index=batches.series_index[rows],
                step=batches.step[rows],
                time_unix_us=batches.time_unix_us[rows],
                value=batches.value[rows],
            ),
        )


class Ledger(ingest_pb2_grpc.IngestServiceServicer):
    """Ingest side. `fault(event, number)` is called at "open", "batch" (before commit), "committed" (before the ack)
    and "acked"; it may raise Refused or Cut."""

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.runs: dict[str, run_pb2.Run] = {}
        self.producers: dict[bytes, Producer] = {}
        self.points: list[Point] = []
        self.seen: dict[tuple[bytes, int], bytes] = {}  # content of every number that ever arrived
        self.violations: list[str] = []
        self.opens = 0
        self.duplicates = 0
        self.fault: Callable[[str, int], None] = lambda event, number: None
        self.limits: dict[str, int] = {
            "max_batch_points": limits.MAX_BATCH_POINTS,
            "max_message_bytes": limits.MAX_MESSAGE_BYTES,
            "max_series": limits.MAX_SERIES_PER_PRODUCER,
        }
        self.refuse_keys: set[str] = set()
        self.max_producers = 1_000
        self.acks_seen: list[int] = []

    # grpc

    def Append(self, requests: Iterator[ingest_pb2.AppendRequest], context: Any) -> Iterator[Any]:
        try:
            yield from self._append(requests, context)
        except Refused as refused:
            refused.abort(context)
        except Cut:
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    def _append(self, requests: Iterator[ingest_pb2.AppendRequest], context: Any) -> Iterator[Any]:
        first = next(requests)
        if not first.HasField("open"):
            self._violation("the first message was not Open")
        if first.open.multiplexed:
            yield from self._append_many(first, requests)
            return
        opened, producer, session = self._open(first.open)
        yield opened
        keys: dict[int, str] = {}
        received = opened.opened.committed_number
        for request in requests:
            kind = request.WhichOneof("message")
            if kind == "declare":
                for series in request.declare.series:
                    if keys.setdefault(series.series_index, series.key) != series.key:
                        self._violation("an index got two keys")
            elif kind == "batch":
                number = request.batch.number
                if number > received + 1:
                    self._violation(f"gap: {number} after {received}")
                    raise Refused(grpc.StatusCode.OUT_OF_RANGE, "SEQUENCE_GAP")
                received = max(received, number)
                refusals = self._commit(first.open, request.batch, keys, producer, session)
                self.fault("committed", number)
                yield ingest_pb2.AppendResponse(
                    ack=ingest_pb2.Ack(committed_number=producer.committed, refusals=refusals)
                )
                self.fault("acked", number)
            else:
                self._violation(f"unexpected {kind}")

    def _append_many(self, first: ingest_pb2.AppendRequest, requests: Iterator[ingest_pb2.AppendRequest]) -> Any:
        """A stream of many producers."""
        members: dict[int, Member | None] = {}  # None: it has ended or was closed
        for request in itertools.chain([first], requests):
            kind = request.WhichOneof("message")
            if kind == "open":
                yield from self._open_one(request.open, members)
            elif kind == "declare":
                if member := self._member(members, request.declare.producer_index):
                    for series in request.declare.series:
                        if member.keys.setdefault(series.series_index, series.key) != series.key:
                            self._violation("an index got two keys")
            elif kind == "close":
                if self._member(members, request.close.producer_index):
                    members[request.close.producer_index] = None
            elif kind == "batches":
                for index, batch in _batches_of(request.batches):
                    yield from self._commit_one(members, index, batch)
            else:
                self._violation(f"unexpected {kind}")

    def _open_one(self, request: ingest_pb2.Open, members: dict[int, Member | None]) -> Any:
        index = request.producer_index
        if members and index <= max(members):
            self._violation(f"index {index} is not above those before it")
        members[index] = None
        try:
            if sum(member is not None for member in members.values()) >= self.max_producers:
                raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", retry_s=0.05)
            opened, producer, session = self._open(request)
        except Refused as refused:
            yield self._ended(index, refused)
            return
        members[index] = Member(request, producer, session, opened.opened.committed_number)
        opened.opened.producer_index = index
        opened.opened.max_producers = self.max_producers
        yield opened

    def _member(self, members: dict[int, Member | None], index: int) -> Member | None:
        if index not in members:
            self._violation(f"producer {index} was not opened")
        return members[index]

    def _commit_one(self, members: dict[int, Member | None], index: int, batch: ingest_pb2.Batch) -> Any:
        member = self._member(members, index)
        if member is None:
            return
        try:
            if batch.number > member.received + 1:
                self._violation(f"gap: {batch.number} after {member.received}")
            member.received = max(member.received, batch.number)
            refusals = self._commit(member.opened, batch, member.keys, member.producer, member.session)
            self.fault("committed", batch.number)
            ack = ingest_pb2.Ack(committed_number=member.producer.committed, refusals=refusals, producer_index=index)
            yield ingest_pb2.AppendResponse(acks=ingest_pb2.Acks(acks=[ack]))
            self.fault("acked", batch.number)
        except Refused as refused:
            members[index] = None
            yield self._ended(index, refused)

    def _ended(self, index: int, refused: Refused) -> ingest_pb2.AppendResponse:
        if refused.reason not in OF_ONE_PRODUCER:
            raise refused
        ended = ingest_pb2.ProducerEnded(producer_index=index, status=refused.status())
        return ingest_pb2.AppendResponse(ended=ended)

    def _open(self, request: ingest_pb2.Open) -> tuple[Any, Producer, int]:
        with self.lock:
            self.opens += 1
            self.lock.notify_all()
            self.fault("open", self.opens)
            run = self.runs.get(request.run_id)
            if run is None:
                raise Refused(grpc.StatusCode.NOT_FOUND, "RUN_NOT_FOUND")
            if run.lifecycle == run_pb2.LIFECYCLE_DELETED:
                raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "RUN_DELETED")
            if len(request.producer_id) != 16 or not any(request.producer_id):
                self._violation("producer id")
            producer = self.producers.setdefault(request.producer_id, Producer())
            if producer.committed + 1 < max(1, request.first_unacked):
                raise Refused(grpc.StatusCode.DATA_LOSS, "LEDGER_BEHIND")
            producer.session += 1
            self.lock.notify_all()
            opened = ingest_pb2.Opened(committed_number=producer.committed, **self.limits)
            return ingest_pb2.AppendResponse(opened=opened), producer, producer.session

    def _commit(self, opened, batch, keys, producer: Producer, session: int) -> list[ingest_pb2.Refusal]:
        content = batch.SerializeToString()
        with self.lock:
            if self.seen.setdefault((opened.producer_id, batch.number), content) != content:
                self._violation(f"batch {batch.number} changed its content")
            if producer.session != session:
                raise Refused(grpc.StatusCode.ABORTED, "FENCED")
            self.fault("batch", batch.number)
            if batch.number <= producer.committed:
                self.duplicates += 1
                return []
            columns = (batch.series_index, batch.step, batch.time_unix_us, batch.value)
            if any(len(column) != batch.point_count for column in columns):
                self._violation("column lengths")
            refused: Counter[str] = Counter()
            for index, step, time_us, value in zip(*columns, strict=True):
                if index not in keys:
                    self._violation(f"series {index} not declared")
                elif keys[index] in self.refuse_keys:
                    refused[keys[index]] += 1
                else:
                    self.points.append((keys[index], step, time_us, value, opened.rank, opened.attempt))
            producer.committed = batch.number
            producer.batches[batch.number] = content
            self.lock.notify_all()
            return [
                ingest_pb2.Refusal(
                    reason=ingest_pb2.REFUSAL_REASON_KEY_TOO_LONG, point_count=count, example=f"key {key}"
                )
                for key, count in refused.items()
            ]

    def _violation(self, what: str) -> None:
        self.violations.append(what)
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "TEST_VIOLATION", what)

    # for tests

    def restore(self, committed: int) -> int:
        """Goes back to an older state, as a restored database does; returns how many points that lost."""
        with self.lock:
            lost = 0
            for producer in self.producers.values():
                for number in [n for n in producer.batches if n > committed]:
                    count = ingest_pb2.Batch.FromString(producer.batches.pop(number)).point_count
                    del self.points[-count:]
                    lost += count
                producer.committed = min(producer.committed, committed)
            return lost

    def wait_for(self, condition: Callable[[], bool], timeout: float = 20.0) -> None:
        """Waits until something stored makes it true."""
        with self.lock:
            assert self.lock.wait_for(condition, timeout), f"{len(self.points)} points, {self.violations}"

    def values(self, key: str) -> list[float]:
        """Values of a key in the order of storing."""
        with self.lock:
            return [point[3] for point in self.points if point[0] == key]


class Runs(run_pb2_grpc.RunServiceServicer):
    """Run side, as far as the client uses it. `faults` are raised by the next calls, one each."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.calls: list[tuple[str, Any]] = []
        self.faults: list[Refused] = []
        self.broken: Refused | None = None  # raised by every call
        self.poison, self.poisoned = "", Refused(grpc.StatusCode.INTERNAL, "INTERNAL")  # raised by calls with that key
        self.max_bytes = limits.MAX_MESSAGE_BYTES
        self.hold: threading.Event | None = None
        self.other_run_id = ""  # of the run that a derived id leads to, if not to its own

    def _enter(self, method: str, request: Any, context: Any) -> run_pb2.Run:
        if self.hold is not None:
            self.hold.wait(20)
        with self.ledger.lock:
            self.calls.append((method, request))
            self.ledger.lock.notify_all()
            if self.broken is not None:
                self.broken.abort(context)
            if self.faults:
                self.faults.pop(0).abort(context)
            run = self.ledger.runs.get(request.run_id)
            if run is None and method != "CreateRun":
                Refused(grpc.StatusCode.NOT_FOUND, "RUN_NOT_FOUND", f"no run {request.run_id}", field="run_id").abort(
                    context
                )
            if run is not None and run.lifecycle == run_pb2.LIFECYCLE_DELETED and method not in ("GetRun", "FinishRun"):
                Refused(grpc.StatusCode.FAILED_PRECONDITION, "RUN_DELETED", "the run is deleted").abort(context)
            self.check(method, request, context)
            return run or run_pb2.Run()

    def check(self, method: str, request: Any, context: Any) -> None:
        """What the service or a proxy has against a call."""
        entries = {"LogParams": "params", "SetTags": "tags"}.get(method)
        if entries and len(getattr(request, entries)) > MAX_ENTRIES:
            Refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", f"more than {MAX_ENTRIES}").abort(context)
        if entries and self.poison in getattr(request, entries):
            self.poisoned.abort(context)
        if request.ByteSize() > self.max_bytes:
            Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "", "Received message larger than max").abort(context)

    def CreateRun(self, request: run_pb2.CreateRunRequest, context: Any) -> run_pb2.CreateRunResponse:
        run_id = self.other_run_id or request.run_id if request.derived else request.run_id
        run = self._enter("CreateRun", request, context)
        with self.ledger.lock:
            created = run_id not in self.ledger.runs
            if created:
                run = run_pb2.Run(
                    run_id=run_id,
                    experiment=request.experiment or "Default",
                    name=request.name or "generated",
                    status=run_pb2.RUN_STATUS_RUNNING,
                    lifecycle=run_pb2.LIFECYCLE_ACTIVE,
                )
                self.ledger.runs[run_id] = run
            run = self.ledger.runs[run_id]
        return run_pb2.CreateRunResponse(run=run, created=created)

    def GetRun(self, request: run_pb2.GetRunRequest, context: Any) -> run_pb2.GetRunResponse:
        return run_pb2.GetRunResponse(run=self._enter("GetRun", request, context))

    def LogParams(self, request: run_pb2.LogParamsRequest, context: Any) -> run_pb2.LogParamsResponse:
        run = self._enter("LogParams", request, context)
        for key, value in request.params.items():
            if run.params.get(key, value) != value:
                Refused(grpc.StatusCode.ALREADY_EXISTS, "PARAM_CHANGED", f"param {key!r} is set").abort(context)
        run.params.update(request.params)
        return run_pb2.LogParamsResponse()

    def SetTags(self, request: run_pb2.SetTagsRequest, context: Any) -> run_pb2.SetTagsResponse:
        self._enter("SetTags", request, context).tags.update(request.tags)
        return run_pb2.SetTagsResponse()

    def FinishRun(self, request: run_pb2.FinishRunRequest, context: Any) -> run_pb2.FinishRunResponse:
        run = self._enter("FinishRun", request, context)
        run.status = request.status
        run.end_time_unix_us = request.end_time_unix_us
        return run_pb2.FinishRunResponse()


class Queries(query_pb2_grpc.QueryServiceServicer):
    """History and Latest over the ledger's points, in pieces of seven; a Tail of nothing but cursors. `tail_faults` are
    raised by the next tails, one each; the others say one cursor and stay open."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.tail_faults: list[Refused] = []
        self.cursors: list[bytes] = []

    def Tail(self, request: query_pb2.TailRequest, context: Any) -> Iterator[query_pb2.TailResponse]:
        self.cursors.append(request.cursor)
        if self.tail_faults:
            self.tail_faults.pop(0).abort(context)
        yield query_pb2.TailResponse(cursor=b"%d" % len(self.cursors))
        if self.tail_faults:
            self.tail_faults.pop(0).abort(context)
        gone = threading.Event()
        context.add_callback(gone.set)
        gone.wait(20)

    def History(self, request: query_pb2.HistoryRequest, context: Any) -> Iterator[query_pb2.HistoryResponse]:
        if request.run_id not in self.ledger.runs:
            Refused(grpc.StatusCode.NOT_FOUND, "RUN_NOT_FOUND", "no such run", field="run_id").abort(context)
        series: dict[tuple[str, int, int], list[Point]] = {}
        for point in self.ledger.points:
            key, step, _, _, rank, attempt = point
            if (
                (not request.keys or key in request.keys)
                and (not request.HasField("rank") or rank == request.rank)
                and (not request.HasField("attempt") or attempt == request.attempt)
                and (not request.HasField("min_step") or step >= request.min_step)
                and (not request.HasField("max_step") or step <= request.max_step)
            ):
                series.setdefault((key, rank, attempt), []).append(point)
        for (key, rank, attempt), points in sorted(series.items()):
            points.sort(key=lambda point: point[1:3])
            whose = query_pb2.Series(run_id=request.run_id, key=key, rank=rank, attempt=attempt)
            for start in range(0, len(points), 7):
                piece = points[start : start + 7]
                yield query_pb2.HistoryResponse(
                    series=whose,
                    point_count=len(piece),
                    step=[point[1] for point in piece],
                    time_unix_us=[point[2] for point in piece],
                    value=[point[3] for point in piece],
                )

    def Latest(self, request: query_pb2.LatestRequest, context: Any) -> Iterator[query_pb2.LatestResponse]:
        latest: dict[tuple[str, int, int], Point] = {}
        for point in self.ledger.points:
            name = (point[0], point[4], point[5])
            if name not in latest or point[1:4] >= latest[name][1:4]:
                latest[name] = point
        names = sorted(latest)
        for start in range(0, len(names), 7):
            part = names[start : start + 7]
            yield query_pb2.LatestResponse(
                run_ids=[request.run_ids[0]],
                keys=[name[0] for name in part],
                point_count=len(part),
                run_index=[0] * len(part),
                key_index=range(len(part)),
                rank=[name[1] for name in part],
                attempt=[name[2] for name in part],
                step=[latest[name][1] for name in part],
                time_unix_us=[latest[name][2] for name in part],
                value=[latest[name][3] for name in part],
            )


class Gate(grpc.ServerInterceptor):
    """Checks who calls, as the real service does, and remembers it. `refusal_of` is given token and workspace of each
    call."""

    def __init__(self) -> None:
        self.refusal_of: Callable[[str, str], Refused | None] = lambda token, workspace: None
        self.seen: list[tuple[str, str, str]] = []  # method, token, workspace

    def only(self, *tokens: str) -> None:
        """Accepts these tokens alone."""
        words = "the token 'ci' has expired"
        refused = Refused(grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", words)
        self.refusal_of = lambda token, workspace: None if token in tokens else refused

    def calls(self, method: str) -> list[tuple[str, str]]:
        """Token and workspace of the calls of a method."""
        return [(token, workspace) for name, token, workspace in list(self.seen) if name == method]

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        metadata = dict(handler_call_details.invocation_metadata)
        token = metadata.get("authorization", "").removeprefix("Bearer ")
        workspace = metadata.get("x-mlflow-workspace", "")
        self.seen.append((handler_call_details.method.rpartition("/")[2], token, workspace))
        refusal = self.refusal_of(token, workspace)
        handler = continuation(handler_call_details)
        if refusal is None or handler is None:
            return handler

        def refuse(_request: Any, context: grpc.ServicerContext) -> None:
            refusal.abort(context)

        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(refuse)
        make = (
            grpc.unary_stream_rpc_method_handler if handler.response_streaming else grpc.unary_unary_rpc_method_handler
        )
        return make(refuse)


class TestService:
    """All of it behind a real gRPC server on a free port; `stop` and `start` again on the same one."""

    __test__ = False

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, credentials: grpc.ServerCredentials | None = None
    ) -> None:
        """`credentials`: for TLS."""
        self.ledger = Ledger()
        self.gate = Gate()
        self.credentials = credentials
        self._host = host
        self.runs = Runs(self.ledger)
        self.queries = Queries(self.ledger)
        self._server: grpc.Server | None = None
        self.port = port
        self.start()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{'grpcs://' if self.credentials is not None else ''}{self._host}:{self.port}"

    def start(self) -> None:
        """Listens; on the old port if there was one."""
        options = (
            ("grpc.so_reuseport", 0),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ("grpc.max_receive_message_length", limits.MAX_MESSAGE_BYTES),
        )
        self._server = grpc.server(futures.ThreadPoolExecutor(32), options=options, interceptors=[self.gate])
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(self.ledger, self._server)
        run_pb2_grpc.add_RunServiceServicer_to_server(self.runs, self._server)
        query_pb2_grpc.add_QueryServiceServicer_to_server(self.queries, self._server)
        where = f"{self._host}:{self.port}"
        if self.credentials is not None:
            self.port = self._server.add_secure_port(where, self.credentials)
        else:
            self.port = self._server.add_insecure_port(where)
        self._server.start()

    def stop(self) -> None:
        """Breaks every connection at once."""
        if self._server is not None:
            self._server.stop(None).wait()
            self._server = None
