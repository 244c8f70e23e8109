"""The page of a run, around its charts."""

from __future__ import annotations

import contextlib

import pytest
from playwright.sync_api import Page, expect

from tests.mlflow.ui_page import IN_A_BROWSER
from tests.page.conftest import Open, Opened
from tests.page.support import THEMES, Logged, make_experiment, serious_issues_in_both_themes
from tests.support.pages import keep_picture
from tests.support.rest import Rest
from tests.support.serve import ServeProcess

pytestmark = IN_A_BROWSER


@pytest.fixture(scope="module")
def logged(service: ServeProcess) -> Logged:
    return make_experiment(service)


def open_run(tab: Opened, run_id: str, query: str = "") -> Page:
    page = tab.open(f"r/{run_id}{query}")
    expect(page.get_by_role("tab", name="Charts")).to_be_visible()
    return page


def run_of(logged: Logged, run_id: str) -> dict[str, dict[str, str]]:
    with contextlib.closing(Rest(logged.service.http_url)) as rest:
        run = rest.get("runs/get", {"run_id": run_id}).body["run"]
    texts = {part: {one["key"]: one["value"] for one in run["data"].get(part, ())} for part in ("tags", "params")}
    return {**texts, "info": run["info"]}


def test_one_line_says_what_the_run_is_and_how_it_goes(tab: Opened, logged: Logged) -> None:
    run_id = logged.run("goes on", metrics={"loss": 0.5}, status="RUNNING", age_s=8_040)
    page = open_run(tab, run_id)
    head = page.locator(".run-head")
    for text in ("goes on", "running", "2 h 14 m", "points/s", "ada", logged.name):
        expect(head).to_contain_text(text)
    with contextlib.closing(Rest(logged.service.http_url)) as rest:
        rest.post("runs/update", {"run_id": run_id, "status": "FAILED"})
    expect(head).to_contain_text("failed")
    page.get_by_role("link", name=logged.name).click()
    expect(page.get_by_role("link", name="goes on")).to_be_visible()


def test_a_nested_run_leads_to_its_parent_and_to_the_others(tab: Opened, logged: Logged) -> None:
    parent = logged.run("the parent")
    first, _ = (logged.run(name, tags={"mlflow.parentRunId": parent}) for name in ("first child", "second child"))
    page = open_run(tab, first)
    page.get_by_role("link", name="all runs of this parent").click()
    for name, count in (("first child", 1), ("second child", 1), ("the parent", 0)):
        expect(page.get_by_role("link", name=name)).to_have_count(count)
    page = open_run(tab, first)
    page.get_by_role("link", name=parent[:8]).click()
    expect(page.get_by_role("heading", name="the parent")).to_be_visible()


def test_params_tags_and_the_name_are_there_and_change(tab: Opened, logged: Logged) -> None:
    run_id = logged.run("before", params={"lr": "0.01", "model/dim": "512"}, tags={"team": "vision"})
    page = open_run(tab, run_id, "?tab=params")
    expect(page.get_by_role("row", name="model/dim 512")).to_be_visible()
    page.get_by_label("Key of the tag").fill("stage")
    page.get_by_label("Value of the tag").fill("candidate")
    page.keyboard.press("Enter")
    expect(page.get_by_role("row", name="stage candidate")).to_be_visible()
    page.get_by_role("button", name="Delete the tag team").click()
    expect(page.get_by_role("row", name="team vision")).to_have_count(0)
    page.get_by_role("button", name="Rename").click()
    page.get_by_role("dialog").get_by_label("Name").fill("after")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="after")).to_be_visible()
    run = run_of(logged, run_id)
    assert (run["info"]["run_name"], run["tags"]["stage"], "team" in run["tags"]) == ("after", "candidate", False)


def test_a_note_is_written_in_markdown_and_no_script_of_it_runs(tab: Opened, logged: Logged) -> None:
    run_id = logged.run("with a note")
    page = open_run(tab, run_id, "?tab=notes")
    page.get_by_role("button", name="Write a note").click()
    page.get_by_label("Note in Markdown").fill(
        '# First try\n\nWith **warm-up**.\n\n<img src=x onerror="window.ran = 1"><script>window.ran = 1</script>'
        '<a href="javascript:window.ran = 1">click</a>'
    )
    # The image of the note; and the policy, which says so while the note is cleaned of its script.
    tab.expected = ["404", "Executing inline event handler"]
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", name="First try")).to_be_visible()
    expect(page.locator(".note strong")).to_have_text("warm-up")
    page.get_by_text("click", exact=True).click()
    assert page.evaluate("window.ran") is None
    assert run_of(logged, run_id)["tags"]["mlflow.note.content"].startswith("# First try")


def test_tabs_are_reached_by_arrows_and_kept_in_the_link(tab: Opened, logged: Logged) -> None:
    page = open_run(tab, logged.run("tabs"))
    page.get_by_role("tab", name="Charts").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Params")).to_have_attribute("aria-selected", "true")
    assert page.url.endswith("?tab=params")


def test_a_run_without_points_says_how_they_come(tab: Opened, logged: Logged) -> None:
    page = open_run(tab, logged.run("no points", status="RUNNING"))
    expect(page.get_by_role("heading", name="No points yet")).to_be_visible()


def test_a_run_that_is_not_there_says_so(tab: Opened) -> None:
    tab.expected = ["404 (Not Found)"]
    page = tab.open("r/" + "0" * 32)
    expect(page.get_by_role("heading", name="There is no such run")).to_be_visible()
    page.get_by_role("link", name="All runs").click()
    expect(page.get_by_role("heading", name="All runs")).to_be_visible()


def test_a_run_is_deleted_and_restored(tab: Opened, logged: Logged) -> None:
    page = open_run(tab, logged.run("goes and comes"))
    page.get_by_role("button", name="Delete").click()
    expect(page.locator(".run-head")).to_contain_text("deleted")
    page.get_by_role("button", name="Restore").click()
    expect(page.locator(".run-head")).to_contain_text("finished")


def test_artifacts_are_in_mlflows_ui(tab: Opened, logged: Logged) -> None:
    run_id = logged.run("with artifacts")
    page = open_run(tab, run_id)
    link = page.get_by_role("link", name="Artifacts")
    expect(link).to_have_attribute("href", f"mlflow/#/experiments/{logged.experiment_id}/runs/{run_id}/artifacts")


def test_nothing_keeps_people_from_using_the_page_of_a_run(open_tab: Open, logged: Logged) -> None:
    run_id = logged.run("for all", params={"lr": "0.01"}, metrics={"loss": 0.5}, tags={"mlflow.note.content": "**Hi**"})
    tab = open_tab(bypass_csp=True)
    page = open_run(tab, run_id)
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        keep_picture(page, f"run-charts-{theme}")
    for name in ("Params", "Notes"):
        page.get_by_role("tab", name=name).click()
        expect(page.get_by_role("tabpanel", name=name)).to_be_visible()
        assert serious_issues_in_both_themes(page) == {}, name


def test_on_a_phone_the_page_of_a_run_is_no_wider_than_the_screen(open_tab: Open, logged: Logged) -> None:
    run_id = logged.run("small " * 12, params={"a" * 80: "b" * 400}, metrics={"loss": 0.5})
    tab = open_tab(width=390, height=780)
    page = open_run(tab, run_id, "?tab=params")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
