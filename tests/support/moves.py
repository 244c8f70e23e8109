"""Runs that tests move to other experiments, with their files, models and inputs."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry

from runstream_service.artifacts.files_of_caller import FilesOfCaller
from runstream_service.artifacts.paths import path_of_uri
from runstream_service.artifacts.store import ArtifactStore
from runstream_service.core.caller import Caller, Role
from runstream_service.core.experiments import Experiment, Experiments
from runstream_service.core.inputs import Inputs
from runstream_service.core.logged_models import LoggedModels, NewModel
from runstream_service.core.run_moves import RunMoves
from runstream_service.core.run_rows import Run
from runstream_service.core.runs import Runs
from runstream_service.database.pool import Database
from runstream_service.errors.core import ArtifactNotFound
from runstream_service.retention.metrics import RetentionMetrics
from runstream_service.retention.purge import Purge
from runstream_service.retention.purged_files import PurgedFiles
from tests.support.callers import ANYONE, caller_in

HERE = caller_in(1, Role.MANAGE)


class Things:
    """A run to move, and the experiments."""

    def __init__(self, database: Database, root: Path) -> None:
        self.database = database
        self.root = root
        self.store = ArtifactStore.open(str(root))
        self.experiments = Experiments(database)
        self.runs = Runs(database, self.experiments)
        self.moves = RunMoves(database)
        self.models = LoggedModels(database)
        self.inputs = Inputs(database)
        self.purge = Purge(database, RetentionMetrics(CollectorRegistry()), purge_after_days=0)
        self.purged_files = PurgedFiles(database, self.store)

    async def experiment(self, name: str, *, location: str = "") -> Experiment:
        return await self.experiments.create_new(ANYONE, name, artifact_location=location)

    async def run(self, experiment: Experiment) -> Run:
        return await self.runs.create_in(HERE, experiment.experiment_id, started_at_unix_us=1_700_000_000_000_000)

    async def model(self, run: Run) -> str:
        new = NewModel(experiment_id=run.experiment_id, source_run_id=run.run_id.hex)
        return (await self.models.create(HERE, new)).model_id

    async def move(self, run: Run, experiment: Experiment) -> Run:
        await self.moves.move(HERE, run.run_id.hex, experiment.experiment_id)
        return await self.runs.get(HERE, run.run_id.hex)

    async def purge_all(self) -> None:
        await self.purge.run_once()
        await self.database.execute("UPDATE purged_artifacts SET not_before = now()")
        await self.purged_files.run_once()

    def put(self, uri: str, name: str = "a/file.txt") -> Path:
        """Writes a file as an upload does."""
        path = path_of_uri(uri)
        assert path is not None
        file = self.root / path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("content")
        return file

    async def reads(self, caller: Caller, file: Path) -> bool:
        """Whether a caller, of a replica that has just started, gets a file."""
        try:
            await FilesOfCaller(self.store, self.database).stat(caller, str(file.relative_to(self.root)))
        except ArtifactNotFound:
            return False
        return True
