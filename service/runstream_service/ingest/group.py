"""Turns waiting batches and writes into one group: the arguments for the ledger, and the rows to store after its
verdicts."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from runstream_service.errors.core import CoreError
from runstream_service.ingest.http_writes import PendingWrite
from runstream_service.ingest.producer import PendingBatch
from runstream_service.stores.hot_batches import BatchPoints, EncodedBatches

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from uuid import UUID

    from runstream_service.ingest.producer import Producer

# What a writer commits: a batch of a stream, or a write that came over HTTP.
Pending: TypeAlias = PendingBatch | PendingWrite

# A group of at most this many points is committed by one statement. That saves the round trips of BEGIN, COPY and
# COMMIT, for which callers over HTTP wait before they send more. (Measured: 0.6 to 0.8 of the processor time up to
# 4,000 points, the same at 16,000, 1.5 times as much at 64,000.) It also bounds what PostgreSQL writes into its log if
# it logs slow statements with their parameters.
SMALL_GROUP_POINTS = 4_096


@dataclass(frozen=True, slots=True)
class Verdict:
    """A row of begin_group_commit, for one producer or one write. `verdict` of a producer: 'advanced', 'duplicate',
    'fenced' or 'gap'; of a write: 'advanced', 'duplicate', 'missing', 'deleted' or 'stale'. `committed_before`: the
    highest number of the producer that was committed before."""

    epoch: int
    commit_no: int
    verdict: str
    committed_before: int


@dataclass(slots=True)
class _ProducerRange:
    """The batches of one producer in a group: consecutive numbers."""

    producer: Producer
    batches: list[PendingBatch]


class Group:
    """Items that share a transaction. Batches of one producer have consecutive numbers, which Producer has checked."""

    def __init__(self, items: Sequence[Pending]) -> None:
        self.items = items
        self._ranges: list[_ProducerRange] = []
        self._writes: list[PendingWrite] = []
        # Each request that was repeated while its first copy still waits, together with the first copy.
        self._repeats: list[tuple[PendingWrite, PendingWrite]] = []
        self._partition(items)
        self.accepted: list[Pending] = []
        self.duplicates: list[Pending] = []
        self.rejected: list[tuple[Pending, CoreError]] = []
        self._verdicts: list[Verdict] = []
        # The items with points, in the order of the verdicts; then their rows.
        self._filled = [item for items in self._by_verdict() for item in items if item.points]
        self._encoded: EncodedBatches | None = None

    def _partition(self, items: Sequence[Pending]) -> None:
        ranges: dict[tuple[UUID, int], _ProducerRange] = {}
        writes: dict[UUID, PendingWrite] = {}
        for item in items:
            if isinstance(item, PendingBatch):
                producer = item.producer
                key = (producer.producer_id, producer.session)
                ranges.setdefault(key, _ProducerRange(producer, [])).batches.append(item)
            elif (first := writes.setdefault(item.write_id, item)) is not item:
                self._repeats.append((item, first))
        self._ranges = list(ranges.values())
        self._writes = list(writes.values())

    def encode(self) -> None:
        """Encode the rows of all items, before the transaction: no other transaction waits for its locks meanwhile.
        Which of the rows are stored is known later."""
        if self._filled:
            self._encoded = EncodedBatches([_points_of(item) for item in self._filled])

    def begin_arguments(self) -> tuple[list[Any], ...]:
        """The arguments of the SQL function begin_group_commit, which describes them."""
        producers = enumerate(self._ranges, start=1)
        batches = [(position, s.number, s.points) for position, producer in producers for s in producer.batches]
        return (
            [one.producer.producer_id for one in self._ranges],
            [one.producer.session for one in self._ranges],
            [producer.batches[0].number for producer in self._ranges],
            [producer.batches[-1].number for producer in self._ranges],
            *([batch[column] for batch in batches] for column in range(3)),
            [write.write_id for write in self._writes],
            [write.run_id for write in self._writes],
            [write.generation for write in self._writes],
            [write.points for write in self._writes],
        )

    def row_arguments(self) -> tuple[list[Any], ...]:
        """The arguments of the SQL function commit_batches after those of begin_group_commit: the rows of all items
        with points."""
        if self._encoded is None:
            return tuple([] for _ in range(8))
        owners = {id(item): position for position, items in enumerate(self._by_verdict(), start=1) for item in items}
        of_rows = [self._filled[owner] for owner in self._encoded.owner]
        return (
            [owners[id(item)] for item in of_rows],
            [item.number for item in of_rows],
            *self._encoded.arguments(),
        )

    def apply_verdicts(self, verdicts: list[Verdict]) -> None:
        """Divide the items into accepted, duplicates and rejected; only accepted ones are stored."""
        self._verdicts = verdicts
        for items, verdict in zip(self._by_verdict(), verdicts, strict=True):
            for item in items:
                error = item.error_for_verdict(verdict.verdict, verdict.committed_before)
                if error is not None:
                    self.rejected.append((item, error))
                elif verdict.verdict == "duplicate" or item.number <= verdict.committed_before:
                    self.duplicates.append(item)
                else:
                    self.accepted.append(item)
        errors = {id(item): error for item, error in self.rejected}
        for repeat, first in self._repeats:
            if (error := errors.get(id(first))) is not None:
                self.rejected.append((repeat, error))
            else:
                self.duplicates.append(repeat)

    def outcomes(self) -> Iterator[tuple[Pending, CoreError | None]]:
        """Each item, with None if it is in the database, or the error why it is not."""
        yield from ((item, None) for item in itertools.chain(self.accepted, self.duplicates))
        yield from self.rejected

    def _by_verdict(self) -> list[Sequence[Pending]]:
        """The items that share a verdict, in the order of the verdicts."""
        return [*(producer.batches for producer in self._ranges), *([write] for write in self._writes)]

    def rows(self) -> AsyncIterator[bytes] | None:
        """The rows of the accepted items as COPY BINARY; None if there are none."""
        accepted = {id(item) for item in self.accepted}
        wanted = [id(item) in accepted for item in self._filled]
        if self._encoded is None or not any(wanted):
            return None
        return self._encoded.copy(self._verdicts[0].epoch, self._verdicts[0].commit_no, wanted)

    @property
    def epoch(self) -> int:
        """The epoch that the database chose, known after `apply_verdicts`."""
        return self._verdicts[0].epoch

    @property
    def points(self) -> int:
        """The points of all items, whether they are stored or not."""
        return sum(item.points for item in self.items)

    @property
    def is_small(self) -> bool:
        """Whether one statement commits the group, commit_batches, instead of BEGIN, COPY and COMMIT."""
        return self.points <= SMALL_GROUP_POINTS


def _points_of(item: Pending) -> BatchPoints:
    return BatchPoints(item.run_id, item.rank, item.series_id, item.step, item.time_unix_us, item.value)
