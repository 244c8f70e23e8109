"""Inputs and outputs of runs: datasets and models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from runstream_service.core import inputs
from runstream_service.core.datasets import Dataset, DatasetInput, ModelOutput
from runstream_service.http.mlflow_errors import invalid
from runstream_service.mlflow.names import check_length
from runstream_service.mlflow.request import Int64, Message, Pair, check_not_empty
from runstream_service.mlflow.responses import without_unset
from runstream_service.mlflow.run_ids import parse_run_id, parse_run_id_strictly

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_service.core.caller import Caller
    from runstream_service.core.inputs import Inputs
    from runstream_service.core.runs import Runs
    from runstream_service.mlflow.experiment_ids import ExperimentIds

Answer = dict[str, Any]

# The tag in which clients of MLflow 2 keep the models of a run.
HISTORY_TAG = "mlflow.log-model.history"
MAX_EXPERIMENTS = 20
_OF_HISTORY = ("run_id", "artifact_path", "utc_time_created", "model_uuid")


class DatasetFields(Message):
    """A dataset in a request."""

    name: str
    digest: str
    source_type: str = ""
    source: str = ""
    schema: str | None = None
    profile: str | None = None


class DatasetInputFields(Message):
    """A dataset as the input of a run, with tags such as mlflow.data.context."""

    dataset: DatasetFields
    tags: tuple[Pair, ...] = ()


class ModelIn(Message):
    """A logged model as the input of a run."""

    model_id: str


class ModelOut(Message):
    """A logged model as the output of a run."""

    model_id: str
    step: Int64 = 0


class LogInputs(Message):
    """runs/log-inputs."""

    run_id: str
    datasets: tuple[DatasetInputFields, ...] = ()
    models: tuple[ModelIn, ...] = ()


class LogOutputs(Message):
    """runs/outputs."""

    run_id: str
    models: tuple[ModelOut, ...]


class LogModel(Message):
    """runs/log-model."""

    run_id: str
    model_json: str


class SearchDatasets(Message):
    """experiments/search-datasets."""

    experiment_ids: tuple[str, ...] = ()


class InputHandlers:
    """One method per route of routes.py."""

    def __init__(self, inputs: Inputs, runs: Runs, ids: ExperimentIds) -> None:
        self._inputs = inputs
        self._runs = runs
        self._ids = ids

    async def log_inputs(self, caller: Caller, message: LogInputs) -> Answer:
        run_id = parse_run_id_strictly(message.run_id).hex
        datasets = [_dataset_input(item, f"datasets[{index}]") for index, item in enumerate(message.datasets)]
        await self._inputs.log_inputs(caller, run_id, datasets=datasets, models=_model_ids(message.models))
        return {}

    async def log_outputs(self, caller: Caller, message: LogOutputs) -> Answer:
        run_id = parse_run_id(message.run_id).hex
        steps = [model.step for model in message.models]
        await self._inputs.log_outputs(caller, run_id, list(map(ModelOutput, _model_ids(message.models), steps)))
        return {}

    async def log_model(self, caller: Caller, message: LogModel) -> Answer:
        entry = _entry_of_history(check_not_empty(message.model_json, "model_json"))
        run_id = parse_run_id(message.run_id).hex
        await self._runs.append_to_tag(caller, run_id, HISTORY_TAG, lambda history: _appended(history, entry))
        return {}

    async def search_datasets(self, caller: Caller, message: SearchDatasets) -> Answer:
        given = message.experiment_ids
        if not given:
            raise invalid("SearchDatasets request must specify at least one experiment_id.")
        if len(given) > MAX_EXPERIMENTS:
            raise invalid(
                f"SearchDatasets request cannot specify more than {MAX_EXPERIMENTS} experiment_ids. Received "
                f"{len(given)} experiment_ids."
            )
        found = await self._inputs.datasets_of(caller, await self._ids.parse_each(caller, given))
        summaries = [
            without_unset(
                experiment_id=str(one.experiment_id), name=one.name, digest=one.digest, context=one.context or None
            )
            for one in found
        ]
        return without_unset(dataset_summaries=summaries)


def _dataset_input(item: DatasetInputFields, path: str) -> DatasetInput:
    fields = item.dataset
    check_length(check_not_empty(fields.name, f"{path}.dataset.name"), "name", inputs.MAX_NAME_CHARACTERS)
    check_length(check_not_empty(fields.digest, f"{path}.dataset.digest"), "digest", inputs.MAX_DIGEST_CHARACTERS)
    check_length(fields.source_type, "source_type", inputs.MAX_SOURCE_TYPE_CHARACTERS)
    check_length(fields.source, "source", inputs.MAX_SOURCE_CHARACTERS)
    check_length(fields.schema or "", "schema", inputs.MAX_SCHEMA_CHARACTERS)
    check_length(fields.profile or "", "profile", inputs.MAX_PROFILE_CHARACTERS)
    for index, tag in enumerate(item.tags):
        check_length(check_not_empty(tag.key, f"{path}.tags[{index}].key"), "key", inputs.MAX_TAG_KEY_CHARACTERS)
        check_length(tag.value, "value", inputs.MAX_TAG_CHARACTERS)
    dataset = Dataset(
        name=fields.name,
        digest=fields.digest,
        source_type=fields.source_type,
        source=fields.source,
        schema=fields.schema,
        profile=fields.profile,
    )
    return DatasetInput(dataset, {tag.key: tag.value for tag in item.tags})


def _model_ids(models: Sequence[ModelIn | ModelOut]) -> list[str]:
    for index, model in enumerate(models):
        path = f"models[{index}].model_id"
        check_length(check_not_empty(model.model_id, path), path, inputs.MAX_MODEL_ID_CHARACTERS)
    return [model.model_id for model in models]


def _entry_of_history(model_json: str) -> Answer:
    """The entry of a model in the tag HISTORY_TAG: its location, and its flavors without their configuration."""
    try:
        model = orjson.loads(model_json)
    except orjson.JSONDecodeError as error:
        raise invalid(f"Malformed model info. \n {model_json[:1_000]} \n is not a valid JSON.") from error
    if not isinstance(model, dict) or not isinstance(model.get("flavors", {}), dict):
        raise invalid("Malformed model info: model_json must be an object, and so must its flavors.")
    missing = {"artifact_path", "flavors", "utc_time_created", "run_id"} - set(model)
    if missing:
        raise invalid(f"Model json is missing mandatory fields: {{{', '.join(map(repr, sorted(missing)))}}}")
    flavors = {
        name: {key: value for key, value in flavor.items() if key != "config"} if isinstance(flavor, dict) else flavor
        for name, flavor in model["flavors"].items()
    }
    return {**{key: model.get(key) for key in _OF_HISTORY}, "flavors": flavors}


def _appended(history: str | None, entry: Answer) -> str:
    """The history with one more entry, unless it has it already: clients repeat a request whose response was lost."""
    try:
        entries = orjson.loads(history) if history else []
    except orjson.JSONDecodeError:
        entries = None
    if not isinstance(entries, list):
        raise invalid(f"The tag {HISTORY_TAG!r} of this run is not a JSON list, so nothing can be added to it.")
    try:
        return orjson.dumps(entries if entry in entries else [*entries, entry]).decode()
    except orjson.JSONEncodeError as error:
        raise invalid("Malformed model info: its objects are nested too deeply.") from error
