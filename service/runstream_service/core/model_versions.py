"""Versions of registered models: each points at the files of one model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from runstream_service.core import audit, model_sources
from runstream_service.core.experiments import artifact_uri_below
from runstream_service.core.model_names import (
    ACTIVE_STAGES,
    LATEST,
    MAX_RUN_ID_CHARACTERS,
    MAX_SOURCE_CHARACTERS,
    MAX_TAG_CHARACTERS,
    canonical_stage,
    check_alias,
    check_description,
    check_model_name,
)
from runstream_service.core.model_search import IS_PROMPT, VERSIONS, RegistryQuery, search
from runstream_service.core.names import check_entries, check_text, parse_run_id
from runstream_service.core.rows import tags_of
from runstream_service.database.queries import load
from runstream_service.errors.core import InvalidField, NotFound

if TYPE_CHECKING:
    import asyncpg

    from runstream_service.core.caller import Caller
    from runstream_service.core.model_sources import ModelUri
    from runstream_service.database.pool import Database, PooledConnection

SQL = load("models")

# The sources that versions of prompts have. They have no files: their text is in a tag.
_PROMPT_SOURCES = ("dummy-source", "prompt-template")
# The tag of a logged model that lists the versions made of it.
_REGISTRATIONS = "mlflow.modelVersions"
_MAX_VERSION = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """A stored version. `stage`: one of model_names.STAGES."""

    name: str
    version: int
    description: str | None  # None: the last update had no description
    stage: str
    source: str
    run_id: str
    run_link: str
    created_at: datetime
    updated_at: datetime
    tags: dict[str, str]
    aliases: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """The arguments for a new version. If the source is another version, `run_id` has to be None or the run of that
    one."""

    name: str
    source: str
    run_id: str | None = None
    model_id: str | None = None
    run_link: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a new version comes from: its source, with the URI of the files, and its run and logged model, if any."""

    source: str
    storage_location: str
    run_id: str
    model_id: str = ""


