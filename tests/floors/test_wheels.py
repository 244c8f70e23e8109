"""Both wheels, as users install them: at the floors of their dependencies, and the client alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.databases import short_directory
from tests.support.environments import environment, interpreter
from tests.support.floors import floors
from tests.support.markdown import ROOT
from tests.support.rest import Rest
from tests.support.serve import ServeProcess

pytestmark = pytest.mark.timeout(900)  # packages are downloaded within it

LOG_AND_READ = """
import runstream

with runstream.start_run(experiment="floors", name="first", params={"rate": 0.1}) as run:
    for step in range(100):
        run.log({"loss": 1 / (step + 1)}, step=step)
print(runstream.Client().history(run.run_id, "loss").values[99])
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both wheels, built from the source distributions, and from nothing else."""
    base = tmp_path_factory.mktemp("wheels")
    for directory in ("client", "service"):
        for target, place in (("sdist", ROOT / directory), ("wheel", base / "source")):
            build = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(base)]
            subprocess.run(build, cwd=place, check=True, capture_output=True)
            if target == "sdist":
                shutil.rmtree(base / "source", ignore_errors=True)
                (packed,) = base.glob(f"{'runstream_server' if directory == 'service' else 'runstream'}-*.tar.gz")
                shutil.unpack_archive(packed, base, filter="data")
                (base / packed.name.removesuffix(".tar.gz")).rename(base / "source")
                assert (base / "source" / "proto").is_dir() == (directory == "client"), "the contract is the client's"
    return base


def installed(wheels: Path, name: str, packages: dict[str, str], *, python: str, server: bool) -> Path:
    """The `bin` of an environment with our wheels and exactly these versions of what they need."""
    pinned = [f"{package}=={version}" for package, version in packages.items()]
    directory = environment(name, *pinned, python=python).parents[1]
    ours = [str(wheel) for wheel in wheels.glob("*.whl") if server or not wheel.name.startswith("runstream_server")]
    pip = [sys.executable, "-m", "pip", "--python", str(directory)]
    again = [*pip, "install", "--quiet", "--force-reinstall", "--no-deps", *ours]
    subprocess.run(again, check=True, capture_output=True)
    done = subprocess.run([*pip, "check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return directory / "bin"


@pytest.fixture(scope="module")
def programs(wheels: Path) -> Path:
    """The server, at the floors of both distributions."""
    oldest = {**floors("client", "cli", "tensorboard"), **floors("service")}
    oldest.pop("tomli")
    return installed(wheels, "floors-server", oldest, python=sys.executable, server=True)


@pytest.fixture(scope="module")
def serve(programs: Path) -> Iterator[ServeProcess]:
    """The installed command, at work."""
    with (
        short_directory() as directory,
        ServeProcess(directory / "data", command=[str(programs / "runstream")]) as process,
    ):
        yield process


def run(program: Path, *arguments: str, serve: ServeProcess, directory: Path) -> subprocess.CompletedProcess[str]:
    """Runs a program of an environment, with nothing of this source tree in sight."""
    variables = {"PATH": os.environ["PATH"], "RUNSTREAM_ADDRESS": serve.grpc_address, "RUNSTREAM_DIR": str(directory)}
    command = [str(program), *arguments]
    return subprocess.run(
        command, cwd=directory, env=variables, capture_output=True, text=True, check=False, timeout=120
    )


def test_the_server_works_at_the_oldest_versions_it_allows(programs: Path, serve: ServeProcess, tmp_path: Path) -> None:
    """Over gRPC, MLflow's routes and the page; and the command line."""
    logged = run(programs / "python", "-W", "error", "-c", LOG_AND_READ, serve=serve, directory=tmp_path)
    assert (logged.returncode, logged.stdout) == (0, "0.01\n"), logged.stderr
    rest = Rest(serve.http_url)
    found = rest.post("runs/search", {"experiment_ids": ["1"], "filter": "metrics.loss < 1 and params.rate = '0.1'"})
    assert [one["info"]["run_name"] for one in found.body["runs"]] == ["first"]
    rest.close()
    for page in ("/", "/metrics", "/readyz"):
        assert serve.get(page)[0] == 200, page
    for command in (("ls",), ("ls", "floors"), ("show", "first"), ("plot", "first", "loss"), ("doctor",), ("--help",)):
        done = run(programs / "runstream", *command, serve=serve, directory=tmp_path)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        assert "not installed" not in done.stdout, command
    status = run(programs / "runstream", "status", "--database", serve.database_url, serve=serve, directory=tmp_path)
    assert status.returncode == 0, status.stderr


@pytest.mark.parametrize("python", ["python3.10", "python3.13"])
def test_the_client_alone_logs_and_reads(wheels: Path, serve: ServeProcess, python: str, tmp_path: Path) -> None:
    executable = interpreter(python)
    if executable is None:
        pytest.skip(f"no {python} on this machine: neither on the path nor from pyenv or uv")
    oldest = floors("client")
    if python != "python3.10":
        oldest.pop("tomli")
    programs = installed(wheels, f"floors-client-{python}", oldest, python=executable, server=False)
    # Not with -W error: protobuf 4.25 makes Python 3.13 warn of its extension.
    logged = run(programs / "python", "-c", LOG_AND_READ, serve=serve, directory=tmp_path)
    assert (logged.returncode, logged.stdout) == (0, "0.01\n"), logged.stderr
    done = run(programs / "runstream", "ls", serve=serve, directory=tmp_path)
    assert done.stderr == (
        "runstream: click is not installed here; this command comes with: pip install 'runstream[cli]'\n"
    )
