"""The service into which an import writes. Every write is idempotent, and is repeated here after failures that may be
temporary."""

from __future__ import annotations

import hashlib
import math
import os
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import quote

import runstream
from runstream import _params_tags, errors
from runstream._settings import from_environment
from runstream.mlflow.address import http_url_here
from runstream.v1 import run_pb2, run_pb2_grpc
from runstream_service.core.imported import ImportedMetric
from runstream_service.core.names import MAX_ENTRIES
from runstream_service.importing.http import Http, with_retries
from runstream_service.importing.records import (
    SourceExperiment,
    SourceModel,
    SourceRegisteredModel,
    SourceRun,
    SourceVersion,
)

_STATUSES = {
    "FINISHED": run_pb2.RUN_STATUS_FINISHED,
    "FAILED": run_pb2.RUN_STATUS_FAILED,
    "KILLED": run_pb2.RUN_STATUS_KILLED,
}
_API, _IMPORT, _STORE = "/api/2.0/mlflow", "/web/api/import", "/api/2.0/mlflow-artifacts/artifacts"
_FIRST_PATIENCE_S = 10.0  # for the first call, so that a wrong address is reported soon
_INPUTS = 20  # datasets in one call; a profile may have megabytes
_CALL_BYTES = 256 * 1024  # params or tags in one call


class TargetExperiment(NamedTuple):
    """An experiment of the service."""

    experiment_id: str
    name: str
    artifact_location: str
    tags: Mapping[str, str]
    created: bool


