"""Curves as arrays that a page reads without parsing.

    bytes 0-3   length of the head, an unsigned integer
    bytes 4-7   0
    head        JSON, padded with spaces so that what follows begins at a multiple of 8
    arrays      for each curve, for each column, `count` doubles

Everything is little-endian. The head is {"columns": [...], "curves": [{"run_id", "key", "rank", "attempt", "count"}],
"cut": null or an object}. Doubles hold all integers up to 2^53; steps and times are far below that.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from numpy.typing import NDArray

_ALIGNED = 8


@dataclass(frozen=True, slots=True)
class ArrayCurve:
    """The columns of one curve, all of the same length, and the fields that name it in the head."""

    name: Mapping[str, Any]
    columns: Sequence[NDArray[Any]]

    def __len__(self) -> int:
        return len(self.columns[0])


@dataclass(slots=True)
class Arrays:
    """A response with curves that all have the same columns. `cut`: what was left out, if anything was."""

    columns: Sequence[str]
    curves: list[ArrayCurve] = field(default_factory=list)
    cut: Mapping[str, Any] | None = None

    @property
    def values(self) -> int:
        """How many doubles the response has."""
        return len(self.columns) * sum(map(len, self.curves))

    def encode(self) -> bytes:
        """The bytes of the response, in the form that the module's docstring describes."""
        return b"".join(self._parts())

    def _parts(self) -> Iterator[bytes]:
        head = orjson.dumps(
            {
                "columns": self.columns,
                "curves": [{**curve.name, "count": len(curve)} for curve in self.curves],
                "cut": self.cut,
            }
        )
        head += b" " * (-len(head) % _ALIGNED)
        yield struct.pack("<II", len(head), 0)
        yield head
        for curve in self.curves:
            for column in curve.columns:
                yield column.astype("<f8", copy=False).tobytes()
