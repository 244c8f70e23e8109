"""How many examples a property test tries. Each run tries others; what fails is kept in .hypothesis and tried again."""

from __future__ import annotations

import os

TIMES = float(os.environ.get("EXAMPLES_TIMES", "1"))


def examples(count: int) -> int:
    """The usual number of examples, multiplied by `EXAMPLES_TIMES`."""
    return max(1, round(count * TIMES))
