"""Metrics, params and tags in the form that MLflow's clients expect in JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runstream_service.database.metric_values import LARGEST


def number(value: float) -> float | str:
    """The value of a metric in JSON: NaN as text, the infinities as the largest doubles, as MLflow has them."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else math.copysign(LARGEST, value)


def numbers(values: NDArray[np.float64]) -> list[float | str]:
    """The values of many metrics in JSON, each as by `number`."""
    if np.isfinite(values).all():
        return values.tolist()  # type: ignore[no-any-return]  # numpy knows no element types of lists
    return [number(value) for value in values.tolist()]


def pairs(entries: Mapping[str, str]) -> list[dict[str, str]]:
    """Params or tags in the form of MLflow's messages."""
    return [{"key": key, "value": value} for key, value in entries.items()]


def without_unset(**fields: Any) -> dict[str, Any]:
    """The fields that are set and not empty: MLflow leaves out unset fields and empty lists."""
    return {name: value for name, value in fields.items() if value is not None and value != []}
