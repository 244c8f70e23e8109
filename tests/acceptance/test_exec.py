"""`runstream exec`: programs of all kinds as runs, with real processes, signals and terminals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

import runstream
from runstream_bench.server_process import free_port
from tests.support.polling import until_now
from tests.support.serve import COMMAND, ServeProcess, command_environment
from tests.support.terminal import Terminal

RANKS = """
    import os, subprocess, sys
    import runstream
    rank = int(os.environ.get("RANK", "-1"))
    if rank < 0:  # the launcher
        ranks = [subprocess.Popen([sys.executable, __file__], env={**os.environ, "RANK": str(n)}) for n in range(3)]
        sys.exit(max(one.wait() for one in ranks))
    with runstream.start_run(experiment="another", name="another") as run:
        for step in range(10):
            run.log({"loss": step * rank}, step=step)
    print(run.run_id)
    sys.exit(3 if rank == 0 else 0)
"""
WAITS = """
    import signal, sys, time
    def end(number, frame):
        print("got", signal.Signals(number).name, flush=True)
        sys.exit(int(sys.argv[1]))
    if sys.argv[1] != "default":
        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
    else:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    print("ready", sys.stdin.isatty(), sys.stdout.isatty(), flush=True)
    time.sleep(60)
"""


def program(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "train.py"
    path.write_text(textwrap.dedent(text))
    return [sys.executable, str(path)]


def variables(serve: ServeProcess, **more: str) -> dict[str, str]:
    http = {"RUNSTREAM_MLFLOW_HTTP_ADDRESS": serve.http_url}
    return command_environment({"RUNSTREAM_ADDRESS": serve.grpc_address, **http, **more})


def execute(
    environment: Mapping[str, str], command: Sequence[str], *options: str, code: int = 0
) -> tuple[str, subprocess.CompletedProcess[bytes]]:
    """Runs a command to its end; returns the run's id and the output."""
    done = subprocess.run(
        [*COMMAND, "exec", *options, "--", *command], env=environment, capture_output=True, timeout=250
    )
    assert done.returncode == code, done.stderr.decode()
    return re.findall(r"/r/([0-9a-f]{32})", done.stderr.decode())[-1], done


def test_all_ranks_log_to_the_run_whatever_experiment_the_program_names(
    serve: ServeProcess, client: runstream.Client, tmp_path: Path
) -> None:
    options = ("--experiment", "digits", "--name", "mlp", "--param", "lr=0.1", "--tag", "team=blue")
    run_id, done = execute(variables(serve), program(tmp_path, RANKS), *options, code=3)
    run = client.get_run(run_id)
    assert set(done.stdout.decode().split()) == {run_id}
    assert (run.experiment, run.name, run.params) == ("digits", "mlp", {"lr": "0.1"})
    assert [one.rank for one in client.history(run_id, "loss").series] == [0, 1, 2]
    # The program has said that all is well before it ended with 3.
    assert run.status == "FAILED"
    assert run.tags["runstream.exit_status"] == "3"
    assert run.tags["team"] == "blue"
    assert run.tags["runstream.host"] == os.uname().nodename
    assert run.tags["runstream.command"].endswith("train.py")
    assert re.fullmatch("[0-9a-f]{40}", run.tags["mlflow.source.git.commit"])
    assert run.tags["runstream.output"].split() == [run_id] * 3


def test_the_end_counts_that_comes_after_restarts_inside(
    serve: ServeProcess, client: runstream.Client, tmp_path: Path
) -> None:
    restarted = """
        import os, runstream
        run = runstream.start_run(attempt=2)
        run.log({"loss": 1.0})
        run.flush(30)
        os._exit(9)  # as if it were killed: it says nothing about its end
    """
    run_id, _ = execute(variables(serve), program(tmp_path, restarted), code=9)
    assert client.get_run(run_id).status == "FAILED"
    assert client.history(run_id, "loss").series[0].attempt == 2


@pytest.mark.parametrize("journal", ["1", "0"], ids=["with the plugin", "over HTTP"])
def test_a_client_of_mlflow_logs_to_the_run(
    serve: ServeProcess, client: runstream.Client, tmp_path: Path, journal: str
) -> None:
    text = """
        import mlflow
        with mlflow.start_run():
            mlflow.log_metric("loss", 0.5, step=3)
            mlflow.log_param("lr", 0.1)
        raise SystemExit(4)
    """
    environment = variables(serve, RUNSTREAM_MLFLOW_HTTP=journal)
    run_id, _ = execute(environment, program(tmp_path, text), "--experiment", f"mlflow {journal}", code=4)
    run = client.get_run(run_id)
    assert (run.status, run.params) == ("FAILED", {"lr": "0.1"})
    assert client.history(run_id, "loss").values.tolist() == [0.5]
    assert [one.run_id for one in client.list_runs(f"mlflow {journal}")] == [run_id]


