"""Registered models: names under which models are published, with numbered versions."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import asyncpg

from runstream_service.core import audit
from runstream_service.core.model_names import (
    MAX_TAG_CHARACTERS,
    check_alias,
    check_description,
    check_model_name,
    check_new_alias,
    check_new_model_name,
)
from runstream_service.core.model_search import MODELS, RegistryQuery, search
from runstream_service.core.model_versions import (
    SQL,
    ModelVersion,
    is_prompt,
    lock,
    lock_version,
    model_not_found,
    newest,
    parse_version,
)
from runstream_service.core.names import check_entries
from runstream_service.core.rows import tags_of
from runstream_service.errors.core import AlreadyExists

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.database.pool import Database, PooledConnection


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredModel:
    """A stored registered model, with the newest version in each stage."""

    name: str
    description: str
    created_at: datetime
    updated_at: datetime
    tags: dict[str, str]
    aliases: dict[str, int]  # name -> version
    latest_versions: list[ModelVersion]


class RegisteredModels:
    """Stores and reads registered models. All methods also raise DatabaseUnavailable. Every write locks the registered
    model first."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self, caller: Caller, name: str, *, description: str = "", tags: Mapping[str, str] | None = None
    ) -> RegisteredModel:
        """Creates a registered model. Raises InvalidField, AlreadyExists."""
        check_new_model_name(name)
        check_description(description)
        checked = check_entries(tags or {}, field="tags", max_value_characters=MAX_TAG_CHARACTERS)
        async with self._database.transaction() as connection:
            model = await connection.fetchval(SQL["create"], caller.workspace_id, name, description)
            if model is None:
                raise await _taken(connection, caller, name, prompt=is_prompt(checked))
            await connection.execute(SQL["upsert_tags"], model, list(checked), list(checked.values()))
            return await _get(connection, caller, name)

    async def get(self, caller: Caller, name: str) -> RegisteredModel:
        """Returns a registered model. Raises InvalidField, NotFound."""
        check_model_name(name)
        async with self._database.acquire() as connection:
            return await _get(connection, caller, name)

    async def search(self, caller: Caller, asked: RegistryQuery) -> tuple[list[RegisteredModel], str]:
        """One page of registered models, and the token of the next page (empty on the last page). Raises
        InvalidField."""
        rows, token = await search(self._database, caller, MODELS, asked)
        async with self._database.acquire() as connection:
            versions = await newest(connection, [row["registered_model_id"] for row in rows])
        return [_registered_model(row, versions[row["registered_model_id"]]) for row in rows], token

    async def rename(self, caller: Caller, name: str, new_name: str) -> RegisteredModel:
        """Renames a registered model; it keeps its versions, tags and aliases.

        Raises:
            InvalidField, NotFound, AlreadyExists.
        """
        check_new_model_name(new_name, field="new_name")
        check_model_name(name)
        try:
            async with self._database.transaction() as connection:
                rows = await connection.fetch(SQL["lock_two"], caller.workspace_id, name, new_name)
                model = next((row["registered_model_id"] for row in rows if row["name"] == name), None)
                if model is None:
                    raise model_not_found(name)
                await connection.execute(SQL["rename"], model, new_name)
                return await _get(connection, caller, new_name)
        except asyncpg.UniqueViolationError as error:
            raise AlreadyExists(
                f"Registered Model (name={new_name}) already exists.", field="new_name", subject=new_name
            ) from error

    async def describe(self, caller: Caller, name: str, description: str) -> RegisteredModel:
        """Changes the description of a registered model. Raises InvalidField, NotFound."""
        check_description(description)
        async with self._locked(caller, name) as (connection, model):
            await connection.execute(SQL["describe"], model, description)
            return await _get(connection, caller, name)

    async def delete(self, caller: Caller, name: str) -> None:
        """Deletes a registered model with its versions. Raises InvalidField, NotFound."""
        async with self._locked(caller, name) as (connection, model):
            await connection.execute(SQL["delete"], model)
            await audit.record(connection, caller, "registered_model_deleted", name)

    async def set_tag(self, caller: Caller, name: str, key: str, value: str) -> None:
        """Sets a tag, replacing an earlier value. Raises InvalidField, NotFound."""
        check_entries({key: value}, field="tags", max_value_characters=MAX_TAG_CHARACTERS)
        async with self._locked(caller, name) as (connection, model):
            await connection.execute(SQL["upsert_tags"], model, [key], [value])

    async def delete_tag(self, caller: Caller, name: str, key: str) -> None:
        """Deletes a tag, if it exists. Raises InvalidField, NotFound."""
        async with self._locked(caller, name) as (connection, model):
            await connection.execute(SQL["delete_tag"], model, key)

    async def set_alias(self, caller: Caller, name: str, alias: str, version: str) -> None:
        """Points an alias at a version, whether it exists already or not. Raises InvalidField, NotFound."""
        check_model_name(name)
        check_new_alias(alias)
        number = parse_version(name, version)
        async with self._database.transaction() as connection:
            model = await lock_version(connection, caller, name, number)
            await connection.execute(SQL["set_alias"], model, alias, number)

    async def delete_alias(self, caller: Caller, name: str, alias: str) -> None:
        """Deletes an alias, if it exists. Raises InvalidField, NotFound."""
        check_alias(alias)
        async with self._locked(caller, name) as (connection, model):
            await connection.execute(SQL["delete_alias"], model, alias)

    @contextlib.asynccontextmanager
    async def _locked(self, caller: Caller, name: str) -> AsyncIterator[tuple[PooledConnection, int]]:
        """A transaction that holds the lock of a registered model, and the id of the model."""
        check_model_name(name)
        async with self._database.transaction() as connection:
            yield connection, await lock(connection, caller, name)


async def _get(connection: PooledConnection, caller: Caller, name: str) -> RegisteredModel:
    row = await connection.fetchrow(SQL["get"], caller.workspace_id, name)
    if row is None:
        raise model_not_found(name)
    versions = await newest(connection, [row["registered_model_id"]])
    return _registered_model(row, versions[row["registered_model_id"]])


def _registered_model(row: asyncpg.Record, latest_versions: list[ModelVersion]) -> RegisteredModel:
    """Converts a row of the view registered_model_details."""
    return RegisteredModel(
        name=row["name"],
        description=row["description"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        tags=tags_of(row),
        aliases=dict(zip(row["aliases"], row["alias_versions"], strict=True)),
        latest_versions=latest_versions,
    )


async def _taken(connection: PooledConnection, caller: Caller, name: str, *, prompt: bool) -> AlreadyExists:
    """The error for a name that is taken. Prompts and models share one namespace, so the message says which one has
    it."""
    row = await connection.fetchrow(SQL["get"], caller.workspace_id, name)
    tags = {} if row is None else tags_of(row)
    stored, wanted = ("Prompt" if one else "Registered Model" for one in (is_prompt(tags), prompt))
    if stored == wanted or row is None:
        return AlreadyExists(f"{wanted} (name={name}) already exists.", field="name", subject=name)
    return AlreadyExists(
        f"Tried to create a {wanted.lower()} with name {name!r}, but the name is already taken by a {stored.lower()}. "
        "MLflow does not allow creating a model and a prompt with the same name.",
        field="name",
        subject=name,
    )
