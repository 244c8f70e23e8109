"""Stores experiments and models of another tracking server, with the ids, version numbers and times that they have
there.

Every write may be repeated. What exists already is not changed; tags, params and metrics that it lacks are added.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from runstream_service.core import experiments, logged_models, model_versions
from runstream_service.core.experiments import Experiment
from runstream_service.core.imported import (
    ImportedExperiment,
    ImportedMetric,
    ImportedModel,
    ImportedRegisteredModel,
    ImportedVersion,
)
from runstream_service.core.logged_models import LoggedModel
from runstream_service.core.model_metrics import MAX_TEXT_CHARACTERS
from runstream_service.core.model_names import (
    MAX_RUN_ID_CHARACTERS,
    MAX_SOURCE_CHARACTERS,
    canonical_stage,
    check_description,
    check_model_name,
    check_new_alias,
    check_new_model_name,
)
from runstream_service.core.model_names import MAX_TAG_CHARACTERS as MAX_MODEL_TAG_CHARACTERS
from runstream_service.core.model_sources import check_source
from runstream_service.core.model_versions import ModelVersion
from runstream_service.core.names import check_entries, check_name, check_text, parse_run_id
from runstream_service.database.queries import load
from runstream_service.database.times import to_datetime, to_datetime_or_none
from runstream_service.errors.core import AlreadyExists, InvalidField

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.database.pool import Database

SQL, EXPERIMENTS, MODELS = load("imports"), load("experiments"), load("logged_models")

# An id is the name of a directory in the artifact store, too.
_MODEL_ID = re.compile(r"[A-Za-z0-9_-]{1,36}")


class Imports:
    """Stores what an import reads. All methods also raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def experiment(self, caller: Caller, new: ImportedExperiment) -> tuple[Experiment, bool]:
        """Returns the experiment of this name, created with these times if there is none, and whether it was created.
        Tags that it lacks are added.

        Raises:
            InvalidField, ExperimentDeleted.
        """
        check_name(new.name, field="name", max_characters=experiments.MAX_NAME_CHARACTERS)
        tags = check_entries(new.tags, field="tags", max_value_characters=experiments.MAX_TAG_CHARACTERS)
        created_at = to_datetime_or_none(new.created_unix_us, field="created_unix_us")
        updated_at = to_datetime_or_none(new.updated_unix_us, field="updated_unix_us")
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(
                SQL["insert_experiment"], caller.workspace_id, new.name, created_at, updated_at
            )
            if row is None:
                found, _ = await experiments.get_or_create(connection, caller, new.name, field="name")
            experiment_id = found.experiment_id if row is None else row["experiment_id"]
            await experiments.lock_active(connection, caller, experiment_id, shared=True)
            await connection.execute(SQL["insert_experiment_tags"], experiment_id, list(tags), list(tags.values()))
            stored = await connection.fetchrow(EXPERIMENTS["get_by_id"], caller.workspace_id, experiment_id)
            assert stored is not None  # it is locked
            return experiments.from_row(stored), row is not None

    async def logged_model(self, caller: Caller, new: ImportedModel) -> tuple[LoggedModel, bool]:
        """Returns the logged model of this id, created if there is none, and whether it was created. Params, tags and
        metrics that it lacks are added; metrics of runs that do not exist are left out.

        Raises:
            InvalidField, ExperimentNotFound, ExperimentDeleted.
            AlreadyExists: the id is that of a model of another workspace.
        """
        if not _MODEL_ID.fullmatch(new.model_id):
            raise InvalidField(
                f"model_id: {new.model_id[:80]!r} is not an id of a model, which has up to 36 letters, digits, - and _",
                field="model_id",
            )
        logged_models.check_name(new.name)
        check_text(new.model_type, field="model_type", max_characters=logged_models.MAX_TYPE_CHARACTERS)
        if new.status not in logged_models.STATUSES:
            raise InvalidField(f"status: must be one of {', '.join(logged_models.STATUSES)}", field="status")
        run_id = parse_run_id(new.source_run_id, field="source_run_id") if new.source_run_id else None
        params = logged_models.checked_entries(new.params, "params")
        tags = logged_models.checked_entries(new.tags, "tags")
        metrics = _columns(new.metrics)
        times = (
            to_datetime_or_none(new.created_unix_us, field="created_unix_us"),
            to_datetime_or_none(new.updated_unix_us, field="updated_unix_us"),
        )
        async with self._database.transaction() as connection:
            await experiments.lock_active(connection, caller, new.experiment_id, shared=True)
            created = await connection.fetchval(
                SQL["insert_model"],
                new.model_id,
                new.experiment_id,
                new.name,
                new.model_type,
                new.status,
                run_id,
                *times,
            )
            if await connection.fetchval(MODELS["lock"], caller.workspace_id, new.model_id) is None:
                raise AlreadyExists(f"the id {new.model_id} is taken", field="model_id", subject=new.model_id)
            await connection.execute(MODELS["insert_params"], new.model_id, list(params), list(params.values()))
            await connection.execute(SQL["insert_model_tags"], new.model_id, list(tags), list(tags.values()))
            await connection.execute(SQL["insert_model_metrics"], caller.workspace_id, new.model_id, *metrics)
            return await logged_models.get(connection, caller, new.model_id, also_deleted=True), created is not None

    async def registered_model(self, caller: Caller, new: ImportedRegisteredModel) -> bool:
        """Creates a registered model if there is none of this name, and adds tags that it lacks. Returns whether it was
        created.

        Raises:
            InvalidField.
        """
        check_new_model_name(new.name)
        check_description(new.description)
        tags = check_entries(new.tags, field="tags", max_value_characters=MAX_MODEL_TAG_CHARACTERS)
        times = (
            to_datetime_or_none(new.created_unix_us, field="created_unix_us"),
            to_datetime_or_none(new.updated_unix_us, field="updated_unix_us"),
        )
        async with self._database.transaction() as connection:
            created = await connection.fetchval(
                SQL["insert_registered_model"], caller.workspace_id, new.name, new.description, *times
            )
            model = await model_versions.lock(connection, caller, new.name)
            await connection.execute(SQL["insert_registered_model_tags"], model, list(tags), list(tags.values()))
            return created is not None

    async def model_version(self, caller: Caller, new: ImportedVersion) -> tuple[ModelVersion, bool]:
        """Returns the version of this number, created if there is none, and whether it was created. Tags that it lacks
        are added, and aliases that point at no version.

        Raises:
            InvalidField: also if the source does not belong to the run or logged model that the version names.
            NotFound: no such registered model, or the source refers to something that does not exist.
        """
        check_model_name(new.of.name)
        number = model_versions.parse_version(new.of.name, str(new.version))
        check_description(new.of.description)
        check_text(new.of.run_id or "", field="run_id", max_characters=MAX_RUN_ID_CHARACTERS)
        check_text(new.of.run_link, field="run_link", max_characters=MAX_SOURCE_CHARACTERS)
        check_source(new.of.source)
        stage = canonical_stage(new.stage or "None")
        tags = check_entries(new.of.tags, field="tags", max_value_characters=MAX_MODEL_TAG_CHARACTERS)
        for alias in new.aliases:
            check_new_alias(alias)
        times = (
            to_datetime_or_none(new.created_unix_us, field="created_unix_us"),
            to_datetime_or_none(new.updated_unix_us, field="updated_unix_us"),
        )
        async with self._database.transaction() as connection:
            origin = await model_versions.origin_of(connection, caller, new.of)
            model = await model_versions.lock(connection, caller, new.of.name)
            created = await connection.fetchval(
                SQL["insert_version"], model, number, new.of.description, stage, origin.source, origin.storage_location,
                origin.run_id, new.of.run_link, *times,
            )  # fmt: skip
            await connection.execute(SQL["insert_version_tags"], model, number, list(tags), list(tags.values()))
            await connection.execute(SQL["insert_aliases"], model, number, list(new.aliases))
            return await model_versions.get(connection, caller, new.of.name, number), created is not None


def _columns(metrics: Sequence[ImportedMetric]) -> list[list[Any]]:
    """The metrics as columns, for the statement insert_model_metrics. Raises InvalidField."""
    for one in metrics:
        check_text(one.key, field="metrics: a key", max_characters=MAX_TEXT_CHARACTERS)
        check_text(one.dataset_name, field="dataset_name", max_characters=MAX_TEXT_CHARACTERS)
        check_text(one.dataset_digest, field="dataset_digest", max_characters=MAX_TEXT_CHARACTERS)
    return [
        [parse_run_id(one.run_id, field="run_id") for one in metrics],
        [one.key for one in metrics],
        [one.step for one in metrics],
        [to_datetime(one.time_unix_us, field="time_unix_us") for one in metrics],
        [one.value for one in metrics],
        [one.dataset_name for one in metrics],
        [one.dataset_digest for one in metrics],
    ]
