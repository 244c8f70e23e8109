"""Batches and writes that wait -> one group: the arguments for the ledger, and after its verdict the rows to copy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from runstream_service.core.errors import CoreError
from runstream_service.ingest import copy_binary
from runstream_service.ingest.http_writes import PendingWrite
from runstream_service.ingest.stream import PendingBatch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from runstream_service.ingest.stream import ProducerStream

# What a writer commits: a batch of a stream, or a write that came over HTTP.
Pending: TypeAlias = PendingBatch | PendingWrite

# Up to this many points, one statement commits a group. That saves the round trips of BEGIN, COPY and COMMIT, for which
# callers over HTTP wait before they send more. Eight of them with 50 points each are one group. (Measured with half of
# this bound: 200 streams with 250 points a batch reach 0.53 to 0.62 of raw COPY, the same as without the statement.)
SMALL_GROUP_POINTS = 512


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the database said of one producer ('advanced', 'duplicate', 'fenced' or 'gap'), or of one write ('advanced',
    'duplicate', 'missing', 'deleted' or 'stale')."""

    epoch: int
    commit_no: int
    verdict: str
    committed_before: int


@dataclass(slots=True)
class _ProducerRange:
    """The batches of one stream in a group: consecutive numbers."""

    stream: ProducerStream
    batches: list[PendingBatch]


class Group:
    """Items that share a transaction. Batches of one stream are consecutive, as the stream checked."""

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

    def _partition(self, items: Sequence[Pending]) -> None:
        ranges: dict[tuple[UUID, int], _ProducerRange] = {}
        writes: dict[UUID, PendingWrite] = {}
        for item in items:
            if isinstance(item, PendingBatch):
                stream = item.stream
                ranges.setdefault((stream.producer_id, stream.session), _ProducerRange(stream, [])).batches.append(item)
            elif (first := writes.setdefault(item.write_id, item)) is not item:
                self._repeats.append((item, first))
        self._ranges = list(ranges.values())
        self._writes = list(writes.values())

    def begin_arguments(self) -> tuple[list[Any], ...]:
        """Arguments of the SQL function begin_group_commit."""
        producers = enumerate(self._ranges, start=1)
        batches = [(position, s.number, s.points) for position, producer in producers for s in producer.batches]
        return (
            [producer.stream.producer_id for producer in self._ranges],
            [producer.stream.session for producer in self._ranges],
            [producer.batches[0].number for producer in self._ranges],
            [producer.batches[-1].number for producer in self._ranges],
            *([batch[column] for batch in batches] for column in range(3)),
            [write.write_id for write in self._writes],
            [write.run_id for write in self._writes],
            [write.generation for write in self._writes],
            [write.points for write in self._writes],
        )

    def row_arguments(self) -> tuple[list[Any], ...]:
        """The further arguments of the SQL function commit_small_points: the points of all batches, then writes."""
        items = [item for items in self._by_verdict() for item in items]
        return (
            [series_id for item in items for series_id in item.series_id.tolist()],
            [step for item in items for step in item.step.tolist()],
            [time - copy_binary.POSTGRES_EPOCH_UNIX_US for item in items for time in item.time_unix_us.tolist()],
            [value for item in items for value in item.value.tolist()],
        )

    def apply_verdicts(self, verdicts: list[Verdict]) -> None:
        """Sort the items by what the database said; only accepted ones are copied."""
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

    def _by_verdict(self) -> list[Sequence[Pending]]:
        """The items that share a verdict, in the order of the verdicts."""
        return [*(producer.batches for producer in self._ranges), *([write] for write in self._writes)]

    def encode(self) -> memoryview | None:
        """The accepted points as COPY BINARY; None if there are none."""
        filled = [item for item in self.accepted if item.points]
        if not filled:
            return None
        return copy_binary.encode(
            self._verdicts[0].epoch,
            self._verdicts[0].commit_no,
            np.concatenate([item.series_id for item in filled]),
            np.concatenate([item.step for item in filled]),
            np.concatenate([item.time_unix_us for item in filled]),
            np.concatenate([item.value for item in filled]),
        )

    @property
    def table(self) -> str:
        """The partition that the points go into. Named directly: routing rows through the parent costs a tenth."""
        return f"metric_points_hot_{self._verdicts[0].epoch}"

    @property
    def points(self) -> int:
        """Points of all items, before the verdict."""
        return sum(item.points for item in self.items)

    @property
    def is_small(self) -> bool:
        """Whether one statement commits it fastest."""
        return self.points <= SMALL_GROUP_POINTS
