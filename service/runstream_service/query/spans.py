"""Few spans that have all of many numbers: an index can be asked for each of the spans, not for each number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# A span more is a scan more of the index of each partition, 0.2 ms; a span less may be many pages more.
MAX_SPANS = 16
# Series with numbers this close are mostly on the same pages.
_NEAR = 8


@dataclass(frozen=True, slots=True)
class Spans:
    """Numbers from `lows[i]` to `highs[i]`, both included, for each i."""

    lows: Sequence[int]
    highs: Sequence[int]

    def condition(self, column: str) -> str:
        """As SQL."""
        spans = zip(self.lows, self.highs, strict=True)
        return " OR ".join(f"{column} BETWEEN '{low:d}'::bigint AND '{high:d}'::bigint" for low, high in spans)


def spans_of(numbers: Sequence[int]) -> Spans:
    """At most MAX_SPANS spans with all numbers (of which there is one at least), divided where the gaps are widest."""
    ordered = np.unique(np.array(numbers, np.int64))
    gaps = np.diff(ordered)
    widest = np.argsort(-gaps, kind="stable")[: MAX_SPANS - 1]
    breaks = np.sort(widest[gaps[widest] > _NEAR])
    lows = ordered[np.concatenate([[0], breaks + 1])]
    highs = ordered[np.concatenate([breaks, [len(ordered) - 1]])]
    return Spans(lows.tolist(), highs.tolist())
