"""Subcommands that change runs and experiments: delete, retention."""

from __future__ import annotations

import click

from runstream_service.commands.failures import in_one_line
from runstream_service.commands.options import address_option


@click.command()
@click.argument("run")
@click.option("--key", "keys", multiple=True, required=True, help="A metric to delete; may be repeated.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@address_option
def delete(run: str, keys: tuple[str, ...], yes: bool, address: str | None) -> None:
    """Delete all points of single metrics of RUN, of all ranks, for good."""
    with in_one_line():
        import runstream

        with runstream.Client(address) as client:
            found = client.get_run(run)
            if not yes:
                click.confirm(f"Delete {', '.join(keys)} of run {found.name!r} for good?", abort=True, err=True)
            count = client.delete_series(run, keys)
        click.echo(f"deleted {count} series of run {found.name!r}")


@click.command()
@click.argument("experiment")
@click.option("--days", type=click.IntRange(1, 36_500), help="Delete points that are older than this many days.")
@click.option("--forever", is_flag=True, help="Keep all points.")
@address_option
def retention(experiment: str, days: int | None, forever: bool, address: str | None) -> None:
    """Set how long the points of EXPERIMENT are kept."""
    if (days is None) != forever:
        raise click.UsageError("give either --days or --forever")
    with in_one_line():
        import runstream

        with runstream.Client(address) as client:
            client.set_retention(experiment, days)
        kept = f"{days} days" if days else "forever"
        click.echo(f"points of experiment {experiment!r} are kept {kept}")
