"""The table of runs in the browser."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Sequence

import pytest
from playwright.sync_api import Page, expect

from tests.mlflow.ui_page import IN_A_BROWSER
from tests.page.conftest import Open, Opened
from tests.page.support import Logged, make_experiment, serious_issues_in_both_themes
from tests.support.pages import keep_picture
from tests.support.rest import Rest
from tests.support.serve import ServeProcess

pytestmark = IN_A_BROWSER


@pytest.fixture(scope="module")
def logged(service: ServeProcess) -> Logged:
    """An experiment with twelve runs."""
    made = make_experiment(service)
    for number in range(12):
        made.run(
            f"mlp {number}",
            params={"lr": str(0.1 / (number + 1)), "optimizer": "adam" if number % 3 else "sgd", "batch_size": "128"},
            metrics={"val/loss": 1 / (number + 1), "accuracy": number / 12},
            tags={"team": "vision"},
            status="FAILED" if number == 5 else "FINISHED",
            age_s=60 * (number + 1),
        )
    return made


def names(page: Page) -> Sequence[str]:
    """The names of the rows in sight, from top to bottom."""
    return page.locator(".table .rows .cell.name a").all_inner_texts()


def open_runs(tab: Opened, logged: Logged, query: str = "") -> Page:
    page = tab.open(f"e/{logged.experiment_id}{query}")
    expect(page.get_by_role("heading", name=logged.name)).to_be_visible()
    return page


def test_the_newest_runs_are_first_with_what_differs(tab: Opened, logged: Logged) -> None:
    page = open_runs(tab, logged)
    expect(page.get_by_role("row")).to_have_count(13)
    assert names(page) == [f"mlp {number}" for number in range(12)]
    heads = page.get_by_role("columnheader").all_inner_texts()
    assert [head for head in heads if head] == [
        *("Run", "Status", "Age", "Duration", "accuracy", "val/loss", "lr", "optimizer", "batch_size")
    ]
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="mlp 5", exact=True))
    expect(row).to_contain_text("failed")
    expect(row).to_contain_text("0.16667")


def test_a_head_sorts_in_the_database_and_the_link_says_so(tab: Opened, open_tab: Open, logged: Logged) -> None:
    page = open_runs(tab, logged)
    page.get_by_role("button", name="accuracy").click()
    expect(page.locator(".table .rows .cell.name a").first).to_have_text("mlp 11")
    expect(page.get_by_role("columnheader", name="accuracy")).to_have_attribute("aria-sort", "descending")
    assert page.url.endswith("?sort=-m:accuracy")
    other = open_tab()
    other.page.goto(page.url)
    expect(other.page.locator(".table .rows .cell.name a").first).to_have_text("mlp 11")


def test_the_lowest_value_of_a_metric_is_a_column_that_sorts(tab: Opened, service: ServeProcess) -> None:
    logged = make_experiment(service)
    for name, values in (("steady", (0.5, 0.4)), ("spiky", (0.1, 0.9))):
        run_id = logged.run(name, metrics={"loss": values[0]}, status="RUNNING")
        with contextlib.closing(Rest(service.http_url)) as rest:
            point = {
                "run_id": run_id,
                "key": "loss",
                "value": values[1],
                "step": 8,
                "timestamp": int(time.time() * 1000),
            }
            assert rest.post("runs/log-metric", point).status == 200
    page = open_runs(tab, logged, "?columns=m:loss,min:loss")
    page.get_by_role("columnheader", name="loss min").get_by_role("button").click()
    expect(page.locator(".table .rows .cell.name a")).to_have_text(["spiky", "steady"])
    expect(page.get_by_role("row").filter(has_text="spiky").get_by_role("gridcell").nth(3)).to_have_text("0.1")


def test_a_filter_is_completed_and_found_again_after_the_back_button(tab: Opened, logged: Logged) -> None:
    page = open_runs(tab, logged)
    page.keyboard.press("/")
    page.keyboard.type("val")
    expect(page.get_by_role("option", name="metrics.`val/loss`")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.type("< 0.2 AND NOT params.optimizer = 'sgd'")
    page.keyboard.press("Enter")
    expect(page.locator(".table .rows .cell.name a")).to_have_text(["mlp 5", "mlp 7", "mlp 8", "mlp 10", "mlp 11"])
    page.reload()
    expect(page.get_by_role("combobox", name="Filter runs")).to_have_value(
        "metrics.`val/loss` < 0.2 AND NOT params.optimizer = 'sgd'"
    )
    expect(page.locator(".table .rows .cell.name a")).to_have_count(5)


def test_words_alone_are_looked_for_in_names(tab: Opened, logged: Logged) -> None:
    page = open_runs(tab, logged)
    page.get_by_role("combobox", name="Filter runs").fill("mlp 1")
    page.keyboard.press("Enter")
    expect(page.locator(".table .rows .cell.name a")).to_have_text(["mlp 1", "mlp 10", "mlp 11"])


def test_an_error_in_words_points_into_what_was_typed(tab: Opened, logged: Logged) -> None:
    tab.expected = ["400 (Bad Request)"]
    page = open_runs(tab, logged, "?filter=%20%20mlp%20is%20good")
    expect(page.locator(".filter-error pre")).to_have_text("  mlp is good")
    expect(page.locator(".filter-error mark")).to_have_text("is good")


def test_the_age_is_sorted_as_it_is_shown(tab: Opened, logged: Logged) -> None:
    page = open_runs(tab, logged)
    page.get_by_role("columnheader", name="Age").get_by_role("button").click()
    expect(page.get_by_role("columnheader", name="Age")).to_have_attribute("aria-sort", "descending")
    expect(page.locator(".table .rows .cell.name a").first).to_have_text("mlp 11")


def test_more_selected_runs_than_a_link_holds_are_said_to_be_in_none(tab: Opened, service: ServeProcess) -> None:
    logged = make_experiment(service)
    for number in range(51):
        logged.run(f"run {number}")
    page = open_runs(tab, logged)
    bar = page.get_by_role("toolbar", name="Selected runs")
    for number in range(20):
        page.get_by_label(f"Select run {50 - number}", exact=True).check()
    expect(bar).to_contain_text("20 runs selected")
    assert len(page.url.partition("sel=")[2].split(",")) == 20
    expect(bar).not_to_contain_text("link")
    page.get_by_label("Select all").check()
    expect(bar).to_contain_text("The link does not keep this selection: it has room for 20 runs")
    assert "sel=" not in page.url
    expect(bar.get_by_role("link", name="Compare the first 50")).to_have_attribute(
        "href", re.compile(r"^compare\?(r=\w{32}&?){50}$")
    )


def test_an_error_in_a_filter_is_shown_at_its_place(tab: Opened, logged: Logged) -> None:
    tab.expected = ["400 (Bad Request)"]
    page = open_runs(tab, logged)
    expect(page.get_by_role("row")).to_have_count(13)
    page.get_by_role("combobox", name="Filter runs").fill("params.lr = ")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_role("combobox", name="Filter runs")).to_have_attribute("aria-invalid", "true")
    expect(page.locator(".table.dimmed")).to_be_visible()
    page.get_by_role("button", name="Clear the filter").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.get_by_role("row")).to_have_count(13)


def test_runs_are_grouped_by_a_param_and_groups_close(tab: Opened, logged: Logged) -> None:
    page = open_runs(tab, logged)
    page.get_by_label("Group by").select_option("p:optimizer")
    expect(page.get_by_role("button", name="adam")).to_contain_text("8")
    page.get_by_role("button", name="adam").click()
    expect(page.locator(".table .rows .cell.name a")).to_have_count(4)
    assert "group=p:optimizer" in page.url


def test_columns_are_chosen_and_ordered(tab: Opened, logged: Logged) -> None:
    page = open_runs(tab, logged)
    page.get_by_role("button", name="Columns").click()
    dialog = page.get_by_role("dialog", name="Columns")
    dialog.get_by_role("checkbox", name="Duration").click()
    dialog.get_by_label("Find a column").fill("team")
    dialog.get_by_role("checkbox", name="team").click()
    dialog.get_by_role("button", name="Move t:team up").click()
    keep_picture(page, "columns")
    dialog.get_by_role("button", name="Done").click()
    expect(page.get_by_role("columnheader", name="team")).to_be_visible()
    expect(page.get_by_role("columnheader", name="Duration")).to_have_count(0)
    heads = page.get_by_role("columnheader").all_inner_texts()
    assert heads[-2:] == ["team", "batch_size"]


def test_the_keyboard_goes_through_runs_selects_and_opens(tab: Opened, logged: Logged) -> None:
    page = open_runs(tab, logged)
    expect(page.get_by_role("row")).to_have_count(13)
    page.get_by_role("grid").focus()
    for key in ("j", "ArrowDown", "x", "j", "x"):
        page.keyboard.press(key)
    expect(page.get_by_text("2 runs selected")).to_be_visible()
    expect(page.get_by_role("link", name="Compare")).to_have_attribute(
        "href", re.compile(r"^compare\?r=\w{32}&r=\w{32}$")
    )
    page.keyboard.press("Escape")
    expect(page.get_by_text("runs selected")).to_have_count(0)
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="mlp 1", exact=True)).to_be_visible()
    page.go_back()
    expect(page.get_by_role("row")).to_have_count(13)


def test_a_run_is_renamed_tagged_deleted_and_restored(tab: Opened, service: ServeProcess) -> None:
    logged = make_experiment(service)
    run_id = logged.run("before")
    page = open_runs(tab, logged)
    page.get_by_label("Select before").check()
    page.get_by_role("button", name="Rename").click()
    page.get_by_role("dialog").get_by_label("Name").fill("after")
    page.get_by_role("dialog").get_by_role("button", name="Rename").click()
    expect(page.get_by_role("link", name="after", exact=True)).to_be_visible()
    page.get_by_role("button", name="Tag", exact=True).click()
    page.get_by_label("Key", exact=True).fill("team")
    page.get_by_label("Value", exact=True).fill("speech")
    page.get_by_role("button", name="Set the tag").click()
    expect(page.get_by_text("1 run tagged.")).to_be_visible()
    with contextlib.closing(Rest(service.http_url)) as rest:
        run = rest.get("runs/get", {"run_id": run_id}).body["run"]
    assert run["info"]["run_name"] == "after"
    assert {"key": "team", "value": "speech"} in run["data"]["tags"]
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="No runs yet")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("link", name="after", exact=True)).to_be_visible()


def test_runs_are_moved_to_an_experiment_and_appear_in_its_table(tab: Opened, service: ServeProcess) -> None:
    before, after = make_experiment(service), make_experiment(service)
    before.run("stays")
    before.run("goes", age_s=1)
    page = open_runs(tab, before)
    page.get_by_label("Select goes").check()
    page.get_by_role("button", name="Move").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("option", name=before.name)).to_have_count(0)
    dialog.get_by_label("Experiment").select_option(after.name)
    keep_picture(page, "move")
    dialog.get_by_role("button", name="Move").click()
    expect(page.get_by_text(f"1 run moved to {after.name}.")).to_be_visible()
    expect(page.locator(".table .rows .cell.name a")).to_have_text(["stays"])
    page = open_runs(tab, after)
    expect(page.locator(".table .rows .cell.name a")).to_have_text(["goes"])


def test_a_new_run_appears_and_a_status_changes_without_a_reload(tab: Opened, service: ServeProcess) -> None:
    logged = make_experiment(service)
    first = logged.run("first", status="RUNNING")
    page = open_runs(tab, logged)
    expect(page.get_by_text("1 run, 1 running")).to_be_visible()
    logged.run("second", age_s=1)
    expect(page.locator(".table .rows .cell.name a")).to_have_text(["second", "first"])
    with contextlib.closing(Rest(service.http_url)) as rest:
        rest.post("runs/update", {"run_id": first, "status": "FAILED"})
    expect(page.get_by_role("row").filter(has_text="first")).to_contain_text("failed")


def test_an_empty_experiment_says_how_to_fill_it(tab: Opened, service: ServeProcess) -> None:
    logged = make_experiment(service)
    page = open_runs(tab, logged)
    expect(page.get_by_role("heading", name="No runs yet")).to_be_visible()
    expect(page.locator("pre").first).to_contain_text(f'runstream.start_run(experiment="{logged.name}")')
    keep_picture(page, "empty")
    logged.run("now there is one")
    expect(page.get_by_role("link", name="now there is one")).to_be_visible()


def test_the_palette_goes_to_a_run_and_the_theme_stays(tab: Opened, logged: Logged) -> None:
    page = open_runs(tab, logged)
    page.keyboard.press("Control+k")
    page.keyboard.type("dark")
    page.keyboard.press("Enter")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.keyboard.press("Control+k")
    page.keyboard.type("mlp 7")
    expect(page.get_by_role("option", name="mlp 7")).to_be_visible()
    keep_picture(page, "palette")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="mlp 7")).to_be_visible()


def test_a_view_is_saved_listed_replaced_and_deleted(tab: Opened, open_tab: Open, logged: Logged) -> None:
    page = open_runs(tab, logged, "?sort=m:accuracy")
    expect(page.get_by_role("row")).to_have_count(13)
    page.get_by_role("button", name="Save view").click()
    page.get_by_label("Save what is on screen as").fill("worst first")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Saved as “worst first”.")).to_be_visible()
    other = open_tab().open()
    other.get_by_role("link", name="worst first").click()
    expect(other.get_by_role("heading", name=logged.name)).to_be_visible()
    expect(other.get_by_role("columnheader", name="accuracy")).to_have_attribute("aria-sort", "ascending")
    other.get_by_role("columnheader", name="Age").get_by_role("button").click()
    other.get_by_role("button", name="Save view").click()
    keep_picture(other, "views")
    other.get_by_role("button", name="Replace worst first").click()
    expect(other.get_by_text("now shows what is on screen")).to_be_visible()
    expect(other.get_by_role("dialog").get_by_role("link", name="worst first")).to_have_attribute(
        "href", re.compile("sort=-started")
    )
    other.get_by_role("button", name="Delete worst first").click()
    expect(other.get_by_role("dialog").get_by_role("link", name="worst first")).to_have_count(0)


def test_what_cannot_be_loaded_comes_when_the_service_is_back(open_tab: Open, prefixed: ServeProcess) -> None:
    tab = open_tab(url=prefixed.http_url)
    tab.expected = ["ERR_CONNECTION", "429", "503", "Failed to load resource"]
    logged = make_experiment(prefixed)
    logged.run("before")
    page = open_runs(tab, logged)
    expect(page.get_by_role("link", name="before")).to_be_visible()
    prefixed.kill()
    expect(page.get_by_text("reconnecting")).to_be_visible()
    expect(page.get_by_role("link", name="before")).to_be_visible()
    prefixed.start()
    logged.run("after")
    expect(page.get_by_role("link", name="after")).to_be_visible()


def test_nothing_keeps_people_from_using_the_table(open_tab: Open, logged: Logged) -> None:
    tab = open_tab(bypass_csp=True)
    page = open_runs(tab, logged, "?group=p:optimizer")
    page.get_by_label("Select mlp 3").check()
    assert serious_issues_in_both_themes(page) == {}
    page.keyboard.press("Control+k")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert serious_issues_in_both_themes(page) == {}


def test_on_a_phone_nothing_is_wider_than_the_screen(open_tab: Open, logged: Logged) -> None:
    tab = open_tab(width=390, height=780)
    page = open_runs(tab, logged)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("button", name="Experiments and views").click()
    expect(page.get_by_role("navigation", name="Experiments and views")).to_be_visible()
    keep_picture(page, "phone-side")
    page.get_by_role("link", name="All runs").click()
    expect(page.get_by_role("heading", name="All runs")).to_be_visible()
    expect(page.get_by_role("navigation", name="Experiments and views")).to_have_count(0)
