"""Reads rows of one key, as MLflow's clients see them (metric_rows.py). If several ranks logged the key, they are those
of the lowest rank, of all attempts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from runstream_service.query.charts.curves import Axis, Range
from runstream_service.query.mlflow_view.downsample import read_samples
from runstream_service.query.mlflow_view.metric_rows import NO_ROWS, MetricRows, PageKey, read_page
from runstream_service.query.mlflow_view.primary_series import primary_rank_series, sources_by_run
from runstream_service.query.reading.read_transaction import whole_read
from runstream_service.query.reading.series import MIN_STEP

if TYPE_CHECKING:
    from uuid import UUID

    from runstream_service.core.caller import Caller
    from runstream_service.query.reading.read_transaction import ReadPool

_RUNS_AT_ONCE = 10


class RunMetrics:
    """Reads rows of metrics. Runs and keys that do not exist have no rows.

    All methods raise InvalidField, ReadTooSlow and DatabaseUnavailable.
    """

    def __init__(self, read_pool: ReadPool) -> None:
        self._read_pool = read_pool

    @whole_read
    async def history(
        self, caller: Caller, run_id: UUID, key: str, *, after: PageKey | None = None, limit: int | None = None
    ) -> tuple[MetricRows, PageKey | None]:
        """At most `limit` rows after a page key, by (timestamp, step, value); and the page key of the last one if there
        are more."""
        rows = NO_ROWS
        async with self._read_pool.transaction() as transaction:
            stored = await primary_rank_series(transaction, caller, [run_id], key)
            low = MIN_STEP if after is None else 1_000 * after.timestamp_ms
            async with aclosing(sources_by_run(transaction, stored, Range(Axis.TIME, low=low))) as batches:
                async for batch in batches:
                    for _, sources in batch:
                        rows = await read_page(transaction, sources, after, limit)
        if limit is None or len(rows) <= limit:
            return rows, None
        return rows.take(slice(0, limit)), rows.page_key(limit - 1)

    @whole_read
    async def first_rows(
        self, caller: Caller, run_ids: Sequence[UUID], key: str, limit: int
    ) -> list[tuple[str, MetricRows]]:
        """At most `limit` rows of all runs together: run by run as requested, each by (timestamp, step, value)."""
        found: list[tuple[str, MetricRows]] = []
        async with self._read_pool.transaction() as transaction:
            # Read a few runs at a time: usually the first ones have enough rows.
            for start in range(0, len(run_ids), _RUNS_AT_ONCE):
                stored = await primary_rank_series(transaction, caller, run_ids[start : start + _RUNS_AT_ONCE], key)
                async with aclosing(sources_by_run(transaction, stored, Range(Axis.TIME))) as batches:
                    async for batch in batches:
                        for run_id, sources in batch:
                            if limit <= 0:
                                return found
                            rows = (await read_page(transaction, sources, None, limit)).take(slice(0, limit))
                            found.append((run_id, rows))
                            limit -= len(rows)
        return found

    @whole_read
    async def samples(
        self, caller: Caller, run_ids: Sequence[UUID], key: str, steps: tuple[int, int], count: int
    ) -> dict[str, MetricRows]:
        """For each run id, at most `count` rows with steps in an inclusive range, evenly spread over its rows in the
        order (step, timestamp, value). The last row is always among them."""
        async with self._read_pool.transaction() as transaction:
            stored = await primary_rank_series(transaction, caller, run_ids, key)
            return await read_samples(transaction, stored, steps, count)
