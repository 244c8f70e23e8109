"""Writes the Grafana dashboards: `python tools/dashboards.py`; --check only compares.

The JSON is made by Grafana's own library and kept in deploy/monitoring/grafana/dashboards; tests execute every query in
it. The chart has copies: `python tools/manifests.py` afterwards.
"""

from __future__ import annotations

import sys

import generated
from grafana.parts import DASHBOARDS
from grafana.runbooks import runbooks
from grafana.runs import runs
from grafana.service import service
from grafana_foundation_sdk.cog.encoder import JSONEncoder


def rendered() -> dict[str, str]:
    """File name -> JSON."""
    encoder = JSONEncoder(indent=2, sort_keys=True, ensure_ascii=False)
    made = {"service": service(), "runs": runs(), "runbooks": runbooks()}
    return {f"{name}.json": encoder.encode(one.build()) + "\n" for name, one in made.items()}


if __name__ == "__main__":
    generated.keep(
        DASHBOARDS,
        rendered(),
        check="--check" in sys.argv[1:],
        again="run python tools/dashboards.py and python tools/manifests.py",
    )
