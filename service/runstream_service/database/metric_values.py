"""Special values of metrics: how NaN is compared, and what MLflow has in place of the infinities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# MLflow stores and sends the largest doubles in place of the infinities.
LARGEST = 1.7976931348623157e308


def comparable(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """The numbers by which values are compared, as in MLflow: NaN counts as 0."""
    return np.where(np.isnan(value), 0.0, value)


def without_infinities(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values with the largest doubles in place of the infinities. NaN stays."""
    return np.clip(value, -LARGEST, LARGEST)
