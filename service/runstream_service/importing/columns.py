"""Points of a run that come row by row, kept metric by metric; and values of nested records."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from runstream_service.importing.records import Points

_NOT_FINITE = {"NaN", "Infinity", "-Infinity"}


class Columns:
    """The points of one metric, 24 bytes each."""

    def __init__(self) -> None:
        self._steps, self._times_us, self._values = array("q"), array("q"), array("d")

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, step: int, time_us: int, value: float) -> None:
        self._steps.append(step)
        self._times_us.append(time_us)
        self._values.append(value)

    def points(self, run_id: str, key: str) -> Points:
        return Points(
            run_id,
            key,
            np.frombuffer(self._steps, np.int64),
            np.frombuffer(self._times_us, np.int64),
            np.frombuffer(self._values, np.float64),
        )


def numbers(key: str, value: Any) -> Iterator[tuple[str, float]]:
    """The numbers in what was logged under a key, each with its key; of nested mappings, the keys are joined by dots.
    True and False are 1 and 0. Mappings with a `_type` are pictures, tables and the like, which have none."""
    if isinstance(value, int | float):
        yield key, _double(value)
    elif isinstance(value, str) and value in _NOT_FINITE:
        yield key, float(value)
    elif isinstance(value, dict) and "_type" not in value:
        for name, inner in value.items():
            yield from numbers(f"{key}.{name}", inner)


def flattened(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings, with their keys joined by dots. An empty mapping is a leaf."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def text_of(value: Any) -> str:
    """A param or a tag: texts as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _double(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
