"""Subcommand top: the runs that are running, as a live table."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from runstream.commands.failures import in_one_line
from runstream.commands.find import find_experiment, open_client
from runstream.commands.options import address_option
from runstream.commands.output import (
    Column,
    console,
    duration,
    number,
    output_options,
    short_id,
    show_rows,
    table,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    import runstream

_RUNNING = "attributes.status = 'RUNNING'"
_LATE_S, _SILENT_S = 30.0, 120.0  # without a new point: yellow, then red
_KEYS = ("loss", "train/loss", "train_loss", "train/loss_step")  # shown without --metric, if a run has one


@dataclass(frozen=True, slots=True)
class _Row:
    run: runstream.RunInfo
    silent_s: float  # since its newest point, or since its start
    step: int | None
    steps_per_s: float | None
    key: str | None
    value: float | None


class _Rates:
    """Steps per second of each run, between two updates."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[int, int, float]] = {}  # run -> step, its time, rate

    def of(self, run_id: str, step: int, time_unix_us: int) -> float | None:
        """The rate of a run since its point before; None if that is unknown. It comes from the times of the points, so
        it does not depend on when they are read."""
        before = self._before.get(run_id)
        if before is None or time_unix_us < before[1]:
            self._before[run_id] = step, time_unix_us, -1.0
            return None
        if time_unix_us > before[1]:
            rate = max(0.0, (step - before[0]) / (time_unix_us - before[1]) * 1e6)
            self._before[run_id] = step, time_unix_us, rate
            return rate
        return before[2] if before[2] >= 0 else None


@click.command()
@click.argument("experiment", required=False)
@click.option("-m", "--metric", help="The metric to show.  [default: loss, or the first one]")
@click.option("--interval", type=click.FloatRange(0.5), default=2.0, show_default=True, help="Seconds between updates.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=30, show_default=True, help="The most runs.")
@click.option("--once", is_flag=True, help="Print the table once and end, as it does if stdout is not a terminal.")
@output_options
@address_option
def top(
    experiment: str | None,
    metric: str | None,
    interval: float,
    limit: int,
    once: bool,
    form: str,
    address: str | None,
) -> None:
    """Show the running runs, of EXPERIMENT or of all, until Ctrl-C: first those without new points for longest."""
    with in_one_line(), open_client(address) as client:
        where = None if experiment is None else find_experiment(client, experiment).experiment_id
        rates = _Rates()

        def look() -> list[_Row]:
            return _read_table(client, where, metric, limit, rates)

        if form != "table" or once or not sys.stdout.isatty():
            show_rows(form, _columns(form), map(_cells, look()), empty="no run is running")
            return
        try:
            _live(look, interval)
        except KeyboardInterrupt:
            sys.exit(0)  # Ctrl-C is the normal way to end it


def _live(look: Callable[[], list[_Row]], interval: float) -> None:
    from rich.live import Live

    import runstream

    rows: list[_Row] = []
    with Live(console=console(), auto_refresh=False, screen=True) as live:
        while True:
            problem = ""
            try:
                rows = look()
            except runstream.RunstreamError as error:
                if not error.retryable:
                    raise
                problem = str(error)
            live.update(_page(rows, problem), refresh=True)
            time.sleep(interval)


def _page(rows: Sequence[_Row], problem: str) -> RenderableType:
    """The page with the table. `problem`: why the rows are not up to date; empty if they are."""
    from rich.console import Group
    from rich.text import Text

    silent = sum(1 for row in rows if row.silent_s > _SILENT_S)
    heading = Text(f"{len(rows)} running", style="bold")
    if silent:
        heading.append(f", {silent} without a point for {duration(_SILENT_S)}", "red")
    heading.append(f"   {time.strftime('%H:%M:%S')}   Ctrl-C ends", "dim")
    warning = [Text(f"not up to date, trying again: {problem}", style="red")] if problem else []
    return Group(heading, *warning, table(_columns("table"), map(_cells, rows)))


def _read_table(
    client: runstream.Client, where: int | None, metric: str | None, limit: int, rates: _Rates
) -> list[_Row]:
    runs = client.search_runs(_RUNNING, experiment=where, limit=limit)
    latest: dict[str, list[runstream.LatestPoint]] = {run.run_id: [] for run in runs}
    for point in client.latest(list(latest), metric) if runs else ():
        latest[point.run_id].append(point)
    now_us = time.time_ns() // 1_000
    rows = [_row(run, latest[run.run_id], metric, now_us, rates) for run in runs]
    return sorted(rows, key=lambda row: -row.silent_s)


def _row(
    run: runstream.RunInfo, points: Sequence[runstream.LatestPoint], metric: str | None, now_us: int, rates: _Rates
) -> _Row:
    if not points:
        return _Row(run, _seconds(now_us - run.start_time_unix_us), None, None, None, None)
    newest = max(points, key=lambda point: point.time_unix_us)
    keys = {point.key for point in points}
    key = metric or next((key for key in _KEYS if key in keys), min(keys))
    shown = min((point for point in points if point.key == key), key=lambda point: (point.rank, -point.attempt))
    rate = rates.of(run.run_id, shown.step, shown.time_unix_us)
    return _Row(run, _seconds(now_us - newest.time_unix_us), shown.step, rate, key, shown.value)


def _seconds(microseconds: int) -> float:
    return max(0.0, microseconds / 1e6)


def _columns(form: str) -> list[Column]:
    in_table = form == "table"
    return [
        Column("run_id", shown=short_id if in_table else str, style="bold", is_whole=True),
        Column("experiment"),
        Column("name"),
        Column("silent" if in_table else "silent_s", is_number=True, shown=duration, style=_silence_style),
        Column("step", is_number=True, shown="{:,}".format),
        Column("steps/s" if in_table else "steps_per_s", is_number=True, shown=number),
        Column("metric"),
        Column("latest", is_number=True, shown=number),
    ]


def _cells(row: _Row) -> list[object]:
    of_run = [row.run.run_id, row.run.experiment, row.run.name]
    return [*of_run, row.silent_s, row.step, row.steps_per_s, row.key, row.value]


def _silence_style(seconds: float) -> str:
    return "red" if seconds > _SILENT_S else "yellow" if seconds > _LATE_S else "green"
