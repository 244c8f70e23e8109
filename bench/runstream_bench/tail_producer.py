"""Logs a point every 20 ms through the real client, for the latency of Tail:

python -m runstream_bench.tail_producer ADDRESS RUN_ID SECONDS
"""

from __future__ import annotations

import sys
import time

import runstream


def main(address: str, run_id: str, seconds: float) -> None:
    """Logs until the time is over."""
    with runstream.start_run("bench", run_id=run_id, address=address) as run:
        give_up = time.monotonic() + seconds
        step = 0
        while time.monotonic() < give_up:
            run.log({"loss": 1.0 / (step + 1)}, step=step)
            step += 1
            time.sleep(0.02)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
