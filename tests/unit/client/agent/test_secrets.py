"""A token gets from the training process through the agent to the service, and is visible nowhere on the way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from runstream.journal import Directory
from tests.unit.client.agent.conftest import started
from tests.unit.client.reference_service import ReferenceService
from tests.unit.client.transport.conftest import until

pytestmark = pytest.mark.reference_only("the test says which tokens are valid; tests/access/ has the real ones")

TOKEN = "rst_" + "Secret0123" * 4
_PROGRAM = """
import sys, runstream
run = runstream.start_run("e", run_id=sys.argv[1])
run.log({"loss": 1.0}, step=0)
run.flush(1.5)
print(repr(run), run.stats(), run._settings, file=sys.stderr)
sys.stdin.readline()
run.log({"loss": 2.0}, step=1)
# False at once, as long as the next try, in which the token is accepted, has not been made.
assert any(run.flush(120) for _ in range(120))
"""


_FORKING = """
import os, sys, runstream
run = runstream.start_run("e", run_id=sys.argv[1])
run.log({"loss": 1.0}, step=0)
client = runstream.Client()
client.latest(run.run_id)
child = os.fork()
run.log({"loss": 2.0 if child else 3.0}, step=1)
client.latest(run.run_id)
assert run.flush(120)
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


def test_a_forked_child_logs_and_reads_with_the_same_token(service: ReferenceService, directory: Directory) -> None:
    service.gate.only(TOKEN)
    environ = {**os.environ, "RUNSTREAM_DIR": str(directory.path), "RUNSTREAM_TOKEN": TOKEN}
    environ["RUNSTREAM_ADDRESS"] = service.address
    command = [sys.executable, "-c", _FORKING, "0" * 31 + "2"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=80)
    assert done.returncode == 0, done.stderr
    assert sorted(service.values("loss")) == [1.0, 2.0, 3.0]
    assert {token for _, token, _ in service.gate.seen} == {TOKEN}


def everything_in(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.rglob("*") if file.is_file())


def test_a_token_is_in_no_log_no_journal_no_command_line_and_no_environment_of_the_agent(
    service: ReferenceService, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.gate.only("another")  # a refusal is what everybody reports
    environ = {**os.environ, "RUNSTREAM_DIR": str(directory.path), "RUNSTREAM_TOKEN": TOKEN}
    environ["RUNSTREAM_ADDRESS"] = service.address
    command = [sys.executable, "-c", _PROGRAM, "0" * 31 + "1"]
    with subprocess.Popen(command, env=environ, stdin=-1, stderr=-1, stdout=-1) as trainer:
        until(lambda: any("has expired" in one for one in map(str, _last_errors(directory))), 40)
        agent = started(directory)
        shown = everything_in(directory.journals_path) + directory.agent_log_path.read_bytes()
        shown += directory.agent_status_path.read_bytes()
        for process in (agent, psutil.Process(trainer.pid)):
            shown += "\0".join(process.cmdline()).encode()
        shown += str(agent.environ()).encode()
        service.gate.only(TOKEN)
        said, errors = trainer.communicate(b"\n", timeout=250)
    assert trainer.returncode == 0, errors
    assert TOKEN.encode() not in shown + said + errors
    assert b"has expired" in errors
    assert service.values("loss") == [1.0, 2.0]
    (kept,) = directory.credentials_path.iterdir()
    assert TOKEN.encode() in kept.read_bytes()
    assert kept.stat().st_mode & 0o777 == 0o600


def _last_errors(directory: Directory) -> list[str]:
    from runstream.journal import Position

    return [position.last_error for path in directory.journals() if (position := Position.load(path))]
