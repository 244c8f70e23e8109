"""Subcommands for stored data: status, doctor, tail, export, delete, retention, gc. Exit code 1 means failure, 2 wrong
usage."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from runstream_service import logs
from runstream_service.cannot_start import CannotStart


@contextlib.contextmanager
def in_one_line() -> Iterator[None]:
    """Reports an error in one line, and sets the exit code."""
    import asyncpg

    from runstream import RunstreamError
    from runstream_service.core.errors import CoreError

    try:
        yield
    except CannotStart as refusal:
        _fail(str(refusal), refusal.exit_code)
    except RunstreamError as error:
        _fail(str(error))
    except CoreError as error:
        _fail(error.message)
    except asyncpg.PostgresError as error:
        _fail(f"the database refused: {error}")
    except ValueError as error:
        _fail(str(error), 2)
    except BrokenPipeError:
        # `runstream tail ... | head`. The rest of the buffer would raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(message: str, code: int = 1) -> None:
    click.echo(f"runstream: {logs.mask_secrets(message)}", err=True)
    sys.exit(code)


def address_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--address",
        envvar="RUNSTREAM_ADDRESS",
        show_envvar=True,
        help="Where the service is.  [default: 127.0.0.1:50051]",
    )(command)


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
        from runstream_service.follow import follow

        try:
            with runstream.Client(address) as client:
                follow(client, run, keys, rank, as_json=as_json)
        except KeyboardInterrupt:
            sys.exit(0)  # Ctrl-C is the normal way to end it


@click.command()
@address_option
@click.option(
    "--http",
    envvar="RUNSTREAM_MLFLOW_HTTP_ADDRESS",
    show_envvar=True,
    help="Where the service speaks MLflow's API.  [default: the same host, port 5000]",
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    help="The directory with the journals.  [default: the one that a training process here uses]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def doctor(address: str | None, http: str | None, directory: Path | None, as_json: bool) -> None:
    """Check what is between a training process here and the service, and say what to do.

    Exit code 1: something is broken, so that points do not arrive.
    """
    with in_one_line():
        from runstream.doctor.command import run

        sys.exit(run(address=address, http=http, directory=directory, as_json=as_json))


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

        try:
            with runstream.Client(address) as client:
                directory = output.endswith(os.sep) or Path(output).is_dir()
                done = write(client, Job(run, experiment, format_, Path(output), directory))
        except ModuleNotFoundError as error:
            _fail(f"{error.name} is missing; Parquet needs: pip install 'runstream[server,export]'")
        click.echo(f"{done.points:,} points of {done.runs} run{'s' * (done.runs != 1)} in {output}")
        for run_id, failure in done.failures.items():
            click.echo(f"runstream: run {run_id} was not exported: {failure}", err=True)
        if done.failures:
            sys.exit(1)


def _database_options(command: Callable[..., Any]) -> Callable[..., Any]:
    data_dir = click.option(
        "--data-dir",
        envvar="RUNSTREAM_DATA_DIR",
        show_envvar=True,
        default="./runstream-data",
        show_default=True,
        type=click.Path(path_type=Path),
        help="Without --database: where a service runs with its embedded PostgreSQL.",
    )
    database = click.option(
        "--database", envvar="RUNSTREAM_DATABASE", show_envvar=True, help="URL of the service's PostgreSQL."
    )
    return database(data_dir(command))


@click.command()
@_database_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a page.")
def status(database: str | None, data_dir: Path, as_json: bool) -> None:
    """Show replicas, ingest, roll-up, sizes and producers, as the database knows them."""
    with in_one_line():
        from rich.console import Console

        from runstream_service.status import render
        from runstream_service.status.collect import collect
        from runstream_service.storage.embedded import url_of_running

        logs.configure(level="warning", format="auto")
        found = asyncio.run(collect(database or url_of_running(data_dir), None if database else data_dir))
        if as_json:
            click.echo(render.as_json(found))
        else:
            render.render(found, Console(highlight=False))
        if found.unread:
            _fail(f"could not be read: {', '.join(found.unread)}")


@click.command()
@_database_options
@click.option(
    "--purge-after-days",
    envvar="RUNSTREAM_PURGE_AFTER_DAYS",
    show_envvar=True,
    default=30,
    show_default=True,
    type=click.IntRange(0, 36_500),
    help="Purge runs that were deleted at least this many days ago; 0: all deleted ones.",
)
@click.option(
    "--artifacts",
    is_flag=False,
    flag_value="",
    metavar="[PLACE]",
    help="Instead, list files of runs and models that are not in the database. PLACE is where serve keeps artifacts.  "
    "[default: as serve]",
)
@click.option("--delete", "delete_orphans", is_flag=True, help="With --artifacts: delete them.")
def gc(
    database: str | None, data_dir: Path, purge_after_days: int, artifacts: str | None, delete_orphans: bool
) -> None:
    """Purge what was deleted and apply retention now; the service does so automatically, every minute and hour."""
    if delete_orphans and artifacts is None:
        raise click.UsageError("--delete goes with --artifacts")
    with in_one_line():
        from runstream_service.storage.embedded import url_of_running

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
            "waiting until the service has rolled up their points, a minute or two: "
            f"series: {waiting.series:,}, runs: {waiting.runs:,}, experiments: {waiting.experiments:,}"
        )
    if done.files_waiting:
        click.echo(f"directories of files that the service deletes next: {done.files_waiting:,}")
    for name, error in done.failures.items():
        click.echo(logs.mask_secrets(f"runstream: {name} failed: {error}"), err=True)
    if done.failures:
        sys.exit(1)


def _artifact_store(place: str, data_dir: Path) -> str:
    """The location of the service's artifacts, from its settings. It is not created here."""
    from runstream_service.settings import NO_ARTIFACTS

    found = place or os.environ.get("RUNSTREAM_ARTIFACTS") or str(data_dir / "artifacts")
    if found == NO_ARTIFACTS or ("://" not in found and not Path(found).is_dir()):
        raise ValueError(f"no artifacts are kept at {found!r}; say where: --artifacts PLACE, as for serve")
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
    help="Into how many tables the points are divided: a few times as many as there will ever be workers.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def distribute(database: str, shards: int, dry_run: bool, yes: bool) -> None:
    """Distribute the points of a database over the workers of its Citus cluster, while all replicas are stopped.

    It may be interrupted at any time, and started again.
    """
    with in_one_line():
        from runstream_service.storage.distribute import Plan
        from runstream_service.storage.distribute import distribute as carry_out

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
