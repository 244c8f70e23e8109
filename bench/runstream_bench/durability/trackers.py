"""How each tracker is installed and configured. Versions are fixed here: one place to change for a newer table."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from runstream_bench.durability.names import TRACKERS
from runstream_bench.durability.servers import Stack, postgres, server_of
from runstream_bench.mlflow_servers import database, environment
from runstream_bench.server_process import free_port

MLFLOW = ("mlflow==3.17.2", "psycopg2-binary==2.9.13")
FASTTRACKML = ("FastTrackML==0.6.0", "mlflow==2.22.5")
TRACKIO = ("trackio==0.43.0",)
AIM = ("aim==3.29.1",)


@dataclass(frozen=True, slots=True)
class Places:
    """Where the tracker's programs are, where its server has its files, and the disk of the machine that trains."""

    programs: Path
    directory: Path
    local: Path


Starter = Callable[[Places], Awaitable[Stack]]

# Settings of the user and of launchers would change what is measured.
_FOREIGN = ("RUNSTREAM_", "MLFLOW_", "TRACKIO_", "AIM_", "__AIM", "FML_", "SLURM_", "OMPI_", "TORCHELASTIC_", "HF_")
_LAUNCHERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "PYTHONPATH")


@dataclass(frozen=True, slots=True)
class Tracker:
    """One way to use a tracker. `client` is a name of programs/clients.py; no `packages`: what runs this has it."""

    name: str
    client: str
    packages: tuple[str, ...]
    start: Starter
    has_server: bool = True
    has_database: bool = False
    joins: bool = True  # whether several processes may log to one run

    @property
    def what(self) -> str:
        """How it is configured."""
        return TRACKERS[self.name]

    def programs(self) -> Path:
        """The directory of its Python and its commands; installs it, the first time.

        Raises:
            NotInstalled: pip could not.
        """
        if not self.packages:
            return Path(sys.executable).parent
        return environment(f"durability-{self.packages[0].partition('==')[0].lower()}", self.packages)

    def versions(self) -> str:
        """The versions of its packages, for the table."""
        packages = self.packages or (f"runstream=={version('runstream')}",)
        return " and ".join(package.replace("==", " ") for package in packages)


async def _runstream(places: Places) -> Stack:
    directory = places.directory
    server_database = await postgres(directory)
    grpc, http = free_port(), free_port()
    command = [sys.executable, "-m", "runstream_service", "serve", "--log-format", "json", "--database"]
    command += [server_database.url, "--grpc-listen", f"127.0.0.1:{grpc}", "--http-listen", f"127.0.0.1:{http}"]
    command += ["--data-dir", str(directory / "data")]
    server = server_of(command, clean_environment(directory), directory, f"http://127.0.0.1:{http}/readyz")
    journals = {"RUNSTREAM_DIR": str(places.local / "journals")}
    return Stack(f"127.0.0.1:{grpc}", server, server_database, environment=journals)


async def _runstream_mlflow(places: Places) -> Stack:
    stack = await _runstream(places)
    assert stack.server is not None
    stack.address = stack.server.ready_url.removesuffix("/readyz")
    return stack


async def _mlflow(places: Places) -> Stack:
    return _mlflow_server(places, ())


async def _mlflow_postgres(places: Places) -> Stack:
    return await _on_postgres(places, _mlflow_server, "--backend-store-uri", "postgresql+psycopg2:")


