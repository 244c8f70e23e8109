"""Finds the run that a launch of a job works on: a late rank and a restart join the run of their launch; the next
launch gets a new run."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from runstream_service.core import experiments
from runstream_service.core.caller import PURGED_WORKSPACE_ID
from runstream_service.database.queries import load
from runstream_service.errors.core import InvalidField, RunDeleted, RunInOtherExperiment

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.database.pool import PooledConnection

SQL = load("runs")

MAX_INT32 = 2**31 - 1
MAX_AGE_US = 100 * 365 * 86_400 * 1_000_000
# The next launch does not join a run that no replica has had a stream of for this many seconds of service time
# (liveness/): it was killed. A late rank of a launch that is under way joins it, since the other ranks have streams.
_ABANDONED_AFTER_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What a caller reports about itself: enough to distinguish a late rank, a restart and another launch.

    `derived`: the run id was derived from the launcher's id of the job, which the next launch may have, too. `age_us`:
    how long ago the caller started; 0: unknown, and then no run counts as ended before that.
    """

    rank: int = 0
    attempt: int = 0
    age_us: int = 0
    derived: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOfLaunch:
    """The run for a launch, and whether it exists. If it is not the first launch of that id: the run of the first one,
    and its number among the launches."""

    run_id: UUID
    exists: bool
    first_run_id: UUID | None = None
    launch_number: int = 0


async def run_of_launch(connection: PooledConnection, caller: Caller, run_id: UUID, launch: Launch) -> RunOfLaunch:
    """The run for an id. For a derived id, that is the run of the newest launch, or a new one if that had ended before
    this launch started."""
    if not launch.derived:
        return RunOfLaunch(run_id=run_id, exists=bool(await connection.fetchval(SQL["exists"], run_id)))
    newest = await connection.fetchrow(SQL["newest_launch"], run_id, launch.age_us, _ABANDONED_AFTER_S)
    if newest is not None and newest["workspace_id"] not in (caller.workspace_id, PURGED_WORKSPACE_ID):
        # The launchers of two teams may number their jobs in the same way; their runs must not collide.
        run_id = uuid.uuid5(run_id, f"workspace {caller.workspace_id}")
        newest = await connection.fetchrow(SQL["newest_launch"], run_id, launch.age_us, _ABANDONED_AFTER_S)
    if newest is None:
        return RunOfLaunch(run_id=run_id, exists=False)
    if launch.attempt > 0 or not newest["ended_before"]:
        return RunOfLaunch(run_id=newest["run_id"], exists=True)
    number = newest["launch_number"] + 1
    # All ranks derive the same id, and so find the same row, whichever of them is first.
    return RunOfLaunch(
        run_id=uuid.uuid5(run_id, f"launch {number}"), exists=False, first_run_id=run_id, launch_number=number
    )


async def check_found_run(connection: PooledConnection, caller: Caller, run_id: UUID, experiment: str) -> None:
    """Checks that the run with an id is in the caller's workspace and in the experiment, if the caller names one, and
    is not being purged. A run that was moved may be in any experiment: its job still names the former one.

    Raises:
        RunDeleted, RunInOtherExperiment.
    """
    row = await connection.fetchrow(SQL["get_experiment_of"], run_id)
    if row is None or row["is_purged"]:
        raise RunDeleted(
            f"the run {run_id.hex} was deleted and is being purged; take another id", field="run_id", subject=run_id.hex
        )
    same = not experiment or row["is_moved"] or experiments.takes_place_of(row["experiment"], experiment)
    if not same or row["workspace_id"] != caller.workspace_id:
        raise RunInOtherExperiment(
            f"run_id: {run_id.hex} is not a run of the experiment {experiment or experiments.DEFAULT_NAME!r}, but of "
            "another experiment or workspace; take another id",
            field="run_id",
        )


def check_launch(launch: Launch) -> Launch:
    """Returns the launch. Raises InvalidField if one of its numbers is out of range."""
    for name, value, most in (
        ("rank", launch.rank, MAX_INT32),
        ("attempt", launch.attempt, MAX_INT32),
        ("age_us", launch.age_us, MAX_AGE_US),
    ):
        if not 0 <= value <= most:
            raise InvalidField(f"{name}: {value} is not from 0 to {most}", field=name)
    return launch
