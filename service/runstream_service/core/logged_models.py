"""Logged models: models that a run made, with files, params, tags and metrics."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from runstream_service.core import audit, experiments
from runstream_service.core.logged_model_search import LoggedModelQuery, search
from runstream_service.core.names import check_storable, check_text, parse_run_id
from runstream_service.core.rows import params_of, tags_of
from runstream_service.core.run_names import generate_run_name
from runstream_service.database.queries import load
from runstream_service.errors.core import InvalidField, NotFound

if TYPE_CHECKING:
    import asyncpg

    from runstream_service.core.caller import Caller
    from runstream_service.database.pool import Database, PooledConnection

SQL = load("logged_models")

MAX_NAME_CHARACTERS = 500
MAX_TYPE_CHARACTERS = 500
MAX_KEY_CHARACTERS = 255
MAX_VALUE_CHARACTERS = 100_000
MAX_ENTRIES = 1_000
STATUSES = ("pending", "ready", "failed")
_BAD_IN_NAMES = ("/", ":", ".", "%", '"', "'")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMetric:
    """A metric that a run logged for a model, optionally on a dataset."""

    run_id: UUID
    key: str
    step: int
    time: datetime
    value: float
    dataset_name: str
    dataset_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedModel:
    """A stored model. `status`: one of STATUSES."""

    model_id: str
    experiment_id: int
    name: str
    model_type: str
    status: str
    source_run_id: UUID | None
    created_at: datetime
    updated_at: datetime
    artifact_uri: str
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[ModelMetric] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewModel:
    """The arguments for a new model. An empty text means that the caller did not choose a value."""

    experiment_id: int
    name: str = ""
    model_type: str = ""
    source_run_id: str = ""
    params: Sequence[tuple[str, str]] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


class LoggedModels:
    """Stores and reads logged models. All methods also raise DatabaseUnavailable; those that change a model raise
    NotFound if there is none. As in MLflow, a deleted model can still be changed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, caller: Caller, new: NewModel) -> LoggedModel:
        """Creates a model, whose files are uploaded afterwards.

        Raises:
            InvalidField: also if a param has two values.
            ExperimentNotFound, ExperimentDeleted.
        """
        check_name(new.name)
        check_text(new.model_type, field="model_type", max_characters=MAX_TYPE_CHARACTERS)
        run_id = parse_run_id(new.source_run_id, field="source_run_id") if new.source_run_id else None
        params, tags = _params(new.params), checked_entries(new.tags, "tags")
        model_id = f"m-{uuid.uuid4().hex}"
        async with self._database.transaction() as connection:
            await experiments.lock_active(connection, caller, new.experiment_id, shared=True)
            name = new.name or generate_run_name()
            await connection.execute(SQL["insert"], model_id, new.experiment_id, name, new.model_type, run_id)
            await connection.execute(SQL["insert_params"], model_id, list(params), list(params.values()))
            await connection.execute(SQL["upsert_tags"], model_id, list(tags), list(tags.values()))
            return await get(connection, caller, model_id)

    async def get(self, caller: Caller, model_id: str, *, also_deleted: bool = False) -> LoggedModel:
        """Returns a model with its params, tags and metrics. Raises InvalidField, NotFound."""
        _check_id(model_id)
        async with self._database.acquire() as connection:
            return await get(connection, caller, model_id, also_deleted=also_deleted)

    async def search(self, caller: Caller, asked: LoggedModelQuery) -> tuple[list[LoggedModel], str]:
        """One page of models, and the token of the next page (empty on the last page). Raises InvalidField."""
        async with self._database.acquire() as connection:
            rows, token = await search(connection, caller, asked)
            return await _models(connection, rows), token

    async def finalize(self, caller: Caller, model_id: str, status: str) -> LoggedModel:
        """Sets the status, after the upload of the files. Raises InvalidField for an unknown status."""
        if status not in STATUSES:
            raise InvalidField(f"status: {status[:40]!r} is not one of {', '.join(STATUSES)}", field="status")
        async with self._database.transaction() as connection:
            await _lock(connection, caller, model_id)
            await connection.execute(SQL["set_status"], model_id, status)
            return await get(connection, caller, model_id, also_deleted=True)

    async def delete(self, caller: Caller, model_id: str) -> None:
        """Marks a model as deleted. Its files stay until it is purged."""
        async with self._database.transaction() as connection:
            await _lock(connection, caller, model_id)
            if await connection.fetchval(SQL["delete"], model_id):
                await audit.record(connection, caller, "logged_model_deleted", model_id)

    async def log_params(self, caller: Caller, model_id: str, params: Sequence[tuple[str, str]]) -> None:
        """Adds params. A param cannot be changed; the same value again is accepted.

        Raises:
            InvalidField: also if a param has another value already.
        """
        checked = _params(params)
        keys, values = list(checked), list(checked.values())
        async with self._database.transaction() as connection:
            await _lock(connection, caller, model_id)
            await connection.execute(SQL["insert_params"], model_id, keys, values)
            changed = await connection.fetchrow(SQL["find_changed_param"], model_id, keys, values)
            if changed is not None:
                raise _changed(changed["key"], changed["value"], checked[changed["key"]])

    async def set_tags(self, caller: Caller, model_id: str, tags: Mapping[str, str]) -> None:
        """Sets tags, replacing earlier values. Raises InvalidField."""
        checked = checked_entries(tags, "tags")
        async with self._database.transaction() as connection:
            await _lock(connection, caller, model_id)
            await connection.execute(SQL["upsert_tags"], model_id, list(checked), list(checked.values()))

    async def delete_tag(self, caller: Caller, model_id: str, key: str) -> None:
        """Deletes a tag. Raises NotFound if there is no tag with this key."""
        check_storable(key, field="key")
        async with self._database.transaction() as connection:
            await _lock(connection, caller, model_id)
            if await connection.execute(SQL["delete_tag"], model_id, key) == "DELETE 0":
                raise NotFound(f"No tag with key {key!r} found for model with ID {model_id!r}.", field="key")


