"""Curves as text for the terminal, through plotext."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import click
import plotext
from rich.cells import cell_len

# click's name of a colour -> plotext's.
_COLOURS = {"cyan": "cyan", "yellow": "orange", "green": "green", "magenta": "magenta", "red": "red", "blue": "blue"}
_BAND = "gray"
_TICKS = 5


@dataclass
class Curve:
    """Values at rising steps. `low` and `high`, if there are any, are drawn as a band."""

    label: str
    steps: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)


def draw(title: str, curves: Sequence[Curve], *, width: int, height: int, logarithmic: bool, colours: bool) -> str:
    """Draws all curves in one frame, with their names above it. Values must be finite; on a logarithmic scale,
    positive."""
    figure = plotext.figure  # the library has only one
    figure.clear()
    figure.theme("colorless")
    plotext.terminal.limit(False, False)  # it would use COLUMNS and LINES, which may be those of another terminal
    figure.plot_size(width, height)
    # Logarithms and labels are computed here, as the library's own scale expects marks that are logarithms already.
    place = math.log10 if logarithmic else float
    low, high = math.inf, -math.inf
    for curve in curves:
        if curve.low:
            # A line that goes up and down, so close together that it looks like an area.
            edges = [place(value) for pair in zip(curve.low, curve.high, strict=True) for value in pair]
            steps = [step for step in curve.steps for _ in range(2)]
            figure.draw(figure.signal(steps, edges, marker=plotext.marker("braille", _BAND)).lines())
            low, high = min(low, *edges), max(high, *edges)
    for number, curve in enumerate(curves):
        values = list(map(place, curve.values))
        colour = list(_COLOURS.values())[number % len(_COLOURS)]
        figure.draw(figure.signal(curve.steps, values, marker=plotext.marker("braille", colour)).lines())
        low, high = min(low, *values, math.inf), max(high, *values, -math.inf)
    _mark_axes(figure, curves, low, high, logarithmic=logarithmic)
    text: str = figure.build().string(colorless=not colours)
    heading = _heading(title, [curve.label for curve in curves], width)
    lines = [*(heading if colours else map(click.unstyle, heading)), *map(str.rstrip, text.splitlines())]
    return "\n".join(lines)


def _heading(title: str, labels: Sequence[str], width: int) -> list[str]:
    """The title and the names of the curves, in as many lines as they need. A name is never broken."""
    colours = list(_COLOURS)
    names = [click.style("━━ ", fg=colours[at % len(colours)]) + label for at, label in enumerate(labels)]
    lines = [click.style(title, bold=True)]
    gap = "   "
    for name in names:
        if cell_len(click.unstyle(lines[-1] + gap + name)) <= width:
            lines[-1] += gap + name
        else:
            lines.append(name)
        gap = "  "
    return lines


def _mark_axes(figure: object, curves: Sequence[Curve], low: float, high: float, *, logarithmic: bool) -> None:
    first, last = min(curve.steps[0] for curve in curves), max(curve.steps[-1] for curve in curves)
    across = [first + (last - first) * tick / (_TICKS - 1) for tick in range(_TICKS)] if last > first else [first]
    x, y = figure.ruler("x"), figure.ruler("y")  # type: ignore[attr-defined]  # plotext ships no types
    if last > first:
        x.lim(first, last)
    x.ticks(across, [f"{mark:,.0f}" for mark in across])
    up = _marks(low, high, logarithmic=logarithmic)
    y.ticks(up, [f"{10**mark if logarithmic else mark:.3g}" for mark in up])


def _marks(low: float, high: float, *, logarithmic: bool) -> list[float]:
    """Where the vertical axis has marks. On a logarithmic scale these are powers of ten, if there are enough of
    them."""
    decades = range(math.ceil(low), math.floor(high) + 1) if logarithmic else range(0)
    if len(decades) >= _TICKS - 2:
        return list(map(float, decades[:: math.ceil(len(decades) / _TICKS)]))
    return [low + (high - low) * tick / (_TICKS - 1) for tick in range(_TICKS)] if high > low else [low]
