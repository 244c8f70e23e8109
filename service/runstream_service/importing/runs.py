"""Imports runs: params, tags, points, inputs and outputs, files, and the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import runstream
from runstream import errors
from runstream_service.core.experiments import artifact_uri_below
from runstream_service.core.names import check_entries, check_text, is_run_id
from runstream_service.core.runs import (
    MAX_NAME_CHARACTERS,
    MAX_PARAM_CHARACTERS,
    MAX_TAG_CHARACTERS,
    MAX_USER_CHARACTERS,
)
from runstream_service.errors.core import InvalidField
from runstream_service.importing.append import RunStream
from runstream_service.importing.http import with_retries
from runstream_service.importing.records import FileOwner
from runstream_service.importing.stored_points import compare, keys_with_points, read_series, whole_series

if TYPE_CHECKING:
    from runstream_service.importing.files import FileImporter
    from runstream_service.importing.progress import Progress
    from runstream_service.importing.records import Points, SourceRun
    from runstream_service.importing.source import Source
    from runstream_service.importing.target import Target, TargetExperiment

# The tag in which MLflow before 3 lists the models of a run. The models are among the run's files.
_HISTORY_TAG = "mlflow.log-model.history"
_ENDED = ("FINISHED", "FAILED", "KILLED")


@dataclass(slots=True)
class _Open:
    """A run that is being imported. `keys_there`: the metrics that already have points."""

    run: SourceRun
    found: runstream.RunInfo
    is_new: bool
    stream: RunStream | None = None
    keys_there: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)  # points: new, there, extra


class RunImporter:
    """Imports runs. Threads may share it if each calls it for different runs."""

    def __init__(self, source: Source, target: Target, files: FileImporter | None, progress: Progress) -> None:
        """`files`: None if files should not be imported."""
        self._source = source
        self._files = files
        self._target = target
        self._progress = progress

    def import_runs(self, runs: Sequence[SourceRun], experiment: TargetExperiment) -> None:
        """Imports some runs of an experiment. Raises SourceError, RunstreamError."""
        opened = [one for run in runs if (one := self._begin(run, experiment.name)) is not None]
        if opened:
            with_retries(lambda: self._import_points(opened))
        for one in opened:
            self._import_inputs(one.run, is_new=one.is_new)
            if self._files is not None:
                self._import_files(self._files, one, experiment)
            self._end(one)

    def _import_inputs(self, run: SourceRun, *, is_new: bool) -> None:
        try:
            self._target.log_inputs(run)
        except errors.RunstreamError as error:
            if error.retryable:
                raise
            self._problem(run, f"its datasets or models were not imported: {error}")
        else:
            count = len(run.datasets) + len(run.models_in) + len(run.models_out)
            self._progress.add("inputs and outputs", count, is_new=is_new)

    def _import_files(self, files: FileImporter, one: _Open, experiment: TargetExperiment) -> None:
        run = one.run
        if str(one.found.experiment_id) == experiment.experiment_id:
            uri = artifact_uri_below(
                experiment.artifact_location, int(experiment.experiment_id), f"{run.run_id}/artifacts"
            )
        else:
            uri = self._target.run_uri(run.run_id)
        owner, expected = FileOwner("run", run.run_id, run.artifact_uri), _HISTORY_TAG in run.tags
        files.import_files(owner, uri, _label(run), is_new=one.is_new, expected=expected)

    # The run itself.

    def _begin(self, run: SourceRun, experiment: str) -> _Open | None:
        """Creates the run, or adds to it what it lacks; None if it must be left unchanged, which becomes a problem."""
        if not is_run_id(run.run_id):
            self._progress.problem(f"run {run.run_id!r}: its id is not 32 lower-case hex digits; it was left out")
            return None
        run = self._checked(run)
        found = self._target.find_run(run.run_id)
        if found is None:
            return _Open(run, self._target.create_run(run, experiment), is_new=True)
        if not self._is_the_same(run, found):
            return None
        self._add_missing(run, found, experiment)
        return _Open(run, found, is_new=False)

    def _is_the_same(self, run: SourceRun, found: runstream.RunInfo) -> bool:
        """Whether the service's run with this id is this run, and may be changed. If not, that becomes a problem."""
        if found.deleted:
            if not run.deleted:
                self._problem(
                    run,
                    f"is deleted here, so nothing was imported into it; `runstream restore {run.run_id}` restores it",
                )
            return False
        if run.start_unix_us and found.start_time_unix_us != run.start_unix_us:
            self._problem(run, "a run with this id exists, and has another start time; it was left unchanged")
            return False
        for key, value in run.params.items():
            if found.params.get(key, value) != value:
                here = found.params[key][:80]
                self._problem(
                    run,
                    f"a run with this id exists, and its param {key!r} is {here!r}, not {value[:80]!r}; it was left "
                    "unchanged",
                )
                return False
        return True

    def _add_missing(self, run: SourceRun, found: runstream.RunInfo, experiment: str) -> None:
        if found.experiment != experiment:
            self._problem(
                run, f"is in the experiment {found.experiment!r} here, not in {experiment!r}; it was left there"
            )
        if run.name and found.name != run.name:
            self._problem(run, f"its name is {found.name!r} here, not {run.name!r}; it was left unchanged")
        params = {key: value for key, value in run.params.items() if key not in found.params}
        if params:
            self._target.add_params(run.run_id, params)
        tags = {}
        for key, value in run.tags.items():
            if key not in found.tags:
                tags[key] = value
            elif found.tags[key] != value:
                self._problem(
                    run, f"its tag {key!r} is {found.tags[key][:80]!r} here, not {value[:80]!r}; it was left unchanged"
                )
        if tags:
            self._target.add_tags(run.run_id, tags)

    def _end(self, opened: _Open) -> None:
        run, found = opened.run, opened.found
        has_ended = run.status in _ENDED
        if opened.is_new or (has_ended and found.status not in _ENDED):
            self._target.end_run(run)
        elif has_ended and (run.status != found.status or run.end_unix_us not in (0, found.end_time_unix_us)):
            self._problem(run, f"its status or end time is different here: {found.status}, not {run.status}")
        if run.deleted:
            self._target.delete_run(run.run_id)
        self._progress.add("runs", is_new=opened.is_new)

    def _checked(self, run: SourceRun) -> SourceRun:
        """The run without the names, params and tags that the service would refuse; each of them becomes a problem."""
        return replace(
            run,
            name=self._checked_text(run, "name", run.name, MAX_NAME_CHARACTERS),
            user=self._checked_text(run, "user", run.user, MAX_USER_CHARACTERS),
            params=self._checked_entries(run, "param", run.params, MAX_PARAM_CHARACTERS),
            tags=self._checked_entries(run, "tag", run.tags, MAX_TAG_CHARACTERS),
        )

    def _checked_text(self, run: SourceRun, field: str, text: str, most: int) -> str:
        try:
            return check_text(text, field=field, max_characters=most)
        except InvalidField as error:
            self._problem(run, f"{error.message}; it was left out")
            return ""

    def _checked_entries(self, run: SourceRun, kind: str, entries: Mapping[str, str], most: int) -> dict[str, str]:
        taken = {}
        for key, value in entries.items():
            try:
                taken.update(check_entries({key: value}, field=kind, max_value_characters=most))
            except InvalidField as error:
                self._problem(run, f"{error.message}; it was left out")
        return taken

    # Points.

    def _import_points(self, opened: Sequence[_Open]) -> None:
        """Sends all points that the service does not have yet. After an error, it should be called again."""
        by_id = {one.run.run_id: one for one in opened}
        with ExitStack() as stack:
            for one in opened:
                one.stream, one.counts = None, Counter()

            def is_there(run_id: str, key: str) -> bool:
                return key in self._ready(by_id[run_id], stack).keys_there

            for points, compares in whole_series(self._source.points([one.run for one in opened]), is_there):
                self._send(by_id[points.run_id], points, compares=compares)
            for one in opened:
                if one.stream is not None:
                    one.stream.finish()
        for one in opened:
            self._count(one)

    def _ready(self, one: _Open, stack: ExitStack) -> _Open:
        """Opens the run's stream, and then reads which metrics it already has. In this order, no other import can store
        points after they were read. It is called for the first point, since a run without points needs neither."""
        if one.stream is None:
            one.stream = stack.enter_context(RunStream(self._target.endpoint, one.run.run_id))
            is_empty = one.is_new and not one.stream.committed_before
            one.keys_there = set() if is_empty else keys_with_points(self._target.client, one.run.run_id)
        return one

    def _send(self, one: _Open, points: Points, *, compares: bool) -> None:
        assert one.stream is not None
        if compares:
            compared = compare(points, read_series(self._target.client, points.run_id, points.key))
            one.counts["there"] += len(points) - len(compared.missing)
            one.counts["extra"] += compared.extra
            points = compared.missing
        one.counts["new"] += len(points)
        if len(points):
            one.stream.send(points)

    def _count(self, one: _Open) -> None:
        refused: Counter[str] = Counter()
        if one.stream is not None:
            refused = one.stream.refused
            for reason, count in refused.items():
                self._problem(one.run, f"{count:,} points were refused ({reason}), such as {one.stream.example}")
        self._progress.add("points", one.counts["new"] - refused.total())
        self._progress.add("points", one.counts["there"], is_new=False)
        if extra := one.counts["extra"]:
            self._progress.note(f"run {one.run.run_id}: has {extra:,} points here that the source does not have")

    def _problem(self, run: SourceRun, what: str) -> None:
        self._progress.problem(f"{_label(run)}: {what}")


def _label(run: SourceRun) -> str:
    return f"run {run.run_id} ({run.name[:80]!r})" if run.name else f"run {run.run_id}"


def describe(error: errors.RunstreamError | Exception) -> str:
    """An error as one line of text."""
    return str(error) or type(error).__name__
