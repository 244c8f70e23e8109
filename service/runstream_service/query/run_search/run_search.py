"""Searches runs: finds those that match a filter, in an order.

PostgreSQL compares and orders everything that is stored of runs, except points. A search without metrics is one
statement. Metrics are compared by their latest or best values, which are read as columns, for all candidates at once,
and updated by hot points. With a join in SQL instead, 10,000 runs took 60 ms or 14 s, depending on the estimates of the
planner.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from runstream_service.concurrency import threads
from runstream_service.core.names import is_run_id
from runstream_service.core.pages import make_offset_token, read_offset_token
from runstream_service.core.runs import NAME_TAG
from runstream_service.database.copy_rows import RowFormat, body, int64
from runstream_service.query.reading import hot_windows
from runstream_service.query.reading.read_transaction import all_ended, compute, whole_read
from runstream_service.query.run_search import metric_columns
from runstream_service.query.run_search.metric_columns import Field, MetricColumn, MetricColumnReader
from runstream_service.query.run_search.metric_filter import MetricFilter, without_metrics
from runstream_service.search.dialects import OF_POINTS, RUNS
from runstream_service.search.grammar import Order, parse_order_by, read_filter
from runstream_service.search.sql import (
    Parameters,
    condition_sql,
    keyed_condition,
    order_term,
    text_condition,
    time_condition,
)

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.query.reading.read_transaction import ReadPool, ReadTransaction
    from runstream_service.search.conditions import And, Comparison, Condition

Indices = NDArray[np.intp]

_PAGES = "runs/search"
_HEX = "replace(r.run_id::text, '-', '')"
# The artifact location of the experiment in which a run was created: a run that was moved still has its files there.
_LOCATION = (
    "(SELECT coalesce(f.artifact_location, 'mlflow-artifacts:/' || f.experiment_id) FROM experiments f "
    "WHERE f.experiment_id = coalesce(r.files_experiment_id, r.experiment_id))"
)
# Text columns by MLflow's names; the status in MLflow's spelling.
_TEXTS = {
    "run_id": _HEX,
    "run_name": "r.name",
    "status": "upper(r.status)",
    "user_id": "r.user_name",
    # Must agree with core.experiments.artifact_uri_below.
    "artifact_uri": rf"regexp_replace({_LOCATION}, '/?(\?.*)?$', '/' || {_HEX} || '/artifacts\1')",
}
_TIMES = {"start_time": "r.started_at", "end_time": "r.ended_at"}
_DATASET_TEXTS = {"name": "d.name", "digest": "d.digest", "context": "i.tags ->> 'mlflow.data.context'"}
_SOURCES = {"parameter": "params p WHERE p.run_id = r.run_id", "tag": "tags t WHERE t.run_id = r.run_id"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSearchQuery:
    """The arguments of a search. `lifecycles`: `active`, `deleted` or both."""

    experiment_ids: Sequence[int]
    filter: str = ""
    order_by: Sequence[str] = ()
    lifecycles: Sequence[str] = ("active",)
    max_results: int = 1_000
    page_token: str = ""


class RunSearch:
    """Searches runs by filter and order."""

    def __init__(self, read_pool: ReadPool) -> None:
        self._read_pool = read_pool

    @whole_read
    async def search(self, caller: Caller, query: RunSearchQuery) -> tuple[list[UUID], str]:
        """The run ids of one page, in order, and the token of the next page (empty on the last page).

        Raises:
            InvalidField: the filter, the order or the page token is wrong.
            ReadTooSlow, LimitReached, Overloaded, DatabaseUnavailable.
        """
        filter_ = await read_filter(query.filter, RUNS)
        orders = parse_order_by(query.order_by, RUNS)
        start = read_offset_token(query.page_token, of=_PAGES)
        if not query.experiment_ids:
            return [], ""
        scope = _Scope(caller, query, without_metrics(filter_))
        metrics = MetricFilter(filter_)
        wanted = slice(start, start + query.max_results + 1)
        async with self._read_pool.transaction() as transaction:
            await transaction.force_custom_plans()
            if metrics.fields or any(order.kind in OF_POINTS for order in orders):
                found = await self._find_by_metrics(transaction, scope, metrics, orders, wanted)
            else:
                found = await _find_by_stored_fields(transaction, scope, orders, wanted)
        if len(found) <= query.max_results:
            return found, ""
        return found[:-1], self.token_after(query, query.max_results)

    @staticmethod
    def token_after(query: RunSearchQuery, count: int) -> str:
        """The token of the page that follows the first `count` runs of this one."""
        return make_offset_token(of=_PAGES, offset=read_offset_token(query.page_token, of=_PAGES) + count)

    async def _find_by_metrics(
        self,
        transaction: ReadTransaction,
        scope: _Scope,
        metrics: MetricFilter,
        orders: Sequence[Order],
        wanted: slice,
    ) -> list[UUID]:
        candidates, sort_keys, flags = await _candidates(transaction, scope, orders, metrics.stored)
        ordered = [Field(order.kind, order.key) for order in orders if order.kind in OF_POINTS]
        fields = list(dict.fromkeys([*metrics.fields, *ordered]))
        await transaction.prefer_hash_lookups()
        any_hot = await hot_windows.any_points(transaction)
        values: dict[Field, MetricColumn] = {}
        matching = np.arange(len(candidates))
        async with self._readers(transaction, scope, len(candidates), len(fields), any_hot=any_hot) as readers:
            for group in _groups(fields, len(readers), any_hot=any_hot):
                if not len(matching):
                    return []
                values |= await _read(readers, candidates, matching, group)
                matching = await metrics.narrowed(matching, values, flags)
        order = await threads.READS.run(_sorted, matching, orders, values, sort_keys)
        raw = candidates.tobytes()
        return await threads.call_each(lambda at: UUID(bytes=raw[16 * at : 16 * at + 16]), order[wanted].tolist())

    @contextlib.asynccontextmanager
    async def _readers(
        self, transaction: ReadTransaction, scope: _Scope, candidates: int, fields: int, *, any_hot: bool
    ) -> AsyncIterator[list[MetricColumnReader]]:
        """One reader; or two, to read two keys of many runs at a time, as a key takes about 15 ms for 10,000 runs."""

        def reader(of: ReadTransaction) -> MetricColumnReader:
            return MetricColumnReader(of, scope.experiment_ids, scope.lifecycles, any_hot=any_hot)

        if any_hot or fields < 2 or candidates < metric_columns.MANY_RUNS:
            yield [reader(transaction)]
            return
        async with self._read_pool.second_connection(transaction) as other:
            if other is None:
                yield [reader(transaction)]
                return
            await other.force_custom_plans()
            await other.prefer_hash_lookups()
            yield [reader(transaction), reader(other)]


class _Scope:
    """The candidates: the runs that match all conditions except those that use metrics."""

    def __init__(self, caller: Caller, query: RunSearchQuery, filter_: And) -> None:
        self.lifecycles, self.experiment_ids = list(query.lifecycles), list(query.experiment_ids)
        self.parameters = Parameters(caller.workspace_id, self.experiment_ids, self.lifecycles)
        self.source = f"""
  FROM runs r JOIN experiments e USING (experiment_id)
 WHERE e.workspace_id = $1 AND r.experiment_id = ANY ($2::bigint[]) AND r.lifecycle = ANY ($3::text[])
   AND r.purge_epoch IS NULL AND {self.condition(filter_)}"""

    def condition(self, condition: Condition) -> str:
        """The SQL of a condition without metrics."""
        return condition_sql(condition, lambda comparison: _condition(comparison, self.parameters))

    def term(self, order: Order) -> str:
        """The SQL expression of an order by a field that is no metric."""
        if order.kind == "attribute" and order.key in _TIMES:
            return order_term(_TIMES[order.key], descending=order.descending)
        if order.kind == "attribute" or (order.kind == "tag" and order.key == NAME_TAG):
            expression = _TEXTS["run_name" if order.kind == "tag" else order.key]
        else:
            key = self.parameters.add(order.key, "text")
            expression = f"(SELECT value FROM {_SOURCES[order.kind]} AND key = {key})"  # noqa: S608  # all text is ours
        return order_term(expression, descending=order.descending, is_text=True)


async def _find_by_stored_fields(
    transaction: ReadTransaction, scope: _Scope, orders: Sequence[Order], wanted: slice
) -> list[UUID]:
    terms = [scope.term(order) for order in orders]
    limit = scope.parameters.add(wanted.stop - wanted.start, "bigint")
    offset = scope.parameters.add(wanted.start, "bigint")
    rows = await transaction.fetch_sql(
        f"SELECT r.run_id {scope.source} ORDER BY {', '.join(_with_ties(orders, terms))} LIMIT {limit} OFFSET {offset}",
        *scope.parameters.values,
    )
    return [row[0] for row in rows]


def _groups(fields: Sequence[Field], readers: int, *, any_hot: bool) -> Iterator[Sequence[Field]]:
    """Groups of fields that are read together. Usually one field per reader, since each leaves fewer candidates. If
    there are hot points, all fields: otherwise the same batches would be read and decoded for each group."""
    size = len(fields) if any_hot else readers
    return (fields[start : start + size] for start in range(0, len(fields), size))


async def _read(
    readers: Sequence[MetricColumnReader], candidates: NDArray[np.bytes_], matching: Indices, fields: Sequence[Field]
) -> dict[Field, MetricColumn]:
    if len(readers) == 1:
        return await readers[0].read(candidates, matching, fields)
    reading = [reader.read(candidates, matching, [field]) for reader, field in zip(readers, fields, strict=False)]
    values: dict[Field, MetricColumn] = {}
    for found in await all_ended(reading):
        values |= found
    return values


class _Candidates(NamedTuple):
    """The candidates, in the default order; for each order by a field that is not a metric, the rank of each candidate;
    and for each stored condition of the metric filter, whether it is true."""

    run_ids: NDArray[np.bytes_]
    sort_keys: dict[Order, NDArray[np.int64]]
    flags: list[NDArray[np.bool_]]


async def _candidates(
    transaction: ReadTransaction, scope: _Scope, orders: Sequence[Order], conditions: Sequence[Condition]
) -> _Candidates:
    stored = [order for order in orders if order.kind not in OF_POINTS]
    columns = [
        *(f"dense_rank() OVER (ORDER BY {scope.term(order)})" for order in stored),
        *(f"({scope.condition(condition)}) IS TRUE" for condition in conditions),
    ]
    data = await transaction.copy_of_sql(
        f"SELECT {', '.join(['r.run_id', *columns])} {scope.source} ORDER BY {', '.join(_with_ties(orders, []))}",
        *scope.parameters.values,
    )
    sort_keys = [f"sort_key_{number}" for number in range(len(stored))]
    flags = [f"flag_{number}" for number in range(len(conditions))]
    row_format = RowFormat(
        [("run_id", "S16"), *((name, ">i8") for name in sort_keys), *((name, "?") for name in flags)]
    )

    def decoded() -> _Candidates:
        rows = row_format.rows(body(data))
        return _Candidates(
            rows["run_id"].copy(),
            {order: int64(rows[name]) for order, name in zip(stored, sort_keys, strict=True)},
            [rows[name].copy() for name in flags],
        )

    return await compute(len(data) // row_format.dtype.itemsize, decoded)


def _sorted(
    matching: Indices,
    orders: Sequence[Order],
    values: dict[Field, MetricColumn],
    sort_keys: dict[Order, NDArray[np.int64]],
) -> Indices:
    """Sorts candidates, with a stable sort. Numbers come first, then NaN, then missing values, in both directions."""
    columns: list[NDArray[Any]] = []
    for order in orders:
        if order.kind not in OF_POINTS:
            columns.append(sort_keys[order][matching])
            continue
        there, value = (column[matching] for column in values[Field(order.kind, order.key)])
        columns.append(np.where(there, np.isnan(value), 2))
        columns.append(np.nan_to_num(np.negative(value) if order.descending else value, nan=0.0))
    return matching[np.lexsort(columns[::-1])] if columns else matching


def _with_ties(orders: Sequence[Order], terms: Sequence[str]) -> list[str]:
    """The terms followed by the default order, which decides between equal runs: newest first, then by id."""
    by_start = any((order.kind, order.key) == ("attribute", "start_time") for order in orders)
    return [*terms, *([] if by_start else ["r.started_at DESC"]), "r.run_id"]


def _condition(comparison: Comparison, parameters: Parameters) -> str:
    kind, key, operator_, value = comparison.kind, comparison.key, comparison.operator, comparison.value
    if kind == "attribute" and key in _TIMES:
        return time_condition(_TIMES[key], operator_, value, parameters)
    if kind == "attribute" and key == "run_id" and operator_ not in ("LIKE", "ILIKE"):
        return _id_condition(comparison, parameters)
    if kind == "attribute":
        return text_condition(_TEXTS[key], operator_, value, parameters)
    if kind == "tag" and key == NAME_TAG:
        if value is None:
            return "true" if operator_ == "IS NOT NULL" else "false"
        return text_condition("r.name", operator_, value, parameters)
    if kind == "dataset":
        of_dataset = text_condition(_DATASET_TEXTS[key], operator_, value, parameters)
        return (
            "EXISTS (SELECT FROM run_datasets i JOIN datasets d USING (dataset_id) "
            f"WHERE i.run_id = r.run_id AND {of_dataset})"
        )
    return keyed_condition(_SOURCES[kind], comparison, parameters)


def _id_condition(comparison: Comparison, parameters: Parameters) -> str:
    """A comparison of run ids, by the primary key. A text that is not a run id equals no run."""
    texts = comparison.value if isinstance(comparison.value, tuple) else (comparison.value,)
    # Pass them as text, which the driver accepts: converting 25,000 UUIDs would block the event loop.
    ids = [text for text in texts if isinstance(text, str) and is_run_id(text)]
    is_any = f"r.run_id = ANY ({parameters.add(ids, 'uuid[]')})"
    return is_any if comparison.operator in ("=", "IN") else f"NOT ({is_any})"
