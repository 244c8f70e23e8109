"""Subcommands that read points: tail, export."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from runstream_service.commands.failures import in_one_line
from runstream_service.commands.options import address_option


@click.command()
@click.argument("run")
@click.option("--key", "keys", multiple=True, help="Only this metric; may be repeated.")
@click.option("--rank", type=int, help="Only this rank.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@address_option
def tail(run: str, keys: tuple[str, ...], rank: int | None, as_json: bool, address: str | None) -> None:
    """Print the points of RUN as they are committed, until Ctrl-C."""
    with in_one_line():
        import runstream
        from runstream_service.commands.follow import follow

        try:
            with runstream.Client(address) as client:
                follow(client, run, keys, rank, as_json=as_json)
        except KeyboardInterrupt:
            sys.exit(0)  # Ctrl-C is the normal way to end it


@click.command()
@click.argument("run", required=False)
@click.option("--experiment", help="All active runs of this experiment.")
@click.option("--format", "format_", type=click.Choice(["parquet", "csv"]), required=True)
@click.option(
    "--output",
    required=True,
    help="A file, or a directory (that exists, or ends with /) for one file a run.",
)
@address_option
def export(run: str | None, experiment: str | None, format_: str, output: str, address: str | None) -> None:
    """Write all points of RUN, or of an experiment, to Parquet or CSV."""
    if (run is None) == (experiment is None):
        raise click.UsageError("give either RUN or --experiment")
    with in_one_line():
        import runstream
        from runstream_service.export.command import Job
        from runstream_service.export.command import export as write

        with runstream.Client(address) as client:
            directory = output.endswith(os.sep) or Path(output).is_dir()
            done = write(client, Job(run, experiment, format_, Path(output), directory))
        click.echo(f"{done.points:,} points of {done.runs} run{'s' * (done.runs != 1)} in {output}")
        for run_id, failure in done.failures.items():
            click.echo(f"runstream: run {run_id} was not exported: {failure}", err=True)
        if done.failures:
            sys.exit(1)
