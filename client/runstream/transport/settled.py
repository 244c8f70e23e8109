"""Which records of a journal are settled: acknowledged, answered, or refused for good. Pure state.

Records settle out of order: a batch is acknowledged while a call of an earlier record is not answered. What counts is
the longest prefix of settled records, since only that says where to continue after a restart. The counts of points are
those of the same prefix, so that each point is counted once, however often the process is replaced.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import NamedTuple


class Outcome(NamedTuple):
    """What became of the points of one record: how many were acknowledged, and refused by reason."""

    acknowledged: int = 0
    refused: Mapping[str, int] = {}  # by reason


class SettledRecords:
    """The settled prefix. Records are expected in the order of the journal, and settled in any order."""

    def __init__(
        self, records: int = 0, acknowledged_points: int = 0, refused: Mapping[str, int] | None = None
    ) -> None:
        self.records = records  # every record with this sequence or a lower one is settled
        self.acknowledged_points = acknowledged_points
        self.refused = Counter(refused or {})
        self.missing = 0  # how many records are missing in the journal, because it is damaged
        self._expected = records  # the last record that was read
        self._open: deque[int] = deque()  # records that were read and are not in the prefix
        self._outcomes: dict[int, Outcome] = {}  # of settled records that are not in the prefix

    @property
    def open_records(self) -> int:
        """How many of the records that were read are not in the settled prefix."""
        return len(self._open)

    def expect(self, sequence: int) -> None:
        """Notes that a record was read from the journal."""
        self.missing += max(0, sequence - self._expected - 1)
        self._expected = sequence
        self._open.append(sequence)

    def settle(self, sequence: int, outcome: Outcome = Outcome()) -> None:  # noqa: B008 (immutable)
        """Notes the final outcome of a record that was read. Settling it again changes nothing."""
        if sequence <= self.records:
            return
        self._outcomes.setdefault(sequence, outcome)
        while self._open and self._open[0] in self._outcomes:
            self.records = self._open.popleft()
            done = self._outcomes.pop(self.records)
            self.acknowledged_points += done.acknowledged
            self.refused.update(done.refused)
        if not self._open:
            self.records = max(self.records, self._expected)
