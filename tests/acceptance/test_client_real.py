"""The client against the real service in its own process: `runstream serve` on embedded PostgreSQL."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import runstream
from tests.support.polling import until_now
from tests.support.serve import ServeProcess

ROOT = Path(__file__).parents[2]


def program(serve: ServeProcess, name: str, number: int, **environment: str) -> subprocess.Popen[str]:
    """A training program of tests/unit/client/processes.py."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.unit.client.processes", name, str(number)],
        cwd=ROOT,
        env={**os.environ, "RUNSTREAM_ADDRESS": serve.grpc_address, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> str:
    """Waits for the end of the program; returns its output."""
    output, errors = process.communicate(timeout=250)
    assert process.returncode == 0, errors
    return output


def test_a_string_is_one_key_in_every_read(serve: ServeProcess, client: runstream.Client) -> None:
    with runstream.start_run("keys", address=serve.grpc_address) as run:
        run.log({"loss": 1.0, "l": 2.0, "o": 3.0, "s": 4.0}, step=0)
        assert run.flush(120)
        updates = client.tail(run.run_id, "loss")
        next(updates)
        run.log({"loss": 5.0, "l": 6.0}, step=1)
        series = next(update.series for update in updates if update.series)
        updates.close()  # type: ignore[attr-defined]
    assert [(one.key, list(one.values)) for one in series] == [("loss", [5.0])]
    assert [(one.key, one.step) for one in client.latest(run.run_id, "loss")] == [("loss", 1)]
    assert [one.key for one in client.stream_history(run.run_id, "loss")] == ["loss"]
    assert [one.key for one in client.chart(run.run_id, "loss")] == ["loss"]
    assert client.delete_series(run.run_id, "loss") == 1


def test_what_is_logged_comes_back_as_it_went_in(serve: ServeProcess, client: runstream.Client) -> None:
    values = [0.1, -0.0, math.inf, -math.inf, math.nan, 5e-324, 1.7976931348623157e308]
    with runstream.start_run("digits", "mlp", params={"lr": 0.1}, tags={"t": 1}, address=serve.grpc_address) as run:
        for step, value in enumerate(values):
            run.log({"a/b 漢'": value}, step=step, time_unix_us=step - 3)
        run.log({"edge": 1}, step=-(2**63), time_unix_us=-62_135_596_800_000_000)
        run.log({"edge": 2}, step=2**63 - 1, time_unix_us=253_402_300_799_999_999)
        assert run.flush(120), run.stats()
    history = client.history(run.run_id, "a/b 漢'")
    assert [repr(value) for value in history.values] == [repr(value) for value in values]
    assert list(history.times_unix_us) == [step - 3 for step in range(len(values))]
    assert list(client.history(run.run_id, "edge").steps) == [-(2**63), 2**63 - 1]
    info = client.get_run(run.run_id)
    assert (info.experiment, info.name, info.status, info.params) == ("digits", "mlp", "FINISHED", {"lr": "0.1"})
    assert info.tags["t"] == "1"
    assert run.run_id in [one.run_id for one in client.list_runs("digits")]
    assert {one.key: one.step for one in client.latest(run.run_id)} == {"a/b 漢'": 6, "edge": 2**63 - 1}


def test_ranks_that_share_a_job_id_share_a_run_as_under_torchrun(serve: ServeProcess, client: runstream.Client) -> None:
    job = {"TORCHELASTIC_RUN_ID": uuid.uuid4().hex, "TORCHELASTIC_RESTART_COUNT": "1", "WORLD_SIZE": "4"}
    ranks = [program(serve, "falls_off_the_end", 2_000, RANK=str(rank), **job) for rank in range(4)]
    (run_id,) = {finished(rank).strip() for rank in ranks}
    history = client.history(run_id, "parent")
    assert [(one.rank, one.attempt) for one in history.series] == [(rank, 1) for rank in range(4)]
    for one in history.series:
        assert list(one.steps) == list(range(2_000))
    assert client.get_run(run_id).status == "FINISHED"


def test_forks_of_a_streaming_process_store_every_point_once(serve: ServeProcess, client: runstream.Client) -> None:
    run_id = uuid.uuid4().hex
    said = dict(line.split() for line in finished(program(serve, "os_fork", 10, RUNSTREAM_RUN_ID=run_id)).splitlines())
    assert said["failed"] == "0"
    assert list(client.history(run_id, "parent").steps) == list(range(int(said["parent"])))
    for number in range(10):
        assert list(client.history(run_id, f"child{number}").steps) == list(range(1_200))


def test_a_deleted_run_refuses_and_a_restored_one_takes_points(serve: ServeProcess, client: runstream.Client) -> None:
    run = runstream.start_run("digits", address=serve.grpc_address)
    run.log({"loss": 1.0}, step=0)
    assert run.flush(120)
    client.delete_run(run.run_id)
    assert client.get_run(run.run_id).deleted
    run.log({"loss": 2.0}, step=1)
    run.set_tags({"while": "deleted"})
    assert not run.flush(30)
    assert run.stats().refused == {"run_deleted": 1}
    client.restore_run(run.run_id)
    with runstream.start_run("digits", run_id=run.run_id, address=serve.grpc_address) as again:
        again.log({"loss": 3.0}, step=2)
    until_now(lambda: run.flush(30))
    assert run.finish(timeout=30)
    assert list(client.history(run.run_id, "loss").values) == [1.0, 3.0]
    info = client.get_run(run.run_id)
    assert (info.status, info.tags["while"]) == ("FINISHED", "deleted")


def test_a_deleted_run_that_nobody_restores_has_its_end(serve: ServeProcess, client: runstream.Client) -> None:
    run = runstream.start_run("digits", address=serve.grpc_address)
    run.log({"loss": 1.0}, step=0)
    assert run.flush(120)
    client.delete_run(run.run_id)
    run.log({"loss": 2.0}, step=1)
    begun = time.monotonic()
    assert not run.finish("FAILED", timeout=60)
    assert time.monotonic() - begun < 30
    client.restore_run(run.run_id)
    assert client.get_run(run.run_id).status == "FAILED"


def test_params_and_tags_of_more_than_a_message_arrive_and_hold_up_nothing(
    serve: ServeProcess, client: runstream.Client
) -> None:
    tags = {f"t{number}": "漢" * 8_000 for number in range(100)}
    params = {f"p{number}": "x" * 6_000 for number in range(300)}
    many = {f"m{number}": str(number) for number in range(2_500)}
    with runstream.start_run("digits", tags=tags, params=params, address=serve.grpc_address) as run:
        run.set_tags(many)
        run.log({"loss": 1.0})
        assert run.flush(120), run.stats()
    info = client.get_run(run.run_id)
    assert info.status == "FINISHED"
    assert info.params == params
    assert {key: value for key, value in info.tags.items() if key[0] in "tm"} == tags | many


def test_a_run_can_be_joined_by_its_id_alone(serve: ServeProcess, client: runstream.Client) -> None:
    with runstream.start_run("digits", "joined", address=serve.grpc_address) as run:
        run.log({"loss": 1.0}, step=0)
        assert run.flush(120)
        with runstream.start_run(run_id=run.run_id, rank=1, address=serve.grpc_address) as other:
            other.log({"loss": 2.0}, step=0)
    assert [one.rank for one in client.history(run.run_id, "loss").series] == [0, 1]
    assert client.get_run(run.run_id).experiment == "digits"


def test_a_run_can_be_read_as_soon_as_it_is_started(serve: ServeProcess, client: runstream.Client) -> None:
    run = runstream.start_run("digits", address=serve.grpc_address)
    assert client.get_run(run.run_id).status == "RUNNING"
    another = runstream.start_run("digits", address=serve.grpc_address)
    assert next(client.tail(another.run_id)).series == []
    with serve.frozen():
        frozen = runstream.start_run("digits", address=serve.grpc_address)
    assert len(client.history(frozen.run_id, "loss")) == 0
    for one in (run, another, frozen):
        assert one.finish()


def test_the_service_knows_how_long_points_take_from_log_to_commit(serve: ServeProcess) -> None:
    name = "runstream_log_to_commit_seconds"
    with runstream.start_run("digits", address=serve.grpc_address) as run:
        before = serve.metric(f"{name}_count"), serve.metric(f"{name}_sum")
        logged = time.monotonic()
        run.log({"loss": 1.0}, time_unix_us=0)  # a time that the user sets does not say when the point was logged
        assert run.flush(120), run.stats()
        at_once = serve.metric(f"{name}_count"), serve.metric(f"{name}_sum")
        assert at_once[0] - before[0] == 1
        assert 0 < at_once[1] - before[1] < time.monotonic() - logged
        # Sealed and sent within milliseconds, so that all of the wait is on the way.
        logged = time.monotonic()
        with serve.frozen():
            run.log({"loss": 2.0})
            assert not run.flush(1.0)
        assert run.flush(120), run.stats()
        assert serve.metric(f"{name}_count") - at_once[0] == 1
        # The fastest way is not seen.
        assert 0.9 < serve.metric(f"{name}_sum") - at_once[1] < time.monotonic() - logged
        # While the service is away the batch is not sent at all; its age grows with the client.
        serve.kill()
        run.log({"loss": 3.0})
        away = time.monotonic()
        serve.start()
        away = time.monotonic() - away
        assert run.flush(120), run.stats()
        assert serve.metric(f"{name}_count") == 1  # it counts from its start
        assert serve.metric(f"{name}_sum") > 0.9 * away


def test_a_service_that_is_killed_while_ranks_stream_stores_every_point_once(serve: ServeProcess) -> None:
    run_id = uuid.uuid4().hex
    runs = [
        runstream.start_run("digits", run_id=run_id, rank=rank, attempt=0, address=serve.grpc_address)
        for rank in range(4)
    ]
    going = threading.Event()
    going.set()
    counts = [0] * len(runs)

    def stream(rank: int) -> None:
        while going.is_set() or counts[rank] < 1_000:
            runs[rank].log({"loss": counts[rank]}, step=counts[rank])
            counts[rank] += 1
            if counts[rank] % 20 == 0:
                time.sleep(0.01)

    threads = [threading.Thread(target=stream, args=(rank,)) for rank in range(len(runs))]
    for thread in threads:
        thread.start()
    for end in ("kill", "terminate", "kill"):
        assert runs[0].flush(60), runs[0].stats()
        getattr(serve, end)()
        serve.start()
    going.clear()
    for thread in threads:
        thread.join()
    for run in runs:
        assert run.flush(120), run.stats()
        assert run.finish()
    history = runstream.Client(serve.grpc_address).history(run_id, "loss")
    for rank, one in enumerate(history.series):
        assert list(one.steps) == list(range(counts[rank])), rank
    for run, count in zip(runs, counts, strict=True):
        stats = run.stats()
        assert (stats.acknowledged, dict(stats.refused), stats.lost_acknowledged) == (count, {}, 0)
