# ruff: noqa: N802 (the names of RPCs are the contract's)
"""The Append service in memory. It keeps the contract of proto/, and fails when and how a test tells it to.

It parses with the plain (unpacked) messages, checks every rule of the ingest contract, and stores points under the same
lock as the committed number. tests/integration/ingest/test_reference_service.py compares its answers with those of the
real service.
"""

from __future__ import annotations

import functools
import queue
import re
import threading
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import grpc

from runstream.v1 import (
    ingest_pb2,
    ingest_pb2_grpc,
    run_pb2,
    status_pb2,
)
from runstream_service.ingest import limits

# On a stream of many producers, these end the producer that they concern.
OF_ONE_PRODUCER = (
    *("INVALID_FIELD", "UNDECLARED_SERIES", "SEQUENCE_GAP", "RUN_NOT_FOUND", "RUN_DELETED", "FENCED", "LEDGER_BEHIND"),
    *("OVERLOADED", "DATABASE_UNAVAILABLE", "COMMIT_FAILED"),
)
TIME_MIN, TIME_MAX = -62_135_596_800_000_000, 253_402_300_799_999_999  # years 1 to 9999

Point = tuple[str, int, int, float, int, int]  # key, step, time, value, rank, attempt


class Refused(Exception):
    """Ends a call with this status."""

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str = "as the test asked",
        retry_s: float | None = None,
        field: str = "",
    ) -> None:
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


FENCED = Refused(grpc.StatusCode.ABORTED, "FENCED", "opened by another stream", field="open.producer_id")


class Fenced(NamedTuple):
    """Tells a stream, in its inbox, that another stream has opened this producer."""

    producer_id: bytes


class Cut(Exception):
    """Ends a stream without a status of the service, as a broken connection does."""


# What a stream takes next: a message of its client; that another stream has opened its producer; that it has
# broken. None: the client has half-closed.
Message = ingest_pb2.AppendRequest | Fenced | Cut | None
Inbox = queue.SimpleQueue[Message]


@dataclass
class Producer:
    """A row of the ledger, and the stream that has opened the producer."""

    committed: int = 0
    session: int = 0
    inbox: Inbox | None = None  # of the stream that opened it last


@dataclass
class Member:
    """A producer on one stream: how it was opened, and the series that it has declared."""

    opened: ingest_pb2.Open
    producer: Producer
    session: int
    received: int
    keys: dict[int, str] = field(default_factory=dict)


@dataclass
class Members:
    """The producers of a stream, by index; None for one that has ended or was closed."""

    inbox: Inbox
    multiplexed: bool
    by_index: dict[int, Member | None] = field(default_factory=dict)


def _read(requests: Iterator[ingest_pb2.AppendRequest], inbox: Inbox) -> None:
    """Moves the messages of the client into the inbox."""
    try:
        for request in requests:
            inbox.put(request)
    except Exception:  # the stream was cancelled, or has broken
        inbox.put(Cut())
    else:
        inbox.put(None)


def _batches_of(batches: ingest_pb2.BatchSet) -> Iterator[tuple[int, ingest_pb2.Batch]]:
    """The index of the producer and the batch, for each. Its bytes do not depend on the set that it came in."""
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


def is_run_id(text: str) -> bool:
    """Whether the text has the form of a run id."""
    return re.fullmatch("[0-9a-f]{32}", text) is not None


