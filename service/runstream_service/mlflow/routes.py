"""The table of MLflow's routes. Each is served below /api, for clients, and below /ajax-api, for the UI."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.routing import BaseRoute, Route

from runstream_service.core.caller import Role
from runstream_service.http.bodies import Bodies
from runstream_service.http.paths import MLFLOW_PREFIXES, SERVER_INFO
from runstream_service.mlflow import (
    artifacts,
    experiments,
    inputs,
    logged_models,
    metrics,
    model_search,
    model_versions,
    registered_models,
    runs,
    search,
    server,
    workspaces,
)
from runstream_service.mlflow.database_sink import DatabaseSink
from runstream_service.mlflow.endpoints import endpoint_of, guarded, unknown
from runstream_service.mlflow.experiment_ids import ExperimentIds
from runstream_service.mlflow.graphql import GraphQL
from runstream_service.mlflow.route_kinds import JsonRoute, RawRoute
from runstream_service.mlflow.run_answers import RunAnswers
from runstream_service.mlflow.run_writes import WriteHandlers, writes

if TYPE_CHECKING:
    from runstream_service.server.wiring import Core

_PROXY, _PATH = "2.0/mlflow-artifacts", "{path:path}"
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]

PUBLIC, READ, WRITE, MANAGE, ADMIN = None, Role.READ, Role.WRITE, Role.MANAGE, Role.ADMIN


def table(core: Core) -> tuple[JsonRoute | RawRoute, ...]:
    """All routes of MLflow that this service serves."""
    ids = ExperimentIds(core.experiments)
    of_experiments = experiments.ExperimentHandlers(core.experiments, ids)
    of_inputs = inputs.InputHandlers(core.inputs, core.runs, ids)
    sink = DatabaseSink(core.http_ingest, core.model_metrics, core.runs)
    of_metrics = metrics.MetricHandlers(core.run_metrics)
    answers = RunAnswers(core.runs, core.latest)
    of_runs = runs.RunHandlers(core.runs, ids, answers)
    searches = search.SearchHandlers(core.run_search, ids, answers, core.experiment_search)
    info = server.ServerInfo(core.access)
    return (
        # Writes are first, since they get most requests.
        *writes(WriteHandlers(sink)),
        RawRoute("GET", "2.0/mlflow/metrics/get-history", READ, of_metrics.get_history),
        RawRoute("GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk", READ, of_metrics.get_history_bulk),
        RawRoute("GET", "2.0/mlflow/metrics/get-history-bulk-interval", READ, of_metrics.get_history_bulk_interval),
        # Experiments.
        JsonRoute("POST", "2.0/mlflow/experiments/create", WRITE, experiments.Create, of_experiments.create),
        JsonRoute("GET", "2.0/mlflow/experiments/get", READ, experiments.ById, of_experiments.get),
        JsonRoute("GET", "2.0/mlflow/experiments/get-by-name", READ, experiments.GetByName, of_experiments.get_by_name),
        JsonRoute("POST", "2.0/mlflow/experiments/update", WRITE, experiments.Update, of_experiments.update),
        JsonRoute("POST", "2.0/mlflow/experiments/delete", MANAGE, experiments.ById, of_experiments.delete),
        JsonRoute("POST", "2.0/mlflow/experiments/restore", MANAGE, experiments.ById, of_experiments.restore),
        JsonRoute(
            "POST", "2.0/mlflow/experiments/set-experiment-tag", WRITE, experiments.SetTag, of_experiments.set_tag
        ),
        JsonRoute(
            "POST",
            "2.0/mlflow/experiments/delete-experiment-tag",
            WRITE,
            experiments.DeleteTag,
            of_experiments.delete_tag,
        ),
        JsonRoute("GET", "2.0/mlflow/experiments/search", READ, search.SearchExperiments, searches.experiments),
        JsonRoute("POST", "2.0/mlflow/experiments/search", READ, search.SearchExperiments, searches.experiments),
        # Runs, their params and tags.
        JsonRoute("POST", "2.0/mlflow/runs/create", WRITE, runs.Create, of_runs.create),
        JsonRoute("GET", "2.0/mlflow/runs/get", READ, runs.ById, of_runs.get),
        RawRoute("POST", "2.0/mlflow/runs/search", READ, searches.runs),
        JsonRoute("POST", "2.0/mlflow/runs/update", WRITE, runs.Update, of_runs.update),
        JsonRoute("POST", "2.0/mlflow/runs/delete", MANAGE, runs.ById, of_runs.delete),
        JsonRoute("POST", "2.0/mlflow/runs/restore", MANAGE, runs.ById, of_runs.restore),
        JsonRoute("POST", "2.0/mlflow/runs/delete-tag", WRITE, runs.DeleteTag, of_runs.delete_tag),
        # Inputs and outputs of runs.
        JsonRoute("POST", "2.0/mlflow/runs/log-inputs", WRITE, inputs.LogInputs, of_inputs.log_inputs),
        JsonRoute("POST", "2.0/mlflow/runs/outputs", WRITE, inputs.LogOutputs, of_inputs.log_outputs),
        JsonRoute("POST", "2.0/mlflow/runs/log-model", WRITE, inputs.LogModel, of_inputs.log_model),
        JsonRoute(
            "POST", "2.0/mlflow/experiments/search-datasets", READ, inputs.SearchDatasets, of_inputs.search_datasets
        ),
        *_of_artifacts(core),
        *_of_logged_models(core, ids),
        *_of_registry(core),
        *_of_workspaces(core),
        # The server itself.
        *(JsonRoute("GET", path, PUBLIC, server.Empty, info.answer) for path in SERVER_INFO),
        JsonRoute("GET", "3.0/mlflow/ui-telemetry", READ, server.Empty, server.ui_telemetry),
        *_for_the_ui_alone(),
    )


def _for_the_ui_alone() -> tuple[JsonRoute, ...]:
    """Routes of traces, evaluation and the gateway, which find nothing. Without them, the UI would show errors."""
    return (
        JsonRoute("GET", "/ajax-api/2.0/mlflow/gateway-proxy", READ, server.Empty, server.no_gateway),
        JsonRoute("POST", "/ajax-api/3.0/mlflow/traces/search", READ, server.Empty, server.empty_search),
        JsonRoute("POST", "/ajax-api/3.0/mlflow/traces/metrics", READ, server.Empty, server.empty_search),
        JsonRoute("POST", "/ajax-api/3.0/mlflow/datasets/search", READ, server.Empty, server.empty_search),
        JsonRoute("GET", "/ajax-api/3.0/mlflow/scorers/list", READ, server.Empty, server.empty_search),
    )


def _of_artifacts(core: Core) -> tuple[JsonRoute | RawRoute, ...]:
    handlers = artifacts.ArtifactHandlers(core.artifacts, core.runs, core.model_versions)
    return (
        JsonRoute("GET", f"{_PROXY}/artifacts", READ, artifacts.ListDirectory, handlers.list_directory),
        RawRoute("GET", f"{_PROXY}/artifacts/{_PATH}", READ, handlers.download),
        RawRoute("PUT", f"{_PROXY}/artifacts/{_PATH}", WRITE, handlers.upload, streams=True),
        JsonRoute("DELETE", f"{_PROXY}/artifacts/{_PATH}", MANAGE, artifacts.ArtifactPath, handlers.delete),
        RawRoute("POST", f"{_PROXY}/mpu/create/{_PATH}", WRITE, artifacts.no_multipart),
        RawRoute("POST", f"{_PROXY}/mpu/complete/{_PATH}", WRITE, artifacts.no_multipart),
        RawRoute("POST", f"{_PROXY}/mpu/abort/{_PATH}", WRITE, artifacts.no_multipart),
        RawRoute("GET", f"{_PROXY}/presigned/{_PATH}", READ, artifacts.no_multipart_download),
        RawRoute("POST", "2.0/mlflow/artifacts/presigned-upload-url", WRITE, artifacts.no_presigned_upload),
        RawRoute("POST", "2.0/mlflow/artifacts/presigned-download-url", READ, artifacts.no_presigned_download),
        JsonRoute("GET", "2.0/mlflow/artifacts/list", READ, artifacts.ListRunArtifacts, handlers.list_of_run),
        RawRoute("GET", "/get-artifact", READ, handlers.get_of_run),
        RawRoute("GET", "/model-versions/get-artifact", READ, handlers.get_of_version),
        RawRoute("POST", "/ajax-api/2.0/mlflow/upload-artifact", WRITE, handlers.upload_to_run, streams=True),
    )


def _of_logged_models(core: Core, ids: ExperimentIds) -> tuple[JsonRoute | RawRoute, ...]:
    models, handlers = logged_models, logged_models.LoggedModelHandlers(core.logged_models, ids, core.artifacts)
    one = "2.0/mlflow/logged-models/{model_id}"
    return (
        JsonRoute("POST", "2.0/mlflow/logged-models", WRITE, models.Create, handlers.create),
        JsonRoute("POST", "2.0/mlflow/logged-models/search", READ, models.SearchModels, handlers.search),
        JsonRoute("GET", one, READ, models.Get, handlers.get),
        JsonRoute("PATCH", one, WRITE, models.Finalize, handlers.finalize),
        JsonRoute("DELETE", one, MANAGE, models.ById, handlers.delete),
        JsonRoute("POST", f"{one}/params", WRITE, models.LogParams, handlers.log_params),
        JsonRoute("PATCH", f"{one}/tags", WRITE, models.SetTags, handlers.set_tags),
        JsonRoute("DELETE", f"{one}/tags/{{tag_key:path}}", WRITE, models.DeleteTag, handlers.delete_tag),
        JsonRoute("GET", f"{one}/artifacts/directories", READ, models.ListArtifacts, handlers.list_artifacts),
        RawRoute("GET", f"/ajax-api/{one}/artifacts/files", READ, handlers.get_artifact),
    )


def _of_registry(core: Core) -> tuple[JsonRoute | RawRoute, ...]:
    models, versions = registered_models, model_versions
    of_models = models.RegisteredModelHandlers(core.registered_models, core.model_versions)
    of_versions = versions.ModelVersionHandlers(core.model_versions)
    return (
        JsonRoute("POST", "2.0/mlflow/registered-models/create", WRITE, models.Create, of_models.create),
        JsonRoute("GET", "2.0/mlflow/registered-models/get", READ, models.ByName, of_models.get),
        JsonRoute("POST", "2.0/mlflow/registered-models/rename", WRITE, models.Rename, of_models.rename),
        JsonRoute("PATCH", "2.0/mlflow/registered-models/update", WRITE, models.Update, of_models.update),
        JsonRoute("DELETE", "2.0/mlflow/registered-models/delete", MANAGE, models.ByName, of_models.delete),
        JsonRoute("GET", "2.0/mlflow/registered-models/search", READ, model_search.SearchModels, of_models.search),
        *(
            JsonRoute(
                method,
                "2.0/mlflow/registered-models/get-latest-versions",
                READ,
                models.GetLatestVersions,
                of_models.get_latest_versions,
            )
            for method in ("GET", "POST")
        ),
        JsonRoute("POST", "2.0/mlflow/registered-models/set-tag", WRITE, models.SetTag, of_models.set_tag),
        JsonRoute("DELETE", "2.0/mlflow/registered-models/delete-tag", WRITE, models.DeleteTag, of_models.delete_tag),
        JsonRoute("POST", "2.0/mlflow/registered-models/alias", WRITE, models.SetAlias, of_models.set_alias),
        JsonRoute("GET", "2.0/mlflow/registered-models/alias", READ, models.Alias, of_models.get_by_alias),
        JsonRoute("DELETE", "2.0/mlflow/registered-models/alias", WRITE, models.Alias, of_models.delete_alias),
        JsonRoute("POST", "2.0/mlflow/model-versions/create", WRITE, versions.Create, of_versions.create),
        JsonRoute("GET", "2.0/mlflow/model-versions/get", READ, versions.ByNumber, of_versions.get),
        JsonRoute(
            "GET",
            "2.0/mlflow/model-versions/get-download-uri",
            READ,
            versions.GetDownloadUri,
            of_versions.get_download_uri,
        ),
        JsonRoute("PATCH", "2.0/mlflow/model-versions/update", WRITE, versions.Update, of_versions.update),
        JsonRoute("DELETE", "2.0/mlflow/model-versions/delete", MANAGE, versions.ByNumber, of_versions.delete),
        JsonRoute("GET", "2.0/mlflow/model-versions/search", READ, model_search.SearchVersions, of_versions.search),
        JsonRoute(
            "POST",
            "2.0/mlflow/model-versions/transition-stage",
            WRITE,
            versions.TransitionStage,
            of_versions.transition_stage,
        ),
        JsonRoute("POST", "2.0/mlflow/model-versions/set-tag", WRITE, versions.SetTag, of_versions.set_tag),
        JsonRoute("DELETE", "2.0/mlflow/model-versions/delete-tag", WRITE, versions.DeleteTag, of_versions.delete_tag),
    )


def _of_workspaces(core: Core) -> tuple[JsonRoute, ...]:
    handlers, path = workspaces.WorkspaceHandlers(core.access), "3.0/mlflow/workspaces"
    one = f"{path}/{{workspace_name}}"
    return (
        JsonRoute("GET", path, READ, server.Empty, handlers.list),
        JsonRoute("POST", path, ADMIN, workspaces.Create, handlers.create, status=201),
        JsonRoute("GET", one, READ, workspaces.ByName, handlers.get),
        JsonRoute("PATCH", one, ADMIN, workspaces.Update, handlers.update),
        JsonRoute("DELETE", one, ADMIN, workspaces.ByName, handlers.delete),
    )


def routes(core: Core) -> list[BaseRoute]:
    """The table as Starlette's routes. Any other path below MLFLOW_PREFIXES gets MLflow's error for unknown
    endpoints."""
    entries = table(core)
    graphql = GraphQL(entries)
    entries += tuple(RawRoute(method, "/graphql", READ, graphql.answer) for method in ("GET", "POST"))
    check_distinct(entries)
    bodies = Bodies()
    known = [_route(entry, path, bodies) for entry in entries for path in _paths(entry.path)]
    others = [Route(prefix + "/{path:path}", guarded(unknown), methods=_METHODS) for prefix in MLFLOW_PREFIXES]
    return [*known, *others]


def check_distinct(entries: Sequence[JsonRoute | RawRoute]) -> None:
    """Raises ValueError if two lines of the table have the same route: the second one would never be used."""
    counts = Counter((entry.method, entry.path) for entry in entries)
    doubled = [f"{method} {path}" for (method, path), count in counts.items() if count > 1]
    if doubled:
        raise ValueError(f"these routes are in the table more than once: {', '.join(doubled)}")


def _route(entry: JsonRoute | RawRoute, path: str, bodies: Bodies) -> Route:
    return Route(path, endpoint_of(entry, bodies), methods=[entry.method])


def _paths(path: str) -> list[str]:
    return [path] if path.startswith("/") else [f"{prefix}/{path}" for prefix in MLFLOW_PREFIXES]
