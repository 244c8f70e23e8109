"""A training process for the adversity tests: logs steadily until its standard input closes, then flushes and says what
it logged.

    python producer.py ADDRESS RUN_ID RANK POINTS_PER_SECOND
"""

from __future__ import annotations

import json
import logging
import select
import sys
import time

import runstream


class Listener(logging.Handler):
    """Collects the messages of the client."""

    def __init__(self, said: list[str]) -> None:
        super().__init__()
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(record.getMessage())


def main(address: str, run_id: str, rank: int, points_per_s: float) -> None:
    said: list[str] = []
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("runstream").addHandler(Listener(said))
    run = runstream.start_run("adversity", "kills", run_id=run_id, rank=rank, address=address)
    run.flush(30)  # the run is there when the test hears of it
    step, longest_s = 0, 0.0
    print("started", flush=True)
    begun = time.monotonic()
    pause_s = max(0.01, 1 / points_per_s)
    while not select.select([sys.stdin], [], [], pause_s)[0]:
        while step < (time.monotonic() - begun) * points_per_s:
            before = time.perf_counter()
            run.log({"loss": step * 0.5}, step=step)
            longest_s = max(longest_s, time.perf_counter() - before)
            step += 1
    flushed = run.flush(120)
    stats = run.stats()
    run.finish(timeout=30)
    print(
        json.dumps(
            {
                "logged": step,
                "flushed": flushed,
                "refused": dict(stats.refused),
                "lost_acknowledged": stats.lost_acknowledged,
                "reconnects": stats.reconnects,
                "said": said,
                "last_error": stats.last_error,
                "longest_log_s": longest_s,
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
