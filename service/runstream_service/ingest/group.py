"""Waiting batches -> one group: what to ask of the ledger, and after its verdict what to copy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from runstream_service.core.errors import CoreError, Fenced, SequenceGap
from runstream_service.ingest import copy_binary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from runstream_service.ingest.stream import ProducerStream, Submission


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the ledger said of one producer: 'advanced', 'duplicate', 'fenced' or 'gap'."""

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
    """Submissions that share a transaction. Those of one stream are consecutive, as the stream checked."""

    def __init__(self, submissions: Sequence[Submission]) -> None:
        self.submissions = submissions
        claims: dict[tuple[UUID, int], _Claim] = {}
        for submission in submissions:
            stream = submission.stream
            claim = claims.setdefault((stream.producer_id, stream.session), _Claim(stream, []))
            claim.submissions.append(submission)
        self._claims = list(claims.values())
        self.accepted: list[Submission] = []
        self.duplicates: list[Submission] = []
        self.rejected: list[tuple[Submission, CoreError]] = []
        self._verdicts: list[Verdict] = []

    def begin_arguments(self) -> tuple[list[Any], ...]:
        """Arguments of the SQL function begin_group."""
        producers = enumerate(self._claims, start=1)
        batches = [(position, s.number, s.points) for position, claim in producers for s in claim.submissions]
        return (
            [claim.stream.producer_id for claim in self._claims],
            [claim.stream.session for claim in self._claims],
            [claim.submissions[0].number for claim in self._claims],
            [claim.submissions[-1].number for claim in self._claims],
            *(list(column) for column in zip(*batches, strict=True)),
        )

    def judge(self, verdicts: list[Verdict]) -> None:
        """Sort the submissions by what the ledger said; only accepted ones are copied."""
        self._verdicts = verdicts
        for claim, verdict in zip(self._claims, verdicts, strict=True):
            for submission in claim.submissions:
                error = _error(verdict, claim.stream)
                if error is not None:
                    self.rejected.append((submission, error))
                elif submission.number <= verdict.committed_before:
                    self.duplicates.append(submission)
                else:
                    self.accepted.append(submission)

    def encode(self) -> memoryview | None:
        """The accepted points as COPY BINARY; None if there are none."""
        filled = [s for s in self.accepted if s.points]
        if not filled:
            return None
        return copy_binary.encode(
            self._verdicts[0].epoch,
            self._verdicts[0].commit_no,
            np.concatenate([s.series_id for s in filled]),
            np.concatenate([s.step for s in filled]),
            np.concatenate([s.time_unix_us for s in filled]),
            np.concatenate([s.value for s in filled]),
        )

    @property
    def table(self) -> str:
        """The partition that the points go into. Named directly: routing rows through the parent costs a tenth."""
        return f"metric_points_hot_{self._verdicts[0].epoch}"

    @property
    def points(self) -> int:
        """Points of all submissions, before the verdict."""
        return sum(s.points for s in self.submissions)


def _error(verdict: Verdict, stream: ProducerStream) -> CoreError | None:
    if verdict.verdict == "fenced":
        return Fenced(
            f"producer {stream.producer_id}: session {stream.session} is over: a newer stream of this producer took "
            "over, or its run was deleted; open again to find out",
            field="open.producer_id",
        )
    if verdict.verdict == "gap":
        return SequenceGap(
            f"batch.number: the ledger stands at {verdict.committed_before}; send the batches after it again",
            field="batch.number",
        )
    return None