class Target:
    """Calls of the service. Safe to share between threads. Methods raise RunstreamError."""

    def __init__(self, address: str | None) -> None:
        """`address`: the value of the option --address. Raises ValueError."""
        self.client = runstream.Client(address)
        self.endpoint = from_environment(address, os.environ).endpoint
        url = http_url_here(self.client.address, os.environ)
        tls = self.endpoint.tls
        verify: ssl.SSLContext | bool = True
        if url.startswith("https:") and (tls.ca or tls.cert):
            verify = ssl.create_default_context(cafile=tls.ca or None)
            if tls.cert:
                verify.load_cert_chain(tls.cert, tls.key)
        self.http = Http(url, dict(self.endpoint.metadata()), verify=verify)

    def check(self) -> None:
        """Raises RunstreamError if the service cannot be reached, or the caller may not import."""
        me = with_retries(self.client.who_am_i, patience_s=_FIRST_PATIENCE_S)
        if me.role not in ("manage", "admin"):
            raise errors.PermissionDenied(
                f"{me.principal} has the role {me.role!r} in the workspace {me.workspace!r}, but an import needs the "
                "role 'manage', because it sets ids and times, and deletes what is deleted in the source"
            )
        self.http.get("/web/api/me")

    def experiment(self, experiment: SourceExperiment) -> TargetExperiment:
        """The experiment with this name, which is created if it does not exist."""
        body = {
            "name": experiment.name,
            "created_unix_us": experiment.created_unix_us,
            "updated_unix_us": experiment.updated_unix_us,
            "tags": dict(islice(experiment.tags.items(), MAX_ENTRIES)),
        }
        answer = self.http.post(f"{_IMPORT}/experiments", body)
        names = ("experiment_id", "name", "artifact_location", "tags", "created")
        return TargetExperiment(*(answer[name] for name in names))

    def find_run(self, run_id: str) -> runstream.RunInfo | None:
        """The run with this id, which may be deleted; None if there is none."""
        try:
            return with_retries(lambda: self.client.get_run(run_id))
        except errors.NotFound:
            return None

    def create_run(self, run: SourceRun, experiment: str) -> runstream.RunInfo:
        """Creates a run with its params and tags. Its status and end follow with `end_run`."""
        first_params, *more_params = _pieces(run.params) or [{}]
        first_tags, *more_tags = _pieces(run.tags) or [{}]
        request = run_pb2.CreateRunRequest(
            run_id=run.run_id,
            experiment=experiment,
            name=run.name,
            user=run.user,
            start_time_unix_us=run.start_unix_us,
            params=first_params,
            tags=first_tags,
        )
        self._call("CreateRun", request)
        for piece in more_params:
            self.add_params(run.run_id, piece)
        for piece in more_tags:
            self.add_tags(run.run_id, piece)
        return with_retries(lambda: self.client.get_run(run.run_id))

    def add_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Adds params to a run."""
        for piece in _pieces(params):
            self._call("LogParams", run_pb2.LogParamsRequest(run_id=run_id, params=piece))

    def add_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Sets tags of a run."""
        for piece in _pieces(tags):
            self._call("SetTags", run_pb2.SetTagsRequest(run_id=run_id, tags=piece))

    def end_run(self, run: SourceRun) -> None:
        """Sets the status and end time that the run has in the source."""
        if run.status in _STATUSES:
            end_unix_us = run.end_unix_us or run.start_unix_us
            request = run_pb2.FinishRunRequest(
                run_id=run.run_id, status=_STATUSES[run.status], end_time_unix_us=end_unix_us
            )
            self._call("FinishRun", request)
        elif run.status == "SCHEDULED":
            self.http.post(f"{_API}/runs/update", {"run_id": run.run_id, "status": "SCHEDULED"})

    def delete_run(self, run_id: str) -> None:
        """Deletes a run, as `runstream delete` does."""
        with_retries(lambda: self.client.delete_run(run_id))

    def delete_experiment(self, experiment_id: str) -> None:
        """Deletes an experiment with its runs."""
        self.http.post(f"{_API}/experiments/delete", {"experiment_id": experiment_id})

    def log_inputs(self, run: SourceRun) -> None:
        """Writes the datasets and models that a run read, and the models that it made."""
        datasets = [{"dataset": _present(asdict(one.dataset)), "tags": _pairs(one.tags)} for one in run.datasets]
        for begin in range(0, max(len(datasets), len(run.models_in)), _INPUTS):
            body = {
                "run_id": run.run_id,
                "datasets": datasets[begin : begin + _INPUTS],
                "models": [{"model_id": one} for one in run.models_in[begin : begin + _INPUTS]],
            }
            self.http.post(f"{_API}/runs/log-inputs", body)
        for begin in range(0, len(run.models_out), _INPUTS):
            models = [one._asdict() for one in run.models_out[begin : begin + _INPUTS]]
            self.http.post(f"{_API}/runs/outputs", {"run_id": run.run_id, "models": models})

    # Models.

    def logged_model(self, model: SourceModel, experiment_id: str) -> dict[str, Any]:
        """Creates a logged model, or adds what it lacks; returns its fields afterwards, and whether it was created."""
        body: dict[str, Any] = {
            "model_id": model.model_id,
            "experiment_id": experiment_id,
            "name": model.name,
            "model_type": model.model_type,
            "status": model.status,
            "source_run_id": model.source_run_id,
            "created_unix_us": model.created_unix_us,
            "updated_unix_us": model.updated_unix_us,
        }
        answer = self.http.post(f"{_IMPORT}/logged-models", body)
        created = answer["created"]
        more: list[dict[str, Any]] = [{"params": piece} for piece in _pieces(model.params)]
        more += [{"tags": piece} for piece in _pieces(model.tags)]
        metrics = [_metric(one) for one in model.metrics]
        more += [{"metrics": metrics[begin : begin + 500]} for begin in range(0, len(metrics), 500)]
        for piece in more:
            answer = self.http.post(f"{_IMPORT}/logged-models", {**body, **piece})
        return {**answer, "created": created}

    def delete_model(self, model_id: str) -> None:
        """Deletes a logged model."""
        self.http.post(f"{_API}/logged-models/{model_id}", {}, method="DELETE")

    def model_uri(self, model_id: str) -> str:
        """The URI of the files of a logged model."""
        answer = self.http.get(f"{_API}/logged-models/{model_id}")
        return str(answer["model"]["info"]["artifact_uri"])

    def run_uri(self, run_id: str) -> str:
        """The URI of the files of a run."""
        answer = self.http.get(f"{_API}/runs/get", run_id=run_id)
        return str(answer["run"]["info"]["artifact_uri"])

    def registered_model(self, model: SourceRegisteredModel) -> bool:
        """Creates a registered model, or adds tags that it lacks; returns whether it was created."""
        body = {
            "name": model.name,
            "description": model.description,
            "created_unix_us": model.created_unix_us,
            "updated_unix_us": model.updated_unix_us,
            "tags": dict(model.tags),
        }
        return bool(self.http.post(f"{_IMPORT}/registered-models", body)["created"])

    def model_version(
        self, name: str, version: SourceVersion, model_id: str | None, aliases: Sequence[str]
    ) -> dict[str, Any]:
        """Creates a version, or adds the tags and aliases that it lacks; returns its fields afterwards."""
        body = {**asdict(version), "name": name, "model_id": model_id, "aliases": list(aliases)}
        body["run_id"] = version.run_id or None
        answer: dict[str, Any] = self.http.post(f"{_IMPORT}/model-versions", body)
        return answer

    # Files.

    def files(self, uri: str) -> dict[str, int]:
        """All artifact files below a URI of the service: path below it -> size in bytes."""
        root, found, waiting = _path_of(uri), {}, [""]
        while waiting:
            directory = waiting.pop()
            path = f"{root}/{directory}".rstrip("/")
            for one in self.http.get(_STORE, path=path).get("files", []):
                below = f"{directory}/{one['path']}".lstrip("/")
                if one.get("is_dir"):
                    waiting.append(below)
                else:
                    found[below] = int(one.get("file_size") or 0)
        return found

    def upload(self, uri: str, path: str, content: Callable[[], Iterator[bytes]], size: int) -> None:
        """Stores a file completely, or not at all. `content` returns its pieces from the beginning, for each
        attempt."""
        self.http.put(f"{_STORE}/{quote(_path_of(uri))}/{quote(path)}", content, size)

    def digest(self, uri: str, path: str) -> bytes:
        """The SHA-256 of a file in the service."""

        def read() -> bytes:
            with self.http.download(f"{_STORE}/{quote(_path_of(uri))}/{quote(path)}") as pieces:
                return digest_of(pieces)

        return with_retries(read)

    def close(self) -> None:
        """Closes connections."""
        self.http.close()
        self.client.close()

    def _call(self, method: str, request: Any) -> Any:
        return with_retries(lambda: self.client._call(run_pb2_grpc.RunServiceStub, method, request))


def digest_of(pieces: Iterable[bytes]) -> bytes:
    """The SHA-256 of a file's content."""
    found = hashlib.sha256()
    for piece in pieces:
        found.update(piece)
    return found.digest()


def _pieces(entries: Mapping[str, str]) -> list[dict[str, str]]:
    """Params or tags in pieces that fit into one call."""
    return list(_params_tags.split(entries, _CALL_BYTES))


def _metric(metric: ImportedMetric) -> dict[str, Any]:
    value = metric.value
    shown = value if math.isfinite(value) else "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return {**asdict(metric), "value": shown}


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _pairs(entries: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in entries.items()]


def _path_of(uri: str) -> str:
    """The path of a URI in the service's store. Raises FailedPrecondition if the URI leads elsewhere."""
    scheme, _, path = uri.partition(":")
    if scheme != "mlflow-artifacts":
        raise errors.FailedPrecondition(
            f"the experiment in this service has its files at {uri}, where only its clients write, not the service"
        )
    return path.strip("/")
