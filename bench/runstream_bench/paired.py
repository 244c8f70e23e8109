"""Figures of two kinds of service that have the same load in turns."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

# The label of a row, the name of its figure, and the number of decimals.
Row = tuple[str, str, int]


class PairedFigures:
    """What was measured, by name and kind, once for each pair."""

    def __init__(self, kinds: tuple[str, str]) -> None:
        """`kinds`: two names; the second kind is compared with the first."""
        self._kinds = kinds
        self._of: dict[str, dict[str, list[float]]] = {}

    def add(self, name: str, kind: str, value: float) -> None:
        """Adds a measured value."""
        self._of.setdefault(name, {one: [] for one in self._kinds})[kind].append(value)

    def values(self) -> dict[str, float | bool]:
        """Medians, and the median of the ratios of pairs."""
        values: dict[str, float | bool] = {}
        for name, kinds in self._of.items():
            for kind, measured in kinds.items():
                values[f"{name}_{kind}"] = statistics.median(measured)
            pairs = zip(*(kinds[kind] for kind in self._kinds), strict=True)
            values[f"{name}_ratio"] = statistics.median(second / first for first, second in pairs)
        return values


def print_pairs(title: str, kinds: tuple[str, str], rows: Sequence[Row], values: dict[str, float | bool]) -> None:
    """Prints a table on stdout."""
    table = Table("what", *kinds, "ratio", title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for label, name, digits in rows:
        cells = (f"{values[f'{name}_{kind}']:,.{digits}f}" for kind in kinds)
        table.add_row(label, *cells, f"{values[f'{name}_ratio']:.2f}")
    Console().print(table)
