"""Values of metrics beyond the ordinary: how NaN is compared, and what stands for the infinities in MLflow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# MLflow's databases and messages have the largest doubles in the place of the infinities.
LARGEST = 1.7976931348623157e308


def comparable(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """What values are compared by, as in MLflow: NaN counts as 0."""
    return np.where(np.isnan(value), 0.0, value)


def without_infinities(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same values with the largest doubles in the place of the infinities; NaN stays."""
    return np.clip(value, -LARGEST, LARGEST)
