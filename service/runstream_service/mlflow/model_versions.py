"""Versions of registered models: messages and handlers."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from runstream_service.concurrency import threads
from runstream_service.core.model_names import MAX_TAG_CHARACTERS
from runstream_service.core.model_search import VERSIONS
from runstream_service.core.model_versions import NewVersion
from runstream_service.database.times import to_unix_ms
from runstream_service.mlflow.model_search import SearchVersions, checked_search
from runstream_service.mlflow.names import MAX_KEY_CHARACTERS, check_key, check_length
from runstream_service.mlflow.request import Message, Pair, check_not_empty, wrong_type
from runstream_service.mlflow.responses import pairs, without_unset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_service.core.caller import Caller
    from runstream_service.core.model_versions import ModelVersion, ModelVersions

Answer = dict[str, Any]


class Create(Message):
    """model-versions/create."""

    name: str
    source: str
    run_id: str | None = None
    tags: tuple[Pair, ...] = ()
    run_link: str = ""
    description: str = ""
    model_id: str | None = None


class ByNumber(Message):
    """model-versions/get and delete."""

    name: str
    version: str


class GetDownloadUri(Message):
    """model-versions/get-download-uri."""

    name: str = ""
    version: str = ""


class Update(Message):
    """model-versions/update."""

    name: str
    version: str
    description: str | None = None


class TransitionStage(Message):
    """model-versions/transition-stage."""

    name: str
    version: str
    stage: str
    archive_existing_versions: Any = False  # bool; not declared as such, since then "true" and 1 would be accepted, too


class SetTag(Message):
    """model-versions/set-tag."""

    name: str
    version: str
    key: str
    value: str = ""


class DeleteTag(Message):
    """model-versions/delete-tag."""

    name: str
    version: str
    key: str


class ModelVersionHandlers:
    """One method per route of routes.py."""

    def __init__(self, versions: ModelVersions) -> None:
        self._versions = versions

    async def create(self, caller: Caller, message: Create) -> Answer:
        new = NewVersion(
            name=check_not_empty(message.name, "name"),
            source=check_not_empty(message.source, "source"),
            run_id=message.run_id,
            model_id=message.model_id,
            run_link=message.run_link,
            description=message.description,
            tags=checked_tags(message.tags),
        )
        return one(await self._versions.create(caller, new))

    async def get(self, caller: Caller, message: ByNumber) -> Answer:
        name, version = _checked(message)
        return one(await self._versions.get(caller, name, version))

    async def get_download_uri(self, caller: Caller, message: GetDownloadUri) -> Answer:
        return {"artifact_uri": await self._versions.storage_location(caller, message.name, message.version)}

    async def update(self, caller: Caller, message: Update) -> Answer:
        name, version = _checked(message)
        return one(await self._versions.describe(caller, name, version, message.description))

    async def delete(self, caller: Caller, message: ByNumber) -> Answer:
        name, version = _checked(message)
        await self._versions.delete(caller, name, version)
        return {}

    async def search(self, caller: Caller, message: SearchVersions) -> Answer:
        found, token = await self._versions.search(caller, checked_search(message, VERSIONS.max_results))
        versions = await threads.call_each(functools.partial(rendered, aliases=False), found)
        return without_unset(model_versions=versions, next_page_token=token or None)

    async def transition_stage(self, caller: Caller, message: TransitionStage) -> Answer:
        name, version = _checked(message)
        stage, archive = check_not_empty(message.stage, "stage"), message.archive_existing_versions
        if not isinstance(archive, bool):
            raise wrong_type("archive_existing_versions", archive)
        return one(await self._versions.set_stage(caller, name, version, stage, archive_others=archive))

    async def set_tag(self, caller: Caller, message: SetTag) -> Answer:
        name, version = _checked(message)
        tags = checked_tags([Pair(key=check_not_empty(message.key, "key"), value=message.value)])
        await self._versions.set_tag(caller, name, version, message.key, tags[message.key])
        return {}

    async def delete_tag(self, caller: Caller, message: DeleteTag) -> Answer:
        name, version = _checked(message)
        key = check_key(check_not_empty(message.key, "key"), "key")
        await self._versions.delete_tag(caller, name, version, key)
        return {}


def one(version: ModelVersion) -> Answer:
    """A response with one version."""
    return {"model_version": rendered(version)}


def rendered(version: ModelVersion, *, aliases: bool = True) -> Answer:
    """A version in the form of MLflow's message ModelVersion. As in MLflow, versions in lists have no aliases."""
    return without_unset(
        name=version.name,
        version=str(version.version),
        creation_timestamp=to_unix_ms(version.created_at),
        last_updated_timestamp=to_unix_ms(version.updated_at),
        current_stage=version.stage,
        description=version.description,
        source=version.source,
        run_id=version.run_id,
        status="READY",
        tags=pairs(version.tags),
        run_link=version.run_link,
        aliases=version.aliases if aliases else [],
    )


def checked_tags(tags: Sequence[Pair]) -> dict[str, str]:
    """Checks tags of models and versions. If two have the same key, the last one counts, as in MLflow.

    Raises MlflowError."""
    for tag in tags:
        check_key(tag.key, "key")
        check_length(tag.key, "key", MAX_KEY_CHARACTERS)
        check_length(tag.value, "value", MAX_TAG_CHARACTERS)
    return {tag.key: tag.value for tag in tags}


def _checked(message: ByNumber | Update | TransitionStage | SetTag | DeleteTag) -> tuple[str, str]:
    """The name and the version in a message. Raises MlflowError if one is empty."""
    return check_not_empty(message.name, "name"), check_not_empty(message.version, "version")
