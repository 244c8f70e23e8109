"""Subcommand plot: metrics of a run as curves, in the terminal or as a picture."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from runstream.commands.charts import Curve, draw
from runstream.commands.failures import fail, in_one_line
from runstream.commands.find import find_run, open_client
from runstream.commands.options import address_option
from runstream.commands.output import terminal_width
from runstream.commands.points import no_such_metric

if TYPE_CHECKING:
    import runstream

_HEIGHT = 22
_DOTS = 2  # side by side in one character
_PNG_BUCKETS = 1_500


@click.command()
@click.argument("run")
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@click.option("--log", "logarithmic", is_flag=True, help="A logarithmic scale; values up to 0 are left out.")
@click.option(
    "--smooth", type=click.FloatRange(0, 1, max_open=True), default=0.0, help="Smoothing from 0 to 1, as TensorBoard's."
)
@click.option("--ranks", is_flag=True, help="All ranks: their mean, between their least and greatest values.")
@click.option("--rank", type=int, help="Only this rank.  [default: the lowest]")
@click.option("--png", metavar="FILE", help="Write a PNG file instead.")
@address_option
def plot(
    run: str,
    keys: tuple[str, ...],
    logarithmic: bool,
    smooth: float,
    ranks: bool,
    rank: int | None,
    png: str | None,
    address: str | None,
) -> None:
    """Draw metrics KEY... of RUN over steps."""
    with in_one_line():
        with open_client(address) as client:
            info = client.get_run(find_run(client, run))
            buckets = _PNG_BUCKETS if png else max(20, terminal_width() - 12) * _DOTS
            if ranks:
                curves = [_band(client, info.run_id, key, buckets) for key in keys]
            else:
                curves = _curves(client, info.run_id, keys, rank, buckets)
            for curve, key in zip(curves, keys, strict=True):
                if not curve.steps:
                    fail(no_such_metric(client, info.run_id, key))
        for curve in curves:
            _prepare(curve, smooth, logarithmic=logarithmic)
        title = f"{info.experiment} / {info.name}"
        if png:
            _write_png(png, title, curves, logarithmic=logarithmic)
            click.echo(png)
        else:
            style = {"logarithmic": logarithmic, "colours": sys.stdout.isatty()}
            click.echo(draw(title, curves, width=terminal_width(), height=_HEIGHT, **style))


def _curves(client: runstream.Client, run_id: str, keys: Sequence[str], rank: int | None, buckets: int) -> list[Curve]:
    """The curves of one rank: the mean of each bucket."""
    curves = {key: Curve(key) for key in keys}
    for series in client.chart(run_id, keys, rank=rank, max_buckets=buckets):
        curve = curves[series.key]
        if not curve.steps:  # ranks come in order
            label = f"{series.key}, rank {series.rank}" if series.rank > 0 else series.key
            curves[series.key] = Curve(label, list(map(float, series.last_positions)), list(series.mean))
    return [curves[key] for key in keys]


def _band(client: runstream.Client, run_id: str, key: str, buckets: int) -> Curve:
    found = client.aggregate(run_id, key, max_buckets=buckets)
    most = max(found.rank_counts, default=0)
    return Curve(
        f"{key}, mean of {most} ranks",
        list(map(float, found.last_steps)),
        list(found.mean),
        list(found.min),
        list(found.max),
    )


def _prepare(curve: Curve, smooth: float, *, logarithmic: bool) -> None:
    """Leaves out what cannot be drawn, and smooths the rest."""
    columns = [curve.values, curve.low, curve.high] if curve.low else [curve.values]
    can_be_drawn = [
        all(math.isfinite(value) and (value > 0 or not logarithmic) for value in row)
        for row in zip(*columns, strict=True)
    ]
    left_out = [step for step, good in zip(curve.steps, can_be_drawn, strict=True) if not good]
    for column in (curve.steps, *columns):
        column[:] = [value for value, good in zip(column, can_be_drawn, strict=True) if good]
    if not curve.steps:
        fail(f"{curve.label}: nothing can be drawn; all values are NaN, infinite" + (" or not positive" * logarithmic))
    if left_out:
        kinds = "NaN, infinite or not positive" if logarithmic else "NaN or infinite"
        click.echo(
            f"{curve.label}: not drawn where it is {kinds}, steps {left_out[0]:,.0f} to {left_out[-1]:,.0f}", err=True
        )
    for column in columns:
        column[:] = _smoothed(column, smooth)


def _smoothed(values: Sequence[float], weight: float) -> list[float]:
    """An exponential moving average, corrected for its start at zero."""
    if weight == 0:
        return list(values)
    smoothed, last, seen = [], 0.0, 1.0
    for value in values:
        last = last * weight + (1 - weight) * value
        seen *= weight
        smoothed.append(last / (1 - seen))
    return smoothed


def _write_png(path: str, title: str, curves: Sequence[Curve], *, logarithmic: bool) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(10, 5.5), layout="constrained")
    for curve in curves:
        (line,) = axes.plot(curve.steps, curve.values, label=curve.label, linewidth=1.4)
        if curve.low:
            axes.fill_between(curve.steps, curve.low, curve.high, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set(title=title, xlabel="step", yscale="log" if logarithmic else "linear")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
