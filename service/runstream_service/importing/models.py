"""Imports logged models and registered models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from runstream import errors
from runstream_service.importing.records import FileOwner, SourceVersion

if TYPE_CHECKING:
    from runstream_service.importing.files import FileImporter
    from runstream_service.importing.progress import Progress
    from runstream_service.importing.records import SourceModel, SourceRegisteredModel
    from runstream_service.importing.source import Source
    from runstream_service.importing.target import Target, TargetExperiment

_OF_A_MODEL = re.compile(r".*/models/(m-[0-9a-f]{32})/artifacts(?=/|$)")
_MODEL_URI = re.compile(r"models:/(m-[0-9a-f]{32})")


class ModelImporter:
    """Imports logged models and the registry. Only one thread may use it."""

    def __init__(self, source: Source, target: Target, files: FileImporter | None, progress: Progress) -> None:
        self._source = source
        self._target = target
        self._files = files
        self._progress = progress

    def import_model(self, model: SourceModel, experiment: TargetExperiment) -> None:
        """Imports a logged model with its files. Raises RunstreamError only if a repetition can help; other errors
        become problems of the progress."""
        label = f"logged model {model.model_id} ({model.name[:80]!r})"
        try:
            answer = self._target.logged_model(model, experiment.experiment_id)
        except errors.RunstreamError as error:
            self._refused(label, error)
            return
        self._progress.add("logged models", is_new=answer["created"])
        self._compare(label, "param", model.params, answer["params"])
        self._compare(label, "tag", model.tags, answer["tags"])
        if answer["metrics"] < len(model.metrics):
            left = len(model.metrics) - answer["metrics"]
            self._progress.problem(f"{label}: {left:,} of its metrics are of runs that this service does not have")
        if self._files is not None:
            owner = FileOwner("model", model.model_id, model.artifact_uri)
            is_ready = model.status == "ready"
            count = self._files.import_files(
                owner, answer["artifact_uri"], label, is_new=answer["created"], expected=is_ready
            )
            if not count and is_ready:
                self._progress.problem(f"{label}: its files are missing: there are none at {model.artifact_uri}")
        if model.deleted:
            self._target.delete_model(model.model_id)

    def import_registry(self) -> None:
        """Imports all registered models. Raises SourceError; RunstreamError only if a repetition can help."""
        waiting = []
        for model in self._source.registered_models():
            label = f"registered model {model.name[:80]!r}"
            try:
                created = self._target.registered_model(model)
            except errors.RunstreamError as error:
                self._refused(label, error)
                continue
            self._progress.add("registered models", is_new=created)
            for version in model.versions:
                # One that was copied from a version of another model needs that one first.
                if version.source.startswith("models:/") and not _MODEL_URI.match(version.source):
                    waiting.append((replace(model, versions=()), version))
                else:
                    self._import_version(model, version)
        for model, version in waiting:
            self._import_version(model, version)

    def _import_version(self, model: SourceRegisteredModel, version: SourceVersion) -> None:
        label = f"version {version.version} of the registered model {model.name[:80]!r}"
        aliases = sorted(alias for alias, number in model.aliases.items() if number == version.version)
        try:
            source, model_id = self._place(version)
            answer = self._target.model_version(model.name, replace(version, source=source), model_id, aliases)
        except errors.RunstreamError as error:
            self._refused(label, error)
            return
        self._progress.add("model versions", is_new=answer["created"])
        if answer["source"] != source:
            self._progress.problem(
                f"{label}: its source is {answer['source']!r} here, not {source!r}; it was left unchanged"
            )
        if answer["stage"] != version.stage:
            self._progress.problem(
                f"{label}: its stage is {answer['stage']} here, not {version.stage}; it was left unchanged"
            )
        for alias in aliases:
            if alias not in answer["aliases"]:
                self._progress.problem(
                    f"{label}: the alias {alias!r} points at another version here; it was left unchanged"
                )
        self._compare(label, "tag", version.tags, answer["tags"])

    def _place(self, version: SourceVersion) -> tuple[str, str | None]:
        """The URI of a version's files in this service, and the id of the logged model to which they belong, if any.
        Raises NotFound."""
        source = version.source
        if found := _MODEL_URI.fullmatch(source):
            return source, found[1]
        if found := _OF_A_MODEL.match(source):
            return self._target.model_uri(found[1]) + source[found.end() :], found[1]
        of_run = f"/{version.run_id}/artifacts"
        if version.run_id and of_run in source:
            return self._target.run_uri(version.run_id) + source.partition(of_run)[2], None
        return source, None

    def _compare(self, label: str, kind: str, wanted: Mapping[str, str], there: Mapping[str, Any]) -> None:
        for key, value in wanted.items():
            if (here := there.get(key, "")) != value:
                self._progress.problem(
                    f"{label}: its {kind} {key!r} is {here[:80]!r} here, not {value[:80]!r}; it was left unchanged"
                )

    def _refused(self, label: str, error: errors.RunstreamError) -> None:
        if error.retryable:
            raise error
        self._progress.problem(f"{label}: not imported: {error}")
