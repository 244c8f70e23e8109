"""MLflow's own web UI on a service with workspaces, in a real browser that sends a token in a header."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.mlflow.ui_page import IN_A_BROWSER, UiPage
from tests.support.pages import keep_picture
from tests.support.rest import Rest
from tests.support.serve import ServeProcess
from tests.support.windows import Windows

pytestmark = IN_A_BROWSER

As = Callable[..., UiPage]


@dataclass(frozen=True)
class Logged:
    """A run of a team with a file."""

    experiment: str
    experiment_id: str
    run_id: str

    def path(self, tab: str = "", workspace: str = "") -> str:
        """The path at which the UI shows the run."""
        query = f"?workspace={workspace}" if workspace else ""
        return f"experiments/{self.experiment_id}/runs/{self.run_id}{tab}{query}"


@pytest.fixture
def logged(team_a: Rest, team_b: Rest) -> dict[str, Logged]:
    """A run of each team."""
    return {team: _log(rest, team) for team, rest in (("team-a", team_a), ("team-b", team_b))}


def _log(rest: Rest, team: str) -> Logged:
    name = f"digits of {team} {uuid.uuid4().hex[:8]}"
    experiment_id = rest.post("experiments/create", {"name": name}).body["experiment_id"]
    new = {"experiment_id": experiment_id, "run_name": f"the run of {team}", "start_time": 1_700_000_000_000}
    run = rest.post("runs/create", new).body["run"]["info"]
    rest.post("runs/log-metric", {"run_id": run["run_id"], "key": "loss", "value": 0.5, "timestamp": 1, "step": 1})
    folder = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
    file = f"/api/2.0/mlflow-artifacts/artifacts/{folder}/report.txt"
    assert rest.request("PUT", file, f"the report of {team}".encode()).status == 200
    return Logged(name, experiment_id, run["run_id"])


@dataclass
class Visitor:
    """Whose browser the window is."""

    name: str = ""


@pytest.fixture(scope="module")
def visitor() -> Visitor:
    return Visitor()


@pytest.fixture
def as_(
    used_windows: Windows,
    visitor: Visitor,
    guarded: ServeProcess,
    tokens: Mapping[str, str],
    request: pytest.FixtureRequest,
) -> Iterator[As]:
    """Opens the browser of somebody: the page that they used last, without what is stored, or one that has loaded
    nothing yet (`is_new`)."""
    opened: list[UiPage] = []
    failed = request.session.testsfailed

    def open_for(who: str, *, is_new: bool = False) -> UiPage:
        leave()
        if is_new or visitor.name != who:
            used_windows.clear()
        page = used_windows.page()
        if page.url.startswith("http"):
            page.evaluate("localStorage.clear(); sessionStorage.clear()")
        page.context.set_extra_http_headers({"Authorization": f"Bearer {tokens[who]}"})
        page.set_viewport_size({"width": 1600, "height": 1000})
        visitor.name = who
        opened.append(UiPage(page=page, base=guarded.http_url))
        return opened[-1]

    def leave() -> None:
        if opened:
            keep_picture(opened[-1].page, request.node.name)
            opened[-1].stop_listening()

    yield open_for
    leave()
    if request.session.testsfailed > failed:
        used_windows.close()
        visitor.name = ""


def test_the_first_page_lists_the_workspaces_that_one_may_enter(as_: As, logged: dict[str, Logged]) -> None:
    ui = as_("team-a", is_new=True)
    page = ui.open("")
    page.get_by_role("link", name="team-a").click()
    expect(page.get_by_role("link", name=logged["team-a"].experiment)).to_be_visible()
    expect(page.get_by_text(logged["team-b"].experiment)).to_have_count(0)
    assert "workspace=team-a" in page.url
    page = as_("admin", is_new=True).open("")
    for name in ("default", "team-a", "team-b"):
        expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()
    assert ui.refused == []


def test_a_link_with_its_workspace_shows_the_run_and_its_file(
    as_: As, logged: dict[str, Logged], tmp_path: Path
) -> None:
    ui = as_("admin")
    page = ui.open(logged["team-b"].path("/artifacts/report.txt", workspace="team-b"))
    expect(page.get_by_text("the report of team-b")).to_be_visible()
    with page.expect_download() as download:
        page.locator("[data-component-id*='artifactview.tsx']").last.click()
    download.value.save_as(tmp_path / "report.txt")
    assert (tmp_path / "report.txt").read_text() == "the report of team-b"
    page = ui.open(logged["team-b"].path(workspace="team-b"))
    expect(page.locator("body")).to_contain_text("loss")
    assert (ui.refused, ui.notices) == ([], [])


def test_another_workspace_is_chosen_in_the_menu(as_: As, logged: dict[str, Logged]) -> None:
    ui = as_("admin")
    page = ui.open("experiments?workspace=team-b")
    expect(page.get_by_role("link", name=logged["team-b"].experiment)).to_be_visible()
    page.get_by_text("team-b", exact=True).first.click()
    page.get_by_role("option", name="team-a").click()
    expect(page.get_by_role("link", name=logged["team-a"].experiment)).to_be_visible()
    expect(page.get_by_text(logged["team-b"].experiment)).to_have_count(0)
    assert (ui.refused, ui.notices) == ([], [])


def test_a_run_of_another_workspace_is_not_found(as_: As, logged: dict[str, Logged]) -> None:
    there = logged["team-b"]
    page = as_("team-a", is_new=True).open(there.path(workspace="team-a"))
    expect(page.get_by_text(f"Run ID {there.run_id} does not exist")).to_be_visible()
    page = as_("team-a", is_new=True).open(there.path(workspace="team-b"))
    expect(page.get_by_text("Can't load run details")).to_be_visible()
    assert "the run of team-b" not in page.content()


def test_an_admin_creates_a_workspace(as_: As, admin: Rest) -> None:
    ui = as_("admin", is_new=True)
    name = f"made-{uuid.uuid4().hex[:8]}"
    page = ui.open("")
    page.get_by_role("button", name="Create new workspace").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox").first.fill(name)
    dialog.get_by_role("button", name="Create").click()
    expect(page.get_by_text(name).first).to_be_visible()
    listed = admin.get("/api/3.0/mlflow/workspaces").body["workspaces"]
    assert name in [one["name"] for one in listed]
    assert json.loads(admin.get(f"/api/3.0/mlflow/workspaces/{name}").content)["workspace"]["name"] == name
    assert (ui.refused, ui.notices) == ([], [])
