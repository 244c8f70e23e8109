"""All of a source, one experiment after the other; runs in some threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING

from runstream import errors
from runstream_service.importing.runs import RunImporter, describe
from runstream_service.importing.source import SourceError

if TYPE_CHECKING:
    from runstream_service.importing.progress import Progress
    from runstream_service.importing.records import SourceExperiment, SourceRun
    from runstream_service.importing.source import Source
    from runstream_service.importing.target import Target


class Importer:
    """`run` brings everything once."""

    def __init__(
        self,
        source: Source,
        target: Target,
        progress: Progress,
        *,
        parallel: int,
        include_deleted: bool,
        experiments: Sequence[str] = (),
    ) -> None:
        """`experiments`: the names of those that are wanted; none: all."""
        self._source = source
        self._target = target
        self._progress = progress
        self._parallel = parallel
        self._include_deleted = include_deleted
        self._names = set(experiments)
        self._runs = RunImporter(source, target, progress)
        self._stopped = threading.Event()
        self._fatal: BaseException | None = None

    def run(self) -> None:
        """Raises RunstreamError if the service takes nothing at all, and ValueError if the source cannot be read."""
        chosen = self._chosen()
        self._progress.expected_runs = None if self._names else self._source.run_count()
        # At most two groups a thread are in memory.
        room = threading.BoundedSemaphore(2 * self._parallel)
        with ThreadPoolExecutor(self._parallel, thread_name_prefix="import") as pool:
            try:
                for experiment in chosen:
                    self._bring_experiment(experiment, pool, room)
            except BaseException:
                self._stopped.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        if self._fatal is not None:
            raise self._fatal

    def _chosen(self) -> list[SourceExperiment]:
        found = self._source.experiments()
        if not self._names:
            return found
        if missing := self._names - {one.name for one in found}:
            raise ValueError(f"--experiment {sorted(missing)[0]!r}: the source has no experiment of this name")
        return [one for one in found if one.name in self._names]

    def _bring_experiment(
        self, experiment: SourceExperiment, pool: ThreadPoolExecutor, room: threading.BoundedSemaphore
    ) -> None:
        if experiment.deleted and not self._include_deleted:
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
                    "stays so"
                )
        pending: set[Future[None]] = set()
        for group in _groups(self._wanted(experiment), self._source.runs_at_once):
            room.acquire()
            if self._fatal is not None:
                room.release()
                break
            future = pool.submit(self._bring_group, group, target.name)
            future.add_done_callback(lambda _: room.release())
            pending = {one for one in pending if not one.done()} | {future}
        for future in pending:
            future.exception()
        if experiment.deleted and self._fatal is None:
            self._target.delete_experiment(target.experiment_id)

    def _wanted(self, experiment: SourceExperiment) -> Iterator[SourceRun]:
        for run in self._source.runs(experiment):
            if run.deleted and not self._include_deleted:
                self._progress.leave_out("deleted runs")
                self._progress.run_seen()
                continue
            yield run

    def _bring_group(self, runs: Sequence[SourceRun], experiment: str) -> None:
        if self._stopped.is_set() or self._fatal is not None:
            return
        try:
            self._runs.bring(runs, experiment)
        except (SourceError, errors.RunstreamError) as error:
            which = runs[0].run_id if len(runs) == 1 else f"{runs[0].run_id} and {len(runs) - 1} more"
            if isinstance(error, errors.PermissionDenied) or (
                isinstance(error, errors.RunstreamError) and error.retryable and error.reason != "FENCED"
            ):
                self._fatal = error  # the next run would meet the same
                return
            what = (
                "another import writes to it at the moment"
                if getattr(error, "reason", "") == "FENCED"
                else describe(error)
            )
            self._progress.problem(f"run {which}: not brought as a whole: {what}")
        except BaseException as error:  # a bug: said by the thread that waits
            self._fatal = error
        finally:
            self._progress.run_seen(len(runs))


def _groups(runs: Iterator[SourceRun], size: int) -> Iterator[list[SourceRun]]:
    while group := list(islice(runs, size)):
        yield group
