"""The conditions of a filter: comparisons that are joined by AND, OR and NOT.

A condition is true or false, never unknown: a comparison of a field that an entity does not have is false, and its
negation is true. So `NOT metrics.loss > 1` matches runs without a loss, and `metrics.loss <= 1` does not.

NOT stands only before single comparisons here: the parser applies De Morgan's laws to other negations. So conditions
that all have to be true are visible as such, and PostgreSQL can use an index for each of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

Value = str | int | float | tuple[str, ...] | tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """One condition. `operator` is in upper case; `value` has the type of the field, and is None for IS [NOT] NULL."""

    kind: str
    key: str
    operator: str
    value: Value


@dataclass(frozen=True, slots=True)
class Not:
    """True if the comparison is not."""

    comparison: Comparison


@dataclass(frozen=True, slots=True)
class And:
    """True if all parts are true; an And without parts is true. No part is an And itself."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True if one of the parts is true; there are at least two. No part is an Or itself."""

    parts: tuple[Condition, ...]


Condition: TypeAlias = "Comparison | Not | And | Or"


def all_of(conditions: Iterable[Condition]) -> And:
    """The conjunction of the conditions; conjunctions among them are merged into it."""
    parts: list[Condition] = []
    for condition in conditions:
        parts += condition.parts if isinstance(condition, And) else (condition,)
    return And(tuple(parts))


def any_of(conditions: Iterable[Condition]) -> Condition:
    """The disjunction of the conditions; disjunctions among them are merged into it. Several texts that one field may
    equal become one comparison with IN, so that PostgreSQL looks for all of them at once."""
    parts: list[Condition] = []
    texts: dict[tuple[str, str], dict[str, None]] = {}
    for part in _alternatives(conditions):
        if isinstance(part, Comparison) and part.operator in ("=", "IN") and _texts_of(part):
            texts.setdefault((part.kind, part.key), {}).update(dict.fromkeys(_texts_of(part)))
        else:
            parts.append(part)
    parts += (_is_one_of(kind, key, tuple(values)) for (kind, key), values in texts.items())
    return Or(tuple(parts)) if len(parts) > 1 else parts[0]


def negated(condition: Condition) -> Condition:
    """The condition that is true if this one is false."""
    if isinstance(condition, Comparison):
        return Not(condition)
    if isinstance(condition, Not):
        return condition.comparison
    opposites = map(negated, condition.parts)
    return any_of(opposites) if isinstance(condition, And) else all_of(opposites)


def comparisons_of(condition: Condition) -> Iterator[Comparison]:
    """All comparisons of a condition, from left to right."""
    if isinstance(condition, Comparison):
        yield condition
    elif isinstance(condition, Not):
        yield condition.comparison
    else:
        for part in condition.parts:
            yield from comparisons_of(part)


def uses(condition: Condition, kinds: Collection[str]) -> bool:
    """Whether one of the comparisons is of these kinds."""
    return any(comparison.kind in kinds for comparison in comparisons_of(condition))


def _alternatives(conditions: Iterable[Condition]) -> Iterator[Condition]:
    for condition in map(_unwrapped, conditions):
        yield from condition.parts if isinstance(condition, Or) else (condition,)


def _texts_of(comparison: Comparison) -> list[str]:
    values = comparison.value if isinstance(comparison.value, tuple) else (comparison.value,)
    return [value for value in values if isinstance(value, str)]


def _is_one_of(kind: str, key: str, values: tuple[str, ...]) -> Comparison:
    return Comparison(kind, key, "IN", values) if len(values) > 1 else Comparison(kind, key, "=", values[0])


def _unwrapped(condition: Condition) -> Condition:
    """The condition; if it is a conjunction with a single part, that part."""
    return condition.parts[0] if isinstance(condition, And) and len(condition.parts) == 1 else condition
