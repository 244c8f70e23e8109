"""Covers many numbers by few spans: an index can be queried for each span, but not for each number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# One more span is one more scan of the index of each partition, 0.2 ms; one span less may mean many more pages.
MAX_SPANS = 16
# Series with ids this close are mostly on the same pages.
_NEAR = 8


@dataclass(frozen=True, slots=True)
class Spans:
    """Numbers from `lows[i]` to `highs[i]`, both included, for each i."""

    lows: Sequence[int]
    highs: Sequence[int]

    def condition(self, column: str) -> str:
        """The spans as an SQL condition."""
        spans = zip(self.lows, self.highs, strict=True)
        return " OR ".join(f"{column} BETWEEN '{low:d}'::bigint AND '{high:d}'::bigint" for low, high in spans)


def spans_of(numbers: Sequence[int]) -> Spans:
    """At most MAX_SPANS spans that contain all numbers (at least one), divided where the gaps are widest."""
    ordered = np.unique(np.array(numbers, np.int64))
    gaps = np.diff(ordered)
    widest = np.argsort(-gaps, kind="stable")[: MAX_SPANS - 1]
    breaks = np.sort(widest[gaps[widest] > _NEAR])
    lows = ordered[np.concatenate([[0], breaks + 1])]
    highs = ordered[np.concatenate([breaks, [len(ordered) - 1]])]
    return Spans(lows.tolist(), highs.tolist())
