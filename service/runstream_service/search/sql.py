"""Makes SQL with parameters of conditions, and the terms after ORDER BY of orders.

Comparisons are those of MLflow's SQLite store: text byte by byte; LIKE and ILIKE without an escape character; nothing
matches a field that an entity does not have, except IS NULL; NaN matches only !=. The names of columns come from this
service, never from a caller; what callers send goes into parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from runstream_service.database.metric_values import LARGEST
from runstream_service.database.times import EPOCH
from runstream_service.search.conditions import Comparison, Not, Or

if TYPE_CHECKING:
    from runstream_service.search.conditions import Condition, Value

# The driver sends these as plus and minus infinity, which PostgreSQL compares correctly with all times.
_FOREVER = datetime.max.replace(tzinfo=UTC)
_NEVER = datetime.min.replace(tzinfo=UTC)
_FARTHEST_MS = 10**15  # beyond both


class Parameters:
    """The parameters of a statement that is being put together."""

    def __init__(self, *first: object) -> None:
        self.values: list[Any] = list(first)

    def add(self, value: object, sql_type: str) -> str:
        """Adds a value; returns its placeholder in the statement, such as $3::text."""
        self.values.append(value)
        return f"${len(self.values)}::{sql_type}"


def condition_sql(condition: Condition, compare: Callable[[Comparison], str]) -> str:
    """The SQL of a condition; `compare` makes the SQL of a single comparison."""
    if isinstance(condition, Comparison):
        return compare(condition)
    if isinstance(condition, Not):
        return f"({compare(condition.comparison)}) IS NOT TRUE"  # the comparison of a missing field is NULL
    parts = [condition_sql(part, compare) for part in condition.parts]
    return disjunction(parts) if isinstance(condition, Or) else conjunction(parts)


def text_condition(column: str, operator: str, value: Value, parameters: Parameters) -> str:
    """A comparison of a column of text. Its collation does not matter, since it is not compared with < or >."""
    if operator == "IN":
        return f"{column} = ANY ({parameters.add(list(_many(value)), 'text[]')})"
    if operator == "NOT IN":
        return f"{column} <> ALL ({parameters.add(list(_many(value)), 'text[]')})"
    parameter = parameters.add(value, "text")
    if operator in ("LIKE", "ILIKE"):
        return f"{column} {operator} {parameter} ESCAPE ''"
    return f"{column} {_sql(operator)} {parameter}"


def whole_condition(column: str, operator: str, value: Value, parameters: Parameters) -> str:
    """A comparison of a column of type bigint or int."""
    if operator == "IN":
        return f"{column} = ANY ({parameters.add(list(_many(value)), 'bigint[]')})"
    if operator == "NOT IN":
        return f"{column} <> ALL ({parameters.add(list(_many(value)), 'bigint[]')})"
    number = _number(value)
    if not -(2**63) <= number < 2**63:
        return _beyond(column, operator, above=number > 0)
    return f"{column} {_sql(operator)} {parameters.add(number, 'bigint')}"


def metric_condition(column: str, operator: str, value: Value, parameters: Parameters) -> str:
    """A comparison of a metric's value. In PostgreSQL NaN equals itself and is greater than all numbers."""
    parameter = parameters.add(_number(value), "float8")
    condition = f"{finite(column)} {_sql(operator)} {parameter}"
    return condition if operator == "!=" else f"({column} <> 'NaN' AND {condition})"


def time_condition(column: str, operator: str, value: Value, parameters: Parameters) -> str:
    """A comparison of a time with milliseconds since 1970. The time is cut to whole milliseconds, as MLflow stores
    it."""
    milliseconds = max(-_FARTHEST_MS, min(_number(value), _FARTHEST_MS))  # 1e999 is infinite
    if operator in ("=", "!=") and milliseconds != math.floor(milliseconds):
        return "false" if operator == "=" else f"{column} IS NOT NULL"
    if operator in ("=", "!="):
        first = parameters.add(_time(milliseconds), "timestamptz")
        after = parameters.add(_time(milliseconds + 1), "timestamptz")
        inside = f"({column} >= {first} AND {column} < {after})"
        return inside if operator == "=" else f"NOT {inside}"
    # x > 5 is x >= 6, and x <= 5 is x < 6; with 5.5 both of <= and < are x < 6.
    whole = math.floor(milliseconds) + 1 if operator in (">", "<=") else math.ceil(milliseconds)
    return f"{column} {'>=' if operator in ('>', '>=') else '<'} {parameters.add(_time(whole), 'timestamptz')}"


def keyed_condition(source: str, comparison: Comparison, parameters: Parameters) -> str:
    """A comparison of a param or tag. `source` is what follows FROM, with a condition on the entity, such as `tags
    WHERE tags.run_id = r.run_id`; its columns are called key and value."""
    of_key = f"SELECT FROM {source} AND key = {parameters.add(comparison.key, 'text')}"
    if comparison.operator == "IS NULL":
        return f"NOT EXISTS ({of_key})"
    if comparison.operator == "IS NOT NULL":
        return f"EXISTS ({of_key})"
    return f"EXISTS ({of_key} AND {text_condition('value', comparison.operator, comparison.value, parameters)})"


def order_term(expression: str, *, descending: bool, is_text: bool = False) -> str:
    """A term of ORDER BY. Missing values come last in both directions; text is ordered by its bytes."""
    collation = ' COLLATE "C"' if is_text else ""
    return f"{expression}{collation} {'DESC' if descending else 'ASC'} NULLS LAST"


def metric_order_terms(column: str, *, descending: bool) -> list[str]:
    """The terms of ORDER BY for a metric: in both directions numbers come first, then NaN, then missing values."""
    return [
        f"CASE WHEN {column} IS NULL THEN 2 WHEN {column} = 'NaN' THEN 1 ELSE 0 END",
        f"{finite(column)} {'DESC' if descending else 'ASC'}",
    ]


def finite(column: str) -> str:
    """A metric's value with the largest doubles in place of infinities, as MLflow stores them. NaN stays NaN."""
    return f"CASE WHEN abs({column}) = 'Infinity' THEN sign({column}) * {LARGEST!r} ELSE {column} END"


def conjunction(conditions: Sequence[str]) -> str:
    """SQL that is true if all conditions are."""
    return " AND ".join(f"({condition})" for condition in conditions) or "true"


def disjunction(conditions: Sequence[str]) -> str:
    """SQL that is true if one of the conditions is."""
    return " OR ".join(f"({condition})" for condition in conditions) or "false"


def _sql(operator: str) -> str:
    return "<>" if operator == "!=" else operator


def _many(value: Value) -> tuple[Any, ...]:
    assert isinstance(value, tuple), "the grammar gives IN a list"
    return value


def _number(value: Value) -> int | float:
    assert isinstance(value, int | float), "the grammar gives numeric fields a number"
    return value


def _beyond(column: str, operator: str, *, above: bool) -> str:
    """A comparison with a number that is above, or below, all numbers that a column can hold."""
    is_true = operator == "!=" or ((operator in ("<", "<=")) == above and operator != "=")
    return f"{column} IS NOT NULL" if is_true else "false"


def _time(milliseconds: int | float) -> datetime:
    try:
        return EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return _FOREVER if milliseconds > 0 else _NEVER
