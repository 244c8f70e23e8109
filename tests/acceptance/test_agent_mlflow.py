"""`runstream agent --mlflow-listen`: MLflow's API at a port of the agent, with the service coming and going."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import runstream
from runstream.journal import Directory
from runstream_bench.http_client import Answer
from tests.support import preloaded
from tests.support.polling import until_now
from tests.support.preloaded import Preloaded
from tests.support.rest import Rest
from tests.support.serve import COMMAND, ServeProcess, command_environment


class AgentProcess:
    """A `runstream agent` with a port, in the foreground."""

    def __init__(self, serve: ServeProcess, path: Path, **environment: str) -> None:
        self.path = path
        self._log = path.with_name(f"agent-{os.urandom(4).hex()}.log")
        with open(self._log, "ab") as log:
            self._process = Preloaded(
                [*COMMAND, "agent", "--mlflow-listen", "127.0.0.1:0", "--dir", str(path)],
                command_environment(
                    {
                        "RUNSTREAM_ADDRESS": serve.grpc_address,
                        "RUNSTREAM_MLFLOW_HTTP_ADDRESS": serve.http_url,
                        **environment,
                    }
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until_now(lambda: self._port() or self._process.poll() is not None)
        self.url = f"http://127.0.0.1:{self._port()}"

    def _port(self) -> str:
        found = re.findall(r"MLflow's API is at port (\d+)", self._log.read_text())
        return found[-1] if found else ""

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def terminate(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)


@contextlib.contextmanager
def agent(serve: ServeProcess, path: Path) -> Iterator[tuple[AgentProcess, Rest]]:
    process = AgentProcess(serve, path)
    rest = Rest(process.url)
    try:
        yield process, rest
    finally:
        rest.close()
        process.kill()


def new_run(rest: Rest) -> str:
    return str(rest.post("runs/create", {"experiment_id": "0"}).body["run"]["info"]["run_id"])


def log(rest: Rest, run_id: str, step: int) -> Answer:
    body = {"run_id": run_id, "key": "loss", "value": step / 2, "timestamp": 1_000_000 + step, "step": step}
    return rest.post("runs/log-metric", body)


def steps(serve: ServeProcess, run_id: str) -> list[int]:
    with runstream.Client(serve.grpc_address) as client:
        points = client.history(run_id, "loss", rank=-1)
        assert points.values.tolist() == [step / 2 for step in points.steps.tolist()]
        return list(points.steps.tolist())


def test_a_script_logs_through_an_outage_of_the_service(serve: ServeProcess, tmp_path: Path) -> None:
    with agent(serve, tmp_path / "journals") as (process, rest):
        run_id = new_run(rest)
        assert all(log(rest, run_id, step).status == 200 for step in range(20))
        serve.kill()
        assert all(log(rest, run_id, step).status == 200 for step in range(20, 40))
        assert rest.post("runs/set-tag", {"run_id": run_id, "key": "team", "value": "vision"}).status == 200
        serve.start()
        # A read waits until everything before it has arrived.
        data = rest.get("runs/get", {"run_id": run_id}).body["run"]["data"]
        assert [metric["step"] for metric in data["metrics"]] == [39]
        assert {"key": "team", "value": "vision"} in data["tags"]
        assert steps(serve, run_id) == list(range(40))
        assert process.terminate() == 0


def test_what_was_answered_survives_the_agent(serve: ServeProcess, tmp_path: Path) -> None:
    path = tmp_path / "journals"
    serve.kill()
    run_id = os.urandom(16).hex()
    with agent(serve, path) as (process, rest):
        assert all(log(rest, run_id, step).status == 200 for step in range(10))
        process.kill()
    serve.start()
    body = {"experiment_id": "0"}
    direct = Rest(serve.http_url)
    run_id_there = direct.post("runs/create", body).body["run"]["info"]["run_id"]
    direct.close()
    with agent(serve, path) as (process, rest):
        # Nobody could be asked for the first run: it does not exist, and what was logged for it is refused.
        assert all(log(rest, run_id_there, step).status == 200 for step in range(10))
        until_now(lambda: rest.get("runs/get", {"run_id": run_id_there}).status == 200)
        assert log(rest, run_id, 0).status == 404
        process.kill()
    with agent(serve, path) as (process, rest):
        assert process.terminate() == 0
    assert steps(serve, run_id_there) == list(range(10))


def refused(*arguments: str, environment: Mapping[str, str] | None = None) -> str:
    done = preloaded.run([*COMMAND, "agent", *arguments], command_environment(environment))
    assert done.returncode in (1, 2)
    return done.stderr


def test_a_wrong_address_is_one_line(tmp_path: Path) -> None:
    assert "--mlflow-listen" in refused("--mlflow-listen", "5000")
    assert "without http://" in refused("--mlflow-listen", "127.0.0.1:0", "--address", "http://x:1")
    assert "expected host:port" in refused("--mlflow-listen", "127.0.0.1:0", "--http", "ftp://x")


def test_a_port_that_is_taken_is_named(serve: ServeProcess, tmp_path: Path) -> None:
    taken = serve.http_url.removeprefix("http://")
    directory = str(tmp_path / "journals")
    assert f"cannot listen on {taken} for MLflow" in refused("--mlflow-listen", taken, "--dir", directory)
    assert not Directory(tmp_path / "journals").agent_runs()
