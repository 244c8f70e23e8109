"""Stores inputs and outputs of runs. Every write may be repeated, also concurrently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import orjson

from runstream_service.core.datasets import DatasetSummary
from runstream_service.core.names import check_text, parse_run_id
from runstream_service.core.runs import lock_active_run
from runstream_service.database.queries import load
from runstream_service.errors.core import InvalidField

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.core.datasets import Dataset, DatasetInput, ModelOutput
    from runstream_service.database.pool import Database

SQL = load("datasets")

MAX_INPUTS = 1_000
MAX_SUMMARIES = 1_000
MAX_NAME_CHARACTERS = 500
MAX_DIGEST_CHARACTERS = 36
MAX_SOURCE_TYPE_CHARACTERS = 36
MAX_SOURCE_CHARACTERS = 65_535
MAX_SCHEMA_CHARACTERS = 1_048_575
MAX_PROFILE_CHARACTERS = 16_777_215
MAX_TAG_KEY_CHARACTERS = 255
MAX_TAG_CHARACTERS = 500
MAX_MODEL_ID_CHARACTERS = 36


class Inputs:
    """Stores and reads inputs and outputs of runs. All methods also raise DatabaseUnavailable, and InvalidField for a
    run id that is not 32 lower-case hex digits."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def log_inputs(
        self, caller: Caller, run_id: str, *, datasets: Sequence[DatasetInput] = (), models: Sequence[str] = ()
    ) -> None:
        """Stores datasets and models that a run read. Name and digest identify a dataset in its experiment. An input
        that is stored already keeps its tags.

        Raises:
            InvalidField, RunNotFound, RunDeleted.
        """
        uid = parse_run_id(run_id, field="run_id")
        _check_count(datasets, "datasets")
        _check_models(models)
        # Of several with the same name and digest, the first one counts.
        first = {(item.dataset.name, item.dataset.digest): item for item in reversed(datasets)}
        inputs = [first[key] for key in sorted(first)]
        for item in inputs:
            _check_dataset(item.dataset)
            _check_tags(item.tags)
        every = [item.dataset for item in inputs]
        names, digests = [dataset.name for dataset in every], [dataset.digest for dataset in every]
        async with self._database.transaction() as connection:
            await lock_active_run(connection, caller, uid)
            if every:
                types, sources = [dataset.source_type for dataset in every], [dataset.source for dataset in every]
                schemas, profiles = [dataset.schema for dataset in every], [dataset.profile for dataset in every]
                await connection.execute(SQL["insert"], uid, names, digests, types, sources, schemas, profiles)
                tags = [_json(item.tags) for item in inputs]
                await connection.execute(SQL["insert_inputs"], uid, names, digests, tags)
            if models:
                await connection.execute(SQL["insert_models_in"], uid, sorted(set(models)))

    async def log_outputs(self, caller: Caller, run_id: str, models: Sequence[ModelOutput]) -> None:
        """Stores models that a run made. Of several entries of one model, the step of the last one counts.

        Raises:
            InvalidField, RunNotFound, RunDeleted.
        """
        uid = parse_run_id(run_id, field="run_id")
        _check_models([model.model_id for model in models])
        steps = {model.model_id: model.step for model in models}
        async with self._database.transaction() as connection:
            await lock_active_run(connection, caller, uid)
            await connection.execute(
                SQL["upsert_models_out"], uid, sorted(steps), [steps[model_id] for model_id in sorted(steps)]
            )

    async def datasets_of(self, caller: Caller, experiment_ids: Sequence[int]) -> list[DatasetSummary]:
        """The datasets that runs of some experiments read, one entry for each context of use; at most MAX_SUMMARIES."""
        rows = await self._database.fetch(SQL["summaries"], caller.workspace_id, experiment_ids, MAX_SUMMARIES)
        return [DatasetSummary(*row) for row in rows]


def _check_count(inputs: Sequence[object], field: str) -> None:
    if len(inputs) > MAX_INPUTS:
        raise InvalidField(f"{field}: has {len(inputs):,} entries; at most {MAX_INPUTS:,} are allowed", field=field)


def _check_models(model_ids: Sequence[str]) -> None:
    _check_count(model_ids, "models")
    for model_id in model_ids:
        check_text(model_id, field="model_id", max_characters=MAX_MODEL_ID_CHARACTERS)


def _check_dataset(dataset: Dataset) -> None:
    check_text(dataset.name, field="name", max_characters=MAX_NAME_CHARACTERS)
    check_text(dataset.digest, field="digest", max_characters=MAX_DIGEST_CHARACTERS)
    check_text(dataset.source_type, field="source_type", max_characters=MAX_SOURCE_TYPE_CHARACTERS)
    check_text(dataset.source, field="source", max_characters=MAX_SOURCE_CHARACTERS)
    check_text(dataset.schema or "", field="schema", max_characters=MAX_SCHEMA_CHARACTERS)
    check_text(dataset.profile or "", field="profile", max_characters=MAX_PROFILE_CHARACTERS)


def _check_tags(tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        check_text(key, field="key", max_characters=MAX_TAG_KEY_CHARACTERS)
        check_text(value, field="value", max_characters=MAX_TAG_CHARACTERS)


def _json(tags: Mapping[str, str]) -> str:
    return orjson.dumps(dict(tags)).decode()
