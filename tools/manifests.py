"""Renders deploy/manifests/ from the chart with its own values: `python tools/manifests.py`; --check only compares."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import helm_python

ROOT = Path(__file__).parents[1]
CHART = ROOT / "deploy" / "helm" / "runstream"
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


def main() -> None:
    """Writes the files, or says which of them are not as the chart has them."""
    wanted = rendered()
    stored = {path.name: path.read_text() for path in MANIFESTS.glob("*.yaml")}
    stale = sorted(name for name in wanted.keys() | stored.keys() if wanted.get(name) != stored.get(name))
    if "--check" in sys.argv[1:]:
        if stale:
            sys.exit(f"deploy/manifests is stale ({', '.join(stale)}): run python tools/manifests.py")
        return
    MANIFESTS.mkdir(exist_ok=True)
    for name in stale:
        if name in wanted:
            (MANIFESTS / name).write_text(wanted[name])
        else:
            (MANIFESTS / name).unlink()


if __name__ == "__main__":
    main()
