"""MLflow's checks, made where a value is logged: when a journal is sent, there is no caller left to raise to.

The rules and messages are those of MLflow's server, from the installed MLflow. Everything here raises MlflowException
with INVALID_PARAMETER_VALUE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.utils.validation import (
    _validate_batch_log_limits,
    _validate_metric,
    _validate_param,
    _validate_param_keys_unique,
    _validate_tag,
)

from runstream._columns import is_utf8
from runstream._points_journal import Point
from runstream._values import INT64_MAX, INT64_MIN

_MAX_TIMESTAMP_MS = 253_402_300_799_999  # the end of the year 9999


def checked_point(metric: Any, path: str = "") -> Point:
    """Converts a metric of MLflow to a point; `path` is its place in a batch, for messages."""
    _validate_metric(metric.key, metric.value, metric.timestamp, metric.step, path=path)
    prefix = f"{path}." if path else ""
    step = _whole(metric.step, f"{prefix}step")
    if not INT64_MIN <= step <= INT64_MAX:
        _refuse(f"{prefix}step", metric.step, "It does not fit into 64 bits")
    return Point(metric.key, float(metric.value), step, _time_unix_us(_whole(metric.timestamp, f"{prefix}timestamp")))


def checked_batch(
    metrics: Sequence[Any], params: Sequence[Any], tags: Sequence[Any]
) -> tuple[list[Point], dict[str, str], dict[str, str]]:
    """Converts a batch to points, params and tags. MLflow limits its size, and no param may be in it twice."""
    _validate_batch_log_limits(metrics, params, tags)
    points = [checked_point(metric, f"metrics[{index}]") for index, metric in enumerate(metrics)]
    good_params = dict(checked_param(param, f"params[{index}]") for index, param in enumerate(params))
    good_tags = dict(checked_tag(tag, f"tags[{index}]") for index, tag in enumerate(tags))
    _validate_param_keys_unique(params)
    return points, good_params, good_tags


def checked_param(param: Any, path: str = "") -> tuple[str, str]:
    """Key and value; a long value is cut off, as in MLflow."""
    checked = _validate_param(param.key, param.value, path=path)
    return checked.key, _storable(checked.value, "Param value")


def checked_tag(tag: Any, path: str = "") -> tuple[str, str]:
    """Key and value; a long value is cut off, as in MLflow."""
    checked = _validate_tag(tag.key, tag.value, path=path)
    return checked.key, _storable(checked.value, f"{path}.value" if path else "value")


def param_changed(run_id: str, changes: Mapping[str, tuple[str, str]], *, in_batch: bool) -> MlflowException:
    """MLflow's error for params that already have other values: key -> (stored value, new value)."""
    if in_batch:
        rows = [{"key": key, "old_value": old, "new_value": new} for key, (old, new) in changes.items()]
        details = f"Params were already logged='{rows}' for run ID='{run_id}'."
    else:
        ((key, (old, new)),) = changes.items()
        details = (
            f"Param with key='{key}' was already logged with value='{old}' for run ID='{run_id}'. Attempted logging "
            f"new value '{new}'."
        )
    return MlflowException(f"Changing param values is not allowed. {details}", INVALID_PARAMETER_VALUE)


def _storable(value: str | None, what: str) -> str:
    text = "" if value is None else value
    if "\0" in text or not is_utf8(text):
        raise MlflowException(
            f"'{what}' has a NUL character or a lone surrogate, which cannot be stored.", INVALID_PARAMETER_VALUE
        )
    return text


def _whole(number: Any, path: str) -> int:
    try:
        whole = int(number)
    except (TypeError, ValueError, OverflowError):
        whole = None
    if whole is None or whole != number:
        _refuse(path, number, "It is not a whole number")
    return whole


def _time_unix_us(timestamp: int) -> int:
    """MLflow's timestamp, in milliseconds, as microseconds. Microseconds and nanoseconds are recognised by their size,
    as the service does."""
    if timestamp > _MAX_TIMESTAMP_MS:
        timestamp //= 1_000 if timestamp <= 1_000 * _MAX_TIMESTAMP_MS else 1_000_000
    return timestamp * 1_000


def _refuse(path: str, value: Any, why: str) -> NoReturn:
    raise MlflowException(
        f"Invalid value {value!r:.80} for parameter '{path}' supplied: {why}.", INVALID_PARAMETER_VALUE
    )
