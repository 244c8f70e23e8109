"""`runstream demo` in a terminal and without one; it leaves nothing behind."""

from __future__ import annotations

import math
import re
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import runstream
from runstream_bench import http_client
from tests.support.databases import short_directory
from tests.support.serve import COMMAND, command_environment
from tests.support.terminal import Terminal

DEMO = (*COMMAND, "demo")
# Metrics a step and rank; test_accuracy comes from rank 0, at the first step, every hundredth and the last.
KEYS = ("accuracy", "compute_ms", "grad_norm", "loss", "samples_per_s")


@pytest.fixture
def directory() -> Iterator[Path]:
    """The directory for the temporary directories of demos."""
    with short_directory() as path:
        yield path


@pytest.fixture
def environment(directory: Path) -> dict[str, str]:
    return command_environment({"TMPDIR": str(directory)})


def processes_below(pid: int) -> list[psutil.Process]:
    """The processes of a demo that still run."""
    return psutil.Process(pid).children(recursive=True)


def assert_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert alive == []


def service_among(processes: list[psutil.Process]) -> psutil.Process:
    return next(process for process in processes if "serve" in command_of(process))


def command_of(process: psutil.Process) -> list[str]:
    """Empty if it has ended, as those do soon that start an agent."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def table_of(text: str) -> dict[tuple[str, int, int], list[str]]:
    """The rows of the table of what was stored: (key, rank, attempt) -> points, first, last, min, max."""
    rows: dict[tuple[str, int, int], list[str]] = {}
    key = ""
    for line in text[text.index("Read back from the service") :].splitlines():
        row = re.fullmatch(r" (\w*) +(\d+) +(\d+)((?: +[\d.,e+-]+){5}) *", line)
        if row is not None:
            key = row[1] or key
            rows[key, int(row[2]), int(row[3])] = row[4].split()
    return rows


def test_without_a_terminal_it_prints_plain_lines_and_leaves_nothing(
    directory: Path, environment: dict[str, str]
) -> None:
    done = subprocess.run(
        [*DEMO, "--steps", "60", "--workers", "3"],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    points = 3 * 60 * len(KEYS) + 2
    assert f"✓ {points} points logged, {points} read back" in done.stdout
    assert "step 60 of 60" in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert list(directory.iterdir()) == []


def test_in_a_terminal_a_kept_run_has_mishaps_to_look_at_until_ctrl_c(
    directory: Path, environment: dict[str, str]
) -> None:
    data_dir = directory / "kept"
    with Terminal([*DEMO, "--steps", "300", "--keep", "--data-dir", str(data_dir)], environment) as terminal:
        terminal.wait_for(r"(?s)runs until Ctrl-C.*sep='\\n'\)\"\n")
        processes = processes_below(terminal.process.pid)
        address = terminal.wait_for(r"export RUNSTREAM_ADDRESS=(\S+)")[1]
        run_id = terminal.wait_for(r"latest\(\s+'(\w{32})'\)")[1]
        page = terminal.wait_for(rf"http://127\.0\.0\.1:\d+/r/{run_id}")[0]

        with runstream.Client(address) as client:
            found = {
                (key, one.rank, one.attempt): one
                for key in (*KEYS, "test_accuracy")
                for one in client.history(run_id, key).series
            }
            run = client.get_run(run_id)
        assert (run.status, run.params["steps"], run.tags["ranks"]) == ("FINISHED", "300", "4")
        assert {series: list(one.steps) for series, one in found.items()} == {
            **{(key, rank, 0): list(range(225)) for key in KEYS for rank in range(4)},
            **{(key, rank, 1): list(range(195, 300)) for key in KEYS for rank in range(4)},
            ("test_accuracy", 0, 0): [0, 100, 200],
            ("test_accuracy", 0, 1): [200, 299],
        }
        table = table_of(terminal.text)
        assert table.keys() == found.keys()
        for series, (points, *numbers) in table.items():
            values = found[series].values
            finite = [value for value in values if math.isfinite(value)]
            assert int(points) == len(values)
            expected = [values[0], values[-1], min(finite), max(finite)]
            assert [float(number.replace(",", "")) for number in numbers] == pytest.approx(expected, rel=1e-3)
        # It has learnt: the loss came down on every rank.
        for rank in range(4):
            first, last = found["loss", rank, 0].values, found["loss", rank, 1].values
            assert sum(last[-20:]) < sum(first[:20]) / 2
        losses = {rank: found["loss", rank, 0].values for rank in range(4)}
        assert [step for step, value in enumerate(losses[1]) if math.isnan(value)] == [120]
        assert losses[3][165] == max(losses[3]) > 4 * statistics.median(losses[3][150:180])
        computed = {rank: found["compute_ms", rank, 0].values for rank in range(4)}
        for told in ("rank 2 computes slowly from step 75", "NaN at step 120", "step 165", "checkpoint of step 195"):
            assert told in terminal.text
        assert statistics.median(computed[2][75:]) > 1.2 * statistics.median(computed[0][75:])
        assert http_client.get(page).status == 200

        script = terminal.text[terminal.text.index("export RUNSTREAM_ADDRESS") :]
        shown = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
        assert shown.stdout.count("LatestPoint(") == len(found)

        terminal.press(b"\x03")
        assert terminal.wait() == 0
    assert_gone(processes)
    assert "To serve them again" in terminal.text
    assert (data_dir / "postgres").exists()
    assert "\x1b[" in terminal.raw  # it was drawn live


def test_ctrl_c_in_the_middle_stops_everything_without_a_traceback(
    directory: Path, environment: dict[str, str]
) -> None:
    with Terminal([*DEMO, "--steps", "100000", "--workers", "2"], environment, columns=120) as terminal:
        terminal.wait_for(r"[1-9]\d* points stored")
        processes = processes_below(terminal.process.pid)
        terminal.press(b"\x03")
        assert terminal.wait() == 130
    assert_gone(processes)
    assert "Stopping." in terminal.text
    assert "Traceback" not in terminal.text
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize(
    ("victim", "said"), [("service", "the service ended"), ("rank", "ended before it had finished training")]
)
def test_when_a_part_dies_it_says_why_names_the_log_and_stops_the_rest(
    directory: Path, environment: dict[str, str], victim: str, said: str
) -> None:
    with Terminal([*DEMO, "--steps", "100000", "--workers", "2"], environment) as terminal:
        terminal.wait_for(r"[1-9]\d* points stored")
        processes = processes_below(terminal.process.pid)
        ranks = [process for process in processes if "spawn_main" in " ".join(command_of(process))]
        (service_among(processes) if victim == "service" else ranks[-1]).kill()
        assert terminal.wait() == 1
    assert_gone(processes)
    assert said in terminal.text
    (log,) = directory.rglob("*.log")  # the data are gone
    assert f"The service's log: {log}" in terminal.text


def test_a_directory_that_cannot_be_used_is_a_clear_refusal(directory: Path, environment: dict[str, str]) -> None:
    file = directory / "file"
    file.touch()
    command = [*DEMO, "--data-dir", str(file / "data")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 1
    assert f"cannot write to {file / 'data'}" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
