"""MLflow's own web UI, served by us, in a real browser, on what a training script logged.

`UI_SCREENSHOTS=DIRECTORY` keeps a picture of every page.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run
from playwright.sync_api import Browser, Page, Response, expect, sync_playwright

from tests.mlflow import training_script

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EXPERIMENT = "digits seen in a browser"
# What the UI asks for on every page though it is about other things than tracking; stock answers some with 404 as well.
OUT_OF_SCOPE = ("users/current", "assistant/", "gateway-proxy")

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path; on Debian: apt-get install chromium"),
    pytest.mark.timeout(180),
]


@dataclass
class Ui:
    """A page of the UI, and what it was refused."""

    page: Page
    base: str
    experiment_id: str
    runs: dict[str, Run]
    refused: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """Goes to a place of the UI."""
        self.page.goto(f"{self.base}/#/{path}")
        return self.page

    def open_run(self, name: str, tab: str = "") -> Page:
        """Goes to a run's page."""
        return self.open(f"experiments/{self.experiment_id}/runs/{self.runs[name].info.run_id}{tab}")

    def note(self, response: Response) -> None:
        """Remembers answers that the UI cannot have liked."""
        if response.status >= 400 and not any(part in response.url for part in OUT_OF_SCOPE):
            self.refused.append(f"{response.status} {response.request.method} {response.url}")


@pytest.fixture(scope="module")
def trained(server: str) -> dict[str, Run]:
    """The runs of the training script, by their names."""
    command = [sys.executable, training_script.__file__, server, EXPERIMENT]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    runs = mlflow.MlflowClient(server).search_runs([_experiment_id(server)])
    return {run.info.run_name: run for run in runs}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Root, as in CI's container, has no sandbox.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def ui(
    browser: Browser, server: str, trained: dict[str, Run], tracking: str, request: pytest.FixtureRequest
) -> Iterator[Ui]:
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    page.set_default_timeout(20_000)
    expect.set_options(timeout=20_000)
    ui = Ui(page, server, _experiment_id(server), trained)
    page.on("response", ui.note)
    yield ui
    if directory := os.environ.get("UI_SCREENSHOTS"):
        page.screenshot(path=Path(directory) / f"{request.node.name}.png")
    page.close()
    assert ui.refused == []


def _experiment_id(server: str) -> str:
    experiment = mlflow.MlflowClient(server).get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    return str(experiment.experiment_id)


def _shown(value: float) -> str:
    """As the UI writes a metric."""
    return f"{value:.4f}".rstrip("0")


# -- looking ---------------------------------------------------------------------------------------------------------


def test_the_experiments_are_listed(ui: Ui) -> None:
    expect(ui.open("experiments").get_by_role("link", name=EXPERIMENT)).to_be_visible()


def test_the_table_of_runs_shows_both(ui: Ui) -> None:
    page = ui.open(f"experiments/{ui.experiment_id}/runs")
    for name in ui.runs:
        expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()
    expect(page.get_by_text("matching runs")).to_contain_text("2")


def test_a_search_leaves_the_runs_that_fit(ui: Ui) -> None:
    page = ui.open(f"experiments/{ui.experiment_id}/runs")
    page.get_by_placeholder("metrics.rmse").fill("params.alpha = '0.0001' AND metrics.accuracy > 0.5")
    page.keyboard.press("Enter")
    expect(page.get_by_text("matching run", exact=False).first).to_contain_text("1")
    expect(page.get_by_role("link", name="alpha-0.01", exact=True)).to_have_count(0)


def test_charts_draw_the_metrics_of_all_runs(ui: Ui) -> None:
    page = ui.open(f"experiments/{ui.experiment_id}/runs?compareRunsMode=CHART")
    points = page.locator(".scatterlayer .trace .points path")
    expect(points.nth(2 * training_script.EPOCHS - 1)).to_be_attached()


def test_a_run_shows_its_metrics_params_and_tags(ui: Ui) -> None:
    run = ui.runs["alpha-0.01"]
    page = ui.open_run("alpha-0.01")
    expect(page.get_by_text("Finished")).to_be_visible()
    expect(page.get_by_text("team: vision")).to_be_visible()
    text = page.locator("body")
    expect(text).to_contain_text(run.info.run_id)
    for key in ("accuracy", "train/accuracy"):
        expect(text).to_contain_text(_shown(run.data.metrics[key]))


