"""MLflow's own web UI, served by us, in a real browser, on what a training script logged.

`UI_SCREENSHOTS=DIRECTORY` keeps a picture of every page.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import mlflow
import pytest
from mlflow.entities import Run
from playwright.sync_api import Page, Route, expect

from tests.mlflow.training_constants import EPOCHS, SCRIPT
from tests.mlflow.ui_page import IN_A_BROWSER, UiPage
from tests.support import preloaded
from tests.support.pages import keep_picture
from tests.support.stock import mlflow_environment
from tests.support.windows import Windows

EXPERIMENT = "digits seen in a browser"
pytestmark = IN_A_BROWSER


@dataclass(kw_only=True)
class Ui(UiPage):
    """A page of the UI, and the runs that it shows."""

    experiment_id: str
    runs: dict[str, Run]

    def open_run(self, name: str, tab: str = "") -> Page:
        """Goes to a run's page."""
        return self.open(f"experiments/{self.experiment_id}/runs/{self.runs[name].info.run_id}{tab}")


@pytest.fixture(scope="module")
def trained(server: str) -> dict[str, Run]:
    """The runs of the training script, by their names."""
    command = [sys.executable, str(SCRIPT), server, EXPERIMENT]
    done = preloaded.run(command, mlflow_environment(), modules=preloaded.MLFLOW, timeout_s=250)
    assert done.returncode == 0, done.stderr
    runs = mlflow.MlflowClient(server).search_runs([_experiment_id(server)])
    return {run.info.run_name: run for run in runs}


@pytest.fixture
def ui(
    used_windows: Windows, server: str, trained: dict[str, Run], tracking: str, request: pytest.FixtureRequest
) -> Iterator[Ui]:
    """The page of the test before, without what the UI remembers of it; a new one after a test that failed."""
    page = used_windows.page()
    page.set_viewport_size({"width": 1600, "height": 1000})
    if page.url.startswith("http"):
        page.evaluate("localStorage.clear(); sessionStorage.clear()")
    ui, failed = (
        Ui(page=page, base=server, experiment_id=_experiment_id(server), runs=trained),
        request.session.testsfailed,
    )
    yield ui
    keep_picture(ui.page, request.node.name)
    ui.stop_listening()
    if ui.refused or ui.notices or request.session.testsfailed > failed:
        used_windows.close()
    assert (ui.refused, ui.notices) == ([], [])


@pytest.fixture
def new_page(used_windows: Windows) -> None:
    """Before `ui`: the test needs a page that has loaded nothing yet."""
    used_windows.clear()


def _experiment_id(server: str) -> str:
    experiment = mlflow.MlflowClient(server).get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    return str(experiment.experiment_id)


def _shown(value: float) -> str:
    """A metric's value in the format of the UI."""
    return f"{value:.4f}".rstrip("0")


# -- views: first, since they need a page that has loaded nothing yet ------------------------------------------------


@pytest.mark.usefixtures("new_page")
def test_a_saved_view_looks_the_same_in_the_browser_of_somebody_else(ui: Ui, used_windows: Windows) -> None:
    search = "metrics.accuracy > 0.1 AND params.alpha = '0.01'"
    page = ui.open(f"experiments/{ui.experiment_id}/runs")
    page.get_by_placeholder("metrics.rmse").fill(search)
    page.keyboard.press("Enter")
    page.get_by_label("Sort: Created").click()
    page.get_by_role("menuitemcheckbox", name="train/accuracy").click()
    expect(page.get_by_test_id("sort-header-train/accuracy")).to_be_visible()
    _switch_to(page, "CHART")
    chart = page.get_by_test_id("experiment-view-compare-runs-card").filter(has_text="train/accuracy")
    chart.get_by_test_id("experiment-view-compare-runs-card-menu").click()
    page.get_by_role("menuitem", name="Delete").click()
    expect(page.get_by_text("No charts in this section")).to_be_visible()
    link = _saved(ui, "the better one")

    used_windows.clear()  # from now on, it is the browser of somebody else
    other = ui.page
    other.goto(link)
    expect(other.get_by_text("You're viewing a shared view.")).to_be_visible()
    expect(other.get_by_text("No charts in this section")).to_be_visible()
    expect(other.locator(".scatterlayer .trace .points path").first).to_be_attached()
    expect(other.get_by_placeholder("metrics.rmse")).to_have_value(search)
    _switch_to(other, "TABLE")
    expect(other.get_by_label("Sort: train/accuracy")).to_be_visible()
    expect(other.get_by_test_id("sort-header-train/accuracy")).to_be_visible()
    expect(other.get_by_role("link", name="alpha-0.01", exact=True)).to_be_visible()
    expect(other.get_by_role("link", name="alpha-0.0001", exact=True)).to_have_count(0)

    # It is in the list of everybody, and goes from there.
    other.get_by_test_id("saved-views-trigger").click()
    other.get_by_test_id(f"saved-views-delete-{_share_key(link)}").click()
    other.get_by_role("dialog").get_by_role("button", name="Delete").click()
    other.get_by_test_id("saved-views-trigger").click()
    expect(other.get_by_text("No saved views yet")).to_be_visible()
    tags = mlflow.MlflowClient().get_experiment(ui.experiment_id).tags
    assert [key for key in tags if key.startswith("mlflow.sharedViewState.")] == []


def _switch_to(page: Page, mode: str) -> None:
    """Switches between the table of runs and their charts."""
    page.locator("label", has=page.locator(f"input[value={mode}]")).click()


