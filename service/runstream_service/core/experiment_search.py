"""Finds the experiments that match a filter, in an order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from runstream_service.concurrency import threads
from runstream_service.core.experiments import Experiment, from_row
from runstream_service.core.pages import make_offset_token, read_offset_token
from runstream_service.search.dialects import EXPERIMENTS
from runstream_service.search.grammar import parse_order_by, read_filter
from runstream_service.search.sql import (
    Parameters,
    condition_sql,
    keyed_condition,
    order_term,
    text_condition,
    time_condition,
    whole_condition,
)

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.database.pool import Database
    from runstream_service.search.conditions import Comparison

_DEFAULT_ORDER = ("creation_time DESC", "experiment_id ASC")
_PAGES = "experiments/search"
_TIMES = {"creation_time": "e.created_at", "last_update_time": "e.updated_at"}
_COLUMNS = {"name": "e.name", "experiment_id": "e.experiment_id"}
_TAGS = "experiment_tags t WHERE t.experiment_id = e.experiment_id"


class ExperimentSearch:
    """Searches experiments by filter and order."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def search(
        self,
        caller: Caller,
        *,
        filter_: str,
        order_by: Sequence[str],
        lifecycles: Sequence[str],
        max_results: int,
        page_token: str,
    ) -> tuple[list[Experiment], str]:
        """One page of the experiments that match, and the token of the next page (empty on the last page).

        Raises:
            InvalidField, DatabaseUnavailable.
        """
        wanted = await read_filter(filter_, EXPERIMENTS)
        terms = _terms(order_by or _DEFAULT_ORDER)
        start = read_offset_token(page_token, of=_PAGES)
        parameters = Parameters(caller.workspace_id, list(lifecycles), max_results + 1, start)
        conditions = condition_sql(wanted, lambda comparison: _condition(comparison, parameters))
        rows = await self._database.fetch(
            f"""
            SELECT e.*,
                   ARRAY(SELECT t.key FROM {_TAGS} ORDER BY t.key) AS tag_keys,
                   ARRAY(SELECT t.value FROM {_TAGS} ORDER BY t.key) AS tag_values
              FROM experiments e
             WHERE e.workspace_id = $1 AND e.lifecycle = ANY ($2::text[]) AND ({conditions})
             ORDER BY {", ".join(terms)}
             LIMIT $3 OFFSET $4
            """,  # noqa: S608  # all text is ours
            *parameters.values,
        )
        page = await threads.call_each(from_row, rows[:max_results])
        more = len(rows) > max_results
        return page, make_offset_token(of=_PAGES, offset=start + max_results) if more else ""


def _terms(order_by: Sequence[str]) -> list[str]:
    orders = parse_order_by(order_by, EXPERIMENTS)
    terms = []
    for order in orders:
        # To the millisecond, as MLflow stores times: within a millisecond, the next field decides.
        column = _COLUMNS.get(order.key) or f"date_trunc('milliseconds', {_TIMES[order.key]})"
        terms.append(order_term(column, descending=order.descending, is_text=order.key == "name"))
    return terms if any(order.key == "experiment_id" for order in orders) else [*terms, "e.experiment_id DESC"]


def _condition(comparison: Comparison, parameters: Parameters) -> str:
    key, operator, value = comparison.key, comparison.operator, comparison.value
    if comparison.kind == "tag":
        return keyed_condition(_TAGS, comparison, parameters)
    if key in _TIMES:
        return time_condition(_TIMES[key], operator, value, parameters)
    compare = whole_condition if key == "experiment_id" else text_condition
    return compare(_COLUMNS[key], operator, value, parameters)
