"""Experiments: messages and handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from runstream_service.database.times import to_unix_ms
from runstream_service.errors.core import ExperimentNotFound, InvalidField
from runstream_service.http.mlflow_errors import invalid, not_found
from runstream_service.mlflow.names import MAX_KEY_CHARACTERS, check_key, check_length
from runstream_service.mlflow.request import Message, Pair, check_not_empty
from runstream_service.mlflow.responses import pairs, without_unset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_service.core.caller import Caller
    from runstream_service.core.experiments import Experiment, Experiments
    from runstream_service.mlflow.experiment_ids import ExperimentIds

Answer = dict[str, Any]

MAX_NAME_CHARACTERS = 500
MAX_TAG_CHARACTERS = 20_000
# Each round of unquoting removes one layer of %25.
_MAX_UNQUOTINGS = 10


class Create(Message):
    """experiments/create."""

    name: str
    artifact_location: str = ""
    tags: tuple[Pair, ...] = ()


class ById(Message):
    """experiments/get, delete and restore."""

    experiment_id: str


class GetByName(Message):
    """experiments/get-by-name."""

    experiment_name: str


class Update(Message):
    """experiments/update."""

    experiment_id: str
    new_name: str


class SetTag(Message):
    """experiments/set-experiment-tag."""

    experiment_id: str
    key: str
    value: str = ""


class DeleteTag(Message):
    """experiments/delete-experiment-tag."""

    experiment_id: str
    key: str


class ExperimentHandlers:
    """One method per route of routes.py."""

    def __init__(self, experiments: Experiments, ids: ExperimentIds) -> None:
        self._experiments = experiments
        self._ids = ids

    async def create(self, caller: Caller, message: Create) -> Answer:
        name = _check_name(check_not_empty(message.name, "name"))
        tags = _checked_tags(message.tags)
        created = await self._experiments.create_new(
            caller, name, artifact_location=_check_location(message.artifact_location), tags=tags
        )
        return {"experiment_id": str(created.experiment_id)}

    async def get(self, caller: Caller, message: ById) -> Answer:
        found = await self._experiments.get(caller, experiment_id=await self._ids.parse(caller, message.experiment_id))
        return {"experiment": rendered(caller, found)}

    async def get_by_name(self, caller: Caller, message: GetByName) -> Answer:
        name = check_not_empty(message.experiment_name, "experiment_name")
        try:
            return {"experiment": rendered(caller, await self._experiments.get(caller, name=name))}
        except (ExperimentNotFound, InvalidField) as error:
            # No experiment can have an invalid name.
            raise not_found(f"Could not find experiment with name '{name}'") from error

    async def update(self, caller: Caller, message: Update) -> Answer:
        name = _check_name(check_not_empty(message.new_name, "new_name"))
        await self._experiments.rename(caller, await self._ids.parse(caller, message.experiment_id), name)
        return {}

    async def delete(self, caller: Caller, message: ById) -> Answer:
        await self._experiments.delete(caller, await self._ids.parse(caller, message.experiment_id))
        return {}

    async def restore(self, caller: Caller, message: ById) -> Answer:
        await self._experiments.restore(caller, await self._ids.parse(caller, message.experiment_id))
        return {}

    async def set_tag(self, caller: Caller, message: SetTag) -> Answer:
        experiment_id = await self._ids.parse(caller, message.experiment_id)
        tags = _checked_tags((Pair(key=check_not_empty(message.key, "key"), value=message.value),))
        await self._experiments.set_tag(caller, experiment_id, message.key, tags[message.key])
        return {}

    async def delete_tag(self, caller: Caller, message: DeleteTag) -> Answer:
        key = check_not_empty(message.key, "key")
        await self._experiments.delete_tag(caller, await self._ids.parse(caller, message.experiment_id), key)
        return {}


def rendered(caller: Caller, experiment: Experiment) -> Answer:
    """An experiment in the form of MLflow's message Experiment."""
    return without_unset(
        experiment_id=str(experiment.experiment_id),
        name=experiment.name,
        artifact_location=experiment.artifact_location,
        lifecycle_stage=experiment.lifecycle,
        last_update_time=to_unix_ms(experiment.updated_at),
        creation_time=to_unix_ms(experiment.created_at),
        tags=pairs(experiment.tags),
        workspace=caller.workspace,
    )


def _check_name(name: str) -> str:
    return check_length(name, "name", MAX_NAME_CHARACTERS)


def _check_location(location: str) -> str:
    try:
        parsed = urlparse(location)
    except ValueError as error:
        raise invalid(f"'artifact_location' is not a URI: {error}.") from error
    if parsed.fragment or parsed.params:
        raise invalid("'artifact_location' URL can't include fragments or params.")
    query = parsed.query
    for _ in range(_MAX_UNQUOTINGS):
        query = unquote(query)
    if ".." in query:
        raise invalid("Invalid query string")
    if location.startswith("runs:"):
        raise invalid(f"Artifact location cannot be a runs:/ URI. Given: '{location}'")
    return location


def _checked_tags(tags: Sequence[Pair]) -> dict[str, str]:
    """Checks tags. If two have the same key, the last one counts, as in MLflow."""
    for tag in tags:
        check_key(tag.key, "key")
        check_length(tag.key, "key", MAX_KEY_CHARACTERS)
        check_length(tag.value, "value", MAX_TAG_CHARACTERS)
    return {tag.key: tag.value for tag in tags}