def _mlflow_server(places: Places, more: tuple[str, ...]) -> Stack:
    """With one worker, not four: there is one trainer, and the start is quicker, which makes each outage shorter.
    Without its processes for background jobs, which only take time from it here."""
    directory, url = places.directory, f"http://127.0.0.1:{(port := free_port())}"
    command = [str(places.programs / "python"), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", *more]
    variables = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    server = server_of(command, clean_environment(directory) | variables, directory, f"{url}/health")
    return Stack(url, server, environment={"MLFLOW_DISABLE_TELEMETRY": "true"})


async def _fasttrackml(places: Places) -> Stack:
    return _fml_server(places, ())


async def _fasttrackml_postgres(places: Places) -> Stack:
    return await _on_postgres(places, _fml_server, "--database-uri", "postgres:")


def _fml_server(places: Places, more: tuple[str, ...]) -> Stack:
    directory, url = places.directory, f"http://127.0.0.1:{(port := free_port())}"
    command = [str(places.programs / "fml"), "server", "--listen-address", f"127.0.0.1:{port}", *more]
    command += ["--default-artifact-root", str(directory / "artifacts")]
    ready = f"{url}/api/2.0/mlflow/experiments/get?experiment_id=0"
    return Stack(url, server_of(command, clean_environment(directory), directory, ready))


async def _on_postgres(
    places: Places, start: Callable[[Places, tuple[str, ...]], Stack], option: str, scheme: str
) -> Stack:
    """The tracker, on a database of its own, whose URL has the scheme that it expects."""
    server_database = await postgres(places.directory)
    url = (await database(server_database.url, "tracker")).replace("postgresql:", scheme, 1)
    stack = start(places, (option, url))
    stack.database = server_database
    return stack


async def _trackio(places: Places) -> Stack:
    variables = {"TRACKIO_DIR": str(places.local / "trackio")}
    return Stack(str(places.local), environment=variables)


async def _trackio_server(places: Places) -> Stack:
    directory, port = places.directory, free_port()
    ours = {"TRACKIO_DIR": str(directory / "trackio-server")}
    variables = {**ours, "TRACKIO_WRITE_TOKEN": "bench", "GRADIO_SERVER_PORT": str(port)}
    command = [str(places.programs / "trackio"), "show", "--host", "127.0.0.1"]
    server = server_of(command, clean_environment(directory) | variables, directory, f"http://127.0.0.1:{port}/version")
    client = {"TRACKIO_DIR": str(places.local / "trackio"), "TRACKIO_WRITE_TOKEN": "bench"}
    return Stack(f"http://127.0.0.1:{port}", server, environment=client, reading=ours)


async def _aim(places: Places) -> Stack:
    repository = places.local / "aim"
    repository.mkdir()
    return Stack(str(repository), directory=str(repository))


async def _aim_server(places: Places) -> Stack:
    repository = places.directory / "aim"
    repository.mkdir()
    directory, port = places.directory, free_port()
    command = [str(places.programs / "aim"), "server", "--yes", "--repo", str(repository), "--host", "127.0.0.1"]
    command += ["--port", str(port)]
    server = server_of(command, clean_environment(directory), directory, f"http://127.0.0.1:{port}/status/")
    return Stack(f"aim://127.0.0.1:{port}", server, directory=str(repository))


def clean_environment(home: Path) -> dict[str, str]:
    """The environment of any process: no settings of the user, and a home directory of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    for name in _LAUNCHERS:
        kept.pop(name, None)
    # Of trackers that count their users, or look for a newer version.
    quiet = {"HF_HUB_OFFLINE": "1", "AIM_DISABLE_TELEMETRY": "1", "PYTHONUNBUFFERED": "1"}
    return {**kept, **quiet, "HOME": str(home), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def all_trackers() -> dict[str, Tracker]:
    """By name, in the order of the table."""
    trackers = (
        Tracker("runstream", "runstream", (), _runstream, has_database=True),
        Tracker("runstream-mlflow", "mlflow", MLFLOW, _runstream_mlflow, has_database=True),
        Tracker("mlflow", "mlflow", MLFLOW, _mlflow),
        Tracker("mlflow-postgres", "mlflow", MLFLOW, _mlflow_postgres, has_database=True),
        Tracker("mlflow-async", "mlflow-async", MLFLOW, _mlflow_postgres, has_database=True),
        Tracker("fasttrackml", "mlflow", FASTTRACKML, _fasttrackml),
        Tracker("fasttrackml-postgres", "mlflow", FASTTRACKML, _fasttrackml_postgres, has_database=True),
        Tracker("trackio", "trackio", TRACKIO, _trackio, has_server=False),
        Tracker("trackio-server", "trackio", TRACKIO, _trackio_server),
        Tracker("aim", "aim", AIM, _aim, has_server=False),
        Tracker("aim-server", "aim", AIM, _aim_server),
    )
    return {tracker.name: tracker for tracker in trackers}
