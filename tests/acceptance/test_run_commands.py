"""Commands that look at runs and change them, as a person runs them, against a real service."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

import runstream
from tests.support import preloaded
from tests.support.serve import COMMAND, ServeProcess, command_environment
from tests.support.terminal import Terminal

IDS = ["aaaa1111" + "0" * 24, "aaaa2222" + "0" * 24, "bbbb" + "0" * 28]


@pytest.fixture(scope="module")
def stored(serve: ServeProcess, tmp_path_factory: pytest.TempPathFactory) -> ServeProcess:
    """Three runs of an experiment: two with one name, one of four ranks; and one in another experiment."""
    script = f"""
import runstream
for number, (run_id, name) in enumerate(zip({IDS!r}, ["mlp", "mlp", "it's a resnet"])):
    for rank in range(4 if number == 2 else 1):
        with runstream.start_run("digits", name, run_id=run_id, rank=rank) as run:
            if rank == 0:
                run.log_params({{"lr": 10.0**-number, "layers": 2}})
            for step in range(50):
                run.log({{"loss": (1 + rank) / (1 + step), "train/acc": step / 50}}, step=step)
with runstream.start_run("other", "alone", tags={{"runstream.output": "epoch 1" + chr(10) + "done"}}) as run:
    run.log({{"bad": float("nan")}}, step=0)
