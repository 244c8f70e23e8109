"""Collects points that a source has row by row into columns, one set for each metric; and flattens nested values."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from runstream_service.importing.records import Points

_NOT_FINITE = {"NaN", "Infinity", "-Infinity"}


class Columns:
    """The points of one metric, in 24 bytes each."""

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
    """The numbers in a value that was logged under a key, each with its own key: keys of nested mappings are joined
    with dots. True and False are 1 and 0. Mappings with a `_type` are images, tables and so on, which have no
    numbers."""
    if isinstance(value, int | float):
        yield key, _double(value)
    elif isinstance(value, str) and value in _NOT_FINITE:
        yield key, float(value)
    elif isinstance(value, dict) and "_type" not in value:
        for name, inner in value.items():
            yield from numbers(f"{key}.{name}", inner)


def flattened(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings, with their keys joined by dots. An empty mapping is a leaf."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def text_of(value: Any) -> str:
    """The text of a param or tag: strings as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _double(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
