"""Reads back what was stored, through the service's RPCs; compares it with what was logged; shows a table and a
chart."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from rich import box
from rich.table import Table

import runstream
from runstream_service.demo.failure import DemoFailed
from runstream_service.demo.model import Floats
from runstream_service.demo.worker import Finished

_CHART_POINTS = 150
_CHART_HEIGHT = 15
_LEAST_LOSS = 1e-9  # a loss of 0 has no place on a logarithmic scale


@dataclass(frozen=True)
class Stored:
    """A run as it was read back; series in the order (key, rank, attempt)."""

    run: runstream.RunInfo
    series: list[runstream.SeriesColumns]

    @property
    def points(self) -> int:
        """The number of points of the run."""
        return sum(map(len, self.series))


def read_back(address: str, run_id: str) -> Stored:
    """Reads the run and all of its points. Raises DemoFailed if the service does not answer."""
    try:
        with runstream.Client(address) as client:
            keys = sorted({point.key for point in client.latest(run_id)})
            series = [one for key in keys for one in client.history(run_id, key).series]
            return Stored(client.get_run(run_id), series)
    except runstream.RunstreamError as error:
        raise DemoFailed(f"could not read the run back: {error}") from error


def compare(stored: Stored, finished: Iterable[Finished]) -> list[str]:
    """The differences between logged and stored points; empty if each point is stored once, bit for bit."""
    logged = {
        (key, rank.rank, rank.attempt): (rank.logged.steps[key], values)
        for rank in finished
        for key, values in rank.logged.values.items()
    }
    found = {(one.key, one.rank, one.attempt): (one.steps, one.values) for one in stored.series}
    return [
        f"{_name(series)}: {_length(logged.get(series)):,} points logged, {_length(found.get(series)):,} read back"
        + (", with other steps or values" if series in logged and series in found else "")
        for series in sorted(logged.keys() | found.keys())
        if _bytes(logged.get(series)) != _bytes(found.get(series))
    ]


def stored_table(stored: Stored) -> Table:
    """A table with one line per series."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    restarted = any(one.attempt for one in stored.series)
    table.add_column("key", no_wrap=True)
    for heading in ("rank", *(["attempt"] if restarted else []), "points", "first", "last", "min", "max"):
        table.add_column(heading, justify="right", no_wrap=True)
    for number, one in enumerate(stored.series):
        again = number > 0 and stored.series[number - 1].key == one.key
        ends_group = number + 1 == len(stored.series) or stored.series[number + 1].key != one.key
        finite = [value for value in one.values if math.isfinite(value)]
        values = [one.values[0], one.values[-1], min(finite), max(finite)]
        table.add_row(
            "" if again else one.key,
            str(one.rank),
            *([str(one.attempt)] if restarted else []),
            f"{len(one):,}",
            *(f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}" for value in values),
            end_section=ends_group,
        )
    return table


def loss_chart(stored: Stored, *, width: int) -> str:
    """The loss over steps as text: the mean over ranks, and over the steps that share a character."""
    from runstream.commands.charts import Curve, draw  # here, as it takes a quarter of a second to import

    attempts = [one for one in stored.series if one.key == "loss"]
    ranks = {one.rank for one in attempts}
    losses = np.array([_as_trained([one for one in attempts if one.rank == rank]) for rank in sorted(ranks)])
    mean = _thinned(np.nanmean(losses, axis=0))
    steps = np.linspace(0, losses.shape[1] - 1, len(mean))
    return draw(
        "loss over steps (logarithmic)",
        [Curve(f"mean of {len(ranks)} ranks", steps.tolist(), np.maximum(mean, _LEAST_LOSS).tolist())],
        width=width,
        height=_CHART_HEIGHT,
        logarithmic=True,
        colours=False,
    )


def _as_trained(attempts: Sequence[runstream.SeriesColumns]) -> Floats:
    """One value for each step. Steps that a later attempt trained again replace those of the earlier one."""
    values: Floats = np.empty(0)
    for attempt in sorted(attempts, key=lambda one: one.attempt):
        values = np.concatenate([values[: attempt.steps[0]], np.frombuffer(attempt.values)])
    return values


def _thinned(column: Floats) -> Floats:
    """The column in at most as many pieces as the chart can show, each replaced by its mean."""
    pieces = np.array_split(column, min(_CHART_POINTS, len(column)))
    means: Floats = np.array([piece.mean() for piece in pieces])
    return means


def _name(series: tuple[str, int, int]) -> str:
    key, rank, attempt = series
    return f"{key} of rank {rank}" + (f", attempt {attempt}" if attempt else "")


def _length(columns: tuple[object, array[float]] | None) -> int:
    return 0 if columns is None else len(columns[1])


def _bytes(columns: tuple[object, ...] | None) -> list[bytes]:
    # Compared as bytes, since NaN is not equal to NaN.
    return [bytes(memoryview(column)) for column in columns or ()]  # type: ignore[arg-type]
