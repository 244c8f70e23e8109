"""`runstream tensorboard` is killed again and again while event files are written: every scalar is stored once."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest

import runstream
from runstream.tensorboard.records import encode_record
from tests.support.databases import short_directory
from tests.support.event_files import EventFile, event, simple_value, summary, tensor_value
from tests.support.polling import until_now
from tests.support.preloaded import Preloaded
from tests.support.serve import COMMAND, ServeProcess, command_environment

KILLS = int(os.environ.get("TENSORBOARD_KILLS", "8"))
RANKS = 3
KEYS = ("loss", "lr", "throughput(tps)")
ROW_S = 0.002


class Writer(threading.Thread):
    """Writes one file, in pieces that end anywhere in a record, until it is stopped."""

    def __init__(self, directory: Path, seed: int) -> None:
        super().__init__(daemon=True)
        self.values: dict[str, list[tuple[int, float]]] = {key: [] for key in KEYS}
        self._file = EventFile(directory)
        self._random = random.Random(seed)
        self._stopping = threading.Event()

    def run(self) -> None:
        step, waiting = 0, b""
        while not self._stopping.wait(ROW_S) or waiting:
            if not self._stopping.is_set():
                waiting += self._row(step)
                step += 1
            size = len(waiting) if self._stopping.is_set() else self._random.randrange(len(waiting) + 1)
            self._file.write_bytes(waiting[:size])
            waiting = waiting[size:]

    def stop(self) -> None:
        """Returns when everything is written."""
        self._stopping.set()
        self.join(60)

    def _row(self, step: int) -> bytes:
        row = b""
        for key in KEYS:
            (value,) = struct.unpack("<f", struct.pack("<f", self._random.random()))
            self.values[key].append((step, value))
            form = tensor_value if key == "lr" else simple_value
            row += encode_record(event(1.7e9 + step, step, summary(form(key, value))))
        return row


@pytest.fixture
def serve():
    with short_directory() as directory, ServeProcess(directory / "data") as process:
        yield process


@pytest.mark.timeout(120 + 6 * KILLS)
def test_every_scalar_is_stored_once_however_often_the_follower_is_killed(serve, tmp_path):
    seed = int(os.environ.get("KILL_SEED", time.time_ns() % 1_000_000))
    print(f"KILL_SEED={seed}")
    chance = random.Random(seed)
    logdir = tmp_path / "logs"
    writers = [Writer(logdir / "mlp" / f"rank_{rank}", seed + rank) for rank in range(RANKS)]
    for writer in writers:
        writer.start()
    command = [*COMMAND, "tensorboard", str(logdir), "--address", serve.grpc_address]
    for _ in range(KILLS):
        process = Preloaded(command, command_environment(), stderr=subprocess.PIPE)
        assert process.stderr is not None
        assert "following" in process.stderr.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(chance.choice([0.02, 0.2, 1.0]) * chance.random())
        process.kill()
        process.communicate()
    for writer in writers:
        writer.stop()
    done = subprocess.run([*command, "--once"], env=command_environment(), capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    with runstream.Client(serve.grpc_address) as client:
        (run,) = client.list_runs("logs")
        for rank, writer in enumerate(writers):
            for key, expected in writer.values.items():
                found = [(one.step, one.value) for one in client.history(run.run_id, key, rank=rank)]
                assert found == expected, (rank, key)
        until_now(lambda: client.get_run(run.run_id).status == "FINISHED")
