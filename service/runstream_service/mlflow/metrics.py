"""Histories of metrics: messages and handlers."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import msgspec
import numpy as np

from runstream_service.concurrency import threads
from runstream_service.errors.core import RunNotFound
from runstream_service.http.callers import caller_of
from runstream_service.http.json_responses import json_response
from runstream_service.http.mlflow_errors import invalid
from runstream_service.mlflow.names import check_storable
from runstream_service.mlflow.request import (
    Int32,
    Int64,
    Message,
    check_not_empty,
    missing,
    read,
    refused,
)
from runstream_service.mlflow.run_ids import parse_run_id
from runstream_service.query.mlflow_view.metric_rows import NO_ROWS, PageKey
from runstream_service.query.reading.series import MAX_STEP, MIN_STEP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_service.query.mlflow_view.metric_rows import MetricRows
    from runstream_service.query.mlflow_view.run_metrics import RunMetrics

# Limits of the bulk reads: how many runs, metrics of all runs together (get-history-bulk), samples of each run
# (get-history-bulk-interval).
MAX_RUNS, MAX_BULK_METRICS, MAX_SAMPLES = 100, 25_000, 2_500
_MAX_TOKEN_CHARACTERS = 1_024


class GetHistory(Message):
    """metrics/get-history."""

    run_id: str
    metric_key: str
    max_results: Int32 | None = None
    page_token: str = ""


class GetHistoryBulk(Message):
    """metrics/get-history-bulk."""

    run_id: tuple[str, ...] = ()
    metric_key: str = ""
    max_results: Annotated[int, msgspec.Meta(ge=0)] = MAX_BULK_METRICS


class GetHistoryBulkInterval(Message):
    """metrics/get-history-bulk-interval."""

    run_ids: tuple[str, ...] = ()
    metric_key: str = ""
    start_step: Int64 | None = None
    end_step: Int64 | None = None
    max_results: Int32 = MAX_SAMPLES


class MetricHandlers:
    """One method per route of routes.py."""

    def __init__(self, run_metrics: RunMetrics) -> None:
        self._run_metrics = run_metrics

    async def get_history(self, request: Request) -> Response:
        message = await read(request, GetHistory)
        key = check_storable(check_not_empty(message.metric_key, "metric_key"), "metric_key")
        after, limit = _page_key(message.page_token), message.max_results
        if limit is not None and limit <= 0:
            raise invalid(f"Invalid value {limit} for parameter 'max_results' supplied. It must be a positive integer.")
        run_id = _known(message.run_id)
        rows, last = NO_ROWS, None
        if run_id is not None:
            rows, last = await self._run_metrics.history(caller_of(request), run_id, key, after=after, limit=limit)
        # A full page takes tens of milliseconds, so it is encoded in a thread.
        return await threads.READS.run(_history_page, key, rows, last, _accept_encoding(request))

    async def get_history_bulk(self, request: Request) -> Response:
        message = await read(request, GetHistoryBulk)
        run_ids, key, limit = message.run_id, message.metric_key, min(message.max_results, MAX_BULK_METRICS)
        if not run_ids:
            raise invalid("GetMetricHistoryBulk request must specify at least one run_id.")
        if len(run_ids) > MAX_RUNS:
            raise invalid(
                f"GetMetricHistoryBulk request cannot specify more than {MAX_RUNS} run_ids. Received {len(run_ids)} "
                "run_ids."
            )
        if not key:
            raise invalid("GetMetricHistoryBulk request must specify a metric_key.")
        check_storable(key, "metric_key")
        known = [run_id for text in sorted(set(run_ids)) if (run_id := _known(text)) is not None]
        found = await self._run_metrics.first_rows(caller_of(request), known, key, limit)
        return await threads.READS.run(_bulk, key, found, _accept_encoding(request))

    async def get_history_bulk_interval(self, request: Request) -> Response:
        message = await read(request, GetHistoryBulkInterval)
        run_ids, key, steps = _checked_interval(message)
        known = {text: run_id for text in run_ids if (run_id := _known(text)) is not None}
        found = await self._run_metrics.samples(
            caller_of(request), list(known.values()), key, steps, message.max_results
        )
        in_order = [(text, found.get(known[text].hex, NO_ROWS)) for text in run_ids if text in known]
        return await threads.READS.run(_bulk_interval, key, in_order, _accept_encoding(request))


def _known(run_id: str) -> UUID | None:
    """The id of a run; None for an id that no run of this service can have, which has no metrics, like a missing
    run."""
    try:
        return parse_run_id(run_id) if run_id else None
    except RunNotFound:
        return None


def _checked_interval(message: GetHistoryBulkInterval) -> tuple[Sequence[str], str, tuple[int, int]]:
    """Run ids, key, first and last step. Raises MlflowError."""
    run_ids = message.run_ids
    if not run_ids:
        raise missing("run_ids")
    if len(run_ids) > MAX_RUNS:
        raise refused(
            f"GetMetricHistoryBulkInterval request must specify at most {MAX_RUNS} run_ids. Received {len(run_ids)} "
            "run_ids."
        )
    key = check_storable(check_not_empty(message.metric_key, "metric_key"), "metric_key")
    if not 1 <= message.max_results <= MAX_SAMPLES:
        raise refused(f"max_results must be between 1 and {MAX_SAMPLES}.")
    start, end = message.start_step, message.end_step
    if start is None and end is None:
        return run_ids, key, (MIN_STEP, MAX_STEP)
    if start is None or end is None:
        raise invalid("If either start step or end step are specified, both must be specified.")
    if start > end:
        raise invalid(f"end_step must be greater than start_step. Found start_step={start} and end_step={end}.")
    return run_ids, key, (start, end)


def _history_page(key: str, rows: MetricRows, last: PageKey | None, accept_encoding: str) -> Response:
    answer: dict[str, Any] = {"metrics": _rendered(key, rows)} if len(rows) else {}
    if last is not None:
        answer["next_page_token"] = base64.b64encode(msgspec.json.encode(last)).decode()
    return json_response(answer, accept_encoding=accept_encoding)


def _bulk(key: str, found: Sequence[tuple[str, MetricRows]], accept_encoding: str) -> Response:
    metrics = [metric for run_id, rows in found for metric in _rendered(key, rows, run_id=run_id)]
    return json_response({"metrics": metrics}, accept_encoding=accept_encoding)


def _bulk_interval(key: str, found: Sequence[tuple[str, MetricRows]], accept_encoding: str) -> Response:
    metrics = [metric for run_id, rows in found for metric in _rendered(key, rows, run_id=run_id)]
    return json_response({"metrics": metrics} if metrics else {}, accept_encoding=accept_encoding)


def _rendered(key: str, rows: MetricRows, **more: str) -> list[dict[str, Any]]:
    values: list[float | str] = rows.value.tolist()
    for row in np.flatnonzero(np.isnan(rows.value)).tolist():
        values[row] = "NaN"
    columns = zip(values, rows.timestamp_ms.tolist(), rows.step.tolist(), strict=True)
    return [{"key": key, "value": value, "timestamp": time, "step": step, **more} for value, time, step in columns]


def _page_key(token: str) -> PageKey | None:
    """Parses the token of a page, which names the row after which the page begins."""
    if not token:
        return None
    if len(token) > _MAX_TOKEN_CHARACTERS:
        raise invalid("Invalid page token, it is longer than any token of this server")
    try:
        page_key = msgspec.json.decode(base64.b64decode(token, validate=True), type=PageKey)
    except (binascii.Error, ValueError) as error:
        raise invalid("Invalid page token, could not base64-decode") from error
    if not all(-(2**63) <= number < 2**63 for number in (1_000 * page_key.timestamp_ms, page_key.step)):
        raise invalid("Invalid page token, a number in it is too large")
    return page_key


def _accept_encoding(request: Request) -> str:
    return request.headers.get("accept-encoding", "")
