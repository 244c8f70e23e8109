"""Runs: messages and handlers, except for search, inputs and what is logged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream_service.mlflow.experiment_ids import BUILT_IN
from runstream_service.mlflow.names import truncated
from runstream_service.mlflow.params_and_tags import MAX_TAG_CHARACTERS
from runstream_service.mlflow.request import Int64, Message, Pair, check_not_empty, wrong_type
from runstream_service.mlflow.run_answers import rendered_info, rendered_run
from runstream_service.mlflow.run_ids import parse_run_id
from runstream_service.mlflow.times import to_us

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.core.runs import Runs
    from runstream_service.mlflow.experiment_ids import ExperimentIds
    from runstream_service.mlflow.run_answers import RunAnswers

Answer = dict[str, Any]

# In the order of MLflow's numbers, which begin at 1.
_STATUSES = ("running", "scheduled", "finished", "failed", "killed")
_NAMES = [status.upper() for status in _STATUSES]


class Create(Message):
    """runs/create."""

    experiment_id: str = ""
    user_id: str = ""
    run_name: str = ""
    start_time: Int64 = 0
    tags: tuple[Pair, ...] = ()


class ById(Message):
    """runs/get, delete and restore."""

    run_id: str


class Update(Message):
    """runs/update."""

    run_id: str
    status: str | int | None = None
    end_time: Int64 | None = None
    run_name: str = ""


class DeleteTag(Message):
    """runs/delete-tag."""

    run_id: str
    key: str


class RunHandlers:
    """One method per route of routes.py."""

    def __init__(self, runs: Runs, ids: ExperimentIds, answers: RunAnswers) -> None:
        self._runs = runs
        self._ids = ids
        self._answers = answers

    async def create(self, caller: Caller, message: Create) -> Answer:
        # As in MLflow, any key is accepted here, unlike in set-tag.
        tags = {
            check_not_empty(tag.key, f"tags[{index}].key"): truncated(
                tag.value, f"tags[{index}].value", MAX_TAG_CHARACTERS
            )
            for index, tag in enumerate(message.tags)
        }
        run = await self._runs.create_in(
            caller,
            await self._ids.parse(caller, message.experiment_id or str(BUILT_IN)),
            name=message.run_name,
            user=message.user_id,
            started_at_unix_us=to_us(message.start_time, "start_time"),
            tags=tags,
        )
        answer = rendered_run(run, [])
        del answer["outputs"]  # in MLflow, a new run has no outputs, but empty inputs
        return {"run": answer}

    async def get(self, caller: Caller, message: ById) -> Answer:
        return {"run": await self._answers.get(caller, parse_run_id(message.run_id))}

    async def update(self, caller: Caller, message: Update) -> Answer:
        run = await self._runs.update(
            caller,
            parse_run_id(message.run_id).hex,
            name=message.run_name,
            status=_status(message.status),
            ended_at_unix_us=None if message.end_time is None else to_us(message.end_time, "end_time"),
        )
        return {"run_info": rendered_info(run)}

    async def delete(self, caller: Caller, message: ById) -> Answer:
        await self._runs.delete(caller, parse_run_id(message.run_id).hex)
        return {}

    async def restore(self, caller: Caller, message: ById) -> Answer:
        await self._runs.restore(caller, parse_run_id(message.run_id).hex)
        return {}

    async def delete_tag(self, caller: Caller, message: DeleteTag) -> Answer:
        key = check_not_empty(message.key, "key")
        await self._runs.delete_tag(caller, parse_run_id(message.run_id).hex, key)
        return {}


def _status(given: str | int | None) -> str | None:
    """The core's status from MLflow's name or number. As in MLflow, an unknown name changes nothing."""
    if isinstance(given, str) and given.isdecimal() and len(given) == 1:
        given = int(given)
    if given is None or isinstance(given, str):
        return _STATUSES[_NAMES.index(given)] if given in _NAMES else None
    if not 1 <= given <= len(_STATUSES):
        raise wrong_type("status", given)
    return _STATUSES[given - 1]
