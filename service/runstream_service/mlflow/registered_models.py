"""Registered models: messages and handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream_service.concurrency import threads
from runstream_service.core.model_search import MODELS
from runstream_service.database.times import to_unix_ms
from runstream_service.mlflow import model_versions
from runstream_service.mlflow.model_search import SearchModels, checked_search
from runstream_service.mlflow.model_versions import checked_tags
from runstream_service.mlflow.names import check_key
from runstream_service.mlflow.request import Message, Pair, check_not_empty
from runstream_service.mlflow.responses import pairs, without_unset

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.core.model_versions import ModelVersions
    from runstream_service.core.registered_models import RegisteredModel, RegisteredModels

Answer = dict[str, Any]


class Create(Message):
    """registered-models/create."""

    name: str
    tags: tuple[Pair, ...] = ()
    description: str = ""


class ByName(Message):
    """registered-models/get and delete."""

    name: str


class Rename(Message):
    """registered-models/rename."""

    name: str
    new_name: str


class Update(Message):
    """registered-models/update."""

    name: str
    description: str = ""


class GetLatestVersions(Message):
    """registered-models/get-latest-versions."""

    name: str
    stages: tuple[str, ...] = ()


class SetTag(Message):
    """registered-models/set-tag."""

    name: str
    key: str
    value: str = ""


class DeleteTag(Message):
    """registered-models/delete-tag."""

    name: str
    key: str


class SetAlias(Message):
    """POST registered-models/alias."""

    name: str
    alias: str
    version: str


class Alias(Message):
    """GET and DELETE registered-models/alias."""

    name: str
    alias: str


class RegisteredModelHandlers:
    """One method per route of routes.py."""

    def __init__(self, models: RegisteredModels, versions: ModelVersions) -> None:
        self._models = models
        self._versions = versions

    async def create(self, caller: Caller, message: Create) -> Answer:
        name = check_not_empty(message.name, "name")
        tags = checked_tags(message.tags)
        return _one(await self._models.create(caller, name, description=message.description, tags=tags))

    async def get(self, caller: Caller, message: ByName) -> Answer:
        return _one(await self._models.get(caller, check_not_empty(message.name, "name")))

    async def rename(self, caller: Caller, message: Rename) -> Answer:
        name, new_name = check_not_empty(message.name, "name"), check_not_empty(message.new_name, "new_name")
        return _one(await self._models.rename(caller, name, new_name))

    async def update(self, caller: Caller, message: Update) -> Answer:
        return _one(await self._models.describe(caller, check_not_empty(message.name, "name"), message.description))

    async def delete(self, caller: Caller, message: ByName) -> Answer:
        await self._models.delete(caller, check_not_empty(message.name, "name"))
        return {}

    async def search(self, caller: Caller, message: SearchModels) -> Answer:
        found, token = await self._models.search(caller, checked_search(message, MODELS.max_results))
        return without_unset(registered_models=await threads.call_each(rendered, found), next_page_token=token or None)

    async def get_latest_versions(self, caller: Caller, message: GetLatestVersions) -> Answer:
        found = await self._versions.latest(caller, check_not_empty(message.name, "name"), message.stages)
        return without_unset(model_versions=[model_versions.rendered(version) for version in found])

    async def set_tag(self, caller: Caller, message: SetTag) -> Answer:
        name = check_not_empty(message.name, "name")
        tags = checked_tags([Pair(key=check_not_empty(message.key, "key"), value=message.value)])
        await self._models.set_tag(caller, name, message.key, tags[message.key])
        return {}

    async def delete_tag(self, caller: Caller, message: DeleteTag) -> Answer:
        name, key = check_not_empty(message.name, "name"), check_not_empty(message.key, "key")
        await self._models.delete_tag(caller, name, check_key(key, "key"))
        return {}

    async def set_alias(self, caller: Caller, message: SetAlias) -> Answer:
        name, alias = check_not_empty(message.name, "name"), check_not_empty(message.alias, "alias")
        await self._models.set_alias(caller, name, alias, check_not_empty(message.version, "version"))
        return {}

    async def get_by_alias(self, caller: Caller, message: Alias) -> Answer:
        name, alias = check_not_empty(message.name, "name"), check_not_empty(message.alias, "alias")
        return model_versions.one(await self._versions.by_alias(caller, name, alias))

    async def delete_alias(self, caller: Caller, message: Alias) -> Answer:
        name, alias = check_not_empty(message.name, "name"), check_not_empty(message.alias, "alias")
        await self._models.delete_alias(caller, name, alias)
        return {}


def rendered(model: RegisteredModel) -> Answer:
    """A model in the form of MLflow's message RegisteredModel, which has the aliases of all of its versions."""
    return without_unset(
        name=model.name,
        creation_timestamp=to_unix_ms(model.created_at),
        last_updated_timestamp=to_unix_ms(model.updated_at),
        description=model.description or None,
        latest_versions=[model_versions.rendered(version, aliases=False) for version in model.latest_versions],
        tags=pairs(model.tags),
        aliases=[{"alias": alias, "version": str(version)} for alias, version in model.aliases.items()],
    )


def _one(model: RegisteredModel) -> Answer:
    return {"registered_model": rendered(model)}