class Ledger(ingest_pb2_grpc.IngestServiceServicer):
    """IngestService. `fault(event, number)` is called at "open", "batch" (before commit), "committed" (before the ack)
    and "acked"; it may raise Refused or Cut."""

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.runs: dict[str, run_pb2.Run] = {}
        self.producers: dict[bytes, Producer] = {}
        self.points: list[Point] = []
        self.seen: dict[
            tuple[bytes, int], bytes
        ] = {}  # the bytes of every number that ever arrived: they must never change
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
        self.max_producers = limits.MAX_PRODUCERS_PER_STREAM
        self.acks_seen: list[int] = []

    # grpc

    def Append(
        self, requests: Iterator[ingest_pb2.AppendRequest], context: grpc.ServicerContext
    ) -> Iterator[ingest_pb2.AppendResponse]:
        inbox: Inbox = queue.SimpleQueue()
        threading.Thread(target=_read, args=(requests, inbox), daemon=True).start()
        try:
            yield from self._append(inbox, context)
        except Refused as refused:
            refused.abort(context)
        except Cut:
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    def _append(self, inbox: Inbox, context: grpc.ServicerContext) -> Iterator[ingest_pb2.AppendResponse]:
        first = inbox.get()
        if first is None:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "OPEN_EXPECTED", field="open")
        if isinstance(first, Cut):
            raise first
        assert isinstance(first, ingest_pb2.AppendRequest), "nothing is open on this stream that could be fenced"
        if first.WhichOneof("message") is None:
            raise self._violation("an empty message", "MALFORMED_MESSAGE", "message")
        if not first.HasField("open"):
            raise self._violation("the first message was not Open", "OPEN_EXPECTED", "open")
        members = Members(inbox, first.open.multiplexed)
        context.add_callback(lambda: self._leave(members))
        message: Message = first
        while message is not None:
            if isinstance(message, Cut):
                raise message
            if isinstance(message, Fenced):
                yield from self._fence(members, message)
            elif members.multiplexed:
                yield from self._take_of_many(members, message)
            else:
                yield from self._take_of_one(members, message, is_first=message is first)
            message = inbox.get()

    def _take_of_one(
        self, members: Members, request: ingest_pb2.AppendRequest, *, is_first: bool
    ) -> Iterator[ingest_pb2.AppendResponse]:
        """Handles a message of a stream with one producer. Any error ends the stream."""
        kind = request.WhichOneof("message")
        if kind == "open":
            if not is_first:
                raise self._violation("a second Open", "OPEN_EXPECTED", "open")
            yield self._open(request.open, members)
            return
        member = members.by_index[0]
        assert member is not None
        if kind == "declare":
            self._declare(member, request.declare)
        elif kind == "batch":
            yield ingest_pb2.AppendResponse(ack=self._commit(member, request.batch))
            self.fault("acked", request.batch.number)
        else:
            raise self._violation(f"unexpected {kind}", "MALFORMED_MESSAGE", "message")

    def _take_of_many(self, members: Members, request: ingest_pb2.AppendRequest) -> Iterator[ingest_pb2.AppendResponse]:
        """Handles a message of a stream with many producers. An error of one producer ends only that one."""
        kind = request.WhichOneof("message")
        if kind == "open":
            index = request.open.producer_index
            if members.by_index and index <= max(members.by_index):
                raise self._violation(f"index {index} was used", "INVALID_FIELD", "open.producer_index")
            members.by_index[index] = None
            yield from self._ends_alone(members, index, lambda: self._open(request.open, members))
        elif kind == "declare":
            index = request.declare.producer_index
            if member := self._member(members, index):
                yield from self._ends_alone(members, index, lambda: self._declare(member, request.declare))
        elif kind == "close":
            if self._member(members, request.close.producer_index):
                members.by_index[request.close.producer_index] = None
        elif kind == "batches":
            for index, batch in _batches_of(request.batches):
                commit = functools.partial(self._commit_of_many, members, index, batch)
                yield from self._ends_alone(members, index, commit)
        else:
            raise self._violation(f"unexpected {kind}", "MALFORMED_MESSAGE", "message")

    def _ends_alone(
        self, members: Members, index: int, answer: Callable[[], ingest_pb2.AppendResponse | None]
    ) -> Iterator[ingest_pb2.AppendResponse]:
        try:
            response = answer()
            if response is not None:
                yield response
                for ack in response.acks.acks:
                    self.fault("acked", ack.committed_number)
        except Refused as refused:
            if refused.reason not in OF_ONE_PRODUCER:
                raise
            members.by_index[index] = None
            yield ingest_pb2.AppendResponse(
                ended=ingest_pb2.ProducerEnded(producer_index=index, status=refused.status())
            )

    def _member(self, members: Members, index: int) -> Member | None:
        if index not in members.by_index:
            raise self._violation(f"producer {index} was not opened", "OPEN_EXPECTED", "producer_index")
        return members.by_index[index]

    def _open(self, request: ingest_pb2.Open, members: Members) -> ingest_pb2.AppendResponse:
        with self.lock:
            self.opens += 1
            self.lock.notify_all()
            self.fault("open", self.opens)
            if sum(member is not None for member in members.by_index.values()) >= self.max_producers:
                raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", retry_s=0.05)
            self._check_open(request)
            run = self.runs.get(request.run_id)
            if run is None:
                raise Refused(grpc.StatusCode.NOT_FOUND, "RUN_NOT_FOUND", field="open.run_id")
            if run.lifecycle == run_pb2.LIFECYCLE_DELETED:
                raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "RUN_DELETED", field="open.run_id")
            producer = self.producers.setdefault(request.producer_id, Producer())
            if producer.committed + 1 < max(1, request.first_unacked):
                raise Refused(grpc.StatusCode.DATA_LOSS, "LEDGER_BEHIND", field="open.first_unacked")
            producer.session += 1
            if producer.inbox is not None and producer.inbox is not members.inbox:
                producer.inbox.put(Fenced(request.producer_id))
            producer.inbox = members.inbox
            members.by_index[request.producer_index] = Member(request, producer, producer.session, producer.committed)
            self.lock.notify_all()
            opened = ingest_pb2.Opened(
                committed_number=producer.committed, producer_index=request.producer_index, **self.limits
            )
            opened.max_producers = self.max_producers
            return ingest_pb2.AppendResponse(opened=opened)

    def _check_open(self, request: ingest_pb2.Open) -> None:
        if not is_run_id(request.run_id):
            raise self._violation("run id", "INVALID_FIELD", "open.run_id")
        if len(request.producer_id) != 16 or not any(request.producer_id):
            raise self._violation("producer id", "INVALID_FIELD", "open.producer_id")
        if request.rank < -1:
            raise self._violation("rank", "INVALID_FIELD", "open.rank")
        if request.attempt and request.rank < 0:
            raise self._violation("attempt", "INVALID_FIELD", "open.attempt")

    def _declare(self, member: Member, declare: ingest_pb2.Declare) -> None:
        for series in declare.series:
            if member.keys.setdefault(series.series_index, series.key) != series.key:
                raise self._violation("an index got two keys", "INVALID_FIELD", "declare.series.series_index")

    def _commit_of_many(
        self, members: Members, index: int, batch: ingest_pb2.Batch
    ) -> ingest_pb2.AppendResponse | None:
        member = self._member(members, index)
        if member is None:
            return None
        ack = self._commit(member, batch)
        ack.producer_index = index
        return ingest_pb2.AppendResponse(acks=ingest_pb2.Acks(acks=[ack]))

    def _commit(self, member: Member, batch: ingest_pb2.Batch) -> ingest_pb2.Ack:
        """Checks a batch, stores its points and its number under one lock, and returns the acknowledgement."""
        producer = member.producer
        if batch.number > member.received + 1:
            what = f"gap: {batch.number} after {member.received}"
            raise self._violation(what, "SEQUENCE_GAP", "batch.number", grpc.StatusCode.OUT_OF_RANGE)
        content = batch.SerializeToString()
        with self.lock:
            self._check_columns(batch)
            if any(index not in member.keys for index in batch.series_index):
                raise self._violation("a series was not declared", "UNDECLARED_SERIES", "batch.series_index")
            member.received = max(member.received, batch.number)
            if self.seen.setdefault((member.opened.producer_id, batch.number), content) != content:
                raise self._violation(f"batch {batch.number} changed its content", "TEST_VIOLATION", "batch")
            if producer.session != member.session:
                raise FENCED
            self.fault("batch", batch.number)
            refusals: list[ingest_pb2.Refusal] = []
            if batch.number <= producer.committed:
                self.duplicates += 1
            else:
                refusals = self._store(member, batch)
                producer.committed = batch.number
            self.lock.notify_all()
        self.fault("committed", batch.number)
        return ingest_pb2.Ack(committed_number=producer.committed, refusals=refusals)

    def _check_columns(self, batch: ingest_pb2.Batch) -> None:
        for name in ("series_index", "step", "time_unix_us", "value"):
            if len(getattr(batch, name)) != batch.point_count:
                raise self._violation(f"length of {name}", "COLUMN_LENGTHS", f"batch.{name}")

    def _store(self, member: Member, batch: ingest_pb2.Batch) -> list[ingest_pb2.Refusal]:
        """Stores the points that may be stored; returns the refusals of the others, by reason."""
        refused: Counter[ingest_pb2.RefusalReason] = Counter()
        examples: dict[ingest_pb2.RefusalReason, str] = {}
        columns = (batch.series_index, batch.step, batch.time_unix_us, batch.value)
        for index, step, time_us, value in zip(*columns, strict=True):
            key = member.keys[index]
            if reason := self._refusal_of(key, time_us):
                refused[reason] += 1
                examples.setdefault(reason, f"key {key}")
            else:
                self.points.append((key, step, time_us, value, member.opened.rank, member.opened.attempt))
        return [
            ingest_pb2.Refusal(reason=reason, point_count=count, example=examples[reason])
            for reason, count in refused.items()
        ]

    def _refusal_of(self, key: str, time_us: int) -> ingest_pb2.RefusalReason | None:
        if not key:
            return ingest_pb2.REFUSAL_REASON_KEY_EMPTY
        if len(key) > 250 or key in self.refuse_keys:
            return ingest_pb2.REFUSAL_REASON_KEY_TOO_LONG
        if any(unicodedata.category(character) == "Cc" for character in key):
            return ingest_pb2.REFUSAL_REASON_KEY_CONTROL_CHARACTER
        if not TIME_MIN <= time_us <= TIME_MAX:
            return ingest_pb2.REFUSAL_REASON_TIME_OUT_OF_RANGE
        return None

    def _fence(self, members: Members, fenced: Fenced) -> Iterator[ingest_pb2.AppendResponse]:
        """Ends a producer of this stream that was opened on another stream."""
        for index, member in members.by_index.items():
            if member is not None and member.opened.producer_id == fenced.producer_id:
                if not members.multiplexed:
                    raise FENCED
                members.by_index[index] = None
                ended = ingest_pb2.ProducerEnded(producer_index=index, status=FENCED.status())
                yield ingest_pb2.AppendResponse(ended=ended)
                return

    def _leave(self, members: Members) -> None:
        with self.lock:
            for producer in self.producers.values():
                if producer.inbox is members.inbox:
                    producer.inbox = None

    def _violation(
        self, what: str, reason: str, field: str, code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT
    ) -> Refused:
        """Notes that the client has broken a rule, which fails the test; returns the error that refuses it."""
        self.violations.append(what)
        return Refused(code, reason, what, field=field)

    # for tests

    def restore(self) -> int:
        """Goes back to the state before the first point, as a restored database does; returns how many points that
        lost."""
        with self.lock:
            lost = len(self.points)
            self.points.clear()
            for producer in self.producers.values():
                producer.committed = 0
            return lost

    def wait_for(self, condition: Callable[[], bool], timeout: float = 20.0) -> None:
        """Waits until the condition holds; looks whenever something was stored."""
        with self.lock:
            assert self.lock.wait_for(condition, timeout), f"{len(self.points)} points, {self.violations}"

    def values(self, key: str) -> list[float]:
        """Returns the values of a key in the order in which they were stored."""
        with self.lock:
            return [point[3] for point in self.points if point[0] == key]
