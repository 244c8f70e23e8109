"""Helpers of the tests of the page."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from playwright.sync_api import Page, expect

from tests.support.rest import Rest
from tests.support.serve import ServeProcess

_AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
_ISSUES = """async (rules) =>
    (await axe.run(document, {resultTypes: ['violations'], ...(rules && {runOnly: rules})})).violations
    .filter(({impact}) => impact === 'serious' || impact === 'critical')
    .map(({id, nodes}) => `${id}: ${nodes.slice(0, 3).map((node) => node.html.slice(0, 200)).join(' | ')}`)"""
# Of axe's rules, those of what differs between themes.
_OF_COLOURS = ["color-contrast", "link-in-text-block"]

THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


@dataclass(frozen=True, slots=True)
class Logged:
    """An experiment of a test, and what logs into it."""

    service: ServeProcess
    experiment_id: str
    name: str
    token: str = ""

    def run(
        self,
        name: str,
        *,
        params: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        status: str = "FINISHED",
        age_s: float = 60,
    ) -> str:
        """A run of MLflow's API; returns its id."""
        now = int(time.time() * 1000)
        with contextlib.closing(Rest(self.service.http_url, token=self.token)) as rest:
            new = {
                "experiment_id": self.experiment_id,
                "run_name": name,
                "user_id": "ada",
                "start_time": now - int(age_s * 1000),
                "tags": [{"key": key, "value": value} for key, value in (tags or {}).items()],
            }
            run_id = str(rest.post("runs/create", new).body["run"]["info"]["run_id"])
            points = [{"key": k, "value": v, "step": 7, "timestamp": now} for k, v in (metrics or {}).items()]
            texts = [{"key": key, "value": value} for key, value in (params or {}).items()]
            batch = {"run_id": run_id, "metrics": points, "params": texts}
            assert rest.post("runs/log-batch", batch).status == 200
            if status != "RUNNING":
                rest.post("runs/update", {"run_id": run_id, "status": status, "end_time": now})
        return run_id


def make_experiment(service: ServeProcess, name: str = "", *, token: str = "") -> Logged:
    """A new, empty experiment."""
    name = name or f"digits {uuid.uuid4().hex[:8]}"
    with contextlib.closing(Rest(service.http_url, token=token)) as rest:
        return Logged(service, str(rest.post("experiments/create", {"name": name}).body["experiment_id"]), name, token)


def serious_issues(page: Page, rules: Sequence[str] | None = None) -> list[str]:
    """The barriers that axe-core finds on a page, with all of its rules or with these."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_AXE.read_text())
    return list(page.evaluate(_ISSUES, rules))


def serious_issues_in_both_themes(page: Page) -> dict[str, list[str]]:
    """The barriers of a page in light and in dark, by theme; empty if there are none."""
    issues = {}
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        expect(page.locator("html")).to_have_attribute("data-theme", theme)
        issues[theme] = serious_issues(page, None if theme == THEMES[0] else _OF_COLOURS)
    return {theme: found for theme, found in issues.items() if found}
