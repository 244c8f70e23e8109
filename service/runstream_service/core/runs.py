"""Runs with their params and tags. Every write may be repeated, also by all ranks of a job at the same time."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from runstream_service.core import audit, experiments
from runstream_service.core.launches import Launch, check_found_run, check_launch, run_of_launch
from runstream_service.core.names import check_entries, check_name, check_storable, check_text, parse_run_id
from runstream_service.core.pages import check_page_size, make_token, read_token
from runstream_service.core.run_names import generate_run_name
from runstream_service.core.run_rows import Run, run_of, whole_run_of
from runstream_service.database.queries import load
from runstream_service.database.times import to_datetime, to_datetime_or_none, to_unix_us
from runstream_service.errors.core import (
    InvalidField,
    NotFound,
    ParamChange,
    ParamChanged,
    RunDeleted,
    RunNotFound,
)

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.core.experiments import Experiments
    from runstream_service.database.pool import Database, PooledConnection

log = structlog.get_logger()

SQL = load("runs")

MAX_NAME_CHARACTERS = 500
MAX_USER_CHARACTERS = 256
MAX_PARAM_CHARACTERS = 6_000
MAX_TAG_CHARACTERS = 8_000
MAX_DELETED_KEYS = 1_000
# How many of the deleted keys the audit log names, and how many characters of each.
_AUDITED_KEYS, _AUDITED_KEY_CHARACTERS = 10, 100
END_STATUSES = ("finished", "failed", "killed")
STATUSES = ("running", "scheduled", *END_STATUSES)
# MLflow's tag for the name of a run. It is not stored as a tag: setting it renames the run.
NAME_TAG = "mlflow.runName"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """The arguments for a new run. Empty texts and 0 mean that the caller did not choose a value."""

    run_id: str = ""
    experiment: str = ""
    name: str = ""
    user: str = ""
    start_time_unix_us: int = 0
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    launch: Launch = field(default_factory=Launch)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedRun:
    """The run that `Runs.create` found or created. The flags are those of CreateRunResponse (run.proto)."""

    run: Run
    created: bool
    attempt_has_points: bool


class Runs:
    """Creates, reads, changes and deletes runs. All methods also raise DatabaseUnavailable, and InvalidField for a run
    id that is not 32 lower-case hex digits."""

    def __init__(self, database: Database, experiments_: Experiments) -> None:
        self._database = database
        self._experiments = experiments_

    async def create(self, caller: Caller, new: NewRun) -> CreatedRun:
        """Creates a run, or returns the existing run of that id or launch (launches.py). Rank 0 sets an ended run to
        running again.

        Raises:
            InvalidField, ExperimentDeleted, RunDeleted.
            RunInOtherExperiment: the id belongs to a run of another experiment or workspace.
        """
        run_id = parse_run_id(new.run_id, field="run_id") if new.run_id else uuid.uuid4()
        check_text(new.name, field="name", max_characters=MAX_NAME_CHARACTERS)
        check_text(new.user, field="user", max_characters=MAX_USER_CHARACTERS)
        started_at = to_datetime_or_none(new.start_time_unix_us, field="start_time_unix_us")
        params = check_entries(new.params, field="params", max_value_characters=MAX_PARAM_CHARACTERS)
        name, tags = _named(new.name, check_entries(new.tags, field="tags", max_value_characters=MAX_TAG_CHARACTERS))
        launch = check_launch(new.launch)
        async with self._database.transaction() as connection:
            target = await run_of_launch(connection, caller, run_id, launch)
            created = False
            if not target.exists:
                experiment = await experiments.find_or_create_for_run(
                    connection, caller, new.experiment or experiments.DEFAULT_NAME, field="experiment"
                )
                # Waits for another rank that is creating the same run. Either the other one rolls back and this one
                # inserts, or the other one commits and the query below sees the whole run.
                inserted = await connection.fetchval(
                    SQL["insert_launch"],
                    target.run_id, experiment.experiment_id, name, new.user, started_at,
                    launch.attempt if launch.rank == 0 else 0, target.first_run_id, target.launch_number,
                )  # fmt: skip
                created = inserted is not None
            if created:
                await _insert_params(connection, target.run_id, params)
                await _upsert_tags(connection, target.run_id, tags)
            else:
                await check_found_run(connection, caller, target.run_id, new.experiment)
                if launch.rank == 0:
                    await connection.execute(SQL["resume"], target.run_id, launch.attempt, launch.age_us)
            run = await _get(connection, caller, target.run_id)
            has_points = not created and await connection.fetchval(
                SQL["attempt_has_points"], target.run_id, launch.rank, launch.attempt, launch.age_us
            )
        if run.lifecycle == "deleted":
            raise _deleted(target.run_id)
        _log_created(created, run, run_id, new)
        return CreatedRun(run=run, created=created, attempt_has_points=bool(has_points))

    async def create_in(
        self,
        caller: Caller,
        experiment_id: int,
        *,
        name: str = "",
        user: str = "",
        started_at_unix_us: int,
        tags: Mapping[str, str] | None = None,
    ) -> Run:
        """Creates a run with a new id in an existing experiment.

        Raises:
            InvalidField, ExperimentNotFound, ExperimentDeleted.
        """
        check_text(name, field="name", max_characters=MAX_NAME_CHARACTERS)
        check_text(user, field="user", max_characters=MAX_USER_CHARACTERS)
        started_at = to_datetime(started_at_unix_us, field="start_time")
        checked = check_entries(tags or {}, field="tags", max_value_characters=MAX_TAG_CHARACTERS)
        run_id = uuid.uuid4()
        async with self._database.transaction() as connection:
            await experiments.lock_active(connection, caller, experiment_id, shared=True)
            name, checked = _named(name, checked)
            await connection.execute(SQL["insert"], run_id, experiment_id, name, user, started_at)
            await _upsert_tags(connection, run_id, checked)
            return await _get(connection, caller, run_id)

    async def get(self, caller: Caller, run_id: str) -> Run:
        """Returns a run with its params and tags, even if it is deleted.

        Raises:
            InvalidField, RunNotFound.
        """
        async with self._database.acquire() as connection:
            return await _get(connection, caller, parse_run_id(run_id, field="run_id"))

    async def get_many(self, caller: Caller, run_ids: Sequence[UUID]) -> list[Run]:
        """Returns runs with their params and tags, in the order of the ids. Runs that do not exist are left out."""
        rows = await self._database.fetch(SQL["get"], caller.workspace_id, run_ids)
        found = {row["run_id"]: row for row in rows}
        return [whole_run_of(found[run_id]) for run_id in run_ids if run_id in found]

    async def last_commits(self, caller: Caller, run_ids: Sequence[UUID]) -> dict[UUID, datetime]:
        """When points were last committed over gRPC, for those of some runs that are running and have points."""
        rows = await self._database.fetch(SQL["last_commits"], caller.workspace_id, run_ids)
        return {row["run_id"]: row["committed_at"] for row in rows}

    async def list(
        self, caller: Caller, experiment_id: int, *, page_size: int, page_token: str
    ) -> tuple[list[Run], str]:
        """One page of an experiment's active runs, newest first, without params and tags; and the token of the next
        page.

        Raises:
            InvalidField, ExperimentNotFound.
        """
        size = check_page_size(page_size)
        of = f"runs of {experiment_id}"
        after = read_token(page_token, of=of, shape=(int, str))
        await self._experiments.get(caller, experiment_id=experiment_id)
        started_at = to_datetime(after[0], field="page_token") if after else None
        run_id = parse_run_id(after[1], field="page_token") if after else None
        rows = await self._database.fetch(SQL["list_active"], experiment_id, started_at, run_id, size + 1)
        page = [run_of(row) for row in rows[:size]]
        if len(rows) <= size:
            return page, ""
        return page, make_token(of=of, after=[to_unix_us(page[-1].started_at), page[-1].run_id.hex])

    async def finish(
        self, caller: Caller, run_id: str, *, status: str, end_time_unix_us: int, attempt: int | None = None
    ) -> None:
        """Sets the end status and the end time (0: now, or the time of an earlier call with this status). A deleted run
        is changed, too, since it may be restored. The end of an attempt that is not the newest is ignored.

        Raises:
            InvalidField, RunNotFound.
        """
        if status not in END_STATUSES:
            raise InvalidField("status: must be FINISHED, FAILED or KILLED", field="status")
        ended_at = to_datetime_or_none(end_time_unix_us, field="end_time_unix_us")
        uid = parse_run_id(run_id, field="run_id")
        async with self._database.transaction() as connection:
            await _lock(connection, caller, uid)
            await connection.execute(SQL["finish"], uid, status, ended_at, attempt)

    async def update(
        self,
        caller: Caller,
        run_id: str,
        *,
        name: str = "",
        status: str | None = None,
        ended_at_unix_us: int | None = None,
    ) -> Run:
        """Changes name, status or end time of a run. An end time of 0 removes the end time. Returns the whole run.

        Raises:
            InvalidField, RunNotFound, RunDeleted.
        """
        uid = parse_run_id(run_id, field="run_id")
        check_text(name, field="name", max_characters=MAX_NAME_CHARACTERS)
        if status is not None and status not in STATUSES:
            raise InvalidField(f"status: must be one of {', '.join(STATUSES)}", field="status")
        ended_at = to_datetime_or_none(ended_at_unix_us or 0, field="end_time")
        async with self._database.transaction() as connection:
            await _lock_active(connection, caller, uid, SQL["lifecycle_for_update"])
            await connection.execute(SQL["update"], uid, name or None, status, ended_at, ended_at_unix_us is not None)
            return await _get(connection, caller, uid)

    async def edit(
        self,
        caller: Caller,
        run_id: str,
        *,
        name: str | None = None,
        set_tags: Mapping[str, str] | None = None,
        delete_tags: Sequence[str] = (),
    ) -> Run:
        """Changes the name and tags of a run, all or nothing. A tag to delete need not exist. Returns the whole run.

        Raises:
            InvalidField, RunNotFound, RunDeleted.
        """
        uid = parse_run_id(run_id, field="run_id")
        if name is not None:
            check_name(name, field="name", max_characters=MAX_NAME_CHARACTERS)
        checked = check_entries(set_tags or {}, field="set_tags", max_value_characters=MAX_TAG_CHARACTERS)
        for key in delete_tags:
            check_storable(key, field="delete_tags")
        if NAME_TAG in (*checked, *delete_tags):
            field = "set_tags" if NAME_TAG in checked else "delete_tags"
            raise InvalidField(f"{field}: {NAME_TAG} is the name of the run; change it with `name`", field=field)
        if both := checked.keys() & set(delete_tags):
            raise InvalidField(
                f"delete_tags: {min(both)[:80]!r} is in set_tags, too; a tag can be set or deleted", field="delete_tags"
            )
        async with self._database.transaction() as connection:
            await _lock_active(connection, caller, uid, SQL["lifecycle_for_update"])
            if name is not None:
                await connection.execute(SQL["update"], uid, name, None, None, False)
            await _upsert_tags(connection, uid, checked)
            if delete_tags:
                await connection.execute(SQL["delete_tags"], uid, sorted(set(delete_tags)))
            return await _get(connection, caller, uid)

    async def log_params(self, caller: Caller, run_id: str, params: Mapping[str, str]) -> None:
        """Writes params, all or none. A param that exists must have the same value.

        Raises:
            InvalidField, RunNotFound, RunDeleted.
            ParamChanged: a param has another value already.
        """
        uid = parse_run_id(run_id, field="run_id")
        checked = check_entries(params, field="params", max_value_characters=MAX_PARAM_CHARACTERS)
        async with self._database.transaction() as connection:
            await lock_active_run(connection, caller, uid)
            await _insert_params(connection, uid, checked)

    async def set_tags(self, caller: Caller, run_id: str, tags: Mapping[str, str]) -> None:
        """Sets tags, replacing earlier values. NAME_TAG renames the run.

        Raises:
            InvalidField, RunNotFound, RunDeleted.
        """
        uid = parse_run_id(run_id, field="run_id")
        checked = check_entries(tags, field="tags", max_value_characters=MAX_TAG_CHARACTERS)
        name = check_text(checked.pop(NAME_TAG, ""), field=NAME_TAG, max_characters=MAX_NAME_CHARACTERS)
        # An exclusive lock from the start: two renamings that upgrade a shared lock would deadlock.
        lock = SQL["lifecycle_for_update" if name else "lifecycle_for_share"]
        async with self._database.transaction() as connection:
            await _lock_active(connection, caller, uid, lock)
            if name:
                await connection.execute(SQL["update"], uid, name, None, None, False)
            await _upsert_tags(connection, uid, checked)

    async def append_to_tag(self, caller: Caller, run_id: str, key: str, append: Callable[[str | None], str]) -> None:
        """Replaces the value of a tag by what `append` returns for its present value (None: there is no such tag).
        Concurrent calls run one after the other.

        Raises:
            InvalidField, RunNotFound, RunDeleted; and what `append` raises.
        """
        uid = parse_run_id(run_id, field="run_id")
        async with self._database.transaction() as connection:
            await _lock_active(connection, caller, uid, SQL["lifecycle_for_update"])
            value = append(await connection.fetchval(SQL["get_tag"], uid, key))
            checked = check_entries({key: value}, field="tags", max_value_characters=MAX_TAG_CHARACTERS)
            await _upsert_tags(connection, uid, checked)

    async def delete_tag(self, caller: Caller, run_id: str, key: str) -> None:
        """Deletes a tag. For NAME_TAG this does nothing, since every run has a name.

        Raises:
            InvalidField, RunNotFound, RunDeleted.
            NotFound: the run has no such tag.
        """
        uid = parse_run_id(run_id, field="run_id")
        check_storable(key, field="key")
        async with self._database.transaction() as connection:
            await lock_active_run(connection, caller, uid)
            if key != NAME_TAG and await connection.execute(SQL["delete_tag"], uid, key) == "DELETE 0":
                raise NotFound(f"No tag with name: {key} in run with id {uid.hex}", field="key", subject=key)

    async def delete(self, caller: Caller, run_id: str) -> None:
        """Marks a run as deleted and fences its producers, in one transaction: no points are accepted afterwards.

        Raises:
            InvalidField, RunNotFound.
        """
        uid = parse_run_id(run_id, field="run_id")
        async with self._database.transaction() as connection:
            # open_producer locks the run, too: a stream is opened either before this (and is fenced) or after it (and
            # is refused).
            await _lock(connection, caller, uid)
            marked = await connection.execute(SQL["mark_deleted"], uid)
            producers = await connection.fetch(SQL["lock_producers"], uid)
            await connection.execute(SQL["fence_producers"], uid)
            if marked != "UPDATE 0":
                await audit.record(connection, caller, "run_deleted", uid.hex, producers=len(producers))

    async def delete_series(self, caller: Caller, run_id: str, keys: Sequence[str]) -> int:
        """Deletes all points of some keys of a run, for good: no read returns them from then on. Returns the number of
        series.

        Raises:
            InvalidField, RunNotFound.
        """
        uid = parse_run_id(run_id, field="run_id")
        if not 1 <= len(keys) <= MAX_DELETED_KEYS:
            raise InvalidField(f"keys: has {len(keys):,} keys; 1 to {MAX_DELETED_KEYS:,} are allowed", field="keys")
        if any("\0" in key for key in keys):
            raise InvalidField("keys: a key has a NUL character", field="keys")
        async with self._database.transaction() as connection:
            if await connection.fetchval(SQL["lock_run"], caller.workspace_id, uid) is None:
                raise _not_found(uid)
            if not await connection.fetchval(SQL["has_series"], uid, list(keys)):
                return 0
            # Lock the ledger rows first. A group commit that holds them ends before the mark is made, so the mark
            # covers its epoch; a group commit that locks them later is fenced. So no point of these series can be
            # stored in an epoch later than that of the mark, whatever epochs are opened in the meantime.
            await connection.execute(SQL["lock_producers"], uid)
            marked = await connection.execute(SQL["mark_series"], uid, list(keys))
            # The generation is to writes over HTTP what the session is to streams: writes that looked up these series
            # before have to look them up again.
            await connection.execute(SQL["raise_generation"], uid)
            await connection.execute(SQL["fence_producers"], uid)
            count = int(marked.removeprefix("UPDATE "))
            first_keys = [key[:_AUDITED_KEY_CHARACTERS] for key in keys[:_AUDITED_KEYS]]
            await audit.record(connection, caller, "series_deleted", uid.hex, series=count, first_keys=first_keys)
        return count

    async def restore(self, caller: Caller, run_id: str) -> None:
        """Restores a deleted run. Its fenced producers open their streams again automatically.

        Raises:
            InvalidField, RunNotFound.
        """
        uid = parse_run_id(run_id, field="run_id")
        async with self._database.transaction() as connection:
            await _lock(connection, caller, uid)
            if await connection.execute(SQL["mark_active"], uid) != "UPDATE 0":
                await audit.record(connection, caller, "run_restored", uid.hex)


async def _lock(connection: PooledConnection, caller: Caller, run_id: UUID) -> None:
    if await connection.fetchval(SQL["lifecycle_for_update"], caller.workspace_id, run_id) is None:
        raise _not_found(run_id)


async def lock_active_run(
    connection: PooledConnection, caller: Caller, run_id: UUID, *, exclusive: bool = False
) -> None:
    """Locks an active run against deletion until the transaction ends. Others may write to it meanwhile, unless the
    lock is `exclusive`.

    Raises:
        RunNotFound, RunDeleted.
    """
    await _lock_active(connection, caller, run_id, SQL["lifecycle_for_update" if exclusive else "lifecycle_for_share"])


def _log_created(created: bool, run: Run, asked: UUID, new: NewRun) -> None:
    """Logs, once per run, if a new run has another id or experiment than the caller asked for."""
    if created and run.run_id != asked:
        log.info(
            "A launch came with the run id of an earlier one that had ended, or of another workspace; it got a new run",
            action="run_of_next_launch",
            run_id=run.run_id.hex,
            first_run_id=asked.hex,
        )
    if created and run.experiment != (new.experiment or experiments.DEFAULT_NAME):
        log.warning(
            f"A run was created in {run.experiment!r}, since the experiment {new.experiment[:80]!r} is deleted",
            action="run_in_numbered_experiment",
            run_id=run.run_id.hex,
            experiment=run.experiment,
        )


async def _get(connection: PooledConnection, caller: Caller, run_id: UUID) -> Run:
    row = await connection.fetchrow(SQL["get"], caller.workspace_id, [run_id])
    if row is None:
        raise _not_found(run_id)
    return whole_run_of(row)


async def _lock_active(connection: PooledConnection, caller: Caller, run_id: UUID, query: str) -> None:
    """Locks a run's lifecycle until the transaction ends. Raises RunNotFound, RunDeleted."""
    lifecycle = await connection.fetchval(query, caller.workspace_id, run_id)
    if lifecycle is None:
        raise _not_found(run_id)
    if lifecycle == "deleted":
        raise _deleted(run_id)