class ModelVersions:
    """Stores and reads versions. All methods also raise DatabaseUnavailable. Every write locks the registered model
    first, so that writes cannot deadlock, and numbers are assigned one after the other."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, caller: Caller, new: NewVersion) -> ModelVersion:
        """Creates a version under the next number. If the source is another version, the new one gets its run, too.

        Raises:
            InvalidField: also if the source does not belong to the run or logged model that the version names.
            NotFound: no such registered model, or the source refers to something that does not exist.
        """
        check_model_name(new.name)
        check_description(new.description)
        check_text(new.run_id or "", field="run_id", max_characters=MAX_RUN_ID_CHARACTERS)
        check_text(new.model_id or "", field="model_id", max_characters=MAX_RUN_ID_CHARACTERS)
        check_text(new.run_link, field="run_link", max_characters=MAX_SOURCE_CHARACTERS)
        model_sources.check_source(new.source)
        tags = check_entries(new.tags, field="tags", max_value_characters=MAX_TAG_CHARACTERS)
        async with self._database.transaction() as connection:
            origin = await origin_of(connection, caller, new)
            model = await lock(connection, caller, new.name)
            version = await connection.fetchval(
                SQL["create_version"],
                model,
                new.description,
                origin.source,
                origin.storage_location,
                origin.run_id,
                new.run_link,
            )
            await connection.execute(SQL["upsert_version_tags"], model, version, list(tags), list(tags.values()))
            if origin.model_id:
                await _register(connection, origin.model_id, new.name, version)
            return await get(connection, caller, new.name, version)

    async def get(self, caller: Caller, name: str, version: str) -> ModelVersion:
        """Returns a version. Raises InvalidField, NotFound."""
        async with self._database.acquire() as connection:
            return await get(connection, caller, check_model_name(name), parse_version(name, version))

    async def by_alias(self, caller: Caller, name: str, alias: str) -> ModelVersion:
        """The version that an alias points at; `latest` (in any case) is the newest.

        Raises:
            InvalidField: also if there is no such alias.
            NotFound: no such registered model; or for `latest`, no version.
        """
        async with self._database.acquire() as connection:
            return await _by_alias(connection, caller, check_model_name(name), check_alias(alias))

    async def latest(self, caller: Caller, name: str, stages: Sequence[str]) -> list[ModelVersion]:
        """The newest version in each of `stages`; without any, in every stage.

        Raises:
            InvalidField, NotFound.
        """
        check_model_name(name)
        async with self._database.acquire() as connection:
            return await _latest(connection, caller, name, [canonical_stage(stage) for stage in stages])

    async def search(self, caller: Caller, asked: RegistryQuery) -> tuple[list[ModelVersion], str]:
        """One page of versions, and the token of the next page (empty on the last page). Raises InvalidField."""
        rows, token = await search(self._database, caller, VERSIONS, asked)
        return [from_row(row) for row in rows], token

    async def storage_location(self, caller: Caller, name: str, version: str) -> str:
        """The URI of the files of a version. Raises InvalidField, NotFound."""
        check_model_name(name)
        number = parse_version(name, version)
        async with self._database.acquire() as connection:
            return await _storage_location(connection, caller, name, number)

    async def describe(self, caller: Caller, name: str, version: str, description: str | None) -> ModelVersion:
        """Sets or removes the description of a version. Raises InvalidField, NotFound."""
        check_description(description or "")
        number = parse_version(name, version)
        async with self._database.transaction() as connection:
            model = await lock_version(connection, caller, name, number)
            await connection.execute(SQL["describe_version"], model, number, description)
            return await get(connection, caller, name, number)

    async def set_stage(
        self, caller: Caller, name: str, version: str, stage: str, *, archive_others: bool
    ) -> ModelVersion:
        """Moves a version to a stage. `archive_others`: archives the other versions in that stage, which must be an
        active one.

        Raises:
            InvalidField, NotFound.
        """
        to, number = canonical_stage(stage), parse_version(name, version)
        if archive_others and to not in ACTIVE_STAGES:
            raise InvalidField(
                "Model version transition cannot archive existing model versions because "
                f"'{stage}' is not an Active stage. Valid stages are {list(ACTIVE_STAGES)}",
                field="stage",
            )
        async with self._database.transaction() as connection:
            model = await lock_version(connection, caller, name, number)
            if archive_others:
                await connection.execute(SQL["archive_others"], model, number, to)
            await connection.execute(SQL["set_stage"], model, number, to)
            return await get(connection, caller, name, number)

    async def delete(self, caller: Caller, name: str, version: str) -> None:
        """Deletes a version with its tags and aliases. Raises InvalidField, NotFound."""
        number = parse_version(name, version)
        async with self._database.transaction() as connection:
            model = await lock_version(connection, caller, name, number)
            await connection.execute(SQL["delete_version"], model, number)
            await audit.record(connection, caller, "model_version_deleted", name, version=number)

    async def set_tag(self, caller: Caller, name: str, version: str, key: str, value: str) -> None:
        """Sets a tag, replacing an earlier value. Raises InvalidField, NotFound."""
        check_entries({key: value}, field="tags", max_value_characters=MAX_TAG_CHARACTERS)
        number = parse_version(name, version)
        async with self._database.transaction() as connection:
            model = await lock_version(connection, caller, name, number)
            await connection.execute(SQL["upsert_version_tags"], model, number, [key], [value])

    async def delete_tag(self, caller: Caller, name: str, version: str, key: str) -> None:
        """Deletes a tag, if it exists. Raises InvalidField, NotFound."""
        number = parse_version(name, version)
        async with self._database.transaction() as connection:
            model = await lock_version(connection, caller, name, number)
            await connection.execute(SQL["delete_version_tag"], model, number, key)


def parse_version(name: str, text: str) -> int:
    """Parses a version number. Raises InvalidField, or NotFound for a number that no version can have."""
    try:
        number = int(text)
    except ValueError as error:
        raise InvalidField(f"Parameter 'version' must be an integer, got '{text[:80]}'.", field="version") from error
    if not 0 < number <= _MAX_VERSION:
        raise _version_not_found(name, text[:80])
    return number


async def lock(connection: PooledConnection, caller: Caller, name: str) -> int:
    """Locks a registered model, with all that belongs to it, until the transaction ends. Returns its id. Raises
    NotFound."""
    model = await connection.fetchval(SQL["lock"], caller.workspace_id, name)
    if model is None:
        raise model_not_found(name)
    return int(model)


def model_not_found(name: str) -> NotFound:
    """The error for a missing registered model, with MLflow's message."""
    return NotFound(f"Registered Model with name={name} not found", field="name", subject=name)


