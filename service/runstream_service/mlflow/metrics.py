"""Metrics of runs: log-metric, log-batch, and their histories."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray

from runstream_service import threads
from runstream_service.core.errors import ParamChanged, RunNotFound
from runstream_service.core.model_metrics import ModelMetric
from runstream_service.ingest.http_writes import RunPoints
from runstream_service.mlflow.answer import encode
from runstream_service.mlflow.entries import checked_params, checked_tags
from runstream_service.mlflow.errors import invalid
from runstream_service.mlflow.metric_bodies import LogBatchBody, Metrics, read_log_batch, read_log_metric
from runstream_service.mlflow.names import check_storable
from runstream_service.mlflow.request import (
    Int32,
    Int64,
    Message,
    check_given,
    missing,
    read,
    read_body,
    refused,
)
from runstream_service.mlflow.run_ids import parse_run_id, parse_run_id_strictly
from runstream_service.mlflow.times import SecondsWarning
from runstream_service.query.mlflow_view.metric_rows import NO_ROWS, PageKey
from runstream_service.query.reading.series import MAX_STEP, MIN_STEP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_service.core.caller import Caller
    from runstream_service.core.model_metrics import ModelMetrics
    from runstream_service.core.runs import Runs
    from runstream_service.ingest.http_writes import HttpIngest
    from runstream_service.mlflow.metric_bodies import ModelMetric as BodyMetric
    from runstream_service.query.mlflow_view.metric_rows import MetricRows
    from runstream_service.query.mlflow_view.run_metrics import RunMetrics

MAX_METRICS, MAX_PARAMS, MAX_TAGS, MAX_ENTITIES = 1_000, 100, 100, 1_000
# Limits of the bulk reads: runs, rows of all of them, rows of each.
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
    """One method a route of routes.py."""

    def __init__(
        self, writes: HttpIngest, of_models: ModelMetrics, runs: Runs, run_metrics: RunMetrics, caller: Caller
    ) -> None:
        self._writes = writes
        self._of_models = of_models
        self._runs = runs
        self._run_metrics = run_metrics
        self._caller = caller
        self._seconds = SecondsWarning()

    async def log_metric(self, request: Request) -> Response:
        content = await read_body(request)
        body = await read_log_metric(content, request.headers.get("content-type", ""))
        run_id = parse_run_id(body.run_id)
        await self._check_models(body.metrics)
        await self._store(run_id, body.metrics, content)
        return encode({})

    async def log_batch(self, request: Request) -> Response:
        """Checks everything before anything is stored. Then, as in MLflow, params, metrics and tags are stored one
        after the other. If one fails, the earlier ones stay stored, and the whole request may be repeated."""
        content = await read_body(request)
        body = await read_log_batch(content, request.headers.get("content-type", ""))
        run_id = parse_run_id_strictly(body.run_id)
        params, tags = _checked_pairs(body)
        await self._check_models(body.metrics)
        if not params and not tags and not len(body.metrics):
            await self._writes.check_run(self._caller, run_id)
        if params:
            await self._log_params(run_id, params)
        if len(body.metrics):
            await self._store(run_id, body.metrics, content)
        if tags:
            await self._runs.set_tags(self._caller, run_id.hex, tags)
        return encode({})

    async def get_history(self, request: Request) -> Response:
        message = await read(request, GetHistory)
        key = check_storable(check_given(message.metric_key, "metric_key"), "metric_key")
        after, limit = _page_key(message.page_token), message.max_results
        if limit is not None and limit <= 0:
            raise invalid(f"Invalid value {limit} for parameter 'max_results' supplied. It must be a positive integer.")
        run_id = _known(message.run_id)
        rows, last = NO_ROWS, None
        if run_id is not None:
            rows, last = await self._run_metrics.history(self._caller, run_id, key, after=after, limit=limit)
        # Tens of milliseconds for a full page, during which the loop serves others.
        return await threads.READS.run(_history_page, key, rows, last, _accepted(request))

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
        found = await self._run_metrics.first_rows(self._caller, known, key, limit)
        return await threads.READS.run(_bulk, key, found, _accepted(request))

    async def get_history_bulk_interval(self, request: Request) -> Response:
        message = await read(request, GetHistoryBulkInterval)
        run_ids, key, steps = _checked_interval(message)
        known = {text: run_id for text in run_ids if (run_id := _known(text)) is not None}
        found = await self._run_metrics.samples(self._caller, list(known.values()), key, steps, message.max_results)
        in_order = [(text, found.get(known[text].hex, NO_ROWS)) for text in run_ids if text in known]
        return await threads.READS.run(_bulk_interval, key, in_order, _accepted(request))

    async def _log_params(self, run_id: UUID, params: dict[str, str]) -> None:
        try:
            await self._runs.log_params(self._caller, run_id.hex, params)
        except ParamChanged as error:
            changes = [
                {"key": change.key, "old_value": change.stored, "new_value": change.given} for change in error.changes
            ]
            raise invalid(
                f"Changing param values is not allowed. Params were already logged='{changes}' for run "
                f"ID='{run_id.hex}'."
            ) from error

    async def _check_models(self, metrics: Metrics) -> None:
        if metrics.of_models:
            await self._of_models.check(self._caller, [_of_model(metrics, metric) for metric in metrics.of_models])

    async def _store(self, run_id: UUID, metrics: Metrics, content: bytes) -> None:
        """Stores the points first. If the metrics of models cannot be stored then, the request fails; its repeat finds
        the points stored already and continues from here."""
        self._seconds.look_at(run_id, int(metrics.timestamp_ms[-1]))
        rows = _distinct(metrics)
        once = metrics if rows is None else metrics.take(rows)
        await self._writes.write(
            self._caller,
            RunPoints(run_id, _write_id(run_id, content), once.key, once.step, once.timestamp_ms * 1_000, once.value),
        )
        if metrics.of_models:
            await self._of_models.log(run_id, [_of_model(metrics, metric) for metric in metrics.of_models])


def _known(run_id: str) -> UUID | None:
    """None for an id that no run of this service can have: it has no metrics, like a run that does not exist."""
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
    key = check_storable(check_given(message.metric_key, "metric_key"), "metric_key")
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


def _write_id(run_id: UUID, content: bytes) -> UUID:
    return UUID(bytes=hashlib.sha256(run_id.bytes + content).digest()[:16])


def _distinct(metrics: Metrics) -> NDArray[np.int64] | None:
    """The distinct rows, in order; None if all are distinct."""
    count = len(metrics)
    # Usually a key has each step only once; checking that takes a sixth of the time of sorting.
    if count == 1 or len(set(zip(metrics.key, metrics.step.tolist(), strict=True))) == count:
        return None
    numbers: dict[str, int] = {}
    key = np.array([numbers.setdefault(name, len(numbers)) for name in metrics.key], np.int64)
    # All NaN are one value here, and so are the two zeros.
    value = np.where(np.isnan(metrics.value), np.nan, metrics.value + 0.0).view(np.int64)
    order = np.lexsort((value, metrics.timestamp_ms, metrics.step, key))
    new = np.zeros(count, np.bool_)
    new[0] = True
    for column in (key, metrics.step, metrics.timestamp_ms, value):
        ordered = column[order]
        new[1:] |= ordered[1:] != ordered[:-1]
    return None if new.all() else np.sort(order[new])


def _of_model(metrics: Metrics, metric: BodyMetric) -> ModelMetric:
    row = metric.row
    return ModelMetric(
        metric.model_id,
        metrics.key[row],
        int(metrics.step[row]),
        int(metrics.timestamp_ms[row]) * 1_000,
        float(metrics.value[row]),
        metric.dataset_name,
        metric.dataset_digest,
    )


def _checked_pairs(body: LogBatchBody) -> tuple[dict[str, str], dict[str, str]]:
    """Params and tags. Raises MlflowError, also if the batch has too much of anything."""
    counts = (len(body.metrics), len(body.params), len(body.tags))
    for what, limit, count in (
        ("metrics", MAX_METRICS, counts[0]),
        ("params", MAX_PARAMS, counts[1]),
        ("tags", MAX_TAGS, counts[2]),
        ("metrics, params, and tags", MAX_ENTITIES, sum(counts)),
    ):
        if count > limit:
            raise invalid(
                f"A batch logging request can contain at most {limit} {what}. Got {count} {what}. Please split up "
                f"{what} across multiple requests and try again."
            )
    return checked_params(body.params), checked_tags(body.tags)


def _history_page(key: str, rows: MetricRows, last: PageKey | None, accept_encoding: str) -> Response:
    answer: dict[str, Any] = {"metrics": _rendered(key, rows)} if len(rows) else {}
    if last is not None:
        answer["next_page_token"] = base64.b64encode(msgspec.json.encode(last)).decode()
    return encode(answer, accept_encoding=accept_encoding)


def _bulk(key: str, found: Sequence[tuple[str, MetricRows]], accept_encoding: str) -> Response:
    metrics = [metric for run_id, rows in found for metric in _rendered(key, rows, run_id=run_id)]
    return encode({"metrics": metrics}, accept_encoding=accept_encoding)


def _bulk_interval(key: str, found: Sequence[tuple[str, MetricRows]], accept_encoding: str) -> Response:
    metrics = [metric for run_id, rows in found for metric in _rendered(key, rows, run_id=run_id)]
    return encode({"metrics": metrics} if metrics else {}, accept_encoding=accept_encoding)


def _rendered(key: str, rows: MetricRows, **more: str) -> list[dict[str, Any]]:
    values: list[float | str] = rows.value.tolist()
    for row in np.flatnonzero(np.isnan(rows.value)).tolist():
        values[row] = "NaN"
    columns = zip(values, rows.timestamp_ms.tolist(), rows.step.tolist(), strict=True)
    return [{"key": key, "value": value, "timestamp": time, "step": step, **more} for value, time, step in columns]


def _page_key(token: str) -> PageKey | None:
    """Parses the token of a page: the place of the row after which the next page begins."""
    if not token:
        return None
    if len(token) > _MAX_TOKEN_CHARACTERS:
        raise invalid("Invalid page token, it is longer than any that this server gives")
    try:
        page_key = msgspec.json.decode(base64.b64decode(token, validate=True), type=PageKey)
    except (binascii.Error, ValueError) as error:
        raise invalid("Invalid page token, could not base64-decode") from error
    if not all(-(2**63) <= number < 2**63 for number in (1_000 * page_key.timestamp_ms, page_key.step)):
        raise invalid("Invalid page token, a number in it is too large")
    return page_key


def _accepted(request: Request) -> str:
    return request.headers.get("accept-encoding", "")
