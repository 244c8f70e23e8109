"""Compares everything in the source with the service, value by value. Changes nothing."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from runstream import errors
from runstream_service.importing.http import with_retries
from runstream_service.importing.importer import groups_of
from runstream_service.importing.records import FileOwner
from runstream_service.importing.source import PlaceMissing, SourceError
from runstream_service.importing.stored_points import compare, keys_with_points, read_series, whole_series
from runstream_service.importing.target import digest_of

if TYPE_CHECKING:
    from runstream_service.importing.importer import Options
    from runstream_service.importing.progress import Progress
    from runstream_service.importing.records import (
        Points,
        SourceExperiment,
        SourceModel,
        SourceRegisteredModel,
        SourceRun,
        SourceVersion,
    )
    from runstream_service.importing.source import Source
    from runstream_service.importing.target import Target

KINDS = (
    "experiments", "runs", "params", "tags", "points", "datasets and models of runs", "files", "sizes of files",
    "logged models", "registered models", "model versions",
)  # fmt: skip


@dataclass
class Verified:
    """Counts for each of KINDS: how many the source has, how many of them the service has, and how many are equal."""

    in_source: Counter[str] = field(default_factory=Counter)
    here: Counter[str] = field(default_factory=Counter)
    equal: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind: str, in_source: int, here: int, equal: int) -> None:
        """Adds to the three counts of a kind."""
        with self._lock:
            self.in_source[kind] += in_source
            self.here[kind] += here
            self.equal[kind] += equal


class Verifier:
    """Compares what the options choose; call `run` once. Differences become problems of `progress`."""

    def __init__(self, source: Source, target: Target, progress: Progress, options: Options) -> None:
        self._source = source
        self._target = target
        self._progress = progress
        self._options = options
        self.verified = Verified()

    def run(self) -> Verified:
        """Compares everything; returns the counts. Raises RunstreamError, SourceError, ValueError."""
        chosen = self._options.chosen(self._source.experiments())
        with ThreadPoolExecutor(self._options.parallel, thread_name_prefix="verify") as pool:
            for experiment in chosen:
                if experiment.deleted and not self._options.deleted:
                    continue
                self._verify_experiment(experiment)
                runs = (run for run in self._source.runs(experiment) if self._options.deleted or not run.deleted)
                while groups := list(islice(groups_of(runs, self._source.runs_at_once), 4 * self._options.parallel)):
                    for _ in pool.map(self._verify_runs, groups):
                        pass
                for model in self._source.logged_models(experiment):
                    if self._options.deleted or not model.deleted:
                        self._verify_model(model)
        if not self._options.experiments:
            for registered in self._source.registered_models():
                self._verify_registered(registered)
        return self.verified

    def _verify_experiment(self, experiment: SourceExperiment) -> None:
        try:
            with_retries(lambda: self._target.client.get_experiment(experiment.name))
        except errors.NotFound:
            self._progress.problem(f"experiment {experiment.name!r}: is not here")
            self.verified.add("experiments", 1, 0, 0)
        else:
            self.verified.add("experiments", 1, 1, 1)

    # Runs.

    def _verify_runs(self, runs: Sequence[SourceRun]) -> None:
        known = [run for run in runs if self._verify_run(run)]
        keys = {run.run_id: keys_with_points(self._target.client, run.run_id) for run in known}
        try:
            series = whole_series(self._source.points(known), lambda run_id, key: True)
            for points, _ in series:
                keys[points.run_id].discard(points.key)
                self._verify_series(points)
        except SourceError as error:
            self._progress.problem(f"run {runs[0].run_id}: its points cannot be compared: {error}")
        for run_id, left in keys.items():
            if left:
                self._progress.note(f"run {run_id}: has {len(left):,} metrics here that the source does not have")
        self._progress.run_seen(len(runs))

    def _verify_run(self, run: SourceRun) -> bool:
        found = self._target.find_run(run.run_id)
        tags = {**run.tags, **({"mlflow.runName": run.name} if run.name else {})}
        if found is None:
            self._problem(run, "is not here")
            self.verified.add("runs", 1, 0, 0)
            self.verified.add("params", len(run.params), 0, 0)
            self.verified.add("tags", len(tags), 0, 0)
            return False
        has_ended = run.status in ("FINISHED", "FAILED", "KILLED")
        same = (not run.start_unix_us or found.start_time_unix_us == run.start_unix_us) and (
            not has_ended or (found.status == run.status and run.end_unix_us in (0, found.end_time_unix_us))
        )
        if not same:
            self._problem(run, "its start, end or status is another here")
        self.verified.add("runs", 1, 1, int(same))
        self._verify_entries(run, "params", run.params, found.params)
        self._verify_entries(run, "tags", tags, {**found.tags, "mlflow.runName": found.name})
        self._verify_inputs(run)
        if self._options.files:
            owner = FileOwner("run", run.run_id, run.artifact_uri)
            self._verify_files(f"run {run.run_id}", owner, lambda: self._target.run_uri(run.run_id))
        return True

    def _verify_entries(self, run: SourceRun, kind: str, wanted: Mapping[str, str], here: Mapping[str, str]) -> None:
        equal = sum(here.get(key) == value for key, value in wanted.items())
        if equal < len(wanted):
            keys = sorted(key for key, value in wanted.items() if here.get(key) != value)
            self._problem(run, f"{len(keys):,} of its {kind} are missing or different here, such as {keys[0]!r}")
        self.verified.add(kind, len(wanted), len(wanted.keys() & here.keys()), equal)

    def _verify_series(self, points: Points) -> None:
        stored = read_series(self._target.client, points.run_id, points.key)
        compared = compare(points, stored)
        missing = len(compared.missing)
        if missing:
            self._progress.problem(f"run {points.run_id}: {missing:,} points of {points.key!r} are not here")
        if compared.extra:
            self._progress.note(
                f"run {points.run_id}: has {compared.extra:,} points of {points.key!r} here that the source has not"
            )
        self.verified.add("points", len(points), len(stored), len(points) - missing)

    def _verify_inputs(self, run: SourceRun) -> None:
        wanted = {("dataset", one.dataset.name, one.dataset.digest) for one in run.datasets}
        wanted |= {("input", one, "") for one in run.models_in}
        wanted |= {("output", one.model_id, "") for one in run.models_out}
        if not wanted:
            return
        found = self._target.http.get("/api/2.0/mlflow/runs/get", run_id=run.run_id)["run"]
        inputs, outputs = found.get("inputs", {}), found.get("outputs", {})
        here = {
            ("dataset", one["dataset"]["name"], one["dataset"]["digest"]) for one in inputs.get("dataset_inputs", [])
        }
        here |= {("input", one["model_id"], "") for one in inputs.get("model_inputs", [])}
        here |= {("output", one["model_id"], "") for one in outputs.get("model_outputs", [])}
        if wanted - here:
            self._problem(run, f"{len(wanted - here):,} of its datasets and models are not here")
        self.verified.add("datasets and models of runs", len(wanted), len(here), len(wanted & here))

    def _verify_files(self, label: str, owner: FileOwner, uri: Callable[[], str]) -> None:
        try:
            wanted = {file.path: file.size for file in self._source.files(owner)}
            here = self._target.files(uri()) if wanted else {}
        except PlaceMissing:
            return  # the import has said so
        except (SourceError, errors.RunstreamError) as error:
            self._progress.problem(f"{label}: its files cannot be compared: {error}", about=str(error))
            return
        different = [path for path, size in wanted.items() if here.get(path) != size]
        if self._options.checksum:
            same_size = [path for path, size in wanted.items() if here.get(path) == size]
            different += [path for path in same_size if not self._is_same_content(label, owner, uri(), path)]
        if different:
            self._progress.problem(
                f"{label}: {len(different):,} of its files are missing or different, such as {min(different)}"
            )
        kind = "files" if self._options.checksum else "sizes of files"
        self.verified.add(kind, len(wanted), len(wanted.keys() & here.keys()), len(wanted) - len(different))

    def _is_same_content(self, label: str, owner: FileOwner, uri: str, path: str) -> bool:
        try:
            with self._source.open_file(owner, path) as pieces:
                wanted = digest_of(pieces)
            return wanted == self._target.digest(uri, path)
        except (SourceError, errors.RunstreamError) as error:
            self._progress.problem(f"{label}: its file {path} cannot be read: {error}", about=str(error))
            return False

    # Models.

    def _verify_model(self, model: SourceModel) -> None:
        label = f"logged model {model.model_id}"
        try:
            found = self._target.http.get(f"/api/2.0/mlflow/logged-models/{model.model_id}", allow_deleted="true")
        except errors.NotFound:
            self._progress.problem(f"{label}: is not here")
            self.verified.add("logged models", 1, 0, 0)
            return
        info, data = found["model"]["info"], found["model"].get("data", {})
        same = (
            info["name"] == model.name
            and _has(info.get("tags"), model.tags)
            and _has(data.get("params"), model.params)
            and len(data.get("metrics", ())) >= len(model.metrics)
        )
        if not same:
            self._progress.problem(f"{label}: its name, params, tags or metrics are different here")
        self.verified.add("logged models", 1, 1, int(same))
        if self._options.files:
            owner = FileOwner("model", model.model_id, model.artifact_uri)
            self._verify_files(label, owner, lambda: str(info["artifact_uri"]))

    def _verify_registered(self, model: SourceRegisteredModel) -> None:
        label = f"registered model {model.name!r}"
        try:
            found = self._target.http.get("/api/2.0/mlflow/registered-models/get", name=model.name)["registered_model"]
        except errors.NotFound:
            self._progress.problem(f"{label}: is not here")
            self.verified.add("registered models", 1, 0, 0)
            self.verified.add("model versions", len(model.versions), 0, 0)
            return
        aliases = {one["alias"]: int(one["version"]) for one in found.get("aliases", ())}
        same = _has(found.get("tags"), model.tags) and model.aliases.items() <= aliases.items()
        if not same:
            self._progress.problem(f"{label}: its tags or aliases are different here")
        self.verified.add("registered models", 1, 1, int(same))
        for version in model.versions:
            self._verify_version(model.name, version)

    def _verify_version(self, name: str, version: SourceVersion) -> None:
        label = f"version {version.version} of the registered model {name!r}"
        try:
            answer = self._target.http.get("/api/2.0/mlflow/model-versions/get", name=name, version=version.version)
        except errors.NotFound:
            self._progress.problem(f"{label}: is not here")
            self.verified.add("model versions", 1, 0, 0)
            return
        found = answer["model_version"]
        same = (
            _has(found.get("tags"), version.tags)
            and found.get("run_id", "") == version.run_id
            and found.get("current_stage") == version.stage
        )
        if not same:
            self._progress.problem(f"{label}: its run, stage or tags are different here")
        self.verified.add("model versions", 1, 1, int(same))

    def _problem(self, run: SourceRun, what: str) -> None:
        self._progress.problem(f"run {run.run_id}: {what}")


def _has(pairs: Any, wanted: Mapping[str, str]) -> bool:
    there = {one["key"]: one.get("value", "") for one in pairs or ()}
    return wanted.items() <= there.items()