async def get(connection: PooledConnection, caller: Caller, name: str, version: int) -> ModelVersion:
    """Returns a version. Raises NotFound."""
    row = await connection.fetchrow(SQL["get_version"], caller.workspace_id, name, version)
    if row is None:
        raise _version_not_found(name, version)
    return from_row(row)


def is_prompt(tags: Mapping[str, str]) -> bool:
    """Whether tags are those of a prompt rather than of a model."""
    return tags.get(IS_PROMPT, "").lower() == "true"


def from_row(row: asyncpg.Record) -> ModelVersion:
    """The version of a row of the view model_version_details."""
    return ModelVersion(
        name=row["name"],
        version=row["version"],
        description=row["description"],
        stage=row["stage"],
        source=row["source"],
        run_id=row["run_id"],
        run_link=row["run_link"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        tags=tags_of(row),
        aliases=list(row["aliases"]),
    )


async def newest(connection: PooledConnection, models: Sequence[int]) -> dict[int, list[ModelVersion]]:
    """By the id of the registered model: the newest version in each stage, in the order of their numbers."""
    found: dict[int, list[ModelVersion]] = {model: [] for model in models}
    for row in await connection.fetch(SQL["latest_versions"], models):
        found[row["registered_model_id"]].append(from_row(row))
    return found


def _version_not_found(name: str, version: int | str) -> NotFound:
    return NotFound(f"Model Version (name={name}, version={version}) not found", field="version", subject=version)


async def lock_version(connection: PooledConnection, caller: Caller, name: str, version: int) -> int:
    """Locks the registered model of an existing version. Returns the id of the model. Raises InvalidField, NotFound."""
    model = await connection.fetchval(SQL["lock"], caller.workspace_id, check_model_name(name))
    if model is None or not await connection.fetchval(SQL["has_version"], model, version):
        raise _version_not_found(name, version)
    return int(model)


async def _storage_location(connection: PooledConnection, caller: Caller, name: str, version: int) -> str:
    location = await connection.fetchval(SQL["version_location"], caller.workspace_id, name, version)
    if location is None:
        raise _version_not_found(name, version)
    return str(location)


async def _latest(connection: PooledConnection, caller: Caller, name: str, stages: Sequence[str]) -> list[ModelVersion]:
    row = await connection.fetchrow(SQL["get"], caller.workspace_id, name)
    if row is None:
        raise model_not_found(name)
    versions = (await newest(connection, [row["registered_model_id"]]))[row["registered_model_id"]]
    return [version for version in versions if not stages or version.stage in stages]


async def _by_alias(connection: PooledConnection, caller: Caller, name: str, alias: str) -> ModelVersion:
    if alias.lower() == LATEST:
        versions = await _latest(connection, caller, name, [])
        if not versions:
            raise NotFound(f"Latest version not found for model {name}.", field="name", subject=name)
        return versions[-1]
    row = await connection.fetchrow(SQL["get_aliased"], caller.workspace_id, name, alias)
    if row is not None:
        return from_row(row)
    if await connection.fetchrow(SQL["get"], caller.workspace_id, name) is None:
        raise model_not_found(name)
    raise InvalidField(f"Registered model alias {alias} not found.", field="alias")


# -- where a new version comes from ------------------------------------------------------------------------------------


async def origin_of(connection: PooledConnection, caller: Caller, new: NewVersion) -> Origin:
    """Checks the source of a new version, and finds its origin. Raises InvalidField, NotFound."""
    if is_prompt(new.tags):
        return _origin_of_prompt(new)
    uri = model_sources.parse_model_uri(new.source)
    if uri is not None and not uri.model_id:
        return await _origin_in_version(connection, caller, new, uri)
    if new.model_id:
        return await _origin_in_model(connection, caller, new, new.model_id, whole=uri is not None)
    run_id = new.run_id or ""
    model_sources.check_below_run(new.source, run_id, await _location_of_run(connection, caller, run_id))
    return Origin(source=new.source, storage_location=new.source, run_id=run_id)


def _origin_of_prompt(new: NewVersion) -> Origin:
    if new.source not in _PROMPT_SOURCES:
        raise InvalidField(
            f"Invalid prompt source: '{new.source}'. Prompt sources must use an MLflow placeholder.", field="source"
        )
    return Origin(source=new.source, storage_location=new.source, run_id=new.run_id or "")


async def _origin_in_version(connection: PooledConnection, caller: Caller, new: NewVersion, uri: ModelUri) -> Origin:
    """The origin of a version whose source is another version: that of the other version."""
    version = await _named(connection, caller, new.source, uri)
    if new.run_id not in (None, version.run_id) or new.model_id:
        raise InvalidField(
            f"Invalid model version source: '{new.source}'. The run_id and model_id request parameters must match the "
            "referenced model version.",
            field="run_id",
        )
    return Origin(
        source=f"models:/{version.name}/{version.version}",
        storage_location=await _storage_location(connection, caller, version.name, version.version),
        run_id=version.run_id,
    )


async def _named(connection: PooledConnection, caller: Caller, source: str, uri: ModelUri) -> ModelVersion:
    """The version that a `models:/` URI names. Raises InvalidField, NotFound."""
    check_model_name(uri.name)
    row = await connection.fetchrow(SQL["get"], caller.workspace_id, uri.name)
    if row is None:
        raise model_not_found(uri.name)
    if is_prompt(tags_of(row)):
        raise InvalidField(
            f"Invalid model version source: '{source}'. Prompt versions cannot be used as model version sources.",
            field="source",
        )
    if uri.version:
        return await get(connection, caller, uri.name, parse_version(uri.name, uri.version))
    if uri.alias:
        return await _by_alias(connection, caller, uri.name, check_alias(uri.alias))
    versions = await _latest(connection, caller, uri.name, [canonical_stage(uri.stage)] if uri.stage else [])
    if not versions:
        staged = f" and stage '{uri.stage}'" if uri.stage else ""
        raise NotFound(f"No versions of model with name '{uri.name}'{staged} found", field="source")
    return versions[-1]


async def _origin_in_model(
    connection: PooledConnection, caller: Caller, new: NewVersion, model_id: str, *, whole: bool
) -> Origin:
    """The origin of a version whose source is a logged model (`whole`), or some files of one."""
    row = await connection.fetchrow(SQL["source_model"], caller.workspace_id, model_id)
    location = None if row is None else _location(row, f"models/{model_id}/artifacts")
    model_sources.check_below_model(new.source, model_id, location)
    if row is None or location is None:
        raise NotFound(f"Logged model with ID '{model_id}' not found.", field="model_id", subject=model_id)
    return Origin(
        source=new.source,
        storage_location=location if whole else new.source,
        run_id=new.run_id or (row["source_run_id"].hex if row["source_run_id"] else ""),
        model_id=model_id,
    )


async def _location_of_run(connection: PooledConnection, caller: Caller, run_id: str) -> str | None:
    """Where the artifacts of a run are; None if this service has no such run."""
    try:
        row = await connection.fetchrow(SQL["source_run"], caller.workspace_id, parse_run_id(run_id, field="run_id"))
    except InvalidField:
        return None
    return None if row is None else _location(row, f"{run_id}/artifacts")


def _location(row: asyncpg.Record, path: str) -> str:
    return artifact_uri_below(row["artifact_location"], row["experiment_id"], path)


async def _register(connection: PooledConnection, model_id: str, name: str, version: int) -> None:
    """Adds a version to the list of registrations in the tag _REGISTRATIONS of its logged model."""
    stored = await connection.fetchval(SQL["lock_registrations"], model_id, _REGISTRATIONS)
    try:
        listed: Any = json.loads(stored or "[]")
    except ValueError:  # a caller may have set the tag to anything
        listed = []
    listed = listed if isinstance(listed, list) else []
    entry = {"name": name, "version": version}
    if entry not in listed:
        listed.append(entry)
    await connection.execute(SQL["set_registrations"], model_id, _REGISTRATIONS, json.dumps(listed))
