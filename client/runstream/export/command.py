"""`runstream export`: reads series by series through the client, so that no read takes long and memory stays small."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import runstream
from runstream.export.files import Output, Writer

_TRIES = 3


@dataclass(frozen=True, slots=True)
class Job:
    """What to export: a run, or all active runs of an experiment; into one file, or one file per run in a directory."""

    run_id: str | None
    experiment: str | None
    format: str
    output: Path
    into_directory: bool


@dataclass(slots=True)
class Exported:
    """How much was exported, and which runs failed, with the reasons."""

    points: int = 0
    runs: int = 0
    failures: dict[str, runstream.RunstreamError] = field(default_factory=dict)


def export(client: runstream.Client, job: Job) -> Exported:
    """Writes the files. In a directory, the other runs are written even if a run has been deleted in the meantime.

    Raises:
        RunstreamError, OSError.
    """
    runs = client.list_runs(job.experiment or "") if job.run_id is None else [client.get_run(job.run_id)]
    with _progress() as progress:
        if not job.into_directory:
            job.output.parent.mkdir(parents=True, exist_ok=True)
            with Output(job.output, job.format) as writer:
                return Exported(sum(_export_run(client, run, writer, progress) for run in runs), len(runs))
        job.output.mkdir(parents=True, exist_ok=True)
        done = Exported()
        for run in runs:
            _export_to_file(client, run, job, progress, done)
    return done


def _export_to_file(
    client: runstream.Client, run: runstream.RunInfo, job: Job, progress: Progress, done: Exported
) -> None:
    try:
        with Output(job.output / f"{run.run_id}.{job.format}", job.format) as writer:
            done.points += _export_run(client, run, writer, progress)
        done.runs += 1
    except runstream.RunstreamError as error:
        if error.retryable:  # the service is away, so the next run would fail as well
            raise
        done.failures[run.run_id] = error


def _export_run(client: runstream.Client, run: runstream.RunInfo, writer: Writer, progress: Progress) -> int:
    series = [(one.key, one.rank, one.attempt) for one in client.latest(run.run_id)]
    if not series:
        client.get_run(run.run_id)  # raises if there are no points because the run is gone
    task = progress.add_task(run.name, total=len(series), points="0")
    points = 0
    for key, rank, attempt in series:
        for piece in _pieces(client, run.run_id, key, rank, attempt):
            writer.add(run, piece)
            points += len(piece)
            progress.update(task, points=f"{points:,}")
        progress.advance(task)
    return points


def _pieces(
    client: runstream.Client, run_id: str, key: str, rank: int, attempt: int
) -> Iterator[runstream.SeriesColumns]:
    """Yields the pieces of a series. A failed read is only repeated if nothing was yielded yet, since it begins with
    the first point again."""
    for left in reversed(range(_TRIES)):
        begun = False
        try:
            for piece in client.stream_history(run_id, [key], rank=rank, attempt=attempt):
                begun = True
                yield piece
            return
        except runstream.RunstreamError as error:
            if begun or not left or not error.retryable:
                raise


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("series, {task.fields[points]} points"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