async def _insert_params(connection: PooledConnection, run_id: UUID, params: dict[str, str]) -> None:
    if not params:
        return
    keys, values = list(params), list(params.values())
    await connection.execute(SQL["insert_params"], run_id, keys, values)
    rows = await connection.fetch(SQL["find_changed_params"], run_id, keys, values)
    stored: dict[str, str] = {row["key"]: row["value"] for row in rows}
    if stored:
        changes = [ParamChange(key, stored[key], value) for key, value in params.items() if key in stored]
        key, old, new = changes[0]
        raise ParamChanged(
            f"params: {key!r} is {old[:80]!r} already, not {new[:80]!r}; params cannot be changed",
            field="params",
            subject=run_id.hex,
            changes=changes,
        )


async def _upsert_tags(connection: PooledConnection, run_id: UUID, tags: dict[str, str]) -> None:
    if tags:
        await connection.execute(SQL["upsert_tags"], run_id, list(tags), list(tags.values()))


def _not_found(run_id: UUID) -> RunNotFound:
    return RunNotFound(f"no run with id {run_id.hex}", field="run_id", subject=run_id.hex)


def _deleted(run_id: UUID) -> RunDeleted:
    return RunDeleted(f"the run {run_id.hex} is deleted; restore it first", field="run_id", subject=run_id.hex)


def _named(name: str, tags: dict[str, str]) -> tuple[str, dict[str, str]]:
    """The name of a new run, and its tags without NAME_TAG. The name is `name`, that of the tag, or a generated one."""
    tag = check_text(tags.get(NAME_TAG, ""), field=NAME_TAG, max_characters=MAX_NAME_CHARACTERS)
    if name and tag and name != tag:
        raise InvalidField(
            f"Both 'run_name' argument and '{NAME_TAG}' tag are specified, but with different values "
            f"(run_name='{name}', {NAME_TAG}='{tag}').",
            field="name",
        )
    others = {key: value for key, value in tags.items() if key != NAME_TAG}
    return name or tag or generate_run_name(), others
