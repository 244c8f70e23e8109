"""Batches and writes that wait -> one group: the arguments for the ledger, and after its verdict the rows to copy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from runstream_service.core.errors import CoreError
from runstream_service.ingest import copy_binary
from runstream_service.ingest.stream import Submission
from runstream_service.ingest.write import MetricWrite

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from runstream_service.ingest.stream import ProducerStream

# What a writer commits: a batch of a stream, or a write that came over HTTP.
Item: TypeAlias = Submission | MetricWrite

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
class _Claim:
    """The batches of one stream in a group: consecutive numbers."""

    stream: ProducerStream
    submissions: list[Submission]


class Group:
    """Items that share a transaction. Batches of one stream are consecutive, as the stream checked."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self._claims: list[_Claim] = []
        self._writes: list[MetricWrite] = []
        # Each request that was repeated while its first copy still waits, together with the first copy.
        self._repeats: list[tuple[MetricWrite, MetricWrite]] = []
        self._sort(items)
        self.accepted: list[Item] = []
        self.duplicates: list[Item] = []
        self.rejected: list[tuple[Item, CoreError]] = []
        self._verdicts: list[Verdict] = []

    def _sort(self, items: Sequence[Item]) -> None:
        claims: dict[tuple[UUID, int], _Claim] = {}
        writes: dict[UUID, MetricWrite] = {}
        for item in items:
            if isinstance(item, Submission):
                stream = item.stream
                claims.setdefault((stream.producer_id, stream.session), _Claim(stream, [])).submissions.append(item)
            elif (first := writes.setdefault(item.write_id, item)) is not item:
                self._repeats.append((item, first))
        self._claims = list(claims.values())
        self._writes = list(writes.values())

    def begin_arguments(self) -> tuple[list[Any], ...]:
        """Arguments of the SQL function begin_group_commit."""
        producers = enumerate(self._claims, start=1)
        batches = [(position, s.number, s.points) for position, claim in producers for s in claim.submissions]
        return (
            [claim.stream.producer_id for claim in self._claims],
            [claim.stream.session for claim in self._claims],
            [claim.submissions[0].number for claim in self._claims],
            [claim.submissions[-1].number for claim in self._claims],
            *([batch[column] for batch in batches] for column in range(3)),
            [write.write_id for write in self._writes],
            [write.run_id for write in self._writes],
            [write.generation for write in self._writes],
            [write.points for write in self._writes],
        )

    def row_arguments(self) -> tuple[list[Any], ...]:
        """The further arguments of the SQL function commit_small_points: the points of all batches, then writes."""
        items = [item for items in self._judged() for item in items]
        return (
            [series_id for item in items for series_id in item.series_id.tolist()],
            [step for item in items for step in item.step.tolist()],
            [time - copy_binary.POSTGRES_EPOCH_UNIX_US for item in items for time in item.time_unix_us.tolist()],
            [value for item in items for value in item.value.tolist()],
        )

    def judge(self, verdicts: list[Verdict]) -> None:
        """Sort the items by what the database said; only accepted ones are copied."""
        self._verdicts = verdicts
        for items, verdict in zip(self._judged(), verdicts, strict=True):
            for item in items:
                error = item.error_of(verdict.verdict, verdict.committed_before)
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

    def _judged(self) -> list[Sequence[Item]]:
        """The items that share a verdict, in the order of the verdicts."""
        return [*(claim.submissions for claim in self._claims), *([write] for write in self._writes)]

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