async def get(
    connection: PooledConnection, caller: Caller, model_id: str, *, also_deleted: bool = False
) -> LoggedModel:
    """Returns a model with its params, tags and metrics. Raises NotFound."""
    row = await connection.fetchrow(SQL["get"], caller.workspace_id, model_id, also_deleted)
    if row is None:
        raise _not_found(model_id)
    return (await _models(connection, [row]))[0]


async def _lock(connection: PooledConnection, caller: Caller, model_id: str) -> None:
    """Locks a model until the transaction ends. Raises NotFound."""
    _check_id(model_id)
    if await connection.fetchval(SQL["lock"], caller.workspace_id, model_id) is None:
        raise _not_found(model_id)


async def _models(connection: PooledConnection, rows: Sequence[asyncpg.Record]) -> list[LoggedModel]:
    metrics: dict[str, list[ModelMetric]] = {row["model_id"]: [] for row in rows}
    if rows:
        for row in await connection.fetch(SQL["list_metrics"], list(metrics)):
            fields = dict(row)
            metrics[fields.pop("model_id")].append(ModelMetric(**fields))
    return [_model(row, metrics[row["model_id"]]) for row in rows]


def _model(row: asyncpg.Record, metrics: list[ModelMetric]) -> LoggedModel:
    below = f"models/{row['model_id']}/artifacts"
    return LoggedModel(
        model_id=row["model_id"],
        experiment_id=row["experiment_id"],
        name=row["name"],
        model_type=row["model_type"],
        status=row["status"],
        source_run_id=row["source_run_id"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        artifact_uri=experiments.artifact_uri_below(row["artifact_location"], row["files_experiment_id"], below),
        params=params_of(row),
        tags=tags_of(row),
        metrics=metrics,
    )


def check_name(name: str) -> None:
    """Raises InvalidField if a logged model cannot have this name."""
    if any(bad in name for bad in _BAD_IN_NAMES):
        raise InvalidField(
            f"Invalid model name ({name[:200]!r}) provided. Model name must be a non-empty string and cannot contain "
            f"the following characters: {_BAD_IN_NAMES}",
            field="name",
        )
    check_text(name, field="name", max_characters=MAX_NAME_CHARACTERS)


def _check_id(model_id: str) -> None:
    """Raises InvalidField for an id that cannot be looked up."""
    check_text(model_id, field="model_id", max_characters=MAX_KEY_CHARACTERS)


def _params(params: Sequence[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in params:
        if found.setdefault(key, value) != value:
            raise _changed(key, found[key], value)
    return checked_entries(found, "params")


def checked_entries(entries: Mapping[str, str], name: str) -> dict[str, str]:
    """Params or tags, checked, and sorted by key, so that two callers cannot deadlock. Unlike for runs, any text may be
    a key, as in MLflow. Raises InvalidField."""
    if len(entries) > MAX_ENTRIES:
        raise InvalidField(f"{name}: has {len(entries):,} entries; at most {MAX_ENTRIES:,} are allowed", field=name)
    for key, value in entries.items():
        if not key:
            raise InvalidField(f"{name}: has an empty key", field=name)
        check_text(key, field=f"{name}: the key {key[:40]!r}", max_characters=MAX_KEY_CHARACTERS)
        check_text(value, field=f"{name}: the value of {key!r}", max_characters=MAX_VALUE_CHARACTERS)
    return dict(sorted(entries.items()))


def _changed(key: str, old: str, new: str) -> InvalidField:
    return InvalidField(
        f"params: {key!r} is {old[:80]!r} already, not {new[:80]!r}; params of a model are written once", field="params"
    )


def _not_found(model_id: str) -> NotFound:
    return NotFound(f"Logged model with ID '{model_id}' not found.", field="model_id", subject=model_id)
