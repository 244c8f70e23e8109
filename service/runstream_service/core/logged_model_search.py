"""Searches logged models: turns a filter, an order and a page into a statement. Pages use an offset, as in MLflow,
since experiments have few models."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from runstream_service.core.names import check_text
from runstream_service.core.pages import make_offset_token, read_offset_token
from runstream_service.errors.core import InvalidField
from runstream_service.search.conditions import uses
from runstream_service.search.dialects import LOGGED_MODELS, OF_POINTS
from runstream_service.search.grammar import MAX_ORDERS, parse_field, read_filter
from runstream_service.search.sql import (
    Parameters,
    condition_sql,
    conjunction,
    keyed_condition,
    metric_condition,
    metric_order_terms,
    order_term,
    text_condition,
    time_condition,
)

if TYPE_CHECKING:
    import asyncpg

    from runstream_service.core.caller import Caller
    from runstream_service.database.pool import PooledConnection
    from runstream_service.search.conditions import And, Comparison

DEFAULT_RESULTS, MAX_RESULTS = 50, 50_000
MAX_DATASETS = 100
_MAX_TEXT = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetRef:
    """A dataset that metrics were logged on; an empty digest means any."""

    name: str
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderBy:
    """A field to order by. A metric may be restricted to a dataset."""

    field: str
    ascending: bool = True
    dataset_name: str = ""
    dataset_digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedModelQuery:
    """The arguments of a search. `max_results`: 0 means DEFAULT_RESULTS."""

    experiment_ids: Sequence[int]
    filter: str = ""
    datasets: Sequence[DatasetRef] = ()
    order_by: Sequence[OrderBy] = ()
    max_results: int = 0
    page_token: str = ""


_TEXTS = {
    "name": "d.name",
    "model_id": "d.model_id",
    "model_type": "d.model_type",
    "status": "upper(d.status)",
    "source_run_id": "coalesce(replace(d.source_run_id::text, '-', ''), '')",
}
_TIMES = {"creation_timestamp": "d.created_at", "last_updated_timestamp": "d.updated_at"}


async def search(
    connection: PooledConnection, caller: Caller, asked: LoggedModelQuery
) -> tuple[list[asyncpg.Record], str]:
    """One page of rows of logged_model_details, and the token of the next page (empty on the last page).

    Raises:
        InvalidField.
    """
    _check(asked)
    of = f"logged models {_fingerprint(asked)}"
    offset, size = read_offset_token(asked.page_token, of=of), asked.max_results or DEFAULT_RESULTS
    parameters = Parameters(caller.workspace_id, list(asked.experiment_ids))
    wanted = await read_filter(asked.filter, LOGGED_MODELS)
    conditions = conjunction(_conditions(asked, wanted, parameters))
    columns, terms = _orders(asked.order_by, parameters)
    # A subquery, since ORDER BY cannot use expressions of columns that the same statement computes.
    rows = await connection.fetch(
        f"SELECT * FROM (SELECT d.*{columns} FROM logged_model_details d WHERE d.workspace_id = $1"  # noqa: S608  # the grammar's, with parameters
        f" AND d.experiment_id = ANY ($2::bigint[]) AND d.deleted_at IS NULL AND {conditions}) d"
        f" ORDER BY {', '.join(terms)}"
        f" LIMIT {parameters.add(size + 1, 'bigint')} OFFSET {parameters.add(offset, 'bigint')}",
        *parameters.values,
    )
    if len(rows) <= size:
        return rows, ""
    return rows[:-1], make_offset_token(of=of, offset=offset + size)


def _check(asked: LoggedModelQuery) -> None:
    if not 0 <= asked.max_results <= MAX_RESULTS:
        raise InvalidField(
            f"Invalid value for max_results. It must be from 1 to {MAX_RESULTS}, but got {asked.max_results}",
            field="max_results",
        )
    if len(asked.datasets) > MAX_DATASETS:
        raise InvalidField(f"datasets: at most {MAX_DATASETS} are allowed", field="datasets")
    if len(asked.order_by) > MAX_ORDERS:
        raise InvalidField(f"order_by: at most {MAX_ORDERS} are allowed", field="order_by")
    if not all(dataset.name for dataset in asked.datasets):
        raise InvalidField("`dataset_name` in the `datasets` clause must be specified.", field="datasets")
    for one in asked.datasets:
        for text in (one.name, one.digest):
            check_text(text, field="datasets", max_characters=_MAX_TEXT)
    for order in asked.order_by:
        for text in (order.dataset_name, order.dataset_digest):
            check_text(text, field="order_by", max_characters=_MAX_TEXT)


def _fingerprint(asked: LoggedModelQuery) -> int:
    """A hash of the search, so that a page token is accepted only by the search that it came from."""
    order = [asdict(one) for one in asked.order_by]
    return zlib.crc32(json.dumps([list(asked.experiment_ids), asked.filter, order]).encode())


def _conditions(asked: LoggedModelQuery, wanted: And, parameters: Parameters) -> list[str]:
    # Conditions on metrics only apply to metrics on these datasets; without such conditions, there must be some metric.
    on_datasets = _on_datasets(asked.datasets, parameters)
    conditions = [condition_sql(part, lambda one: _condition(one, on_datasets, parameters)) for part in wanted.parts]
    if asked.datasets and not uses(wanted, OF_POINTS):
        conditions.append(f"EXISTS ({_OF_MODEL}{on_datasets})")
    return conditions


_OF_MODEL = "SELECT FROM logged_model_metrics x WHERE x.model_id = d.model_id"


def _condition(one: Comparison, on_datasets: str, parameters: Parameters) -> str:
    if one.kind == "metric":
        value = metric_condition("x.value", one.operator, one.value, parameters)
        return f"EXISTS ({_OF_MODEL} AND x.key = {parameters.add(one.key, 'text')} AND {value}{on_datasets})"
    if one.kind == "parameter":
        return keyed_condition("logged_model_params p WHERE p.model_id = d.model_id", one, parameters)
    if one.kind == "tag":
        return keyed_condition("logged_model_tags t WHERE t.model_id = d.model_id", one, parameters)
    if one.key in _TIMES:
        return time_condition(_TIMES[one.key], one.operator, one.value, parameters)
    return text_condition(_TEXTS[one.key], one.operator, one.value, parameters)


def _on_datasets(datasets: Sequence[DatasetRef], parameters: Parameters) -> str:
    return _any_of([_on_dataset(dataset.name, dataset.digest, parameters) for dataset in datasets])


def _any_of(conditions: Sequence[str]) -> str:
    return f" AND ({' OR '.join(conditions)})" if conditions else ""


def _on_dataset(name: str, digest: str, parameters: Parameters) -> str:
    parts = [
        f"x.{column} = {parameters.add(text, 'text')}"
        for column, text in (("dataset_name", name), ("dataset_digest", digest))
        if text
    ]
    return f"({' AND '.join(parts) or 'true'})"


def _orders(order_by: Sequence[OrderBy], parameters: Parameters) -> tuple[str, list[str]]:
    """Additional columns of the inner SELECT, and the terms of ORDER BY."""
    columns, terms, named = "", [], set()
    for number, order in enumerate(order_by):
        kind, key = parse_field(order.field, LOGGED_MODELS)
        named.add(key if kind == "attribute" else "")
        descending = not order.ascending
        if kind == "metric":
            dataset = _on_dataset(order.dataset_name, order.dataset_digest, parameters)
            columns += (
                f", (SELECT x.value FROM logged_model_metrics x WHERE x.model_id = d.model_id AND {dataset}"  # noqa: S608  # as above
                f" AND x.key = {parameters.add(key, 'text')} ORDER BY x.time DESC, x.step DESC, x.run_id LIMIT 1)"
                f" AS metric_{number}"
            )
            terms += metric_order_terms(f"d.metric_{number}", descending=descending)
        elif key in _TIMES:
            # To the millisecond, as MLflow stores times: within a millisecond, the next field decides.
            terms.append(order_term(f"date_trunc('milliseconds', {_TIMES[key]})", descending=descending))
        else:
            terms.append(order_term(_TEXTS[key], descending=descending, is_text=True))
    if "creation_timestamp" not in named:
        terms.append("date_trunc('milliseconds', d.created_at) DESC")
    if "model_id" not in named:
        terms.append('d.model_id COLLATE "C"')
    return columns, terms
