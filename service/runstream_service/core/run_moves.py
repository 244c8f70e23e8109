"""Moves runs to other experiments of their workspace.

A run moves with its points, params, tags, inputs, and the logged models that it made in its present experiment. Its
files and those of the models stay where they are (`files_experiment_id`), so that their URIs stay valid. Its child runs
stay in their experiment.

Locks are taken in the same order as everywhere: first the target experiment, shared, as for a run that is created in
it; then the run. So a deletion of either happens completely before the move, which is then refused, or completely after
it. The experiment that the run leaves is not locked: its deletion locks its runs, and either has this run among them or
not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_service.core import audit, experiments
from runstream_service.core.names import parse_run_id
from runstream_service.core.runs import lock_active_run
from runstream_service.database.queries import load
from runstream_service.errors.core import ExperimentNotFound

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.database.pool import Database

SQL = load("moves")


class RunMoves:
    """Moves runs. All methods also raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def move(self, caller: Caller, run_id: str, experiment_id: int) -> None:
        """Moves an active run to an active experiment. Does nothing if the run is in it already.

        Raises:
            InvalidField, RunNotFound, RunDeleted, ExperimentDeleted.
            ExperimentNotFound: also for an experiment of another workspace.
        """
        uid = parse_run_id(run_id, field="run_id")
        async with self._database.transaction() as connection:
            try:
                await experiments.lock_active(connection, caller, experiment_id, shared=True)
            except ExperimentNotFound as error:
                raise ExperimentNotFound(
                    f"{error.message} in this workspace; a run cannot be moved to another workspace",
                    field="experiment_id",
                    subject=experiment_id,
                ) from error
            await lock_active_run(connection, caller, uid, exclusive=True)
            before: int = await connection.fetchval(SQL["experiment_of"], uid)
            if before == experiment_id:
                return
            await connection.execute(SQL["move_run"], uid, experiment_id)
            models = await connection.fetchval(SQL["move_models"], uid, before, experiment_id)
            await connection.execute(SQL["copy_datasets"], uid, experiment_id)
            await connection.execute(SQL["move_inputs"], uid, experiment_id)
            await audit.record(
                connection, caller, "run_moved", uid.hex, from_experiment=before, to_experiment=experiment_id,
                models=models,
            )  # fmt: skip
