"""Metrics of runs: log-metric, log-batch, and their histories."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import orjson
from numpy.typing import NDArray

from runstream_service.core.errors import ParamChanged, RunNotFound
from runstream_service.core.model_metrics import ModelMetric
from runstream_service.ingest.metric_writes import RunPoints
from runstream_service.mlflow.answer import encode
from runstream_service.mlflow.entries import checked_params, checked_tags
from runstream_service.mlflow.errors import invalid
from runstream_service.mlflow.metric_bodies import LogBatchBody, Metrics, read_log_batch, read_log_metric
from runstream_service.mlflow.names import check_storable
from runstream_service.mlflow.request import Int32, Message, Pair, check_given, convert, read, read_body
from runstream_service.mlflow.run_ids import parse_run_id, parse_run_id_strictly

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_service.core.caller import Caller
    from runstream_service.core.model_metrics import ModelMetrics
    from runstream_service.core.runs import Runs
    from runstream_service.ingest.metric_writes import MetricWrites
    from runstream_service.mlflow.metric_bodies import ModelMetric as BodyMetric
    from runstream_service.query.run_metrics import MetricRows, RunMetrics

MAX_METRICS, MAX_PARAMS, MAX_TAGS, MAX_ENTITIES = 1_000, 100, 100, 1_000


class GetHistory(Message):
    """metrics/get-history."""

    run_id: str
    metric_key: str
    max_results: Int32 | None = None
    page_token: str = ""


class _Pairs(Message):
    """What of a log-batch is not metrics."""

    params: tuple[Pair, ...] = ()
    tags: tuple[Pair, ...] = ()


class MetricHandlers:
    """One method a route of routes.py."""

    def __init__(
        self, writes: MetricWrites, of_models: ModelMetrics, runs: Runs, run_metrics: RunMetrics, caller: Caller
    ) -> None:
        self._writes = writes
        self._of_models = of_models
        self._runs = runs
        self._run_metrics = run_metrics
        self._caller = caller

    async def log_metric(self, request: Request) -> Response:
        content = await read_body(request)
        body = read_log_metric(content, request.headers.get("content-type", ""))
        run_id = parse_run_id(body.run_id)
        await self._check_models(body.metrics)
        await self._store(run_id, body.metrics, content)
        return encode({})

    async def log_batch(self, request: Request) -> Response:
        """Everything is checked before anything is stored. Then, as in MLflow, params, metrics and tags are stored one
        after the other; what fails leaves what was before it, and the whole may be repeated."""
        content = await read_body(request)
        body = read_log_batch(content, request.headers.get("content-type", ""))
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
        offset, limit = _offset(message.page_token), message.max_results
        if limit is not None and limit <= 0:
            raise invalid(f"Invalid value {limit} for parameter 'max_results' supplied. It must be a positive integer.")
        rows = (await self._histories(self._found([message.run_id]), key)).get(message.run_id)
        # Tens of milliseconds for a full page, during which the loop serves others.
        return await asyncio.to_thread(_history_page, key, rows, offset, limit, _accepted(request))

    async def _histories(self, run_ids: dict[str, UUID], key: str) -> dict[str, MetricRows]:
        found = await self._run_metrics.history(self._caller, list(run_ids.values()), key) if run_ids else []
        return dict(zip(run_ids, found, strict=True))

    def _found(self, run_ids: list[str]) -> dict[str, UUID]:
        """What no run of ours can be called has no metrics, as what is not there."""
        found = {}
        for text in run_ids:
            with contextlib.suppress(RunNotFound):
                found[text] = parse_run_id(text)
        return found

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
        """Points first. If what is known of models cannot be stored then, the request fails, and its repeat finds the
        points there already and goes on from here."""
        rows = _distinct(metrics)
        once = metrics if rows is None else metrics.take(rows)
        await self._writes.store(
            self._caller,
            RunPoints(run_id, _write_id(run_id, content), once.key, once.step, once.timestamp_ms * 1_000, once.value),
        )
        if metrics.of_models:
            await self._of_models.log(run_id, [_of_model(metrics, metric) for metric in metrics.of_models])


def _write_id(run_id: UUID, content: bytes) -> UUID:
    return UUID(bytes=hashlib.sha256(run_id.bytes + content).digest()[:16])


def _distinct(metrics: Metrics) -> NDArray[np.int64] | None:
    """The rows without those that are there before already, in order; None if that is all of them."""
    count = len(metrics)
    if count == 1:
        return None
    numbers: dict[str, int] = {}
    key = np.array([numbers.setdefault(name, len(numbers)) for name in metrics.key], np.int64)
    if len(numbers) == count:
        return None
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
    pairs = convert({"params": body.params, "tags": body.tags}, _Pairs)
    params, tags = checked_params(pairs.params), checked_tags(pairs.tags)
    counts = (len(body.metrics), len(pairs.params), len(pairs.tags))
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
    return params, tags


def _history_page(key: str, rows: MetricRows | None, offset: int, limit: int | None, accept_encoding: str) -> Response:
    if rows is None:
        return encode({})
    ordered = rows.by_time()
    end = len(ordered) if limit is None else min(len(ordered), offset + limit)
    page = ordered.take(slice(offset, end))
    answer: dict[str, Any] = {"metrics": _rendered(key, page)} if len(page) else {}
    if end < len(ordered) and limit is not None:
        answer["next_page_token"] = base64.b64encode(orjson.dumps({"offset": end})).decode()
    return encode(answer, accept_encoding=accept_encoding)


def _rendered(key: str, rows: MetricRows, **more: str) -> list[dict[str, Any]]:
    values: list[float | str] = rows.value.tolist()
    for row in np.flatnonzero(np.isnan(rows.value)).tolist():
        values[row] = "NaN"
    columns = zip(values, rows.timestamp_ms.tolist(), rows.step.tolist(), strict=True)
    return [{"key": key, "value": value, "timestamp": time, "step": step, **more} for value, time, step in columns]


def _offset(token: str) -> int:
    if not token:
        return 0
    try:
        offset = orjson.loads(base64.b64decode(token, validate=True))["offset"]
    except (binascii.Error, ValueError, TypeError, KeyError) as error:
        raise invalid("Invalid page token, could not base64-decode") from error
    if type(offset) is not int or not 0 <= offset < 2**63:
        raise invalid(f"Invalid page token, parsed value={offset!r:.80}")
    return offset


def _accepted(request: Request) -> str:
    return request.headers.get("accept-encoding", "")
