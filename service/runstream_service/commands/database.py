"""Subcommands that work on the database of the service: status, gc, distribute."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from runstream._masking import mask_secrets
from runstream.commands.failures import fail, in_one_line
from runstream_service.monitoring import logs


def _database_options(command: Callable[..., Any]) -> Callable[..., Any]:
    data_dir = click.option(
        "--data-dir",
        envvar="RUNSTREAM_DATA_DIR",
        show_envvar=True,
        default="./runstream-data",
        show_default=True,
        type=click.Path(path_type=Path),
        help="Without --database: the data directory of a service with an embedded PostgreSQL.",
    )
    database = click.option(
        "--database", envvar="RUNSTREAM_DATABASE", show_envvar=True, help="URL of the service's PostgreSQL."
    )
    return database(data_dir(command))


@click.command()
@_database_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a page.")
def status(database: str | None, data_dir: Path, as_json: bool) -> None:
    """Show replicas, ingest, roll-up, sizes and producers, read from the database."""
    with in_one_line():
        from rich.console import Console

        from runstream_service.database.embedded import url_of_running
        from runstream_service.status import render
        from runstream_service.status.collect import collect

        logs.configure(level="warning", format="auto")
        found = asyncio.run(collect(database or url_of_running(data_dir), None if database else data_dir))
        if as_json:
            click.echo(render.as_json(found))
        else:
            render.render(found, Console(highlight=False))
        if found.unread:
            fail(f"could not be read: {', '.join(found.unread)}")


@click.command()
@_database_options
@click.option(
    "--purge-after-days",
    envvar="RUNSTREAM_PURGE_AFTER_DAYS",
    show_envvar=True,
    default=30,
    show_default=True,
    type=click.IntRange(0, 36_500),
    help="Purge what was deleted at least this many days ago; 0: everything that is deleted.",
)
@click.option(
    "--artifacts",
    is_flag=False,
    flag_value="",
    metavar="[PLACE]",
    help="Instead, list artifact files of runs and models that are not in the database. PLACE is where serve stores "
    "artifacts.  [default: as for serve]",
)
@click.option("--delete", "delete_orphans", is_flag=True, help="With --artifacts: delete these files.")
def gc(
    database: str | None, data_dir: Path, purge_after_days: int, artifacts: str | None, delete_orphans: bool
) -> None:
    """Purge what was deleted, and apply retention, now. The service does both automatically, every minute and every
    hour."""
    if delete_orphans and artifacts is None:
        raise click.UsageError("--delete deletes the files that --artifacts lists, so it needs --artifacts")
    with in_one_line():
        from runstream_service.database.embedded import url_of_running

        logs.configure(level="warning", format="auto")
        url = database or url_of_running(data_dir)
        if artifacts is None:
            _collect(url, purge_after_days)
        else:
            asyncio.run(_show_orphans(url, _artifact_store(artifacts, data_dir), delete=delete_orphans))


def _collect(url: str, purge_after_days: int) -> None:
    from runstream_service.retention.command import collect

    done = asyncio.run(collect(url, purge_after_days=purge_after_days))
    purged, waiting = done.purged, done.waiting
    click.echo(
        f"purged {purged.points:,} points, series: {purged.series:,}, runs: {purged.runs:,}, "
        f"models: {purged.models:,}, experiments: {purged.experiments:,}"
    )
    click.echo(f"retention deleted {done.expired.points:,} points")
    if waiting.series or waiting.runs or waiting.experiments:
        click.echo(
            "purged as soon as the service has rolled up their points, in a minute or two: "
            f"series: {waiting.series:,}, runs: {waiting.runs:,}, experiments: {waiting.experiments:,}"
        )
    if done.files_waiting:
        click.echo(f"directories of artifacts that the service deletes next: {done.files_waiting:,}")
    for name, error in done.failures.items():
        click.echo(mask_secrets(f"runstream: {name} failed: {error}"), err=True)
    if done.failures:
        sys.exit(1)


def _artifact_store(place: str, data_dir: Path) -> str:
    """The location of the service's artifacts, which must exist: from the option, the environment or the data
    directory. Raises ValueError."""
    from runstream_service.artifacts.paths import NO_ARTIFACTS

    found = place or os.environ.get("RUNSTREAM_ARTIFACTS") or str(data_dir / "artifacts")
    if found == NO_ARTIFACTS or ("://" not in found and not Path(found).is_dir()):
        raise ValueError(
            f"there are no artifacts at {found!r}; name the place where serve stores them: --artifacts PLACE"
        )
    return found


async def _show_orphans(url: str, location: str, *, delete: bool) -> None:
    from runstream_service.retention.command import orphans

    count = size_bytes = 0
    async for orphan in orphans(url, location, delete=delete):
        click.echo(f"{orphan.path}: {orphan.size_bytes:,} bytes in {orphan.files:,} file{'s' * (orphan.files != 1)}")
        count += 1
        size_bytes += orphan.size_bytes
    what = f"{count:,} director{'ies' if count != 1 else 'y'} with {size_bytes:,} bytes"
    if delete:
        click.echo(f"deleted {what}")
    else:
        click.echo(f"{what} that no run or model in the database has" + ("; --delete deletes them" if count else ""))


@click.command()
@click.option(
    "--database",
    envvar="RUNSTREAM_DATABASE",
    show_envvar=True,
    required=True,
    help="URL of the database on the coordinator of the cluster.",
)
@click.option(
    "--shards",
    default=32,
    show_default=True,
    type=click.IntRange(1, 1_024),
    help="Into how many tables the points are divided: a few times the largest number of workers that you plan for.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def distribute(database: str, shards: int, dry_run: bool, yes: bool) -> None:
    """Distribute the points of a database over the workers of its Citus cluster, while all replicas are stopped.

    It may be interrupted at any time; start it again to continue.
    """
    with in_one_line():
        from runstream_service.database.distribute import Plan
        from runstream_service.database.distribute import distribute as carry_out

        def agree(plan: Plan) -> bool:
            click.echo(f"workers: {', '.join(map(str, plan.workers))}")
            if plan.is_done:
                click.echo("the points are distributed already; nothing is left to do")
                return False
            for number, step in enumerate(plan.descriptions, start=1):
                click.echo(f"{number}. {step}")
            if dry_run:
                return False
            return yes or click.confirm("Do this now?", err=True)

        logs.configure(level="warning", format="auto")
        asyncio.run(carry_out(database, shards=shards, agree=agree, report=click.echo))
