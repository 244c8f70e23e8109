"""A curve as text for the terminal."""

from __future__ import annotations

import numpy as np
import plotext

from runstream_service.demo.model import Floats

_TICKS = 5


def chart(steps: Floats, values: Floats, *, title: str, width: int, height: int) -> str:
    """The curve in a frame, on a logarithmic scale. Steps rise, values are positive; hundreds of points are plenty."""
    figure = plotext.figure  # the library's only one
    figure.clear()
    figure.theme("colorless")
    plotext.terminal.limit(False, False)  # its size is what COLUMNS and LINES say, and those may be of another one
    figure.plot_size(width, height)
    # Logarithms and their labels are ours: the library's own scale takes marks of the axis for logarithms already.
    powers = np.log10(np.maximum(values, 1e-9))
    figure.draw(figure.signal(steps.tolist(), powers.tolist()).lines())
    figure.title(title)
    across = np.linspace(steps[0], steps[-1], _TICKS)
    figure.ruler("x").lim(steps[0], steps[-1])
    figure.ruler("x").ticks(across.tolist(), [f"{mark:,.0f}" for mark in across])
    up = np.linspace(powers.min(), powers.max(), _TICKS)
    figure.ruler("y").ticks(up.tolist(), [f"{10**mark:.2g}" for mark in up])
    text: str = figure.build().string(colorless=True)
    return "\n".join(line.rstrip() for line in text.splitlines())
