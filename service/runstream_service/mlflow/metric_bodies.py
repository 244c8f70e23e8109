"""Bodies of log-metric and log-batch -> columns.

Nearly every body has the form that MLflow's clients send: it fits the structs below, whose fields msgspec fills and
checks in C (measured: 1,000 metrics in 0.25 ms, and 0.13 ms more to columns; orjson and dicts: 0.4 and 0.24). Any other
body is read a second time, slowly, field by field: that accepts unusual forms (names in camel case, numbers as text),
and reports errors with MLflow's messages.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from runstream_service.concurrency import threads
from runstream_service.http.mlflow_errors import MlflowError, invalid
from runstream_service.mlflow.json_size import check_values, in_thread_if_big
from runstream_service.mlflow.names import MAX_KEY_CHARACTERS, check_key, check_length
from runstream_service.mlflow.request import (
    Message,
    Pair,
    check_content_type,
    convert,
    missing,
    normalise,
    parse_json,
    real_number,
    whole_number,
    wrong_type,
)
from runstream_service.mlflow.times import MAX_TIMESTAMP_MS, to_ms

MAX_METRICS = 1_000
# Bodies up to these sizes are decoded on the event loop. A batch of 1,000 metrics has about 170 KB; decoding that much
# into the structs below takes at most two milliseconds, whatever its content. Larger bodies are decoded in a thread.
_USUAL_METRIC_BYTES, _USUAL_BATCH_BYTES = 64 << 10, 256 << 10

_MIN_INT64, _MAX_INT64 = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class ModelMetricRow:
    """A metric that was logged for a model, optionally on a dataset; `row` is its row in the columns of Metrics."""

    row: int
    model_id: str
    dataset_name: str
    dataset_digest: str


@dataclass(frozen=True, slots=True)
class Metrics:
    """Metrics as columns of the same length: row i of every column is one metric. Timestamps are milliseconds since
    1970."""

    key: Sequence[str]
    step: NDArray[np.int64]
    timestamp_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    of_models: Sequence[ModelMetricRow] = ()

    def __len__(self) -> int:
        return len(self.key)

    def take(self, rows: NDArray[np.int64]) -> Metrics:
        """The metrics at these rows, without `of_models`."""
        return Metrics(
            [self.key[row] for row in rows.tolist()], self.step[rows], self.timestamp_ms[rows], self.value[rows]
        )

    def distinct(self) -> Metrics:
        """The metrics without repeated rows, which MLflow stores once; in their order, and without `of_models`."""
        rows = _distinct(self)
        return self if rows is None else self.take(rows)


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


@dataclass(frozen=True, slots=True)
class LogMetricBody:
    """A body of log-metric."""

    run_id: str
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class LogBatchBody:
    """A body of log-batch."""

    run_id: str
    metrics: Metrics
    params: Sequence[Pair] = ()
    tags: Sequence[Pair] = ()


# -- the form that MLflow's clients send -----------------------------------------------------------------------------


class _Metric(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    key: str
    value: float | str
    timestamp: int
    step: int = 0
    run_id: str = ""
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class _LogMetric(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    run_id: str
    key: str
    value: float | str
    timestamp: int
    step: int = 0
    run_uuid: str = ""
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class _Pair(Pair, forbid_unknown_fields=True, gc=False):
    pass


class _LogBatch(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    run_id: str
    metrics: list[_Metric] = []
    params: list[_Pair] = []
    tags: list[_Pair] = []


class _Pairs(Message):
    """The parts of a log-batch that are not metrics."""

    params: tuple[Pair, ...] = ()
    tags: tuple[Pair, ...] = ()


_AnyMetric: TypeAlias = "_Metric | _LogMetric"
_LOG_METRIC = msgspec.json.Decoder(_LogMetric)
_LOG_BATCH = msgspec.json.Decoder(_LogBatch)


async def read_log_metric(body: bytes, content_type: str) -> LogMetricBody:
    """Decodes and checks a body of log-metric. Raises MlflowError, Overloaded."""
    check_content_type(content_type)
    found = _usual_metric(body) if len(body) <= _USUAL_METRIC_BYTES else None
    if found is None:
        found = await in_thread_if_big(body, _read_metric_slowly, body, content_type)
    return found


async def read_log_batch(body: bytes, content_type: str) -> LogBatchBody:
    """Decodes and checks a body of log-batch. Raises MlflowError, Overloaded."""
    check_content_type(content_type)
    if len(body) > _USUAL_BATCH_BYTES:
        return await threads.PARSING.run(_read_big_batch, body, content_type)
    found = _usual_batch(body)
    if found is None:
        found = await in_thread_if_big(body, _read_batch_slowly, body, content_type)
    return found


def _usual_metric(body: bytes) -> LogMetricBody | None:
    try:
        usual = _LOG_METRIC.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if not _is_of_whole_dataset(usual):
        return None
    metrics = _columns([usual])
    return LogMetricBody(usual.run_id, metrics) if metrics is not None and usual.run_id else None


def _usual_batch(body: bytes) -> LogBatchBody | None:
    try:
        usual = _LOG_BATCH.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if not usual.run_id or len(usual.metrics) > MAX_METRICS:
        return None
    # Searching the text first is much faster, since few metrics have a dataset.
    if b"dataset_" in body and not all(map(_is_of_whole_dataset, usual.metrics)):
        return None
    metrics = _columns(usual.metrics)
    return None if metrics is None else LogBatchBody(usual.run_id, metrics, usual.params, usual.tags)


def _read_big_batch(body: bytes, content_type: str) -> LogBatchBody:
    try:
        check_values(body)
    except MlflowError as error:
        raise invalid(
            f"A batch logging request can contain at most {MAX_METRICS} metrics, and {error.message[0].lower()}"
            f"{error.message[1:]}"
        ) from error
    return _usual_batch(body) or _read_batch_slowly(body, content_type)


def _columns(metrics: Sequence[_AnyMetric]) -> Metrics | None:
    """The columns of metrics; None if a metric has an unusual form or is wrong."""
    if not metrics:
        return NO_METRICS
    keys = [metric.key for metric in metrics]
    timestamps = [metric.timestamp for metric in metrics]
    value = np.array([metric.value for metric in metrics])
    try:
        step = np.array([metric.step for metric in metrics], np.int64)
    except OverflowError:
        return None
    usual = (
        value.dtype == np.float64
        and min(timestamps) >= 0
        and max(timestamps) <= MAX_TIMESTAMP_MS
        and all(map(_is_right_key, set(keys)))
    )
    if not usual:
        return None
    of_models = [
        ModelMetricRow(row, metric.model_id, metric.dataset_name, metric.dataset_digest)
        for row, metric in enumerate(metrics)
        if metric.model_id
    ]
    return Metrics(keys, step, np.array(timestamps, np.int64), value, of_models)


def _is_of_whole_dataset(metric: _AnyMetric) -> bool:
    return bool(metric.dataset_name) == bool(metric.dataset_digest)


def _is_right_key(key: str) -> bool:
    return len(key) <= MAX_KEY_CHARACTERS and _is_right_short_key(key)


@functools.lru_cache(maxsize=65_536)
def _is_right_short_key(key: str) -> bool:
    try:
        _check_metric_key(key, "")
    except MlflowError:
        return False
    return key != ""


# -- any other form --------------------------------------------------------------------------------------------------


def _read_metric_slowly(body: bytes, content_type: str) -> LogMetricBody:
    raw = normalise(parse_json(body, content_type))
    _check_metric_fields(raw, "")
    run_id = _run_id(raw)
    metric = _read_metric(raw, "")
    _check_metric(metric, "")
    return LogMetricBody(run_id, _collected([metric]))


def _read_batch_slowly(body: bytes, content_type: str) -> LogBatchBody:
    raw = normalise(parse_json(body, content_type))
    run_id = _run_id(raw)
    lists = {name: _list(raw.get(name, []), name) for name in ("metrics", "params", "tags")}
    for index, metric in enumerate(lists["metrics"]):
        _check_metric_fields(metric, f"metrics[{index}].")
    for name in ("params", "tags"):
        for index, pair in enumerate(lists[name]):
            if not _object(pair, f"{name}[{index}]").get("key"):
                raise missing(f"{name}[{index}].key")
    metrics = [_read_metric(metric, f"metrics[{index}].") for index, metric in enumerate(lists["metrics"])]
    for index, metric in enumerate(metrics):
        _check_metric(metric, f"metrics[{index}].")
    pairs = convert({"params": lists["params"], "tags": lists["tags"]}, _Pairs)
    return LogBatchBody(run_id, _collected(metrics), pairs.params, pairs.tags)


def _check_metric_fields(raw: Any, path: str) -> None:
    given = _object(raw, path.removesuffix("."))
    for name in ("key", "value", "timestamp") if path else ("run_id", "key", "value", "timestamp"):
        if given.get(name) in (None, ""):
            raise missing(f"{path}{name}")


def _read_metric(raw: Mapping[str, Any], path: str) -> _Metric:
    metric = _Metric(
        key=_text(raw["key"], f"{path}key"),
        value=_float(raw["value"], f"{path}value"),
        timestamp=to_ms(_int64(raw["timestamp"], f"{path}timestamp")),
        step=_int64(raw.get("step", 0), f"{path}step"),
        model_id=_text(raw.get("model_id", ""), f"{path}model_id"),
        dataset_name=_text(raw.get("dataset_name", ""), f"{path}dataset_name"),
        dataset_digest=_text(raw.get("dataset_digest", ""), f"{path}dataset_digest"),
    )
    if not _is_of_whole_dataset(metric):
        raise invalid("Both dataset_name and dataset_digest must be provided if one is provided")
    return metric


def _check_metric(metric: _Metric, path: str) -> None:
    _check_metric_key(metric.key, f"{path}name")
    if metric.timestamp < 0:
        raise invalid(
            f"Invalid value {metric.timestamp} for parameter '{path}timestamp' supplied: metric '{metric.key}' "
            f"(value={metric.value}). Timestamp must be a nonnegative long (64-bit integer) "
        )


def _check_metric_key(key: str, path: str) -> None:
    check_key(key, path)
    check_length(key, "Metric name", MAX_KEY_CHARACTERS)


def _collected(metrics: Sequence[_Metric]) -> Metrics:
    of_models = [
        ModelMetricRow(row, metric.model_id, metric.dataset_name, metric.dataset_digest)
        for row, metric in enumerate(metrics)
        if metric.model_id
    ]
    return Metrics(
        [metric.key for metric in metrics],
        np.array([metric.step for metric in metrics], np.int64),
        np.array([metric.timestamp for metric in metrics], np.int64),
        np.array([metric.value for metric in metrics], np.float64),
        of_models,
    )


def _run_id(raw: Mapping[str, Any]) -> str:
    run_id = raw.get("run_id", "")
    if run_id == "":
        raise missing("run_id")
    return _text(run_id, "run_id")


def _object(value: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise wrong_type(path, value)
    return value


def _list(value: Any, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise wrong_type(path, value)
    return value


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise wrong_type(path, value)
    return value


def _float(value: Any, path: str) -> float:
    number = real_number(value)
    # As in MLflow, a number that no double can represent is an infinity as text, and wrong as a literal.
    if number is None or (math.isinf(number) and not isinstance(value, str)):
        raise wrong_type(path, value)
    return number


def _int64(value: Any, path: str) -> int:
    number = whole_number(value)
    if number is None or not _MIN_INT64 <= number <= _MAX_INT64:
        raise wrong_type(path, value)
    return number


NO_METRICS = Metrics([], np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float64))
