"""Parallel coordinates and scatter of params and metrics, next to the table of runs."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.mlflow.ui_page import IN_A_BROWSER
from tests.page.conftest import Open, Opened
from tests.page.support import Logged, make_experiment, serious_issues_in_both_themes
from tests.support.access import execute
from tests.support.pages import keep_picture
from tests.support.serve import ServeProcess

pytestmark = IN_A_BROWSER

RATES = ["0.0001", "0.001", "0.01", "0.1"]
_AXES = {"axes": ["p:lr", "p:optimizer", "min:loss"]}
# The place of a run on an axis, in pixels of the window.
_PLACE = """([name, index]) => {
    const box = document.querySelector('.relations-box').getBoundingClientRect()
    const axis = document.querySelectorAll('.relations-brush')[index].getBoundingClientRect()
    return {x: axis.left + axis.width / 2, top: axis.top + 6, bottom: axis.bottom - 6, box: [box.left, box.top]}
}"""


@pytest.fixture(scope="module")
def logged(service: ServeProcess) -> Logged:
    """Twelve runs: three optimizers by four rates; the loss falls with the rate."""
    logged = make_experiment(service)
    for number in range(12):
        params = {"lr": RATES[number % 4], "optimizer": ["adam", "sgd", "lion"][number // 4], "seed": str(number)}
        logged.run(
            f"net {number}", params=params, metrics={"loss": 4.0 - number % 4 + number / 100, "acc": number / 12}
        )
    return logged


def open_related(tab: Opened, logged: Logged, **view: Any) -> Page:
    """The table with parallel coordinates of three axes."""
    page = tab.open(f"e/{logged.experiment_id}?relations={quote(json.dumps({**_AXES, **view}))}")
    expect(page.get_by_role("slider")).to_have_count(3)
    return page


def drag(page: Page, axis: int, low: float, high: float) -> None:
    """Selects a part of an axis with the mouse, from 0 (bottom) to 1."""
    place = page.evaluate(_PLACE, ["", axis])
    top, bottom = place["top"], place["bottom"]
    page.mouse.move(place["x"], bottom - low * (bottom - top))
    page.mouse.down()
    page.mouse.move(place["x"], bottom - high * (bottom - top), steps=5)
    page.mouse.up()


def test_a_brushed_part_of_an_axis_selects_runs_in_the_table_and_the_link(
    tab: Opened, open_tab: Open, logged: Logged
) -> None:
    page = open_related(tab, logged)
    expect(
        page.get_by_role("img", name="Parallel coordinates of 12 runs over lr, optimizer, loss (min)")
    ).to_be_visible()
    drag(page, 0, 0.5, 1.0)
    expect(page.get_by_text("6 runs selected")).to_be_visible()
    expect(page.locator(".relations")).to_contain_text("6 of 12 runs")
    drag(page, 1, 0.7, 0.95)  # the first name is at the top
    expect(page.get_by_text("2 runs selected")).to_be_visible()
    chosen = page.locator(".table .rows .row[aria-selected=true] .name a")
    expect(chosen).to_have_text(["net 3", "net 2"])
    keep_picture(page, "brushed")
    other = open_tab().page
    other.goto(page.url)
    expect(other.get_by_text("2 runs selected")).to_be_visible()
    slider = other.get_by_role("slider", name="Range of optimizer")
    expect(slider).to_have_attribute("aria-valuetext", "adam: 2 of 12 runs")
    other.get_by_role("button", name="Show all").click()
    expect(other.get_by_text("runs selected")).to_have_count(0)


def test_keys_brush_an_axis_and_move_it(tab: Opened, logged: Logged) -> None:
    page = open_related(tab, logged)
    page.get_by_role("slider", name="Range of lr").focus()
    page.keyboard.press("ArrowUp")
    expect(page.get_by_text("6 runs selected")).to_be_visible()
    for _ in range(2):
        page.keyboard.press("ArrowDown")
    expect(page.get_by_text("3 runs selected")).to_be_visible()  # those of 0.01
    page.keyboard.press("Delete")
    expect(page.get_by_text("runs selected")).to_have_count(0)
    page.get_by_role("button", name="Axis lr").click()
    page.get_by_role("menuitem", name="Linear").click()
    expect(page).to_have_url(re.compile("log%22:%7B%22p:lr%22:false"))
    page.get_by_role("button", name="Axis lr").click()
    page.get_by_role("menuitem", name="Move right").click()
    expect(page.get_by_role("slider").first).to_have_attribute("aria-label", "Range of optimizer")


def test_the_pointer_names_a_run_and_a_click_selects_it(tab: Opened, logged: Logged) -> None:
    page = open_related(tab, logged)
    last = page.evaluate(_PLACE, ["", 2])
    page.mouse.move(last["x"] - 16, last["top"] + 1)
    tip = page.locator(".relations-tip")
    expect(tip).to_contain_text("net 8")
    expect(tip).to_contain_text("lion")
    page.mouse.click(last["x"] - 16, last["top"] + 1)
    expect(page.get_by_text("1 run selected")).to_be_visible()
    expect(page.get_by_label("Select net 8")).to_be_checked()


def test_what_is_related_is_saved_as_pictures_and_a_table(tab: Opened, logged: Logged, tmp_path: Path) -> None:
    page = open_related(tab, logged, brushes={"p:optimizer": ["sgd"]}, colour="m:acc")
    expect(page.get_by_text("4 runs selected")).to_be_visible()
    for kind in ("PNG", "SVG", "CSV"):
        page.get_by_role("button", name="Save the picture").click()
        with page.expect_download() as download:
            page.get_by_role("menuitem", name=f"Save as {kind}").click()
        download.value.save_as(tmp_path / kind)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "CSV").read_text())))
    assert [(row["run"], row["lr"], row["optimizer"], row["loss (min)"], row["acc"]) for row in rows][-1] == (
        "net 4",
        "0.0001",
        "sgd",
        "4.04",
        str(4 / 12),
    )
    assert len(rows) == 4
    assert (tmp_path / "PNG").read_bytes().startswith(b"\x89PNG")
    assert "optimizer" in (tmp_path / "SVG").read_text()


def test_a_scatter_is_brushed_as_a_rectangle(tab: Opened, logged: Logged) -> None:
    view = {"kind": "scatter", "x": "p:lr", "y": "min:loss"}
    page = tab.open(f"e/{logged.experiment_id}?relations={quote(json.dumps(view))}")
    picture = page.get_by_role("img", name="Scatter of 12 runs over lr, loss (min)")
    expect(picture).to_be_visible()
    box = picture.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.55, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] - 2, steps=5)
    page.mouse.up()
    expect(page.get_by_text("6 runs selected")).to_be_visible()
    keep_picture(page, "scatter")
    page.get_by_role("combobox", name="y", exact=True).select_option("m:acc")
    expect(page.get_by_role("img", name=re.compile("over lr, acc"))).to_be_visible()


def test_nothing_keeps_people_from_using_parallel_coordinates(open_tab: Open, logged: Logged) -> None:
    page = open_related(open_tab(bypass_csp=True), logged, brushes={"p:lr": [0.01, 0.1]})
    expect(page.get_by_text("6 runs selected")).to_be_visible()
    assert serious_issues_in_both_themes(page) == {}


def test_thousands_of_runs_are_drawn_in_little_time(service: ServeProcess, open_tab: Open) -> None:
    logged = make_experiment(service)
    execute(service, _RUNS, int(logged.experiment_id), 3_000)
    tab = open_tab()
    page = tab.open(
        f"e/{logged.experiment_id}?relations={quote(json.dumps({'axes': ['p:a', 'p:b', 'p:c', 'started']}))}"
    )
    expect(page.get_by_role("img", name=re.compile("of 3,000 runs"))).to_be_visible()
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    place = page.evaluate(_PLACE, ["", 1])
    begun = _task_s(session)
    page.mouse.move(place["x"] - 40, place["top"] + 10)
    page.mouse.move(place["x"] - 60, place["top"] + 100, steps=30)
    per_move = (_task_s(session) - begun) / 31
    drag(page, 0, 0.4, 0.6)
    expect(page.get_by_text("600 runs selected")).to_be_visible()
    print(f"{1000 * per_move:.1f} ms of CPU a move of the pointer over 3,000 runs")
    assert per_move < 0.05


_RUNS = """
WITH made AS (
    INSERT INTO runs (run_id, experiment_id, name, status, started_at, ended_at)
    SELECT gen_random_uuid(), $1, 'run ' || i, 'finished', now() - i * interval '1 minute', now()
    FROM generate_series(1, $2) i RETURNING run_id, substr(name, 5)::int AS i
)
INSERT INTO params (run_id, key, value)
SELECT run_id, key, CASE key WHEN 'a' THEN i % 5 WHEN 'b' THEN i % 7 ELSE i END::text
FROM made, unnest(ARRAY['a', 'b', 'c']) key
"""


def _task_s(session: Any) -> float:
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))
