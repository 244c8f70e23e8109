"""The answer of a handler -> an HTTP response in the form that MLflow's clients expect."""

from __future__ import annotations

import gzip
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from starlette.responses import Response

from runstream_service.concurrency import threads
from runstream_service.database.metric_values import LARGEST

# Below this size, compression takes longer than it saves on the network.
_GZIP_BYTES = 16_384
# Answers up to this size are encoded on the event loop, within a millisecond.
_SHORT_VALUES, _SHORT_CHARACTERS = 500, 65_536


def encode(body: Mapping[str, Any], *, status: int = 200, accept_encoding: str = "") -> Response:
    """A JSON response, compressed if the caller accepts that and it is worth it."""
    data = orjson.dumps(body)
    if len(data) >= _GZIP_BYTES and "gzip" in accept_encoding:
        packed = gzip.compress(data, compresslevel=1)
        return Response(
            packed, status, {"content-encoding": "gzip", "vary": "accept-encoding"}, media_type="application/json"
        )
    return Response(data, status, media_type="application/json")


async def encode_in_thread_if_long(
    body: Mapping[str, Any], *, status: int = 200, accept_encoding: str = ""
) -> Response:
    """A JSON response as by `encode`; a long one is made in a thread."""
    if _is_short(body):
        return encode(body, status=status, accept_encoding=accept_encoding)
    return await threads.READS.run(encode, body, status=status, accept_encoding=accept_encoding)


def _is_short(body: object) -> bool:
    """Whether a body has few values, and no long text; only checks a few."""
    waiting, characters = [body], 0
    for _ in range(_SHORT_VALUES):
        if not waiting:
            return True
        value = waiting.pop()
        if isinstance(value, dict | list):
            if len(value) > _SHORT_VALUES:
                return False
            waiting += value.values() if isinstance(value, dict) else value
        elif isinstance(value, str):
            characters += len(value)
            if characters > _SHORT_CHARACTERS:
                return False
    return not waiting


def number(value: float) -> float | str:
    """A metric's value in JSON: NaN is text, the infinities are the largest doubles."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else math.copysign(LARGEST, value)


def numbers(values: NDArray[np.float64]) -> list[float | str]:
    """Values of metrics in JSON, as by `number`."""
    if np.isfinite(values).all():
        return values.tolist()  # type: ignore[no-any-return]  # numpy knows no element types of lists
    return [number(value) for value in values.tolist()]


def pairs(entries: Mapping[str, str]) -> list[dict[str, str]]:
    """Params or tags in the form of MLflow's messages."""
    return [{"key": key, "value": value} for key, value in entries.items()]


def without_unset(**fields: Any) -> dict[str, Any]:
    """The fields that are set and not empty: MLflow leaves out unset fields and empty lists."""
    return {name: value for name, value in fields.items() if value is not None and value != []}
