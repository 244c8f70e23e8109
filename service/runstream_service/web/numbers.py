"""Values of metrics in JSON, which has neither NaN nor infinities."""

from __future__ import annotations

import math

_INFINITE = {math.inf: "Infinity", -math.inf: "-Infinity"}


def number(value: float) -> float | str:
    """A finite value as it is; NaN, Infinity and -Infinity as text."""
    return value if math.isfinite(value) else _INFINITE.get(value, "NaN")
