"""`runstream import`: the group, and one subcommand for each kind of source."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runstream.commands.failures import in_one_line
from runstream.commands.options import address_option

if TYPE_CHECKING:
    from runstream_service.importing.importer import Options
    from runstream_service.importing.progress import Progress
    from runstream_service.importing.source import Source
    from runstream_service.importing.verify import Verified

_KINDS = (
    "experiments",
    "runs",
    "points",
    "inputs and outputs",
    "files",
    "logged models",
    "registered models",
    "model versions",
)


@click.group("import")
def import_group() -> None:
    """Import the runs of another tracker, with their ids, params, tags and every point."""


@import_group.command()
@click.argument("source")
@click.option("--experiment", "experiments", multiple=True, help="Only the experiment with this name; may be repeated.")
@click.option(
    "--artifacts",
    default="",
    metavar="PLACE",
    help="For a database: where the files of mlflow-artifacts:/ are, a directory or the URL of a bucket.",
)
@click.option("--no-files", is_flag=True, help="Leave out the artifact files of runs and models.")
@click.option("--verify", is_flag=True, help="Then compare both sides, value by value, and show a table.")
@click.option(
    "--checksum",
    is_flag=True,
    help="With --verify: compare the contents of files, which reads all of them. Without, sizes are compared.",
)
@click.option(
    "--deleted", is_flag=True, help="Include deleted runs, models and experiments; they are deleted here, too."
)
@click.option("--parallel", type=click.IntRange(1, 64), default=4, show_default=True, help="Runs at a time.")
@address_option
def mlflow(
    source: str,
    experiments: tuple[str, ...],
    artifacts: str,
    no_files: bool,
    verify: bool,
    checksum: bool,
    deleted: bool,
    parallel: int,
    address: str | None,
) -> None:
    """Import from MLflow: SOURCE is http://host:port of a server, sqlite:///mlflow.db or postgresql://... of its
    database, or a directory such as ./mlruns.

    Runs keep their ids. What is here already is not changed, so a second call imports what is new, and continues after
    a kill. Exit code 1: something could not be imported, or is different here; stderr names each such thing.
    """
    if checksum and (not verify or no_files):
        raise click.UsageError("--checksum compares files, so it needs --verify and cannot be used with --no-files")
    with in_one_line():
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
        from runstream_service.importing.importer import Options
        from runstream_service.importing.source import open_mlflow

        options = Options(
            experiments=experiments, deleted=deleted, parallel=parallel, files=not no_files, checksum=checksum
        )
        with open_mlflow(source, artifacts) as opened:
            sys.exit(_import(opened, address, options, verify=verify))


@import_group.command()
@click.argument("place", type=click.Path(path_type=Path))
@click.option("--experiment", "experiments", multiple=True, help="Only this project; may be repeated.")
@click.option("--verify", is_flag=True, help="Then compare both sides, value by value, and show a table.")
@address_option
def wandb(place: Path, experiments: tuple[str, ...], verify: bool, address: str | None) -> None:
    """Import from Weights & Biases: PLACE is a directory `wandb` that scripts have written, one of its runs, or a file
    run-*.wandb. Neither their service nor their package is needed.

    A second call imports what is new, and continues after a kill. Exit code 1: something could not be imported, or is
    damaged; stderr names each such thing.
    """
    with in_one_line():
        from runstream_service.importing.importer import Options
        from runstream_service.importing.wandb_files import WandbFiles

        with WandbFiles(place) as opened:
            sys.exit(_import(opened, address, Options(experiments=experiments, parallel=1, files=False), verify=verify))


@import_group.command()
@click.argument("place", type=click.Path(path_type=Path), default=None, required=False)
@click.option("--experiment", "experiments", multiple=True, help="Only this project; may be repeated.")
@click.option("--verify", is_flag=True, help="Then compare both sides, value by value, and show a table.")
@address_option
def trackio(place: Path | None, experiments: tuple[str, ...], verify: bool, address: str | None) -> None:
    """Import from Trackio: PLACE is a directory with its databases, or one of them.  [default: TRACKIO_DIR, else
    ~/.cache/huggingface/trackio]

    A second call imports what is new, and continues after a kill. Exit code 1: something could not be imported, or is
    damaged; stderr names each such thing.
    """
    with in_one_line():
        from runstream_service.importing.importer import Options
        from runstream_service.importing.trackio_files import TrackioFiles, default_place

        with TrackioFiles(place or default_place(os.environ)) as opened:
            sys.exit(_import(opened, address, Options(experiments=experiments, parallel=1, files=False), verify=verify))


def _import(source: Source, address: str | None, options: Options, *, verify: bool) -> int:
    from runstream_service.importing.importer import Importer
    from runstream_service.importing.progress import Progress
    from runstream_service.importing.report import Report
    from runstream_service.importing.target import Target
    from runstream_service.importing.verify import Verifier

    progress = Progress()
    target = Target(address)
    try:
        target.check()
        click.echo(f"importing {source.describe()} into {target.endpoint.address}", err=True)
        with Report(progress):
            Importer(source, target, progress, options).run()
        for problem in source.problems():
            progress.problem(problem)
        _print(progress)
        if not verify:
            return int(progress.problem_count > 0)
        found = Progress()
        verifier = Verifier(source, target, found, options)
        with Report(found, verb="compared"):
            verifier.run()
        click.echo()
        _print_verified(verifier.verified, found)
        return int(progress.problem_count + found.problem_count > 0)
    finally:
        target.close()


def _print_verified(verified: Verified, progress: Progress) -> None:
    from runstream.commands.output import Column, print_all, table
    from runstream_service.importing.verify import KINDS

    kinds = [kind for kind in KINDS if verified.in_source[kind]]
    columns = [Column("compared"), *(Column(name, is_number=True) for name in ("in the source", "here", "equal"))]
    counts = (verified.in_source, verified.here, verified.equal)
    print_all(table(columns, [(kind, *(f"{count[kind]:,}" for count in counts)) for kind in kinds]))
    _print_lines(progress)
    if not progress.problem_count:
        sizes = (
            "; of files, only sizes were compared (--checksum: contents)"
            if verified.in_source["sizes of files"]
            else ""
        )
        click.echo(f"everything in the source is here, and equal{sizes}")


def _print(progress: Progress) -> None:
    from runstream.commands.output import Column, print_all, table

    kinds = [kind for kind in _KINDS if progress.new[kind] or progress.found[kind]]
    columns = (Column("what"), Column("new", is_number=True), Column("there already", is_number=True))
    print_all(table(columns, [(kind, f"{progress.new[kind]:,}", f"{progress.found[kind]:,}") for kind in kinds]))
    for kind, count in progress.left_out.items():
        click.echo(f"{count:,} {kind} were left out; --deleted includes them")
    _print_lines(progress)


def _print_lines(progress: Progress) -> None:
    for note in progress.notes:
        click.echo(note)
    for problem in progress.problems:
        click.echo(f"runstream: {problem}", err=True)
    if (more := progress.problem_count - len(progress.problems)) > 0:
        click.echo(f"runstream: and {more:,} more", err=True)
