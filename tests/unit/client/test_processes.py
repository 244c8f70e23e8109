"""Forks, ends of the interpreter and child processes, in real processes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runstream.v1 import run_pb2
from tests.support.agents import end_agents
from tests.unit.client.services import Service

pytestmark = pytest.mark.real_only("what processes do; the same on both")

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of journals of all these programs: one agent sends what they log, as on one machine."""
    directory = tmp_path_factory.mktemp("machine")
    yield directory
    end_agents(directory)


@pytest.fixture(autouse=True)
def on_one_machine(machine: Path, journal_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNSTREAM_DIR", str(machine))


def run_program(
    address: str, name: str, number: int, python: str = sys.executable, timeout: int = 60, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs one of `processes.py` with this address of a service; returns the finished process."""
    paths = [str(ROOT), str(ROOT / "client")]
    return subprocess.run(
        [python, "-m", "tests.unit.client.processes", name, str(number)],
        cwd=ROOT,
        env={**os.environ, "RUNSTREAM_ADDRESS": address, "PYTHONPATH": os.pathsep.join(paths), **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def check(result: subprocess.CompletedProcess[str]) -> None:
    """The program has ended well."""
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Traceback" not in result.stderr, result.stderr


def count_up(service: Service, key: str, points: int) -> None:
    """The values of a key are 0, 1, 2, ..., each once."""
    assert sorted(service.values(key)) == [float(value) for value in range(points)], key


def test_a_streaming_process_forks_many_times_and_both_sides_store_every_point_once(service: Service) -> None:
    result = run_program(service.address, "os_fork", 12)
    check(result)
    said = dict(line.split() for line in result.stdout.splitlines())
    assert said["failed"] == "0"
    count_up(service, "parent", int(said["parent"]))
    for number in range(12):
        count_up(service, f"child{number}", 1_200)
    assert len(service.producers()) == 13


def test_collecting_garbage_in_a_forked_child_waits_for_no_thread_of_its_parent(service: Service) -> None:
    result = run_program(service.address, "fork_while_a_call_is_locked", 100)
    check(result)
    assert result.stdout == "child 0\n"
    count_up(service, "parent", 200)
    count_up(service, "child0", 100)


def test_multiprocessing_children_flush_at_their_end_without_a_call(service: Service) -> None:
    check(run_program(service.address, "fork_pool", 12))
    count_up(service, "parent", 1_200)
    for number in range(12):
        count_up(service, f"child{number}", 700)
    (run,) = service.all_runs()
    assert run.status == run_pb2.RUN_STATUS_FINISHED


def test_a_spawned_child_flushes_and_finishes_its_own_run(service: Service) -> None:
    result = run_program(service.address, "spawned", 500)
    check(result)
    count_up(service, "child0", 500)
    assert service.run(result.stdout.strip()).status == run_pb2.RUN_STATUS_FINISHED


@pytest.mark.parametrize(
    ("program", "status", "code"),
    [
        ("falls_off_the_end", run_pb2.RUN_STATUS_FINISHED, 0),
        ("raises", run_pb2.RUN_STATUS_FAILED, 1),
        ("interrupted", run_pb2.RUN_STATUS_KILLED, -2),
        ("sys_exit_with_code", run_pb2.RUN_STATUS_FAILED, 3),
        ("sys_exit_with_words", run_pb2.RUN_STATUS_FAILED, 1),
        ("exit_with_code", run_pb2.RUN_STATUS_FAILED, 5),
        ("quit_with_zero", run_pb2.RUN_STATUS_FINISHED, 0),
        ("sys_exit_with_zero", run_pb2.RUN_STATUS_FINISHED, 0),
        ("terminated", run_pb2.RUN_STATUS_FAILED, 143),
        ("exit_that_did_not_end", run_pb2.RUN_STATUS_FINISHED, 0),
        ("finishes_in_a_daemon", run_pb2.RUN_STATUS_FINISHED, 0),
    ],
)
def test_the_interpreter_flushes_at_its_end_and_says_how_it_ended(
    service: Service, program: str, status: int, code: int
) -> None:
    result = run_program(service.address, program, 2_500)  # more than a batch
    assert result.returncode == code, result.stderr
    count_up(service, "parent", 2_500)
    assert service.run(result.stdout.strip()).status == status
    assert result.stderr.count("Traceback") == (program in ("raises", "interrupted")), result.stderr


def test_a_process_that_can_start_no_thread_trains_to_its_end(service: Service) -> None:
    result = run_program(service.address, "without_threads", 100)
    check(result)
    assert result.stdout.splitlines() == ["False", "False {'no_threads': 100}"]
    assert result.stderr.count("no thread can be started") == 2  # runs
    assert "bug" not in result.stderr


def test_runs_that_are_open_at_the_end_do_not_wait_for_each_other(service: Service, journal_directory: Path) -> None:
    """The service of the first ones cannot be reached, so that they would take all of the time."""
    apart = str(journal_directory)  # since points of the first ones wait
    result = run_program(
        service.address, "two_services_at_exit", 2_000, RUNSTREAM_EXIT_TIMEOUT_S="3", RUNSTREAM_DIR=apart
    )
    check(result)
    count_up(service, "parent", 2_000)
    assert service.run(result.stdout.strip()).status == run_pb2.RUN_STATUS_FINISHED
    assert result.stderr.count("10 points, and 1 params, tags and ends of the run, are on disk") == 4


def test_a_forked_child_that_exits_leaves_the_run_to_its_parent(service: Service) -> None:
    result = run_program(service.address, "exits_in_child", 1_500)
    check(result)
    run_id, status = result.stdout.split()
    assert status == "RUNNING"
    count_up(service, "child0", 1_500)
    count_up(service, "parent", 1_500)
    assert service.run(run_id).status == run_pb2.RUN_STATUS_FINISHED


def test_a_forked_child_reads_at_once(service: Service) -> None:
    result = run_program(service.address, "reads_in_child", 10)
    check(result)
    assert result.stdout == "RUNNING\n"


def test_points_of_a_thread_that_outlives_the_main_thread_arrive(service: Service) -> None:
    result = run_program(service.address, "logs_from_another_thread_at_exit", 3_000)
    check(result)
    count_up(service, "parent", 3_000)


def test_a_daemon_thread_that_logs_to_the_end_does_no_harm(service: Service) -> None:
    result = run_program(service.address, "daemon_thread_at_exit", 2_000)
    check(result)
    count_up(service, "parent", 2_000)


def test_without_a_service_the_exit_waits_no_longer_than_its_timeout(service: Service, journal_directory: Path) -> None:
    service.stop()
    apart = str(journal_directory)  # since its points wait for a service
    result = run_program(
        service.address, "falls_off_the_end", 100, RUNSTREAM_EXIT_TIMEOUT_S="0.3", RUNSTREAM_DIR=apart, timeout=10
    )
    check(result)
    assert "100 points" in result.stderr


def test_importing_the_client_imports_neither_service_nor_numpy_nor_grpc() -> None:
    modules = run_program("127.0.0.1:1", "imports", 0).stdout.split()
    assert "runstream.run" in modules
    packages = {name.partition(".")[0] for name in modules}
    assert not packages & {"runstream_service", "numpy", "torch", "asyncpg", "structlog", "grpc", "google"}
