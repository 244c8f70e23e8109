"""The dashboard of runbooks."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import text
from grafana_foundation_sdk.models.text import TextMode

from grafana.parts import RUNBOOKS, RUNBOOKS_UID, page


def runbooks() -> build.Dashboard:
    """One panel for each runbook; panel n is the n-th of them by name."""
    made = page(
        "runstream: runbooks", RUNBOOKS_UID, "What each alert means and what to do: deploy/monitoring/runbooks."
    )
    for n, path in enumerate(RUNBOOKS, start=1):
        content = path.read_text().partition("\n")[2].strip()
        panel = text.Panel().id(n).title(path.stem).mode(TextMode.MARKDOWN).content(content)
        made = made.with_panel(panel.span(12).height(16))
    return made
