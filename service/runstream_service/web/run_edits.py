"""Changes runs: their name, tags and note; deletes, restores and moves them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from runstream_service.core.names import parse_run_id
from runstream_service.errors.core import InvalidField, RunNotFound
from runstream_service.web.request import Message
from runstream_service.web.run_answers import rendered_run
from runstream_service.web.runs import ExperimentId

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.core.run_moves import RunMoves
    from runstream_service.core.runs import Runs

Answer = dict[str, Any]

# Where MLflow's UI keeps the description of a run.
NOTE_TAG = "mlflow.note.content"


class EditRun(Message):
    """POST runs/{run_id}/edit. Fields that are left out change nothing; an empty note is deleted."""

    run_id: str = ""
    name: str | None = None
    set_tags: Annotated[dict[str, str], Meta(max_length=1_000)] | None = None
    delete_tags: Annotated[tuple[str, ...], Meta(max_length=1_000)] = ()
    note: str | None = None


class SomeRuns(Message):
    """POST runs/delete and runs/restore."""

    run_ids: Annotated[tuple[str, ...], Meta(min_length=1, max_length=1_000)]


class MoveRuns(SomeRuns):
    """POST runs/move."""

    experiment_id: ExperimentId


class EditHandlers:
    """One method per route of routes.py."""

    def __init__(self, runs: Runs, run_moves: RunMoves) -> None:
        self._runs = runs
        self._run_moves = run_moves

    async def edit(self, caller: Caller, message: EditRun) -> Answer:
        set_tags, delete_tags = dict(message.set_tags or {}), list(message.delete_tags)
        if message.note is not None:
            if NOTE_TAG in (*set_tags, *delete_tags):
                raise InvalidField(
                    f"note: is stored in the tag {NOTE_TAG}, which is changed by set_tags or delete_tags as well; send "
                    "only one of them",
                    field="note",
                )
            if message.note:
                set_tags[NOTE_TAG] = message.note
            else:
                delete_tags.append(NOTE_TAG)
        run = await self._runs.edit(
            caller, message.run_id, name=message.name, set_tags=set_tags, delete_tags=delete_tags
        )
        return {"run": rendered_run(run, None, None, None)}

    async def delete(self, caller: Caller, message: SomeRuns) -> Answer:
        return await self._each(caller, message, self._runs.delete)

    async def restore(self, caller: Caller, message: SomeRuns) -> Answer:
        return await self._each(caller, message, self._runs.restore)

    async def move(self, caller: Caller, message: MoveRuns) -> Answer:
        experiment_id = int(message.experiment_id)
        return await self._each(
            caller, message, lambda caller, run_id: self._run_moves.move(caller, run_id, experiment_id)
        )

    async def _each(
        self, caller: Caller, message: SomeRuns, change: Callable[[Caller, str], Awaitable[None]]
    ) -> Answer:
        """Changes all of the runs; none if one does not exist. The request may be repeated."""
        run_ids = [parse_run_id(run_id, field="run_ids") for run_id in dict.fromkeys(message.run_ids)]
        found = {run.run_id for run in await self._runs.get_many(caller, run_ids)}
        for run_id in run_ids:
            if run_id not in found:
                raise RunNotFound(
                    f"no run with id {run_id.hex}; no run was changed", field="run_ids", subject=run_id.hex
                )
        for run_id in run_ids:
            await change(caller, run_id.hex)
        return {}
