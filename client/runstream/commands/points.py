"""Subcommands that read points: history, tail, export."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runstream.commands.failures import fail, in_one_line
from runstream.commands.find import find_run, open_client
from runstream.commands.options import address_option
from runstream.commands.output import Column, local, number, output_options, show_rows

if TYPE_CHECKING:
    import runstream


_SHOWN_POINTS = 20  # of each series, in a table


@click.command()
@click.argument("run")
@click.option("--key", "keys", multiple=True, help="Only this metric; may be repeated.")
@click.option("--rank", type=int, help="Only this rank.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@address_option
def tail(run: str, keys: tuple[str, ...], rank: int | None, as_json: bool, address: str | None) -> None:
    """Print the points of RUN as they are committed, until Ctrl-C."""
    with in_one_line():
        from runstream.commands.follow import follow

        try:
            with open_client(address) as client:
                follow(client, find_run(client, run), keys, rank, as_json=as_json)
        except KeyboardInterrupt:
            sys.exit(0)  # Ctrl-C is the normal way to end it


@click.command()
@click.argument("run", required=False)
@click.option("--experiment", help="All active runs of this experiment.")
@click.option("--format", "format_", type=click.Choice(["parquet", "csv"]), required=True)
@click.option(
    "--output",
    required=True,
    help="A file; or a directory (one that exists, or ends with /), for one file per run.",
)
@address_option
def export(run: str | None, experiment: str | None, format_: str, output: str, address: str | None) -> None:
    """Write all points of RUN, or of an experiment, to Parquet or CSV."""
    if (run is None) == (experiment is None):
        raise click.UsageError("name either RUN or --experiment")
    with in_one_line():
        from runstream.export.command import Job
        from runstream.export.command import export as write

        with open_client(address) as client:
            run = None if run is None else find_run(client, run)
            directory = output.endswith(os.sep) or Path(output).is_dir()
            done = write(client, Job(run, experiment, format_, Path(output), directory))
        click.echo(f"{done.points:,} points of {done.runs} run{'s' * (done.runs != 1)} in {output}")
        for run_id, failure in done.failures.items():
            click.echo(f"runstream: run {run_id} was not exported: {failure}", err=True)
        if done.failures:
            sys.exit(1)


@click.command()
@click.argument("run")
@click.argument("key")
@click.option("--rank", type=int, help="Only this rank.")
@click.option("--attempt", type=int, help="Only this attempt.")
@click.option("--min-step", type=int, help="Only from this step on.")
@click.option("--max-step", type=int, help="Only up to this step.")
@click.option("--last", type=click.IntRange(0), help="The last points of each rank; 0: all.  [default: 20 in a table]")
@output_options
@address_option
def history(
    run: str,
    key: str,
    rank: int | None,
    attempt: int | None,
    min_step: int | None,
    max_step: int | None,
    last: int | None,
    form: str,
    address: str | None,
) -> None:
    """Print the points of metric KEY of RUN, series by series in the order of rank, attempt and step."""
    last = (_SHOWN_POINTS if form == "table" else 0) if last is None else last
    with in_one_line(), open_client(address) as client:
        run_id = find_run(client, run)
        found = client.history(run_id, key, rank=rank, attempt=attempt, min_step=min_step, max_step=max_step)
        if not found.series and not any(point.key == key for point in client.latest(run_id, key)):
            fail(no_such_metric(client, run_id, key))
        in_table = form == "table"
        columns = (
            Column("step", is_number=True, shown="{:,}".format, style="bold"),
            Column("time" if in_table else "time_unix_us", shown=local, style="dim", is_whole=True),
            Column("rank", is_number=True),
            Column("attempt", is_number=True),
            Column("value", is_number=True, shown=number if in_table else repr),
        )
        kept = [
            (one.steps[at], one.times_unix_us[at], one.rank, one.attempt, one.values[at])
            for one in found.series
            for at in range(max(0, len(one) - last) if last else 0, len(one))
        ]
        show_rows(form, columns, kept, empty="no points")
        if len(kept) < len(found) and in_table:
            click.echo(f"{len(found) - len(kept):,} earlier points; --last 0 shows all", err=True)


def no_such_metric(client: runstream.Client, run_id: str, key: str) -> str:
    """The message for a metric that a run does not have, with similar names."""
    import difflib

    keys = sorted({point.key for point in client.latest(run_id)})
    near = difflib.get_close_matches(key, keys, 5, 0.5) or keys[:5]
    hint = f"; it has {len(keys):,} metrics, such as {', '.join(near)}" if keys else "; it has none"
    return f"the run has no metric {key!r}{hint}"
