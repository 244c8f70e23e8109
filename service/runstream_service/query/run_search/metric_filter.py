"""Evaluates the part of a filter that uses metrics, in columns, for all candidates at once.

If such a condition also uses stored fields, PostgreSQL evaluates that part of it when it searches the candidates. For
`metrics.loss < 1 OR (params.lr = '0.1' AND tags.best = 'yes')` each candidate comes with a flag: whether the expression
in parentheses is true for it.
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
# How many comparisons of numbers take as long as `compute` assumes for one row.
_PER_ROW = 16


@dataclass(frozen=True, slots=True)
class _Flag:
    """A condition that PostgreSQL evaluates; `number` is its index in MetricFilter.stored."""

    number: int


@dataclass(frozen=True, slots=True)
class _Joined:
    """Some conditions of which all (`every`) or any have to be true."""

    every: bool
    parts: tuple[_Node, ...]


_Node: TypeAlias = "Comparison | Not | _Flag | _Joined"


class MetricFilter:
    """Narrows down candidates, as the values of metrics are read. `stored`: the conditions for which each candidate
    needs a flag. `fields`: the metrics to read, first those of single comparisons."""

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
        """Those of the candidates at the indexes `matching` that match all conditions whose metrics are in `values`.
        Each condition is evaluated once, as soon as it can be."""
        known = [(fields, node) for fields, node in self._waiting if all(field in values for field in fields)]
        self._waiting = [
            (fields, node) for fields, node in self._waiting if not all(field in values for field in fields)
        ]
        for fields, node in known:
            matching = await compute(len(matching) * len(fields) // _PER_ROW, _matching, node, matching, values, flags)
        return matching

    def _divided(self, condition: Condition) -> _Node:
        """The condition, with a flag in place of each part that uses no metrics."""
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
    """The conditions of a filter that use no metrics, which PostgreSQL evaluates."""
    return And(tuple(part for part in filter_.parts if not uses(part, OF_POINTS)))


def _fields_of(condition: Condition) -> list[Field]:
    """The fields of all comparisons with metrics in a condition."""
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
