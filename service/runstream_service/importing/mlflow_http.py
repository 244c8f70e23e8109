"""Reads a running MLflow server over its REST API, with the routes that return most in one response:

- runs/search has a thousand runs with their params, tags and the keys of their metrics.
- get-history-bulk, the route of its page, has one metric of up to a hundred runs, 25,000 points at most, and costs the
  server less for each point than get-history. Longer metrics are read page by page from get-history.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import numpy as np

from runstream import errors
from runstream_service.core.datasets import Dataset, DatasetInput, ModelOutput
from runstream_service.core.imported import ImportedMetric
from runstream_service.importing.http import Http
from runstream_service.importing.records import (
    FileOwner,
    Points,
    SourceExperiment,
    SourceFile,
    SourceModel,
    SourceRegisteredModel,
    SourceRun,
    SourceVersion,
    finite_or_not,
    unix_us,
)
from runstream_service.importing.source import Source, SourceError

_API = "/api/2.0/mlflow"
_BULK = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
_BULK_POINTS = 25_000
_PAGE_POINTS = 25_000
_PAGE, _PAGE_MODELS = 1_000, 50
_NOT_FINITE = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}
_MODEL_STATUSES = {
    "LOGGED_MODEL_PENDING": "pending",
    "LOGGED_MODEL_READY": "ready",
    "LOGGED_MODEL_UPLOAD_FAILED": "failed",
}
RUN_NAME = "mlflow.runName"


class MlflowServer(Source):
    """A source of an import: see Source for its methods. Credentials come from the environment variables of MLflow's
    client."""

    runs_at_once = 20

    def __init__(self, url: str) -> None:
        """Raises ValueError if there is no MLflow server at `url`."""
        self._http = _connect(url)
        self._url = self._http.base_url
        self._pages_history = True
        try:
            self._http.get(f"{_API}/experiments/search", max_results=1)
            self._version = self._ask_version()
        except errors.RunstreamError as error:
            self._http.close()
            raise ValueError(f"{self._url}: no MLflow server responds there: {error}") from error

    def describe(self) -> str:
        return f"the MLflow server {self._url} ({self._version or 'of an unknown version'})"

    def experiments(self) -> list[SourceExperiment]:
        found = self._pages(f"{_API}/experiments/search", "experiments", view_type="ALL", max_results=_PAGE)
        return [
            SourceExperiment(
                source_id=one["experiment_id"],
                name=one["name"],
                deleted=one.get("lifecycle_stage") == "deleted",
                created_unix_us=unix_us(one.get("creation_time")),
                updated_unix_us=unix_us(one.get("last_update_time")),
                tags=_entries(one.get("tags")),
            )
            for one in found
        ]

    def run_count(self) -> int | None:
        return None

    def runs(self, experiment: SourceExperiment) -> Iterator[SourceRun]:
        body: dict[str, Any] = {
            "experiment_ids": [experiment.source_id],
            "run_view_type": "ALL",
            "max_results": _PAGE,
            "order_by": ["attributes.start_time ASC"],  # so that runs that start during the import come last
        }
        while True:
            answer = self._call("POST", f"{_API}/runs/search", body)
            for run in answer.get("runs", []):
                yield _run(experiment, run)
            if not answer.get("next_page_token"):
                return
            body["page_token"] = answer["next_page_token"]

    def points(self, runs: Sequence[SourceRun]) -> Iterator[Points]:
        with_key: dict[str, list[str]] = {}
        for run in runs:
            for key in run.keys:
                with_key.setdefault(key, []).append(run.run_id)
        for key, run_ids in with_key.items():
            yield from self._points_of(key, run_ids)

    def logged_models(self, experiment: SourceExperiment) -> Iterator[SourceModel]:
        body: dict[str, Any] = {"experiment_ids": [experiment.source_id], "max_results": _PAGE_MODELS}
        while True:
            try:
                answer = self._call("POST", f"{_API}/logged-models/search", body)
            except errors.NotFound:
                return  # a server before 3.0
            yield from (_model(experiment, one) for one in answer.get("models", []))
            if not answer.get("next_page_token"):
                return
            body["page_token"] = answer["next_page_token"]

    def registered_models(self) -> Iterator[SourceRegisteredModel]:
        # One search for models and one for prompts: a search without a filter leaves out prompts.
        for filter_ in ("", "tags.`mlflow.prompt.is_prompt` = 'true'"):
            query = {"max_results": _PAGE, **({"filter": filter_} if filter_ else {})}
            for one in self._pages(f"{_API}/registered-models/search", "registered_models", **query):
                # Searches do not return aliases.
                model = self._call("GET", f"{_API}/registered-models/get", {"name": one["name"]})["registered_model"]
                yield self._registered_model(model)

    def files(self, owner: FileOwner) -> Iterator[SourceFile]:
        waiting = [""]
        while waiting:
            directory = waiting.pop()
            for one in self._listed(owner, directory):
                if one.get("is_dir"):
                    waiting.append(one["path"])
                else:
                    yield SourceFile(one["path"], int(one.get("file_size") or 0))

    def open_file(self, owner: FileOwner, path: str) -> AbstractContextManager[Iterator[bytes]]:
        if owner.kind == "run":
            return self._http.download("/get-artifact", path=path, run_uuid=owner.owner_id)
        place = f"/ajax-api/2.0/mlflow/logged-models/{owner.owner_id}/artifacts/files"
        return self._http.download(place, artifact_file_path=path)

    def close(self) -> None:
        self._http.close()

    def _listed(self, owner: FileOwner, directory: str) -> list[dict[str, Any]]:
        if owner.kind == "run":
            query = {"run_id": owner.owner_id, "run_uuid": owner.owner_id, "path": directory or None}
            return self._pages(f"{_API}/artifacts/list", "files", **query)
        place = f"{_API}/logged-models/{owner.owner_id}/artifacts/directories"
        return self._pages(place, "files", artifact_directory_path=directory or None)

    def _registered_model(self, model: Mapping[str, Any]) -> SourceRegisteredModel:
        quote = '"' if "'" in model["name"] else "'"
        query = {"filter": f"name = {quote}{model['name']}{quote}", "max_results": _PAGE}
        found = self._pages(f"{_API}/model-versions/search", "model_versions", **query)
        return SourceRegisteredModel(
            name=model["name"],
            description=model.get("description", ""),
            created_unix_us=unix_us(model.get("creation_timestamp")),
            updated_unix_us=unix_us(model.get("last_updated_timestamp")),
            tags=_entries(model.get("tags")),
            aliases={one["alias"]: int(one["version"]) for one in model.get("aliases", ())},
            versions=sorted(map(_version, found), key=lambda one: one.version),
        )

    # Points.

    def _points_of(self, key: str, run_ids: Sequence[str]) -> Iterator[Points]:
        """The points of one metric of some runs. A response with the maximum number of points may lack some: then the
        request is repeated for each half of the runs."""
        if not self._pages_history:
            for run_id in run_ids:
                yield from self._history(key, run_id)
            return
        try:
            answer = self._call("GET", _BULK, {"run_id": run_ids, "metric_key": key, "max_results": _BULK_POINTS})
        except errors.NotFound:
            self._pages_history = False  # a server before 2.0
            yield from self._points_of(key, run_ids)
            return
        found = answer.get("metrics", [])
        if len(found) < _BULK_POINTS:
            yield from _by_run(key, found)
        elif len(run_ids) == 1:
            yield from self._history(key, run_ids[0])
        else:
            half = len(run_ids) // 2
            yield from self._points_of(key, run_ids[:half])
            yield from self._points_of(key, run_ids[half:])

    def _history(self, key: str, run_id: str) -> Iterator[Points]:
        query: dict[str, Any] = {"run_id": run_id, "run_uuid": run_id, "metric_key": key, "max_results": _PAGE_POINTS}
        while True:
            answer = self._call("GET", f"{_API}/metrics/get-history", query)
            if found := answer.get("metrics", []):
                yield _points(run_id, key, found)
            if not answer.get("next_page_token"):
                return
            query["page_token"] = answer["next_page_token"]

    # Requests.

    def _call(self, method: str, path: str, arguments: Mapping[str, Any]) -> Any:
        try:
            return self._http.get(path, **arguments) if method == "GET" else self._http.post(path, arguments)
        except (errors.NotFound, errors.Unavailable):
            raise
        except errors.RunstreamError as error:
            raise SourceError(f"{self._url}: {error}") from error

    def _pages(self, route: str, items: str, /, **query: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            answer = self._call("GET", route, query)
            found += answer.get(items, [])
            if not answer.get("next_page_token"):
                return found
            query["page_token"] = answer["next_page_token"]

    def _ask_version(self) -> str:
        with self._http.download("/version") as body:
            return b"".join(body).decode("utf-8", "replace").strip()[:40]


def _connect(url: str) -> Http:
    parts = urlsplit(url)
    if not parts.hostname:
        raise ValueError(f"{url!r}: expected http://host:port")
    plain = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
    user = unquote(parts.username or "") or os.environ.get("MLFLOW_TRACKING_USERNAME", "")
    password = unquote(parts.password or "") or os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
    headers = {}
    if workspace := os.environ.get("MLFLOW_WORKSPACE", ""):
        headers["x-mlflow-workspace"] = workspace
    if not user and (token := os.environ.get("MLFLOW_TRACKING_TOKEN", "")):
        headers["authorization"] = f"Bearer {token}"
    insecure = os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() == "true"
    return Http(plain, headers, auth=(user, password) if user else None, verify=not insecure)


def _run(experiment: SourceExperiment, run: Mapping[str, Any]) -> SourceRun:
    info, data = run["info"], run.get("data", {})
    tags = _entries(data.get("tags"))
    return SourceRun(
        run_id=info.get("run_id") or info.get("run_uuid", ""),
        experiment_id=experiment.source_id,
        name=tags.pop(RUN_NAME, "") or info.get("run_name", ""),
        user=info.get("user_id", ""),
        status=info.get("status", "FINISHED"),
        start_unix_us=unix_us(info.get("start_time")),
        end_unix_us=unix_us(info.get("end_time")),
        deleted=info.get("lifecycle_stage") == "deleted",
        artifact_uri=info.get("artifact_uri", ""),
        params=_entries(data.get("params")),
        tags=tags,
        keys=tuple(metric["key"] for metric in data.get("metrics", [])),
        datasets=[_dataset(one) for one in run.get("inputs", {}).get("dataset_inputs", [])],
        models_in=[one["model_id"] for one in run.get("inputs", {}).get("model_inputs", [])],
        models_out=[
            ModelOutput(one["model_id"], int(one.get("step", 0)))
            for one in run.get("outputs", {}).get("model_outputs", [])
        ],
    )


def _dataset(found: Mapping[str, Any]) -> DatasetInput:
    one = found["dataset"]
    dataset = Dataset(
        name=one["name"],
        digest=one["digest"],
        source_type=one.get("source_type", ""),
        source=one.get("source", ""),
        schema=one.get("schema"),
        profile=one.get("profile"),
    )
    return DatasetInput(dataset, _entries(found.get("tags")))


def _model(experiment: SourceExperiment, found: Mapping[str, Any]) -> SourceModel:
    info, data = found["info"], found.get("data", {})
    return SourceModel(
        model_id=info["model_id"],
        experiment_id=experiment.source_id,
        name=info.get("name", ""),
        model_type=info.get("model_type", ""),
        status=_MODEL_STATUSES.get(info.get("status"), "ready"),
        source_run_id=info.get("source_run_id", ""),
        created_unix_us=unix_us(info.get("creation_timestamp_ms")),
        updated_unix_us=unix_us(info.get("last_updated_timestamp_ms")),
        artifact_uri=info.get("artifact_uri", ""),
        params=_entries(data.get("params")),
        tags=_entries(info.get("tags")),
        metrics=[_model_metric(one) for one in data.get("metrics", [])],
    )


def _model_metric(found: Mapping[str, Any]) -> ImportedMetric:
    points = _points("", found["key"], [found])
    return ImportedMetric(
        run_id=found.get("run_id", ""),
        key=found["key"],
        value=float(points.values[0]),
        time_unix_us=int(points.times_unix_us[0]),
        step=int(points.steps[0]),
        dataset_name=found.get("dataset_name", ""),
        dataset_digest=found.get("dataset_digest", ""),
    )


def _version(found: Mapping[str, Any]) -> SourceVersion:
    return SourceVersion(
        version=int(found["version"]),
        source=found.get("source", ""),
        description=found.get("description", ""),
        stage=found.get("current_stage") or "None",
        run_id=found.get("run_id", ""),
        run_link=found.get("run_link", ""),
        created_unix_us=unix_us(found.get("creation_timestamp")),
        updated_unix_us=unix_us(found.get("last_updated_timestamp")),
        tags=_entries(found.get("tags")),
    )


def _entries(pairs: Any) -> dict[str, str]:
    return {one["key"]: one.get("value", "") for one in pairs or ()}


def _by_run(key: str, found: Sequence[Mapping[str, Any]]) -> Iterator[Points]:
    by_run: dict[str, list[Mapping[str, Any]]] = {}
    for one in found:
        by_run.setdefault(one["run_id"], []).append(one)
    for run_id, points in by_run.items():
        yield _points(run_id, key, points)


def _points(run_id: str, key: str, found: Sequence[Mapping[str, Any]]) -> Points:
    steps = np.array([int(one.get("step", 0)) for one in found], np.int64)
    times = np.array([int(one.get("timestamp", 0)) for one in found], np.int64)
    values = [one.get("value", 0.0) for one in found]  # a text, if it is not finite
    values = [_NOT_FINITE[one] if isinstance(one, str) else one for one in values]
    return Points(run_id, key, steps, times * 1_000, finite_or_not(np.array(values, np.float64)))
