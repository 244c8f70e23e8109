"""Logged models: messages and handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from runstream_service.artifacts.paths import check_path_to_list, check_path_to_read
from runstream_service.concurrency import threads
from runstream_service.core.logged_model_search import DatasetRef, LoggedModelQuery, OrderBy
from runstream_service.core.logged_models import STATUSES, NewModel
from runstream_service.database.times import to_unix_ms
from runstream_service.http.callers import caller_of
from runstream_service.http.mlflow_errors import MlflowError, invalid
from runstream_service.mlflow.artifacts import listing, locate
from runstream_service.mlflow.request import Int64, Message, Pair, missing
from runstream_service.mlflow.responses import number, pairs, without_unset
from runstream_service.mlflow.transfers import file_response

if TYPE_CHECKING:
    from runstream_service.artifacts.files_of_caller import FilesOfCaller
    from runstream_service.core.caller import Caller
    from runstream_service.core.logged_models import LoggedModel, LoggedModels, ModelMetric
    from runstream_service.mlflow.experiment_ids import ExperimentIds

Answer = dict[str, Any]

_STATUS_NAMES = {
    "pending": "LOGGED_MODEL_PENDING",
    "ready": "LOGGED_MODEL_READY",
    "failed": "LOGGED_MODEL_UPLOAD_FAILED",
}
# The name or the number of a status, as protobuf's JSON allows.
_STATUS_OF = {
    **{name: status for status, name in _STATUS_NAMES.items()},
    **{str(position): status for position, status in enumerate(STATUSES, 1)},
}


class Create(Message):
    """POST logged-models."""

    experiment_id: str
    name: str = ""
    model_type: str = ""
    source_run_id: str = ""
    params: tuple[Pair, ...] = ()
    tags: tuple[Pair, ...] = ()


class Get(Message):
    """GET logged-models/{id}."""

    model_id: str
    allow_deleted: bool = False


class ById(Message):
    """DELETE logged-models/{id}."""

    model_id: str


class Finalize(Message):
    """PATCH logged-models/{id}."""

    model_id: str
    status: str | int


class LogParams(Message):
    """logged-models/{id}/params."""

    model_id: str
    params: tuple[Pair, ...] = ()


class SetTags(Message):
    """logged-models/{id}/tags."""

    model_id: str
    tags: tuple[Pair, ...] = ()


class DeleteTag(Message):
    """logged-models/{id}/tags/{key}."""

    model_id: str
    tag_key: str


class OnDataset(Message):
    """A dataset in a search."""

    dataset_name: str = ""
    dataset_digest: str = ""


class Order(Message):
    """A field to order a search by."""

    field_name: str
    ascending: bool = True
    dataset_name: str = ""
    dataset_digest: str = ""


class SearchModels(Message):
    """logged-models/search."""

    experiment_ids: tuple[str, ...] | None = None
    filter: str = ""
    datasets: tuple[OnDataset, ...] = ()
    max_results: Int64 = 0
    order_by: tuple[Order, ...] = ()
    page_token: str = ""


class ListArtifacts(Message):
    """logged-models/{id}/artifacts/directories."""

    model_id: str
    artifact_directory_path: str = ""


class LoggedModelHandlers:
    """One method per route of routes.py."""

    def __init__(self, models: LoggedModels, ids: ExperimentIds, files: FilesOfCaller) -> None:
        self._models = models
        self._ids = ids
        self._files = files

    async def create(self, caller: Caller, message: Create) -> Answer:
        new = NewModel(
            experiment_id=await self._ids.parse(caller, message.experiment_id),
            name=message.name,
            model_type=message.model_type,
            source_run_id=message.source_run_id,
            params=_of_pairs(message.params),
            tags=dict(_of_pairs(message.tags)),
        )
        return {"model": rendered(await self._models.create(caller, new))}

    async def get(self, caller: Caller, message: Get) -> Answer:
        found = await self._models.get(caller, message.model_id, also_deleted=message.allow_deleted)
        return {"model": rendered(found)}

    async def finalize(self, caller: Caller, message: Finalize) -> Answer:
        status = _STATUS_OF.get(str(message.status))
        if status is None:
            raise invalid(f"Unknown model status: {str(message.status)[:80]}")
        return {"model": rendered(await self._models.finalize(caller, message.model_id, status))}

    async def delete(self, caller: Caller, message: ById) -> Answer:
        await self._models.delete(caller, message.model_id)
        return {}

    async def log_params(self, caller: Caller, message: LogParams) -> Answer:
        await self._models.log_params(caller, message.model_id, _of_pairs(message.params))
        return {}

    async def set_tags(self, caller: Caller, message: SetTags) -> Answer:
        await self._models.set_tags(caller, message.model_id, dict(_of_pairs(message.tags)))
        return {}

    async def delete_tag(self, caller: Caller, message: DeleteTag) -> Answer:
        await self._models.delete_tag(caller, message.model_id, message.tag_key)
        return {}

    async def search(self, caller: Caller, message: SearchModels) -> Answer:
        if message.experiment_ids is None:
            raise missing("experiment_ids")
        asked = LoggedModelQuery(
            experiment_ids=await self._ids.parse_each(caller, message.experiment_ids),
            filter=message.filter,
            datasets=[DatasetRef(name=one.dataset_name, digest=one.dataset_digest) for one in message.datasets],
            order_by=[
                OrderBy(
                    field=one.field_name,
                    ascending=one.ascending,
                    dataset_name=one.dataset_name,
                    dataset_digest=one.dataset_digest,
                )
                for one in message.order_by
            ],
            max_results=message.max_results,
            page_token=message.page_token,
        )
        models, token = await self._models.search(caller, asked)
        return without_unset(models=await threads.call_each(rendered, models), next_page_token=token or None)

    async def list_artifacts(self, caller: Caller, message: ListArtifacts) -> Answer:
        path = check_path_to_list(message.artifact_directory_path)
        model = await self._models.get(caller, message.model_id)
        files = (
            {}
            if path is None
            else await listing(self._files, caller, locate(model.artifact_uri, path), shown_below=path)
        )
        return {"root_uri": model.artifact_uri, **files}

    async def get_artifact(self, request: Request) -> Response:
        """GET logged-models/{id}/artifacts/files: a file of a model, which the UI shows or downloads."""
        text = request.query_params.get("artifact_file_path")
        if not text:
            raise MlflowError("BAD_REQUEST", 'Request must include the "artifact_file_path" query parameter.')
        path = check_path_to_read(text)
        model = await self._models.get(caller_of(request), request.path_params["model_id"])
        return await file_response(self._files, locate(model.artifact_uri, path), request)


def rendered(model: LoggedModel) -> Answer:
    """A logged model in the form of MLflow's message LoggedModel."""
    info = without_unset(
        model_id=model.model_id,
        experiment_id=str(model.experiment_id),
        name=model.name,
        creation_timestamp_ms=to_unix_ms(model.created_at),
        last_updated_timestamp_ms=to_unix_ms(model.updated_at),
        artifact_uri=model.artifact_uri,
        status=_STATUS_NAMES[model.status],
        model_type=model.model_type,
        source_run_id=model.source_run_id.hex if model.source_run_id else "",
        tags=pairs(model.tags),
    )
    metrics = [_metric(model.model_id, metric) for metric in model.metrics]
    return {"info": info, "data": without_unset(params=pairs(model.params), metrics=metrics)}


def _metric(model_id: str, metric: ModelMetric) -> Answer:
    return without_unset(
        key=metric.key,
        value=number(metric.value),
        timestamp=to_unix_ms(metric.time),
        step=metric.step,
        dataset_name=metric.dataset_name or None,
        dataset_digest=metric.dataset_digest or None,
        model_id=model_id,
        run_id=metric.run_id.hex,
    )


def _of_pairs(entries: tuple[Pair, ...]) -> list[tuple[str, str]]:
    return [(entry.key, entry.value) for entry in entries]
