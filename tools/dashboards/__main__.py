"""Writes the Grafana dashboards: `python tools/dashboards`; --check only compares.

The JSON is made by Grafana's own library and kept in deploy/monitoring/grafana/dashboards; tests execute every query in
it.
"""

from __future__ import annotations

import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from parts import DASHBOARDS
from runbooks import runbooks
from runs import runs

from service import service


def rendered() -> dict[str, str]:
    """File name -> JSON."""
    encoder = JSONEncoder(indent=2, sort_keys=True, ensure_ascii=False)
    made = {"service": service(), "runs": runs(), "runbooks": runbooks()}
    return {f"{name}.json": encoder.encode(one.build()) + "\n" for name, one in made.items()}


def main() -> None:
    """Writes the files, or says which of them are not as this program makes them."""
    wanted = rendered()
    stored = {path.name: path.read_text() for path in DASHBOARDS.glob("*")}
    stale = sorted(name for name in wanted.keys() | stored.keys() if wanted.get(name) != stored.get(name))
    if "--check" in sys.argv[1:]:
        if stale:
            sys.exit(
                f"deploy/monitoring/grafana/dashboards is stale ({', '.join(stale)}): run python tools/dashboards.py"
            )
        return
    DASHBOARDS.mkdir(parents=True, exist_ok=True)
    for name in stale:
        if name in wanted:
            (DASHBOARDS / name).write_text(wanted[name])
        else:
            (DASHBOARDS / name).unlink()


if __name__ == "__main__":
    main()
