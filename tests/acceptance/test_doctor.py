"""`runstream doctor` against a real service, and against addresses where something else or nothing answers."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from runstream.journal import Directory, JournalWriter
from runstream.journal.layout import DAMAGED
from tests.support import preloaded
from tests.support.serve import COMMAND, ServeProcess, command_environment


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory.choose({"RUNSTREAM_DIR": str(tmp_path / "journals")})


def examine(
    serve: ServeProcess, directory: Directory, *arguments: str, environment: Mapping[str, str] | None = None
) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit code, and the checks by name."""
    places = {
        "RUNSTREAM_ADDRESS": serve.grpc_address,
        "RUNSTREAM_MLFLOW_HTTP_ADDRESS": serve.http_url,
        "RUNSTREAM_DIR": str(directory.path),
    }
    done = preloaded.run(
        [*COMMAND, "doctor", "--json", *arguments], command_environment({**places, **(environment or {})}), timeout_s=60
    )
    assert done.stderr == "", done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["broken"] == (done.returncode == 1)
    return done.returncode, {check["check"]: check for check in answer["checks"]}


@contextlib.contextmanager
def web_server(body: bytes, headers: Mapping[str, str]) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(200)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_nothing_is_wrong(serve: ServeProcess, directory: Directory) -> None:
    code, checks = examine(serve, directory)
    assert code == 0
    assert {name: check["state"] for name, check in checks.items()} == dict.fromkeys(checks, "ok")
    assert {"address", "gRPC", "HTTP", "versions", "clock", "directory", "space", "damage", "agent"} <= checks.keys()


def test_a_person_reads_a_table_with_hints(serve: ServeProcess, directory: Directory) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-m", "runstream.doctor", "--address", address, "--dir", str(directory.path)],
            env=command_environment({"COLUMNS": "200"}),
            capture_output=True,
            text=True,
            timeout=250,
        )
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"BROKEN  address     {address} is 127.0.0.1 and accepts no connection")
    assert lines[1].strip() == "-> nothing listens there: start the service, or correct the port"


def test_a_name_that_does_not_exist_is_broken(serve: ServeProcess, directory: Directory) -> None:
    code, checks = examine(serve, directory, "--address", "nobody.invalid:50051")
    assert code == 1
    assert checks["address"]["state"] == "broken"
    assert "nobody.invalid cannot be resolved" in checks["address"]["found"]
    assert checks["gRPC"]["state"] == "skipped"


def test_the_port_for_http_is_not_the_one_for_grpc(serve: ServeProcess, directory: Directory) -> None:
    code, checks = examine(serve, directory, "--address", serve.http_url.removeprefix("http://"))
    assert code == 1
    assert checks["gRPC"]["state"] == "broken"
    assert checks["gRPC"]["hint"]
    code, checks = examine(serve, directory, "--address", serve.http_url)
    assert "without http://" in checks["address"]["found"]


def test_another_web_server_is_no_runstream(serve: ServeProcess, directory: Directory) -> None:
    with web_server(b"<html>", {}) as address:
        code, checks = examine(serve, directory, "--http", address)
    assert (code, checks["HTTP"]["state"]) == (0, "warning")
    assert "not as runstream does" in checks["HTTP"]["found"]


def test_a_clock_that_is_wrong_is_a_warning(serve: ServeProcess, directory: Directory) -> None:
    headers = {"date": formatdate(time.time() + 120, usegmt=True)}
    with web_server(b'{"version": "0.9.0"}', headers) as address:
        code, checks = examine(serve, directory, "--http", address)
    assert code == 0
    assert checks["clock"]["state"] == "warning"
    assert "s behind the service's" in checks["clock"]["found"]
    assert "service 0.9.0" in checks["versions"]["found"]


def test_what_is_in_the_directory_is_told(serve: ServeProcess, directory: Directory) -> None:
    writer = JournalWriter.create(directory, {"run_id": "a" * 32})
    (writer.path / DAMAGED).mkdir()
    (writer.path / DAMAGED / "1.txt").write_text("a flipped bit")
    _, checks = examine(serve, directory)
    assert "1 of running processes" in checks["journals"]["found"]
    assert "1 damaged parts" in checks["damage"]["found"]
    assert checks["damage"]["state"] == "warning"

    writer.close()
    _, checks = examine(serve, directory)
    assert checks["agent"]["state"] == "warning"
    assert "runstream sync" in checks["agent"]["hint"]

    code, checks = examine(serve, directory, environment={"RUNSTREAM_DIR_BYTES": "10"})
    assert (code, checks["space"]["state"]) == (1, "broken")


def test_an_agent_that_cannot_reach_the_service_says_why(serve: ServeProcess, directory: Directory) -> None:
    lock = directory.agent_lock()
    assert lock is not None
    status = {
        "pid": 7,
        "version": "0.1.0",
        "addresses": {"x:1": {"state": "waiting", "last_error": "UNAVAILABLE: refused"}},
    }
    directory.agent_status_path.write_text(json.dumps(status))
    code, checks = examine(serve, directory)
    lock.release()
    assert (code, checks["agent"]["state"]) == (1, "broken")
    assert "x:1: UNAVAILABLE: refused" in checks["agent"]["found"]


def test_a_directory_that_is_none_is_broken(serve: ServeProcess, directory: Directory, tmp_path: Path) -> None:
    code, checks = examine(serve, directory, "--dir", str(tmp_path))
    assert (code, checks["directory"]["state"]) == (1, "broken")


def test_variables_that_divert_connections_are_named(serve: ServeProcess, directory: Directory) -> None:
    environment = {"http_proxy": "http://127.0.0.1:9", "GRPC_POLL_STRATEGY": "poll", "no_proxy": ""}
    code, checks = examine(serve, directory, environment=environment)
    assert code == 0
    assert checks["gRPC"]["state"] == "ok"
    assert "MLflow's own requests to 127.0.0.1" in checks["proxy"]["found"]
    assert "GRPC_POLL_STRATEGY=poll" in checks["environment"]["found"]
    _, checks = examine(serve, directory, environment={"http_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"})
    assert checks["proxy"]["state"] == "ok"
