"""Subcommand exec: runs a program as a run. `runstream.exec` does the work."""

from __future__ import annotations

import sys

import click

from runstream.commands.failures import in_one_line
from runstream.commands.options import address_option


@click.command("exec", context_settings={"allow_interspersed_args": False})
@click.option("--experiment", help="The run's experiment.  [default: that of runstream.toml, else Default]")
@click.option("--name", help="The run's name.  [default: the service makes one up]")
@click.option("--param", "params", multiple=True, metavar="KEY=VALUE", help="A param of the run; may be repeated.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="A tag of the run; may be repeated.")
@click.option("--job", metavar="ID", help="Commands with the same id share a run: on all nodes, and after a restart.")
@click.option("--quiet", is_flag=True, help="Print no link to the run.")
@address_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(
    command: tuple[str, ...],
    experiment: str | None,
    name: str | None,
    params: tuple[str, ...],
    tags: tuple[str, ...],
    job: str | None,
    quiet: bool,
    address: str | None,
) -> None:
    """Run COMMAND as a run: runstream exec --experiment digits -- python train.py

    Clients of runstream and of MLflow in the program, in all ranks, log to this run. The exit status of COMMAND ends
    the run, and is that of runstream exec.
    """
    with in_one_line():
        from runstream.exec.command import pairs, run

        code = run(
            command,
            experiment=experiment,
            name=name,
            params=pairs("--param", params),
            tags=pairs("--tag", tags),
            job=job,
            address=address,
            quiet=quiet,
        )
        sys.exit(code)
