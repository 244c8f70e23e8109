"""A person and a training job at a service that asks for tokens: login, doctor, tracking URIs, an expired token."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import runstream
from tests.support import preloaded
from tests.support.access import AUTH, make_token, make_workspace
from tests.support.agents import end_agents
from tests.support.databases import short_directory
from tests.support.polling import until_now
from tests.support.rest import Rest
from tests.support.serve import COMMAND, ServeProcess, command_environment


@pytest.fixture(scope="module")
def serve() -> Iterator[ServeProcess]:
    with short_directory() as directory, ServeProcess(directory / "data", arguments=AUTH) as running:
        make_workspace(running, "team-a")
        yield running


@pytest.fixture(scope="module")
def token(serve: ServeProcess) -> str:
    return make_token(serve, name="ci", workspace="team-a")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The environment of a person with an empty home directory."""
    return command_environment({"XDG_CONFIG_HOME": str(tmp_path / "config"), "RUNSTREAM_DIR": str(tmp_path / "state")})


def command(environ: dict[str, str], *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return preloaded.run([*COMMAND, *arguments], environ, text_input=stdin)


def checks_of(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    return {check["check"]: check for check in json.loads(done.stdout)["checks"]}


def test_a_person_logs_in_once_and_out_again(serve: ServeProcess, token: str, environ: dict[str, str]) -> None:
    arguments = ("login", serve.http_url, "--grpc-address", serve.grpc_address)
    wrong = command(environ, *arguments, stdin="rst_nonsense\n")
    assert wrong.returncode == 1
    assert "UNAUTHENTICATED" in wrong.stderr
    assert "rst_nonsense" not in wrong.stderr

    done = command(environ, *arguments, stdin=f"{token}\n")
    assert done.returncode == 0, done.stderr
    assert "who may write in the workspace 'team-a'" in done.stdout
    assert token not in done.stdout + done.stderr
    (file,) = (Path(environ["XDG_CONFIG_HOME"]) / "runstream").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600

    doctor = command(environ, "doctor", "--json")
    checks = checks_of(doctor)
    assert doctor.returncode == 0, checks
    assert checks["token"]["found"] == "the token of the login: 'ci' may write in the workspace 'team-a'"
    assert checks["HTTP"]["found"] == f"{serve.http_url} is ready"

    uri = runstream.Client(environ=environ).tracking_uri(expires=60)
    parts = urlsplit(uri)
    assert f"http://{parts.hostname}:{parts.port}" == serve.http_url
    basic = f"Basic {b64encode(f'{parts.username}:{parts.password}'.encode()).decode()}"
    with Rest(serve.http_url) as rest:
        assert rest.get("experiments/search?max_results=1").status == 401
        answer = rest.request("GET", "experiments/search?max_results=1", headers={"Authorization": basic})
        assert answer.status == 200

    assert "deleted" in command(environ, "logout").stdout
    assert "nobody is logged in" in command(environ, "logout").stdout
    doctor = command(environ, "doctor", "--json", "--address", serve.grpc_address)
    assert doctor.returncode == 1
    assert checks_of(doctor)["token"]["state"] == "broken"
    assert "Set a token" in checks_of(doctor)["token"]["hint"]


def test_without_the_service_package_a_person_logs_in_as_well(
    serve: ServeProcess, token: str, environ: dict[str, str]
) -> None:
    login = [sys.executable, "-m", "runstream.login"]
    arguments = [serve.http_url, "--grpc-address", serve.grpc_address, "--workspace", "team-a"]
    done = subprocess.run([*login, *arguments], env=environ, input=f"{token}\n", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "logged in" in done.stdout
    done = subprocess.run([*login, "--out"], env=environ, capture_output=True, text=True)
    assert "deleted" in done.stdout


@pytest.mark.parametrize("url", ["https://", "http://user:secret@host:5000", "nonsense"])
def test_a_url_that_is_none_is_named(environ: dict[str, str], url: str) -> None:
    done = command(environ, "login", url, stdin="rst_x\n")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "secret" not in done.stderr


def test_a_token_that_may_only_read_and_a_workspace_that_is_none_are_named_by_doctor(
    serve: ServeProcess, token: str, environ: dict[str, str]
) -> None:
    reader = make_token(serve, name="reader", role="read", workspace="team-a")
    done = command({**environ, "RUNSTREAM_TOKEN": reader}, "doctor", "--json", "--address", serve.grpc_address)
    assert done.returncode == 1
    assert "'reader' may read" in checks_of(done)["token"]["found"]
    variables = {**environ, "RUNSTREAM_TOKEN": token, "RUNSTREAM_WORKSPACE": "team-z"}
    done = command(variables, "doctor", "--json", "--address", serve.grpc_address)
    assert "team-z" in checks_of(done)["token"]["found"]
    assert "Correct the workspace" in checks_of(done)["token"]["hint"]


_PROGRAM = """
import sys, runstream
run = runstream.start_run(experiment="digits", run_id=sys.argv[1])
for step in range(100):
    run.log({"loss": 1.0}, step=step)
print(run.flush(2), flush=True)
sys.stdin.readline()
print(run.finish())
"""


def test_training_goes_on_without_a_valid_token_and_points_arrive_with_one(
    serve: ServeProcess, token: str, environ: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(make_token(serve, name="soon-over", workspace="team-a", expires_in_s=1))
    client = runstream.Client(serve.grpc_address, token=token)
    until_now(lambda: _is_refused(serve, file.read_text()))
    environ.update({"RUNSTREAM_ADDRESS": serve.grpc_address, "RUNSTREAM_TOKEN_FILE": str(file)})
    run_id = "0" * 31 + "7"
    with subprocess.Popen([sys.executable, "-c", _PROGRAM, run_id], env=environ, stdin=-1, stdout=-1, stderr=-1) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == b"False\n"
        status = command(environ, "agent", "status")
        assert "UNAUTHENTICATED" in status.stdout
        file.write_text(token)
        out, errors = job.communicate(b"\n", timeout=250)
    end_agents(tmp_path / "state")
    assert out == b"True\n", errors
    assert errors.count(b"refuses the credentials") == 1
    assert b"soon-over" in errors
    assert len(client.history(run_id, "loss")) == 100


def _is_refused(serve: ServeProcess, text: str) -> bool:
    try:
        runstream.Client(serve.grpc_address, token=text).who_am_i()
    except runstream.Unauthenticated:
        return True
    return False
