"""Imports a whole source, one experiment after the other; the runs of an experiment in several threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from runstream import errors
from runstream_service.importing.files import FileImporter
from runstream_service.importing.models import ModelImporter
from runstream_service.importing.runs import RunImporter, describe
from runstream_service.importing.source import SourceError

if TYPE_CHECKING:
    from runstream_service.importing.progress import Progress
    from runstream_service.importing.records import SourceExperiment, SourceRun
    from runstream_service.importing.source import Source
    from runstream_service.importing.target import Target, TargetExperiment


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to import. `experiments`: their names; empty means all, and the registry. `deleted`: import deleted runs,
    models and experiments as well. `parallel`: the number of threads. `checksum`: a comparison reads files, instead of
    only their sizes."""

    experiments: Sequence[str] = ()
    deleted: bool = False
    parallel: int = 4
    files: bool = True
    checksum: bool = False

    def chosen(self, found: Sequence[SourceExperiment]) -> list[SourceExperiment]:
        """The experiments of a source that should be imported. Raises ValueError if the source lacks one of the
        names."""
        if missing := set(self.experiments) - {one.name for one in found}:
            raise ValueError(f"--experiment {sorted(missing)[0]!r}: the source has no experiment of this name")
        return [one for one in found if not self.experiments or one.name in self.experiments]


class Importer:
    """Imports what the options choose; call `run` once."""

    def __init__(self, source: Source, target: Target, progress: Progress, options: Options) -> None:
        self._source = source
        self._target = target
        self._progress = progress
        self._options = options
        files = FileImporter(source, target, progress) if options.files else None
        self._runs = RunImporter(source, target, files, progress)
        self._models = ModelImporter(source, target, files, progress)
        self._stopped = threading.Event()
        self._fatal: BaseException | None = None

    def run(self) -> None:
        """Imports everything. What fails for one run, model or file becomes a problem of the progress.

        Raises:
            RunstreamError: if the service cannot be reached, or refuses everything.
            ValueError, SourceError: if the source cannot be read.
        """
        chosen = self._options.chosen(self._source.experiments())
        self._progress.expected_runs = None if self._options.experiments else self._source.run_count()
        # At most two groups for each thread are in memory.
        room = threading.BoundedSemaphore(2 * self._options.parallel)
        with ThreadPoolExecutor(self._options.parallel, thread_name_prefix="import") as pool:
            try:
                for experiment in chosen:
                    self._import_experiment(experiment, pool, room)
                if not self._options.experiments and self._fatal is None:
                    self._models.import_registry()
            except BaseException:
                self._stopped.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        if self._fatal is not None:
            raise self._fatal

    def _import_experiment(
        self, experiment: SourceExperiment, pool: ThreadPoolExecutor, room: threading.BoundedSemaphore
    ) -> None:
        if experiment.deleted and not self._options.deleted:
            self._progress.leave_out("deleted experiments")
            return
        try:
            target = self._target.experiment(experiment)
        except (errors.InvalidArgument, errors.FailedPrecondition) as error:
            if experiment.deleted and error.reason == "EXPERIMENT_DELETED":
                self._progress.add("experiments", is_new=False)  # by an earlier import
                return
            self._progress.problem(
                f"experiment {experiment.name!r} ({experiment.source_id}): {describe(error)}; it was left out"
            )
            return
        self._progress.add("experiments", is_new=target.created)
        for key, value in experiment.tags.items():
            if (here := target.tags.get(key, "")) != value:
                self._progress.problem(
                    f"experiment {experiment.name!r}: its tag {key!r} is {here[:80]!r} here, not {value[:80]!r}; it "
                    "was left unchanged"
                )
        pending: set[Future[None]] = set()
        for group in groups_of(self._wanted(experiment), self._source.runs_at_once):
            room.acquire()
            if self._fatal is not None:
                room.release()
                break
            future = pool.submit(self._import_group, group, target)
            future.add_done_callback(lambda _: room.release())
            pending = {one for one in pending if not one.done()} | {future}
        for future in pending:
            future.exception()
        if self._fatal is not None:
            return
        for model in self._source.logged_models(experiment):
            if model.deleted and not self._options.deleted:
                self._progress.leave_out("deleted logged models")
            else:
                self._models.import_model(model, target)
        if experiment.deleted:
            self._target.delete_experiment(target.experiment_id)

    def _wanted(self, experiment: SourceExperiment) -> Iterator[SourceRun]:
        for run in self._source.runs(experiment):
            if run.deleted and not self._options.deleted:
                self._progress.leave_out("deleted runs")
                self._progress.run_seen()
                continue
            yield run

    def _import_group(self, runs: Sequence[SourceRun], experiment: TargetExperiment) -> None:
        if self._stopped.is_set() or self._fatal is not None:
            return
        try:
            self._runs.import_runs(runs, experiment)
        except (SourceError, errors.RunstreamError) as error:
            which = runs[0].run_id if len(runs) == 1 else f"{runs[0].run_id} and {len(runs) - 1} more"
            if isinstance(error, errors.PermissionDenied) or (
                isinstance(error, errors.RunstreamError) and error.retryable and error.reason != "FENCED"
            ):
                self._fatal = error  # the next run would fail in the same way
                return
            what = "another import is writing to it" if getattr(error, "reason", "") == "FENCED" else describe(error)
            self._progress.problem(f"run {which}: not imported completely: {what}")
        except BaseException as error:  # a bug, which `run` raises
            self._fatal = error
        finally:
            self._progress.run_seen(len(runs))


def groups_of(runs: Iterator[SourceRun], size: int) -> Iterator[list[SourceRun]]:
    """Runs in groups of at most this size."""
    while group := list(islice(runs, size)):
        yield group
