"""Columns that are moved and resized, colours by hand, and rows that are sorted while the table is live."""

from __future__ import annotations

import contextlib
import re
import time

from playwright.sync_api import Page, expect

from tests.mlflow.ui_page import IN_A_BROWSER
from tests.page.conftest import Open, Opened
from tests.page.support import Logged, make_experiment, serious_issues
from tests.support.pages import keep_picture
from tests.support.rest import Rest
from tests.support.serve import ServeProcess

pytestmark = IN_A_BROWSER
_COLUMNS = "columns=status,m:loss,m:acc,p:lr"


def open_table(tab: Opened, logged: Logged, query: str) -> Page:
    page = tab.open(f"e/{logged.experiment_id}?{query}")
    expect(page.get_by_role("row")).not_to_have_count(1)
    return page


def heads(page: Page) -> list[str]:
    return [head for head in page.get_by_role("columnheader").all_inner_texts() if head]


def width_of(page: Page, name: str) -> float:
    box = page.get_by_role("columnheader", name=name, exact=True).bounding_box()
    assert box
    return box["width"]


def test_a_column_is_dragged_and_resized_and_the_link_shows_the_same(
    tab: Opened, open_tab: Open, service: ServeProcess
) -> None:
    logged = make_experiment(service)
    logged.run("wide one", metrics={"loss": 1, "acc": 2}, params={"lr": "3"})
    page = open_table(tab, logged, _COLUMNS)
    page.get_by_role("columnheader", name="lr").drag_to(page.get_by_role("columnheader", name="loss"))
    expect(page).to_have_url(re.compile(r"columns=status,p:lr,m:loss,m:acc"))
    assert heads(page) == ["Run", "Status", "lr", "loss", "acc"]
    before = width_of(page, "loss")
    edge = page.get_by_role("columnheader", name="loss").locator(".edge").bounding_box()
    assert edge
    page.mouse.move(edge["x"] + 3, edge["y"] + 10)
    page.mouse.down()
    page.mouse.move(edge["x"] + 93, edge["y"] + 10, steps=4)
    assert width_of(page, "loss") == before + 90
    page.mouse.up()
    expect(page).to_have_url(re.compile("widths="))
    page.get_by_role("button", name="Columns").click()
    page.get_by_role("button", name="Make p:lr narrower").click()
    keep_picture(page, "chooser")
    page.get_by_role("button", name="Done").click()
    other = open_tab().page
    other.goto(page.url)
    expect(other.get_by_role("link", name="wide one")).to_be_visible()
    assert heads(other) == ["Run", "Status", "lr", "loss", "acc"]
    assert (width_of(other, "loss"), width_of(other, "lr")) == (before + 90, width_of(page, "lr"))


def test_the_colour_of_a_run_is_chosen_and_kept_in_the_link(open_tab: Open, service: ServeProcess) -> None:
    logged = make_experiment(service)
    ids = [logged.run(name, metrics={"loss": 1}) for name in ("one", "other")]
    tab = open_tab(bypass_csp=True)
    page = open_table(tab, logged, f"sel={','.join(ids)}&charts=1")
    page.get_by_role("button", name="one: change the colour").click()
    dialog = page.get_by_role("dialog", name="Colour of one")
    assert serious_issues(page) == []
    keep_picture(page, "palette")
    dialog.get_by_role("button", name="vermilion", exact=True).click()
    expect(page).to_have_url(re.compile(f"colours={ids[0]}.1"))
    swatch = page.get_by_role("button", name="Colour of one")
    expect(swatch).to_have_css("background-color", "rgb(213, 94, 0)")
    page.get_by_role("grid").focus()
    page.keyboard.press("j")
    page.keyboard.press("c")
    other = page.get_by_role("dialog", name="Colour of other")
    other.get_by_label("Another").fill("#112233")
    other.get_by_role("button", name="Done").click()
    second = open_tab(bypass_csp=True).page
    second.goto(page.url)
    expect(second.get_by_role("button", name="Colour of other")).to_have_css("background-color", "rgb(17, 34, 51)")
    drawn = """() => Object.fromEntries([...document.querySelectorAll('.panel .plot')].flatMap(({plot}) =>
        (plot?.lines ?? []).map((line) => [line.name, line.stroke.colour])))"""
    second.wait_for_function(f"Object.keys(({drawn})()).length === 2")
    assert second.evaluate(drawn) == {"one": "#d55e00", "other": "#112233"}
    second.get_by_role("button", name="one: change the colour").click()
    second.get_by_role("button", name="Automatic").click()
    expect(second).to_have_url(re.compile(f"colours={ids[1]}.112233$|colours={ids[1]}.112233&"))


def test_rows_are_sorted_again_unless_somebody_points_at_them(tab: Opened, service: ServeProcess) -> None:
    logged = make_experiment(service)
    ids = {name: logged.run(name, metrics={"loss": loss}, status="RUNNING") for name, loss in (("a", 1), ("b", 2))}

    def log(name: str, loss: float, step: int) -> None:
        with contextlib.closing(Rest(service.http_url)) as rest:
            point = {
                "run_id": ids[name],
                "key": "loss",
                "value": loss,
                "step": step,
                "timestamp": int(time.time() * 1000),
            }
            assert rest.post("runs/log-metric", point).status == 200

    page = open_table(tab, logged, "columns=m:loss&sort=m:loss")
    rows = page.locator(".table .rows .cell.name a")
    expect(rows).to_have_text(["a", "b"])
    log("a", 3, 8)
    expect(rows).to_have_text(["b", "a"])
    rows.first.hover()
    log("a", 0.5, 9)
    again = page.get_by_role("button", name="The values have changed: sort again")
    expect(again).to_be_visible()
    expect(rows).to_have_text(["b", "a"])
    expect(page.get_by_role("row").filter(has_text="0.5")).to_have_count(1)
    again.click()
    expect(rows).to_have_text(["a", "b"])
    expect(again).to_have_count(0)
