"""A training process whose journal is on a disk that can lose power. It logs the steps FIRST_STEP, FIRST_STEP + 1, ...
until its standard input closes.

    python -m tests.adversity.trainer ADDRESS RUN_ID RANK FIRST_STEP PROGRESS_FILE

The file has two numbers of 8 bytes: how many points the client calls acknowledged, and how many on disk. A line on
standard input cuts the power: `{"seed": 1, "synced": DIRECTORY, "left": DIRECTORY}`. What was synced, and what one
power cut leaves of everything, is written into these directories; then it waits to be killed.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import struct
import sys
import threading
from pathlib import Path
from typing import Any

import runstream
from runstream.journal import Directory, JournalWriter
from tests.support.page_cache import PageCache

_PAUSE_S = 0.005


class SharedDisk:
    """A page cache for several threads. After `lose_power`, each thread that uses it stands still."""

    def __init__(self, root: Path) -> None:
        self._cache = PageCache(root)
        self._lock = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._cache, name)

        def locked(*arguments: Any) -> Any:
            with self._lock:
                return method(*arguments)

        return locked

    def lose_power(self, seed: int, synced: Path, left: Path) -> None:
        self._lock.acquire()
        self._cache.synced(synced)
        self._cache.power_cut(left, random.Random(seed))


def main(address: str, run_id: str, rank: int, first_step: int, progress: Path) -> None:
    directory = Directory(Path(os.environ["RUNSTREAM_DIR"]))
    directory.make()
    disk = SharedDisk(directory.journals_path)
    journals: list[str] = []

    def create(_cls: type[JournalWriter], root: Directory, record: dict[str, Any]) -> JournalWriter:
        journals.append(os.urandom(16).hex())
        return JournalWriter.create_with(disk, root.journals_path, journals[-1], record)

    JournalWriter.create = classmethod(create)  # type: ignore[assignment, method-assign]
    file = os.open(progress, os.O_WRONLY | os.O_CREAT, 0o600)
    run = runstream.start_run("adversity", "power", run_id=run_id, rank=rank, address=address)
    step = first_step
    print("started", flush=True)
    while not select.select([sys.stdin], [], [], _PAUSE_S)[0]:
        run.log({"loss": float(step)}, step=step)
        step += 1
        stats = run.stats()
        os.pwrite(file, struct.pack("<qq", stats.acknowledged, stats.on_disk), 0)
    if line := sys.stdin.readline():
        order = json.loads(line)
        disk.lose_power(order["seed"], Path(order["synced"]), Path(order["left"]))
        print(json.dumps(journals), flush=True)
        signal.pause()
    finished = run.finish(timeout=100)
    print(json.dumps({"logged": step - first_step, "finished": finished}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
