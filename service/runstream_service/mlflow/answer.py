"""What a handler answers -> an HTTP response, as MLflow's clients read it."""

from __future__ import annotations

import gzip
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from starlette.responses import Response

# MLflow stores the infinities as the largest doubles, and its clients and its UI expect those.
_LARGEST = 1.7976931348623157e308
# Below, packing saves less time on the wire than it takes.
_GZIP_BYTES = 16_384


def encode(body: Mapping[str, Any], *, status: int = 200, accept_encoding: str = "") -> Response:
    """A JSON response, packed where the caller takes that and it is worth it."""
    data = orjson.dumps(body)
    if len(data) >= _GZIP_BYTES and "gzip" in accept_encoding:
        packed = gzip.compress(data, compresslevel=1)
        return Response(
            packed, status, {"content-encoding": "gzip", "vary": "accept-encoding"}, media_type="application/json"
        )
    return Response(data, status, media_type="application/json")


def number(value: float) -> float | str:
    """A metric's value in JSON: NaN is text, the infinities are the largest doubles."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else math.copysign(_LARGEST, value)


def numbers(values: NDArray[np.float64]) -> list[float | str]:
    """The same for many."""
    if np.isfinite(values).all():
        return values.tolist()  # type: ignore[no-any-return]  # numpy knows no element types of lists
    return [number(value) for value in values.tolist()]


def pairs(entries: Mapping[str, str]) -> list[dict[str, str]]:
    """Params or tags, as MLflow's messages have them."""
    return [{"key": key, "value": value} for key, value in entries.items()]


def present(**fields: Any) -> dict[str, Any]:
    """The fields that have something in them: MLflow leaves out what is not set, and empty lists."""
    return {name: value for name, value in fields.items() if value is not None and value != []}