@pytest.mark.parametrize(
    ("argument", "number", "code", "status"),
    [
        ("default", signal.SIGTERM, 143, "KILLED"),
        ("default", signal.SIGINT, 130, "KILLED"),
        ("1", signal.SIGTERM, 1, "KILLED"),
        ("0", signal.SIGINT, 0, "FINISHED"),
    ],
)
def test_signals_reach_the_program_and_its_end_is_waited_for(
    serve: ServeProcess,
    client: runstream.Client,
    tmp_path: Path,
    argument: str,
    number: signal.Signals,
    code: int,
    status: str,
) -> None:
    process = subprocess.Popen(
        [*COMMAND, "exec", *program(tmp_path, WAITS), argument],
        env=variables(serve),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("ready")
    process.send_signal(number)
    output, errors = process.communicate(timeout=250)
    assert process.returncode == code, errors
    assert output == ("" if argument == "default" else f"got {number.name}\n")
    run = client.get_run(re.findall(r"/r/([0-9a-f]{32})", errors)[-1])
    assert run.status == status


@pytest.mark.parametrize("columns", [80, 120])
def test_in_a_terminal_the_program_has_one_too_and_ctrl_c_comes_once(
    serve: ServeProcess, tmp_path: Path, columns: int
) -> None:
    text = """
        import os, signal, sys, time
        signal.signal(signal.SIGINT, lambda *_: print("interrupted", flush=True))
        print("size", os.get_terminal_size(1).columns, sys.stderr.isatty(), sys.stdin.isatty(), flush=True)
        for line in sys.stdin:
            print("read", line.strip(), flush=True)
            break
        time.sleep(0.5)
    """
    with Terminal([*COMMAND, "exec", *program(tmp_path, text)], variables(serve), columns=columns) as terminal:
        terminal.wait_for(f"size {columns} True True\n")
        terminal.press(b"\x03")
        terminal.wait_for("interrupted\n")
        terminal.press(b"hello\n")
        terminal.wait_for("read hello\n")
        assert terminal.wait() == 0
        assert terminal.text.count("interrupted") == 1
        assert "\r\r" not in terminal.raw
        assert terminal.wait_for("runstream: FINISHED after .*/r/")


def test_output_is_passed_on_unchanged(serve: ServeProcess, tmp_path: Path) -> None:
    text = """
        import os
        for number in range(2000):
            os.write(1, b"out %d \\xff\\r" % number + b"x" * 500)
            os.write(2, b"err %d\\n" % number)
    """
    command = program(tmp_path, text)
    bare = subprocess.run(command, capture_output=True, check=True)
    _, done = execute(variables(serve), command)
    assert done.stdout == bare.stdout
    lines = done.stderr.splitlines(keepends=True)
    assert b"".join(line for line in lines if not line.startswith(b"runstream:")) == bare.stderr
    # In one pipe, they keep their order.
    bare = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
    together = [*COMMAND, "exec", "--quiet", "--", *command]
    done = subprocess.run(together, env=variables(serve), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
    assert done.stdout == bare.stdout


def test_a_service_that_is_away_does_not_stop_the_job_and_gets_the_run_later(data_dir: Path, tmp_path: Path) -> None:
    serve = ServeProcess(data_dir)
    # Nobody else gets these while it is away, unlike ports that the kernel gives to connections.
    serve.grpc_address, serve.http_url = f"127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
    with serve:
        serve.terminate()
        environment = variables(serve, RUNSTREAM_EXIT_TIMEOUT_S="0.5")
        run_id, done = execute(environment, program(tmp_path, RANKS), "--experiment", "digits", code=3)
        assert set(done.stdout.decode().split()) == {run_id}
        serve.start()
        client = runstream.Client(serve.grpc_address)

        def has_come() -> bool:
            try:
                return client.get_run(run_id).status == "FAILED"
            except runstream.NotFound:
                return False

        until_now(has_come, timeout_s=60)
        run = client.get_run(run_id)
        assert (run.experiment, run.tags["runstream.exit_status"]) == ("digits", "3")
        until_now(lambda: len(client.history(run_id, "loss")) == 30, timeout_s=60)


def test_a_run_inside_a_run_is_the_outer_one(serve: ServeProcess, client: runstream.Client) -> None:
    inner = [*COMMAND, "exec", "--experiment", "inner", "--", "sh", "-c", "echo $RUNSTREAM_RUN_ID"]
    run_id, done = execute(variables(serve), inner, "--experiment", "outer")
    assert done.stdout.decode().strip() == run_id
    assert client.get_run(run_id).experiment == "outer"


def test_switched_off_it_only_runs_the_program(serve: ServeProcess) -> None:
    done = subprocess.run(
        [*COMMAND, "exec", "--", "sh", "-c", "echo $RUNSTREAM_RUN_ID; exit 5"],
        env=variables(serve, RUNSTREAM_MODE="disabled"),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (5, "\n", "")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--", "no-such-program"], 127, "no-such-program cannot be started: no such program"),
        (["--param", "lr", "--", "true"], 2, "--param 'lr': expected KEY=VALUE"),
        (["--tag", "a=" + "x" * 9_000, "--", "true"], 2, "tag 'a'"),
        (["--experiment", "a\nb", "--", "true"], 2, "experiment"),
        ([], 2, "Missing argument"),
        (["--nope", "--", "true"], 2, "No such option"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(
    serve: ServeProcess, arguments: list[str], code: int, words: str
) -> None:
    done = subprocess.run([*COMMAND, "exec", *arguments], env=variables(serve), capture_output=True, text=True)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_it_is_there_where_only_the_client_is_installed(serve: ServeProcess, client: runstream.Client) -> None:
    script = "import sys; sys.modules['click'] = None; from runstream.exec.command import main; sys.exit(main())"
    command = [sys.executable, "-c", script, "--experiment", "client", "--", "sh", "-c", "exit 6"]
    done = subprocess.run(command, env=variables(serve), capture_output=True, text=True)
    assert done.returncode == 6, done.stderr
    assert client.get_run(re.findall(r"/r/([0-9a-f]{32})", done.stderr)[-1]).status == "FAILED"
