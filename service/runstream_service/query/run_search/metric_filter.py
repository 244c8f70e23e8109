"""The part of a filter that uses metrics: evaluated over all candidates at once, in columns.

What such a condition says of stored fields, PostgreSQL evaluates together with the search for the candidates. For
`metrics.loss < 1 OR (params.lr = '0.1' AND tags.best = 'yes')` each candidate comes with a flag: whether the
parentheses are true for it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from runstream_service.query.reading.read_transaction import compute
from runstream_service.query.run_search.metric_columns import Field, MetricColumn
from runstream_service.search.conditions import And, Comparison, Condition, Not, comparisons_of, uses
from runstream_service.search.dialects import OF_POINTS

Flags = NDArray[np.bool_]
Indices = NDArray[np.intp]

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
# How many comparisons of numbers take as long as what `compute` counts as a row.
_PER_ROW = 16


@dataclass(frozen=True, slots=True)
class _Flag:
    """A condition that PostgreSQL evaluates; `number` is its place in MetricFilter.stored."""

    number: int


@dataclass(frozen=True, slots=True)
class _Joined:
    """Some conditions: all have to be true, or any."""

    every: bool
    parts: tuple[_Node, ...]


_Node: TypeAlias = "Comparison | Not | _Flag | _Joined"


class MetricFilter:
    """Narrows candidates down as the values of metrics become known. `stored`: the conditions of which each candidate
    has a flag. `fields` are the metrics to be read, first those of single comparisons."""

    def __init__(self, filter_: And) -> None:
        on_metrics = [part for part in filter_.parts if uses(part, OF_POINTS)]
        self.stored: list[Condition] = []
        self._waiting = [
            (_fields_of(part), self._divided(part))
            for part in sorted(on_metrics, key=lambda part: not isinstance(part, Comparison | Not))
        ]
        self.fields = list(dict.fromkeys(field for fields, _ in self._waiting for field in fields))

    async def narrowed(
        self, matching: Indices, values: Mapping[Field, MetricColumn], flags: Sequence[Flags]
    ) -> Indices:
        """Those of the candidates at these places that match all conditions whose metrics are known. Each condition is
        evaluated once, the first time that it can be."""
        known = [(fields, node) for fields, node in self._waiting if all(field in values for field in fields)]
        self._waiting = [
            (fields, node) for fields, node in self._waiting if not all(field in values for field in fields)
        ]
        for fields, node in known:
            matching = await compute(len(matching) * len(fields) // _PER_ROW, _matching, node, matching, values, flags)
        return matching

    def _divided(self, condition: Condition) -> _Node:
        """The condition with flags in the place of all that has no metrics."""
        if not uses(condition, OF_POINTS):
            self.stored.append(condition)
            return _Flag(len(self.stored) - 1)
        if isinstance(condition, Comparison | Not):
            return condition
        on_metrics = [part for part in condition.parts if uses(part, OF_POINTS)]
        others = tuple(part for part in condition.parts if not uses(part, OF_POINTS))
        whole = [*on_metrics, type(condition)(others)] if others else on_metrics
        return _Joined(isinstance(condition, And), tuple(map(self._divided, whole)))


def without_metrics(filter_: And) -> And:
    """The conditions that PostgreSQL alone evaluates, all of which have to be true."""
    return And(tuple(part for part in filter_.parts if not uses(part, OF_POINTS)))


def _fields_of(condition: Condition) -> list[Field]:
    """The metric of each comparison of one."""
    return [
        Field(comparison.kind, comparison.key)
        for comparison in comparisons_of(condition)
        if comparison.kind in OF_POINTS
    ]


def _matching(node: _Node, matching: Indices, values: Mapping[Field, MetricColumn], flags: Sequence[Flags]) -> Indices:
    return matching[_holds(node, matching, values, flags)]


def _holds(node: _Node, rows: Indices, values: Mapping[Field, MetricColumn], flags: Sequence[Flags]) -> Flags:
    if isinstance(node, _Flag):
        return flags[node.number][rows]
    if isinstance(node, Not):
        return ~_holds(node.comparison, rows, values, flags)
    if isinstance(node, _Joined):
        join = np.logical_and if node.every else np.logical_or
        held: Flags = join.reduce([_holds(part, rows, values, flags) for part in node.parts])
        return held
    there, value = (column[rows] for column in values[Field(node.kind, node.key)])
    compared: Flags = there & _COMPARE[node.operator](value, node.value)
    return compared
