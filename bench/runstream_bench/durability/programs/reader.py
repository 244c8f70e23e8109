"""Reads all points of some runs through a tracker's own API: python reader.py CONFIG, a JSON object, which is that of a
trainer with `runs`, their ids, and `names`, those of the metrics. Writes a JSON array a point to the file `out`: run
id, key, rank, step, the value in hexadecimal, the time in microseconds."""

from __future__ import annotations

import json
import sys
from typing import Any

from clients import CLIENTS  # type: ignore[import-not-found]  # beside this file, when it runs


def main(config: dict[str, Any]) -> None:
    with open(config["out"], "w") as out:
        for run_id in config["runs"]:
            for key, rank, step, value, time_us in CLIENTS[config["client"]].read(config, run_id, config["names"]):
                out.write(json.dumps([run_id, key, int(rank), int(step), float(value).hex(), time_us]) + "\n")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