"""
    environment = command_environment(
        {"RUNSTREAM_ADDRESS": serve.grpc_address, "RUNSTREAM_DIR": str(tmp_path_factory.mktemp("journals"))}
    )
    subprocess.run([*COMMAND[:1], "-c", script], env={**environment, "RUNSTREAM_AGENT_IDLE_S": "0"}, check=True)
    return serve


def variables(serve: ServeProcess) -> dict[str, str]:
    return command_environment(
        {"RUNSTREAM_ADDRESS": serve.grpc_address, "RUNSTREAM_MLFLOW_HTTP_ADDRESS": serve.http_url}
    )


def said(serve: ServeProcess, *arguments: str, code: int = 0) -> str:
    """Runs a command; returns its output, or its error message if it should fail."""
    done = preloaded.run([*COMMAND, *arguments], variables(serve), timeout_s=60)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout
    return done.stderr if code else done.stdout


def records(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def words_of(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip() and "─" not in line]


# -- ls, show, history, compare ----------------------------------------------------------------------------------------


def test_ls_lists_experiments_and_the_runs_of_one_newest_first(stored: ServeProcess) -> None:
    assert [row[0] for row in words_of(said(stored, "ls"))] == ["experiment", "other", "digits", "Default"]
    rows = records(said(stored, "ls", "digits", "--json", "-m", "loss", "-p", "lr"))
    assert [row["run_id"] for row in rows] == IDS[::-1]
    assert rows[0] == {**rows[0], "name": "it's a resnet", "status": "FINISHED", "loss": 1 / 50, "lr": "0.01"}
    assert [row["run_id"] for row in records(said(stored, "ls", "digits", "--json", "--limit", "1"))] == [IDS[2]]


def test_ls_finds_runs_by_a_filter_in_an_order(stored: ServeProcess) -> None:
    options = ("--filter", "params.lr = '1.0' OR params.lr = '0.1'", "--order-by", "params.lr ASC", "--csv")
    rows = list(csv.DictReader(io.StringIO(said(stored, "ls", *options))))
    assert [row["run_id"] for row in rows] == IDS[1::-1]
    assert {row["experiment"] for row in rows} == {"digits"}
    assert "at character" in said(stored, "ls", "--filter", "metrics.loss <", code=1)
    assert "no experiment has the name 'nope'; `runstream ls`" in said(stored, "ls", "nope", code=1)


@pytest.mark.parametrize("columns", [80, 120])
def test_long_names_leave_room_for_the_rest(stored: ServeProcess, columns: int) -> None:
    with runstream.start_run("long", "a long name " * 15, address=stored.grpc_address, rank=0) as run:
        run.log({"loss": 0.25, "an equally long key " * 10: 0.125}, step=1_000_000)
    for command in (["ls", "long", "-m", "loss"], ["show", run.run_id], ["history", run.run_id, "loss"]):
        with Terminal([*COMMAND, *command], variables(stored), columns=columns) as terminal:
            assert terminal.wait() == 0
            assert max(map(len, terminal.text.splitlines()), default=0) <= columns
            assert "0.25" in terminal.text
            if command[0] == "ls":
                assert f"{run.run_id[:8]}  a long name" in terminal.text
                assert re.search("…  FINISHED .* ago .* s +0.25", terminal.text)


@pytest.mark.parametrize("meant", [IDS[2], IDS[2].upper(), "bbbb", "BBBB-0000", "it's a resnet"])
def test_a_run_is_found_by_id_beginning_or_name(stored: ServeProcess, meant: str) -> None:
    (run,) = records(said(stored, "show", meant, "--json"))
    assert (run["run_id"], run["link"]) == (IDS[2], f"{stored.http_url}/r/{IDS[2]}")


@pytest.mark.parametrize("meant", ["aaaa", "mlp"])
def test_where_several_runs_may_be_meant_they_are_listed(stored: ServeProcess, meant: str) -> None:
    complaint = said(stored, "show", meant, code=2)
    assert "may be any of 2 runs" in complaint
    assert "aaaa1111  digits / mlp, FINISHED" in complaint
    assert "aaaa2222" in complaint
    assert "bbbb" not in complaint


def test_show_has_latest_values_over_ranks_params_and_the_end_of_the_output(stored: ServeProcess) -> None:
    text = said(stored, "show", "bbbb")
    assert max(map(len, said(stored, "show", "alone").splitlines())) < 200  # a pipe has no width to fill
    assert text.startswith("digits / it's a resnet")
    assert ["loss", "49", "0.02", "4", "0.02", "0.08"] in words_of(text)
    assert ["lr", "0.01"] in words_of(text)
    assert said(stored, "show", "alone").rstrip().endswith("epoch 1\ndone")
    (run,) = records(said(stored, "show", "alone", "--json"))
    assert isinstance(run["latest"], list)
    assert run["latest"][0]["value"] == "NaN"


def test_history_prints_points_and_says_what_is_left_out(stored: ServeProcess) -> None:
    done = subprocess.run(
        [*COMMAND, "history", "bbbb", "loss", "--last", "2"], env=variables(stored), capture_output=True, text=True
    )
    assert [row[0] for row in words_of(done.stdout)] == ["step", *["48", "49"] * 4]
    assert done.stderr == "192 earlier points; --last 0 shows all\n"
    rows = records(said(stored, "history", "bbbb", "loss", "--rank", "3", "--min-step", "10", "--json"))
    assert [(row["step"], row["rank"]) for row in rows] == [(step, 3) for step in range(10, 50)]
    assert rows[0]["value"] == 4 / 11
    complaint = said(stored, "history", "bbbb", "los", code=1)
    assert "no metric 'los'; it has 2 metrics, such as loss" in complaint


def test_compare_shows_what_differs(stored: ServeProcess) -> None:
    text = said(stored, "compare", "aaaa1111", "bbbb")
    assert ["param", "lr", "1.0", "0.01"] in words_of(text)
    assert "layers" not in text
    assert ["param", "layers", "2", "2"] in words_of(said(stored, "compare", "aaaa1111", "bbbb", "--all"))
    assert "at least two" in said(stored, "compare", "bbbb", code=2)


# -- plot, top ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 120])
def test_plot_fills_the_terminal_in_colours(stored: ServeProcess, columns: int) -> None:
    command = [*COMMAND, "plot", "bbbb", "loss", "train/acc", "--smooth", "0.5"]
    # As a script hands it on that was started in another terminal.
    environment = {**variables(stored), "COLUMNS": "90"}
    with Terminal(command, environment, columns=columns) as terminal:
        assert terminal.wait() == 0
        lines = terminal.text.splitlines()
        assert lines[0] == "digits / it's a resnet   ━━ loss  ━━ train/acc"
        assert max(map(len, lines)) == columns
        assert "\x1b[" in terminal.raw
        assert re.search("[⠁-⣿]{3}", terminal.text)


def test_plot_draws_ranks_as_a_band_and_writes_pictures(stored: ServeProcess, tmp_path: Path) -> None:
    text = said(stored, "plot", "bbbb", "loss", "--ranks", "--log")
    assert text.startswith("digits / it's a resnet   ━━ loss, mean of 4 ranks\n")
    picture = tmp_path / "loss.png"
    assert said(stored, "plot", "bbbb", "loss", "--ranks", "--png", str(picture)) == f"{picture}\n"
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_plot_says_why_nothing_is_drawn(stored: ServeProcess) -> None:
    assert "no metric 'lss'" in said(stored, "plot", "bbbb", "lss", code=1)
    assert "all values are NaN" in said(stored, "plot", "alone", "bad", code=1)


def test_top_shows_the_silent_run_first(stored: ServeProcess) -> None:
    where = stored.grpc_address
    silent = runstream.start_run("live", "silent", address=where, rank=0)
    with silent, runstream.start_run("live", "busy", address=where, rank=0) as busy:
        silent.log({"loss": 1.0}, step=3, time_unix_us=1_000_000_000_000_000)
        busy.log({"loss": 0.5, "acc": 0.1}, step=7)
        assert silent.flush(60)
        assert busy.flush(60)
        rows = records(said(stored, "top", "live", "--json"))
        assert [(row["name"], row["step"], row["metric"], row["latest"]) for row in rows] == [
            ("silent", 3, "loss", 1.0),
            ("busy", 7, "loss", 0.5),
        ]
        with Terminal([*COMMAND, "top", "live", "--interval", "0.5"], variables(stored)) as terminal:
            terminal.wait_for("2 running, 1 without a point for 2 min")
            busy.log({"loss": 0.4}, step=17)
            terminal.wait_for(r"busy .* 17 +[0-9.]+ +loss +0.4")
            terminal.press(b"\x03")
            assert terminal.wait() == 0


def test_top_goes_on_after_an_outage(data_dir: Path) -> None:
    with (
        ServeProcess(data_dir) as serve,
        Terminal([*COMMAND, "top", "--interval", "0.5"], variables(serve)) as terminal,
    ):
        terminal.wait_for("0 running")
        serve.terminate()
        terminal.wait_for("not up to date, trying again: UNAVAILABLE")
        serve.start()
        seen = len(terminal.text)
        terminal.wait_for(rf"(?s).{{{seen}}}.*Ctrl-C ends\s+run_id")  # a page without the warning
        terminal.press(b"\x03")
        assert terminal.wait() == 0


# -- open, delete, restore ---------------------------------------------------------------------------------------------


def test_open_prints_the_link(stored: ServeProcess) -> None:
    assert said(stored, "open", "aaaa1111") == f"{stored.http_url}/r/{IDS[0]}\n"


def test_a_run_is_deleted_and_restored(stored: ServeProcess) -> None:
    with runstream.start_run("scrap", "waste", address=stored.grpc_address, rank=0) as run:
        run.log({"loss": 1.0})
    assert "to undo that: runstream restore" in said(stored, "delete", "waste", "--yes")
    complaint = f"run 'waste' is deleted; to restore it: runstream restore {run.run_id[:8]}"
    assert complaint in said(stored, "show", "waste", code=1)
    assert [row["run_id"] for row in records(said(stored, "ls", "--deleted", "--json"))] == [run.run_id]
    assert said(stored, "restore", "waste") == "restored run 'waste'\n"
    assert "run 'waste' is not deleted" in said(stored, "restore", "waste", code=1)
    assert [row["name"] for row in records(said(stored, "ls", "scrap", "--json"))] == ["waste"]


def test_runs_are_moved_to_an_experiment_that_exists_or_is_created(stored: ServeProcess) -> None:
    for name in ("first", "second"):
        with runstream.start_run("from here", name, address=stored.grpc_address, rank=0) as run:
            run.log({"loss": 1.0})
    complaint = said(stored, "mv", "first", "archive of all", code=1)
    assert "no experiment has the name 'archive of all'; --create makes it" in complaint
    moved = said(stored, "mv", "first", "second", "archive of all", "--create").splitlines()
    assert [line.partition(" (")[0] for line in moved] == ["run 'first'", "run 'second'"]
    assert all(line.endswith("is in experiment 'archive of all'") for line in moved)
    assert {row["name"] for row in records(said(stored, "ls", "archive of all", "--json"))} == {"first", "second"}
    assert records(said(stored, "ls", "from here", "--json")) == []
    assert said(stored, "mv", run.run_id[:12], "archive of all").startswith("run 'second'"), "again is no error"
    with runstream.Client(stored.grpc_address) as client:
        client.delete_run(run.run_id)
        assert "is deleted; restore it first" in said(stored, "mv", run.run_id, "from here", code=1)
        experiment = client.get_experiment("from here")
        assert client.move_run(client.list_runs("archive of all")[0].run_id, experiment.experiment_id).name == "first"


def test_a_job_goes_on_in_a_run_that_is_moved_meanwhile(stored: ServeProcess, caplog: pytest.LogCaptureFixture) -> None:
    with runstream.Client(stored.grpc_address) as client:
        with runstream.start_run("busy", "mover", address=stored.grpc_address, rank=0) as run:
            run.log({"loss": 1.0}, step=0)
            assert run.flush(120)
            client.move_run(run.run_id, "quiet", create=True)
            run.log({"loss": 0.5}, step=1)
            run.set_tags({"late": "1"})
            assert run.flush(120), run.stats()
            # A late rank, and a restart of the job, name the experiment that they know.
            with runstream.start_run("busy", run_id=run.run_id, rank=1, address=stored.grpc_address) as late:
                late.log({"loss": 2.0}, step=0)
                assert late.flush(120), late.stats()
        info = client.get_run(run.run_id)
        assert (info.experiment, info.status, info.tags["late"]) == ("quiet", "FINISHED", "1")
        assert [len(one) for one in client.history(run.run_id, "loss").series] == [2, 1]
        assert client.list_runs("busy") == []


def test_without_a_service_one_line_says_what_to_do() -> None:
    done = subprocess.run(
        [*COMMAND, "ls"], env=command_environment({"RUNSTREAM_ADDRESS": "127.0.0.1:1"}), capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Is the service running there?" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_that_completes(shell: str) -> None:
    script = subprocess.run([*COMMAND, "completion", shell], capture_output=True, text=True, check=True).stdout
    assert "_RUNSTREAM_COMPLETE" in script
    asked = {"COMP_WORDS": "runstream his", "COMP_CWORD": "his" if shell == "fish" else "1"}
    code = "import sys; sys.argv = ['runstream']; from runstream.cli import main; main()"
    done = subprocess.run(
        [*COMMAND[:1], "-c", code],
        env={**os.environ, **asked, "_RUNSTREAM_COMPLETE": f"{shell}_complete"},
        capture_output=True,
        text=True,
    )
    assert "history" in done.stdout
