"""Values of metrics in JSON, which knows neither NaN nor infinities."""

from __future__ import annotations

import math

_INFINITE = {math.inf: "Infinity", -math.inf: "-Infinity"}


def number(value: float) -> float | str:
    """A value as it is, or as a text."""
    return value if math.isfinite(value) else _INFINITE.get(value, "NaN")