@pytest.mark.parametrize(
    ("tab", "metric"), [("/model-metrics", "accuracy"), ("/system-metrics", "cpu_utilization_perce")]
)
def test_metrics_of_a_run_are_drawn(ui: Ui, tab: str, metric: str) -> None:
    page = ui.open_run("alpha-0.01", tab)
    expect(page.get_by_text(metric).first).to_be_visible()
    points = page.locator(".scatterlayer .trace .points path")
    expect(points.nth(training_script.EPOCHS - 1)).to_be_attached()


def test_an_artifact_is_shown(ui: Ui) -> None:
    page = ui.open_run("alpha-0.01", "/artifacts/reports/report.txt")
    expect(page.get_by_text("the report of alpha-0.01")).to_be_visible()


def test_runs_are_compared(ui: Ui) -> None:
    ids = ",".join(f'"{run.info.run_id}"' for run in ui.runs.values())
    page = ui.open(f'compare-runs?runs=[{ids}]&experiments=["{ui.experiment_id}"]')
    expect(page.get_by_text("Comparing 2 Runs from 1 Experiment")).to_be_visible()
    for run in ui.runs.values():
        expect(page.locator("body")).to_contain_text(str(run.data.metrics["accuracy"])[:5])


def test_logged_models_are_listed(ui: Ui) -> None:
    page = ui.open(f"experiments/{ui.experiment_id}/models")
    expect(page.get_by_role("link", name="classifier", exact=True)).to_have_count(2)
    expect(page.get_by_text("Ready").first).to_be_visible()


def test_the_registry_shows_the_model_its_version_and_the_signature(ui: Ui) -> None:
    page = ui.open(f"models/{EXPERIMENT}-classifier")
    expect(page.get_by_text("Version 1")).to_be_visible()
    page = ui.open(f"models/{EXPERIMENT}-classifier/versions/1")
    expect(page.get_by_role("link", name="alpha-0.0001")).to_be_visible()
    expect(page.get_by_text("Inputs (1)")).to_be_visible()


# -- changing --------------------------------------------------------------------------------------------------------


def test_a_run_gets_another_name_a_description_and_a_tag(ui: Ui) -> None:
    client = mlflow.MlflowClient()
    run = client.create_run(ui.experiment_id, run_name="before")
    ui.runs = {"before": run}
    page = ui.open_run("before")
    page.get_by_label("Edit description").click()
    page.locator("textarea").first.fill("seen in a browser")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("seen in a browser").first).to_be_visible()

    page.get_by_label("Open header dropdown menu").click()
    page.get_by_role("menuitem", name="Rename").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox").fill("after")
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="after")).to_be_visible()

    page.get_by_label("Edit tags").or_(page.get_by_role("button", name="Add tags")).first.click()
    dialog.get_by_role("combobox").fill("reviewed")
    page.keyboard.press("Enter")
    dialog.get_by_label("Value").fill("yes")
    dialog.get_by_label("Add tag").click()
    dialog.get_by_role("button", name="Save tags").click()
    expect(page.get_by_text("reviewed").first).to_be_visible()

    changed = client.get_run(run.info.run_id)
    assert changed.info.run_name == "after"
    assert (changed.data.tags["reviewed"], changed.data.tags["mlflow.note.content"]) == ("yes", "seen in a browser")
    client.delete_run(run.info.run_id)


def test_a_run_is_deleted_and_restored(ui: Ui) -> None:
    client = mlflow.MlflowClient()
    experiment_id = client.create_experiment("deleted and restored in a browser")
    run_id = client.create_run(experiment_id, run_name="goes and comes").info.run_id
    page = ui.open(f"experiments/{experiment_id}/runs")
    page.get_by_label("Select all runs").check()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("link", name="goes and comes")).to_have_count(0)
    assert client.get_run(run_id).info.lifecycle_stage == "deleted"

    page.get_by_label("State, selected option: Active").click()
    page.get_by_role("option", name="Deleted").click()
    expect(page.get_by_role("link", name="goes and comes")).to_be_visible()
    page.get_by_label("Select all runs").check()
    page.get_by_role("button", name="Restore").click()
    page.get_by_role("dialog").get_by_role("button", name="Restore").click()
    expect(page.get_by_role("link", name="goes and comes")).to_have_count(0)
    assert client.get_run(run_id).info.lifecycle_stage == "active"
