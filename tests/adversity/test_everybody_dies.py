"""kill -9 of trainers, agent, service and PostgreSQL in turn, and power cuts: what was safe is stored, and once."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

import runstream
from runstream.journal import Directory, RecordType
from runstream.journal.format import decode_batch
from runstream.journal.layout import WRITER_LOCK
from runstream.journal.reader import JournalReader
from tests.support.agents import agents_of, end_agents, kill
from tests.support.polling import until_now
from tests.support.preloaded import Preloaded
from tests.support.serve import ServeProcess, command_environment

# Each kind of death, and one after a power cut. The moments are random on purpose; the seed is printed, and may be
# given to replay one.
ROUNDS = int(os.environ.get("KILL_ROUNDS", "6"))
RANKS = 3
_LIFE = 1_000_000  # each life of a rank logs steps of its own


@dataclass
class Life:
    """A training process from start to end, and which of its steps have to be stored in the end."""

    first_step: int
    process: subprocess.Popen[str]
    progress: Path
    expected: set[int] = field(default_factory=set)
    started: bool = False

    def wait_until_started(self) -> None:
        if not self.started:
            assert self.process.stdout is not None
            assert self.process.stdout.readline() == "started\n"
            self.started = True

    def safe(self, *, if_power_fails: bool = False) -> set[int]:
        """The steps that the client called acknowledged, or on disk, when it last said so."""
        acknowledged, on_disk = struct.unpack("<qq", self.progress.read_bytes() or bytes(16))
        count = acknowledged if if_power_fails else acknowledged + on_disk
        return set(range(self.first_step, self.first_step + count))

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def _steps_in(journal: Path) -> set[int]:
    """The steps of the batches in a journal."""
    reader = JournalReader(journal, quarantine=False)
    steps: set[int] = set()
    while records := reader.read(1 << 20):
        for record in records:
            if record.kind is RecordType.BATCH:
                steps.update(np.frombuffer(decode_batch(record.payload)[4], "<i8").tolist())
    reader.close()
    return steps


class Job:
    """A training job on a node of its own, with one agent."""

    def __init__(self, serve: ServeProcess, scratch: Path, chance: random.Random) -> None:
        self.serve = serve
        self.run_id = uuid.uuid4().hex
        self.directory = Directory(Path(os.environ["RUNSTREAM_DIR"]))
        self.lives: dict[int, list[Life]] = {rank: [] for rank in range(RANKS)}
        self._scratch = scratch
        self._chance = chance

    @property
    def living(self) -> list[Life]:
        return [lives[-1] for lives in self.lives.values()]

    def start(self, rank: int) -> None:
        lives = self.lives[rank]
        first_step = len(lives) * _LIFE
        progress = self._scratch / f"{rank}-{len(lives)}"
        arguments = [self.serve.grpc_address, self.run_id, str(rank), str(first_step), str(progress)]
        command = [sys.executable, "-m", "tests.adversity.trainer", *arguments]
        process = Preloaded(command, command_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        lives.append(Life(first_step, process, progress))

    def wait_until_started(self) -> None:
        for life in self.living:
            life.wait_until_started()

    def kill_trainers(self) -> None:
        for rank, life in enumerate(self.living):
            if self._chance.random() < 0.7:
                life.end()
                life.expected = life.safe()
                self.start(rank)
        self.wait_until_started()

    def kill_agent(self) -> None:
        until_now(lambda: agents_of(self.directory.path))
        for agent in agents_of(self.directory.path):
            kill(agent)

    def kill_service(self) -> None:
        self.serve.kill()
        self.serve.start()

    def cut_power(self) -> None:
        """Of the node: trainers and agent are gone at once, and what they wrote and did not sync is gone in part."""
        power_cut = self._scratch / f"power-cut-{time.monotonic_ns()}"
        power_cut.mkdir()
        found = []
        for rank, life in enumerate(self.living):
            synced, left = power_cut / f"{rank}-synced", power_cut / f"{rank}-left"
            found.append((life, self._lose_power(life, synced, left), synced, left))
        for life in self.living:
            life.end()
        end_agents(self.directory.path)
        for life, journals, synced, left in found:
            life.expected = life.safe(if_power_fails=True) | self._restore(journals, synced, left)
        for rank in range(RANKS):
            self.start(rank)
        self.wait_until_started()

    def _lose_power(self, life: Life, synced: Path, left: Path) -> list[str]:
        assert life.process.stdin is not None
        assert life.process.stdout is not None
        order = {"seed": self._chance.randrange(1 << 30), "synced": str(synced), "left": str(left)}
        life.process.stdin.write(json.dumps(order) + "\n")
        life.process.stdin.flush()
        journals: list[str] = json.loads(life.process.stdout.readline())
        return journals

    def _restore(self, journals: list[str], synced: Path, left: Path) -> set[int]:
        """Puts what is left in the place of journals; returns which steps have to arrive."""
        expected: set[int] = set()
        for journal in journals:
            path = self.directory.journals_path / journal
            position = path / "position.json"
            kept = position.read_bytes() if position.exists() else None
            shutil.rmtree(path, ignore_errors=True)
            if (synced / journal).exists():
                expected |= _steps_in(synced / journal)
            if not (left / journal).exists():
                continue
            expected |= _steps_in(left / journal)
            shutil.copytree(left / journal, path)
            (path / WRITER_LOCK).touch(0o600)  # not in the model: it has no content
            match self._chance.randrange(3):  # the agent writes it now and then, and does not sync it each time
                case 0 if kept is not None:
                    position.write_bytes(kept)
                case 1:
                    position.write_bytes(b"")
        return expected

    def finish(self) -> None:
        for life in self.living:
            assert life.process.stdin is not None
            assert life.process.stdout is not None
            life.process.stdin.close()
            report = json.loads(life.process.stdout.readline())
            assert report["finished"], report
            life.expected = set(range(life.first_step, life.first_step + report["logged"]))
            assert life.process.wait(60) == 0
            life.process.stdout.close()


@pytest.mark.timeout(600)
def test_after_any_death_what_was_safe_is_stored_and_nothing_twice(data_dir, tmp_path):
    seed = int(os.environ.get("KILL_SEED", str(time.time_ns())))
    print(f"KILL_SEED={seed}")
    chance = random.Random(seed)
    with ServeProcess(data_dir) as serve:
        job = Job(serve, tmp_path, chance)
        for rank in range(RANKS):
            job.start(rank)
        try:
            job.wait_until_started()
            harms = (job.kill_trainers, job.kill_agent, job.kill_service, serve.kill_postgres, job.cut_power)
            for number in range(ROUNDS):
                time.sleep(chance.uniform(0.0, 1.5))  # any moment will do
                harms[number % len(harms)]()
            serve.wait_until("/readyz", 200, timeout_s=60)
            job.finish()
            until_now(lambda: not any(job.directory.journals()), timeout_s=120)
        finally:
            for life in job.living:
                life.end()
        with runstream.Client(serve.grpc_address) as client:
            for rank, lives in job.lives.items():
                stored = list(client.history(job.run_id, "loss", rank=rank).steps)
                assert len(stored) == len(set(stored)), "stored twice"
                expected = set().union(*(life.expected for life in lives))
                assert expected <= set(stored), sorted(expected - set(stored))[:20]
                print(f"rank {rank}: {len(lives)} lives, {len(stored):,} points stored, {len(expected):,} were safe")
