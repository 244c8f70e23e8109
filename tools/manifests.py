"""Puts alerts and dashboards into the chart, and renders deploy/manifests/ from it with its own values:
`python tools/manifests.py`; --check only compares.

A chart reads no files but its own, so it has copies.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import generated
import helm_python

ROOT = Path(__file__).parents[1]
CHART = ROOT / "deploy" / "helm" / "runstream"
FILES = CHART / "files"
MONITORING = ROOT / "deploy" / "monitoring"
MANIFESTS = ROOT / "deploy" / "manifests"
_HEAD = "# Rendered from deploy/helm/runstream by tools/manifests.py; edit the chart.\n"
# Nothing of this is Helm's.
_HELM = re.compile(r"^ *(app\.kubernetes\.io/managed-by|helm\.sh/chart): .*\n", re.MULTILINE)


def rendered() -> dict[str, str]:
    """File name -> manifest, of all templates that make an object; those in tests/ are for `helm test`."""
    with helm_python.Chart.load(CHART) as chart:
        templates = chart.render({}, name="runstream", namespace="runstream")
    manifests = {
        Path(path).name: _HEAD + _HELM.sub("", text).strip() + "\n"
        for path, text in templates.items()
        if path.endswith(".yaml") and "/tests/" not in path and text.strip()
    }
    listed = "".join(f"  - {name}\n" for name in sorted(manifests))
    head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n"
    return {**manifests, "kustomization.yaml": _HEAD + head + listed}


def copied() -> dict[str, str]:
    """File name below files/ of the chart -> text."""
    dashboards = (MONITORING / "grafana" / "dashboards").glob("*.json")
    alerts = (MONITORING / "alerts.yml").read_text()
    return {"alerts.yml": alerts, **{f"dashboards/{path.name}": path.read_text() for path in dashboards}}


def main() -> None:
    """Writes the files, or says which of them are not as they should be."""
    check = "--check" in sys.argv[1:]
    again = "run python tools/manifests.py"
    generated.keep(FILES, copied(), check=check, again=again)
    generated.keep(MANIFESTS, rendered(), check=check, again=again)


if __name__ == "__main__":
    main()