def _saved(ui: Ui, name: str) -> str:
    """Saves what is on the page as a view; returns the link that the UI gives for it."""
    ui.page.get_by_test_id("saved-views-trigger").click()
    ui.page.get_by_test_id("saved-views-save-current").click()
    ui.page.get_by_test_id("save-view-name-input").fill(name)
    ui.page.get_by_test_id("save-view-save-button").click()
    link = ui.page.get_by_test_id("share-link-input").input_value()
    assert set(ui.notices) == {f'View "{name}" saved.'}
    ui.notices.clear()
    return link


def _share_key(link: str) -> str:
    return parse_qs(urlsplit(link).fragment.partition("?")[2])["viewStateShareKey"][0]


# -- looking ---------------------------------------------------------------------------------------------------------


def test_the_experiments_are_listed(ui: Ui) -> None:
    # In the table: the place that was shown before may still have a link of this name above its title.
    in_table = ui.open("experiments").get_by_test_id("experiment-list-item-link")
    expect(in_table.filter(has_text=EXPERIMENT)).to_be_visible()


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
    expect(points.nth(2 * EPOCHS - 1)).to_be_attached()


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
    expect(points.nth(EPOCHS - 1)).to_be_attached()


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


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("", "No data available"),
        ("/traces", "Start tracing your LLM application"),
        ("/datasets", "Create an evaluation dataset"),
        ("/judges", "Add a judge to your experiment"),
    ],
)
def test_of_what_is_out_of_scope_the_ui_says_that_there_is_none(ui: Ui, page: str, said: str) -> None:
    shown = ui.open(f"experiments/{ui.experiment_id}{page}")
    expect(shown.get_by_text(said).first).to_be_visible()


# -- changing --------------------------------------------------------------------------------------------------------


def test_a_run_gets_another_name_a_description_and_a_tag(ui: Ui) -> None:
    client = mlflow.MlflowClient()
    run = client.create_run(ui.experiment_id, run_name="before")
    ui.runs = {"before": run}
    page = ui.open_run("before")
    page.get_by_label("Edit description").click()
    page.locator("textarea").first.fill("seen in a browser")
    with page.expect_response("**/runs/set-tag"):  # the text is on the page already while it is edited
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
    expect(dialog).to_have_count(0)  # the dialog shows the tag, too, and closes when it is saved
    expect(page.get_by_text("reviewed").first).to_be_visible()

    changed = client.get_run(run.info.run_id)
    assert changed.info.run_name == "after"
    assert (changed.data.tags["reviewed"], changed.data.tags["mlflow.note.content"]) == ("yes", "seen in a browser")
    client.delete_run(run.info.run_id)


def test_an_experiment_gets_another_name_and_a_description(ui: Ui) -> None:
    client = mlflow.MlflowClient()
    experiment_id = client.create_experiment("before it was seen in a browser")
    page = ui.open(f"experiments/{experiment_id}/runs")
    page.get_by_label("Open header dropdown menu").click()
    page.get_by_role("menuitem", name="Edit experiment").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox").first.fill("renamed in a browser")
    dialog.locator("textarea").first.fill("described in a browser")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("link", name="renamed in a browser").first).to_be_visible()
    changed = client.get_experiment(experiment_id)
    assert (changed.name, changed.tags["mlflow.note.content"]) == ("renamed in a browser", "described in a browser")


@pytest.mark.usefixtures("new_page")
def test_a_version_gets_an_alias(ui: Ui) -> None:
    client, name = mlflow.MlflowClient(), f"{EXPERIMENT}-classifier"
    client.set_registered_model_alias(name, "challenger", "1")
    page = _open_version(ui, name)
    # Aliases and name come to the page together; a dialog that is saved before sends an empty name.
    expect(page.get_by_text("challenger")).to_be_visible()
    page.get_by_title("Edit aliases").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("combobox").fill("champion")
    page.keyboard.press("Enter")
    dialog.get_by_role("button", name="Save aliases").click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_text("champion").first).to_be_visible()
    assert client.get_registered_model(name).aliases == {"challenger": "1", "champion": "1"}


def _open_version(ui: Ui, name: str) -> Page:
    """Goes to a model's first version, which gets the model only after the list of models.

    MLflow's page has a fault: its button "Promote model" asks for a list of models, and what comes replaces all that
    the page has of models. Is the model there before, and not among the first hundred by name, the page loses it.
    """
    held: list[Route] = []
    ui.page.route("**/registered-models/get?*", lambda route: held.append(route))
    with ui.page.expect_response(lambda response: "registered-models/search" in response.url) as models:
        ui.open(f"models/{name}/versions/1")
    models.value.finished()
    for route in held:
        route.continue_()
    ui.page.unroute("**/registered-models/get?*")
    return ui.page


def test_a_run_is_deleted_and_restored(ui: Ui) -> None:
    client = mlflow.MlflowClient()
    experiment_id = client.create_experiment("deleted and restored in a browser")
    run_id = client.create_run(experiment_id, run_name="goes and comes").info.run_id
    page = ui.open(f"experiments/{experiment_id}/runs")
    dialog = page.get_by_role("dialog")
    page.get_by_label("Select all runs").check()
    page.get_by_role("button", name="Delete").click()
    dialog.get_by_role("button", name="Delete").click()
    expect(dialog).to_have_count(0)  # the page behind it has no roles
    expect(page.get_by_role("link", name="goes and comes")).to_have_count(0)
    assert client.get_run(run_id).info.lifecycle_stage == "deleted"

    page.get_by_label("State, selected option: Active").click()
    page.get_by_role("option", name="Deleted").click()
    expect(page.get_by_role("link", name="goes and comes")).to_be_visible()
    page.get_by_label("Select all runs").check()
    page.get_by_role("button", name="Restore").click()
    dialog.get_by_role("button", name="Restore").click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("link", name="goes and comes")).to_have_count(0)
    assert client.get_run(run_id).info.lifecycle_stage == "active"
