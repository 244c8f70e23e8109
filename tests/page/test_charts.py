"""Charts in a real browser: what is drawn is compared with SQL, pixel by pixel where it matters."""

from __future__ import annotations

import asyncio
import csv
import io
import math
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from playwright.sync_api import Dialog, expect

import runstream
from tests.mlflow.ui_page import IN_A_BROWSER
from tests.page import logged
from tests.page.charts import Charts, exact, loaded, refined
from tests.page.conftest import Open, Opened
from tests.page.support import serious_issues_in_both_themes
from tests.support.serve import ServeProcess

pytestmark = IN_A_BROWSER
_POINTS = 200_000
_AT = 154_321


def _sql(service: ServeProcess, query: str, *arguments: object) -> list[Any]:
    async def fetch() -> list[Any]:
        connection = await asyncpg.connect(service.database_url)
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()

    with ThreadPoolExecutor(1) as executor:  # the browser's loop runs in this thread
        return executor.submit(asyncio.run, fetch()).result(60)


@pytest.fixture
def charts(tab: Opened) -> Charts:
    return Charts(tab)


@pytest.fixture(scope="module")
def long_run(service: ServeProcess) -> str:
    return logged.with_spike(service.grpc_address, _POINTS, _AT)


@pytest.fixture(scope="module")
def several(service: ServeProcess) -> list[str]:
    return [logged.small(service.grpc_address, f"mlp {seed}", seed=seed, metrics=9) for seed in range(5)]


@pytest.fixture(scope="module")
def ranks(service: ServeProcess) -> str:
    return logged.of_ranks(service.grpc_address)


@pytest.fixture(scope="module")
def diverged(service: ServeProcess) -> str:
    return logged.not_finite(service.grpc_address)


# -- what is drawn is what is stored ---------------------------------------------------------------------------------


@pytest.mark.parametrize("zoom", [None, (50_000, 190_000), (150_000, 160_000), (154_000, 155_000), (154_311, 154_331)])
def test_a_single_spike_in_two_hundred_thousand_points_is_seen_at_every_zoom(
    charts: Charts, service: ServeProcess, long_run: str, zoom: tuple[int, int] | None
) -> None:
    view = {"zoom": f"{zoom[0]}~{zoom[1]}"} if zoom else {}
    drawn = charts.open(long_run, **view).wait_for_buckets("loss", exact if zoom else loaded)
    low, high = zoom or (0, _POINTS - 1)
    assert drawn["scale"][1] > logged.SPIKE
    place = (_AT - low) / (high - low)
    assert charts.pixels("loss", max(place - 0.02, 0), 0.05, 0.04, 0.3) > 5
    assert charts.pixels("loss", 0.02, 0.05, 0.2, 0.3) == 0  # and nothing else is up there
    buckets = [
        bucket
        for bucket in drawn["lines"][0]["buckets"]
        if low <= bucket["first_position"] and bucket["last_position"] <= high
    ]
    row = _sql(
        service,
        "SELECT count(*), min(value), max(value), avg(value) FROM metric_points"
        " WHERE run_id = $1 AND key = 'loss' AND step BETWEEN $2 AND $3",
        long_run,
        buckets[0]["first_position"],
        buckets[-1]["last_position"],
    )[0]
    points = sum(bucket["point_count"] for bucket in buckets)
    assert points == row["count"]
    assert (min(b["min"] for b in buckets), max(b["max"] for b in buckets)) == (row["min"], row["max"])
    mean = math.fsum(bucket["mean"] * bucket["point_count"] for bucket in buckets) / points
    assert mean == pytest.approx(row["avg"], rel=1e-12)


def test_the_envelope_is_drawn_where_many_points_fall_on_a_pixel(charts: Charts, long_run: str) -> None:
    drawn = charts.open(long_run, zoom="1000~140000").wait("loss", exact)
    assert drawn["scale"][1] < 3
    assert charts.pixels("loss", 0.3, 0.1, 0.3, 0.8) > 1000


def test_a_logarithmic_axis_of_steps_has_fine_buckets_everywhere(charts: Charts, long_run: str) -> None:
    for zoom in ("", "5~2000"):
        drawn = charts.open(long_run, log="x", zoom=zoom).wait_for_buckets("loss", exact if zoom else refined)
        buckets = drawn["lines"][0]["buckets"]
        single = [b["first_position"] for b in buckets if b["first_position"] == b["last_position"]]
        assert set(range(5, 30)) <= set(single)
        widths = [
            math.log10((b["last_position"] + 1) / b["first_position"]) for b in buckets if b["first_position"] > 9
        ]
        # At step 10, a single step is that wide; farther right, all are about as wide as a pixel.
        assert max(widths) == pytest.approx(math.log10(11 / 10), abs=0.01)
        assert max(widths[len(widths) // 2 :]) < 0.02
        if not zoom:
            assert sum(b["point_count"] for b in buckets) == _POINTS
            assert max(b["max"] for b in buckets) == logged.SPIKE


def test_nan_and_infinities_are_marked_at_the_edges(charts: Charts, diverged: str) -> None:
    charts.open(diverged).wait("loss", loaded)
    bad = charts.page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--bad').trim()")
    assert charts.pixels("loss", 30 / 99 - 0.01, 0.95, 0.02, 0.05, bad) > 3
    assert charts.pixels("loss", 60 / 99 - 0.01, 0, 0.02, 0.05, bad) > 3
    assert charts.pixels("loss", 80 / 99 - 0.01, 0.95, 0.02, 0.05, bad) > 3
    assert charts.pixels("loss", 0.4, 0.95, 0.1, 0.05, bad) == 0


def test_ranks_are_a_band_with_the_outermost_named_and_single_lines_on_request(
    charts: Charts, service: ServeProcess, ranks: str
) -> None:
    drawn = charts.open(ranks).wait_for_buckets("step_time", loaded)
    (band,) = drawn["lines"]
    row = _sql(
        service,
        "SELECT min(value), max(value) FROM (SELECT DISTINCT ON (rank, step) value FROM metric_points"
        " WHERE run_id = $1 AND key = 'step_time' ORDER BY rank, step, attempt DESC) counts",
        ranks,
    )[0]
    assert (min(b["min"] for b in band["buckets"]), max(b["max"] for b in band["buckets"])) == (row["min"], row["max"])
    late = [bucket for bucket in band["buckets"] if bucket["first_position"] > 210]
    assert {bucket["max_rank"] for bucket in late} == {2}
    charts.page.get_by_role("combobox", name="Ranks").select_option("all")
    drawn = charts.wait("step_time", lambda drawn: len(drawn["lines"]) == 4)
    assert sorted(line["name"] for line in drawn["lines"]) == [f"rank {rank}" for rank in range(4)]
    expect(charts.page).to_have_url(re.compile("ranks=all"))


def test_a_nan_of_one_rank_is_marked_below_the_band(charts: Charts, ranks: str) -> None:
    drawn = charts.open(ranks).wait_for_buckets("loss", loaded)
    (band,) = drawn["lines"]
    assert [b["first_position"] for b in band["buckets"] if b["non_finite_count"]] == [logged.NAN_AT]
    bad = charts.page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--bad').trim()")
    assert charts.pixels("loss", logged.NAN_AT / 599 - 0.01, 0.95, 0.02, 0.05, bad) > 3
    assert charts.pixels("loss", 0.3, 0.95, 0.1, 0.05, bad) == 0


def test_restarts_are_marked_at_their_step(charts: Charts, ranks: str) -> None:
    drawn = charts.open(ranks).wait("loss", loaded)
    assert drawn["marks"] == [{"x": 300, "label": "attempt 1"}]


def test_an_axis_of_times_says_that_replaced_points_are_over_steps(charts: Charts, ranks: str) -> None:
    charts.open(ranks, x="relative").wait("loss", loaded)
    note = charts.page.locator('.panel[data-key="loss"] .note')
    expect(note).to_contain_text("replaced points are only shown on the step axis")
    charts.page.get_by_role("combobox", name="x axis").select_option("step")
    charts.wait("loss", lambda drawn: loaded(drawn) and drawn["replaced"])
    expect(note).to_have_count(0)


@pytest.mark.parametrize(("zoom", "steps"), [(None, (300, 349)), ((320, 340), (315, 345)), ((400, 500), None)])
def test_points_that_a_newer_attempt_replaced_are_drawn_apart_from_those_that_count(
    charts: Charts, ranks: str, zoom: tuple[int, int] | None, steps: tuple[int, int] | None
) -> None:
    view = {"zoom": f"{zoom[0]}~{zoom[1]}"} if zoom else {}

    def are_drawn(drawn: dict[str, Any], ranks: Sequence[int | None]) -> bool:
        found = drawn["replaced"]
        if not steps or [rank for rank, *_ in found] != ranks:
            return not steps and not found
        # A band has the middles of its first and last buckets.
        return all([start, end] == pytest.approx(list(steps), abs=2) for _, start, end in found)

    drawn = charts.open(ranks, **view).wait("loss", lambda drawn: loaded(drawn) and are_drawn(drawn, [None]))
    assert len(drawn["lines"]) == 1
    charts.page.get_by_role("combobox", name="Ranks").select_option("all")
    charts.wait("loss", lambda drawn: len(drawn["lines"]) == 4 and are_drawn(drawn, [0, 1, 2, 3]))


# -- looking ------------------------------------------------------------------------------------------------------


def test_dragging_zooms_all_panels_and_a_double_click_shows_everything_again(
    charts: Charts, several: list[str]
) -> None:
    charts.open(*several).wait("lr", loaded)
    box = charts.plot("lr").bounding_box()
    mouse = charts.page.mouse
    mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 50)
    mouse.down()
    mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 60, steps=4)
    mouse.up()
    for key in ("lr", "layers/0/grad_norm"):
        low, high = charts.wait(key, exact)["range"]
        assert (low, high) == (pytest.approx(100, abs=4), pytest.approx(200, abs=4))
    expect(charts.page).to_have_url(re.compile("zoom="))
    box = charts.plot("lr").bounding_box()
    mouse.dblclick(box["x"] + box["width"] * 0.6, box["y"] + 50)
    charts.wait("lr", lambda drawn: drawn["range"] == [0, 399])
    expect(charts.page).to_have_url(re.compile("^[^&]*&?$"))


def test_one_cursor_is_in_all_panels_and_the_nearest_run_is_first(charts: Charts, several: list[str]) -> None:
    drawn = charts.open(*several).wait_for_buckets("lr", loaded)
    box = charts.plot("lr").bounding_box()
    charts.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    tooltip = charts.page.locator(".chart-tooltip")
    expect(tooltip).to_contain_text("step 200")
    highest = max(drawn["lines"], key=lambda line: line["buckets"][200]["mean"])
    highest_value = highest["buckets"][200]["mean"]
    near = [line["name"] for line in drawn["lines"] if line["buckets"][200]["mean"] == highest_value]
    assert tooltip.locator(".name").first.inner_text() in near
    expect(tooltip).to_contain_text("1 point")
    moved = charts.page.locator('.panel[data-key="tokens"] .u-cursor-x')
    assert "translate(-10px" not in (moved.get_attribute("style") or "")


def test_smoothing_is_the_same_wherever_one_zooms_to(charts: Charts, long_run: str) -> None:
    whole = charts.open(long_run, smooth="0.99", zoom="0~150000").wait_for_buckets("loss", exact)["lines"][0]
    part = charts.open(long_run, smooth="0.99", zoom="100000~110000").wait_for_buckets("loss", exact)["lines"][0]

    def smoothed_at(line: dict[str, Any], step: int) -> float:
        rows = [row for row, bucket in enumerate(line["buckets"]) if bucket["last_position"] <= step]
        return float(line["smooth"][rows[-1]])

    for step in (101_000, 105_000, 109_000):
        assert smoothed_at(part, step) == pytest.approx(smoothed_at(whole, step), abs=0.01)


def test_x_can_be_another_metric(charts: Charts, several: list[str]) -> None:
    drawn = charts.open(*several, x="metric:tokens", zoom="409600~819200").wait_for_buckets("train/loss", exact)
    assert drawn["range"] == [409_600, 819_200]
    for line in drawn["lines"]:
        assert any(bucket["first_position"] == 150 for bucket in line["buckets"])
    expect(charts.page.get_by_role("combobox", name="x axis")).to_have_value("metric:tokens")


def test_a_clipped_axis_says_so(charts: Charts, long_run: str) -> None:
    drawn = charts.open(long_run, clip="1").wait("loss", loaded)
    assert drawn["scale"][1] < 5
    expect(charts.page.locator('.panel[data-key="loss"] .note')).to_have_text("axis clipped: 1 above, 0 below")


def test_panels_are_hidden_enlarged_and_put_together_and_the_link_shows_the_same(
    charts: Charts, open_tab: Open, several: list[str]
) -> None:
    page = charts.open(*several).page
    charts.wait("val/loss", loaded)
    charts.choose("lr", "Hide")
    expect(page.locator('.panel[data-key="lr"]')).to_have_count(0)
    expect(page.locator(".hidden-panels")).to_contain_text("1 hidden")
    charts.choose("train/loss", "Add val/loss")
    charts.wait("train/loss", lambda drawn: len(drawn["lines"]) == 2 * len(several))
    page.locator('.panel[data-key="train/loss"] header').dblclick()
    expect(page.get_by_role("dialog")).to_be_visible()
    other = Charts(open_tab())
    other.page.goto(page.url)
    expect(other.page.get_by_role("dialog")).to_contain_text("train/loss, val/loss")
    expect(other.page.locator(".hidden-panels")).to_contain_text("show lr")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_params_that_differ_come_first_and_a_param_is_drawn_against_a_metric(
    charts: Charts, several: list[str]
) -> None:
    page = charts.open(*several, scatter="lr~val/loss").page
    expect(page.locator(".differences tbody tr")).to_have_count(2)
    expect(page.locator(".compare")).to_contain_text("2 of 3 params differ")
    expect(page.get_by_role("img", name="Scatter of 5 runs over lr, val/loss")).to_be_visible()


# -- taking it away --------------------------------------------------------------------------------------------------


def test_what_is_shown_is_saved_as_a_table_and_as_pictures(charts: Charts, several: list[str], tmp_path: Path) -> None:
    drawn = charts.open(*several).wait_for_buckets("train/loss", loaded)
    for kind in ("CSV", "PNG", "SVG"):
        with charts.page.expect_download() as download:
            charts.choose("train/loss", f"Save as {kind}")
        download.value.save_as(tmp_path / kind)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "CSV").read_text())))
    assert len(rows) == sum(len(line["buckets"]) for line in drawn["lines"])
    assert float(rows[5]["mean"]) == drawn["lines"][0]["buckets"][5]["mean"]
    assert (tmp_path / "PNG").read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "SVG").read_text()
    assert svg.startswith("<svg")
    assert all(part in svg for part in ("mlp 0", "<path", "</svg>"))


def test_the_python_and_the_sql_that_are_copied_read_the_same(
    open_tab: Open, service: ServeProcess, several: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    charts = Charts(open_tab(permissions=["clipboard-read", "clipboard-write"]))
    drawn = charts.open(several[0], zoom="100~200").wait_for_buckets("train/loss", exact)
    charts.choose("train/loss", "Copy Python")
    code = charts.page.evaluate("navigator.clipboard.readText()")
    monkeypatch.setenv("RUNSTREAM_ADDRESS", service.grpc_address)
    names: dict[str, Any] = {}
    exec(code, names)
    (curve,) = names["curves"]
    shown = [b["mean"] for b in drawn["lines"][0]["buckets"] if 100 <= b["first_position"] <= 200]
    assert list(curve.mean) == shown
    charts.choose("train/loss", "Copy SQL")
    rows = _sql(service, charts.page.evaluate("navigator.clipboard.readText()").rstrip().rstrip(";"))
    assert [row["value"] for row in rows] == shown
    # Over HTTP on another host than localhost, a browser has no clipboard: then the text is shown.
    charts.page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    texts: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        texts.append(dialog.default_value)
        dialog.dismiss()

    charts.page.once("dialog", dismiss)
    charts.choose("train/loss", "Copy Python")
    expect(charts.page.get_by_role("menu")).to_have_count(0)
    assert texts == [code]


# -- live -------------------------------------------------------------------------------------------------------------


def test_new_points_extend_the_curve_and_do_not_move_what_is_zoomed_to(charts: Charts, service: ServeProcess) -> None:
    run = runstream.start_run(logged.EXPERIMENT, "live", address=service.grpc_address)
    for step in range(100):
        run.log({"loss": 1.0}, step=step)
    assert run.flush(30)
    charts.open(str(run.run_id), zoom="20~60").wait("loss", exact)
    scroll = charts.page.evaluate("document.querySelector('main').scrollTop")
    for step in range(100, 150):
        run.log({"loss": 2.0 if step != 120 else 50.0, "accuracy": 0.5}, step=step)
    assert run.flush(30)
    drawn = charts.wait("loss", lambda drawn: drawn["lines"][0]["end"] == 149)
    assert (drawn["range"], drawn["zoom"]) == ([20, 60], [20, 60])
    assert charts.page.evaluate("document.querySelector('main').scrollTop") == scroll
    charts.page.get_by_role("button", name="Show everything").click()
    drawn = charts.wait_for_buckets("loss", lambda drawn: drawn["range"] == [0, 149])
    assert max(bucket["max"] for bucket in drawn["lines"][0]["buckets"]) == 50.0
    assert drawn["lines"][0]["points"] == 150
    charts.wait("accuracy", loaded)  # a metric that did not exist before has a panel
    run.finish()
    expect(charts.page.locator(".chart-bar .status")).to_have_text("finished")


def test_a_page_goes_on_when_its_replica_was_restarted(open_tab: Open, prefixed: ServeProcess) -> None:
    tab = open_tab(url=prefixed.http_url)
    tab.expected += ["ERR_", "Failed to load resource", "status of 503"]
    run = runstream.start_run(logged.EXPERIMENT, "restarted", address=prefixed.grpc_address)
    run.log({"loss": 1.0}, step=0)
    run.log({"loss": 1.0}, step=1)
    assert run.flush(30)
    charts = Charts(tab).open(str(run.run_id))
    charts.wait("loss", loaded)
    prefixed.kill()
    expect(charts.page.locator(".chart-bar .status")).to_have_text("reconnecting…")
    run.log({"loss": 3.0}, step=2)
    prefixed.start()
    run.log({"loss": 4.0}, step=3)
    assert run.flush(60)
    drawn = charts.wait("loss", lambda drawn: drawn["lines"][0]["end"] == 3, timeout_s=60)
    assert drawn["lines"][0]["points"] == 4
    run.finish()


# -- everywhere ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dark", "width"), [(True, 1440), (False, 390)])
def test_charts_are_drawn_in_dark_and_on_a_phone(open_tab: Open, several: list[str], dark: bool, width: int) -> None:
    charts = Charts(open_tab(dark=dark, width=width)).open(*several, smooth="0.9")
    charts.wait("lr", loaded)
    assert charts.page.evaluate("document.documentElement.scrollWidth") <= width


def test_nothing_keeps_people_from_using_charts_and_ranks(open_tab: Open, ranks: str) -> None:
    charts = Charts(open_tab(bypass_csp=True))
    page = charts.tab.open(f"r/{ranks}")
    charts.wait("step_time", loaded)
    assert serious_issues_in_both_themes(page) == {}
    page.get_by_role("tab", name="Ranks").click()
    expect(page.locator(".stragglers h2")).to_be_visible()
    charts.wait("step_time", loaded)
    assert serious_issues_in_both_themes(page) == {}


# -- ranks ------------------------------------------------------------------------------------------------------------


def test_the_slow_rank_is_named_and_a_cell_of_the_heat_map_leads_to_its_line(charts: Charts, ranks: str) -> None:
    page = charts.tab.open(f"r/{ranks}?tab=ranks")
    expect(page.locator(".stragglers h2")).to_have_text("Rank 2 is slow")
    expect(page.locator(".stragglers .score.low")).to_have_count(2)
    expect(page.locator(".stragglers tr.slow")).to_contain_text("step 20")
    box = page.locator(".heat canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.6)
    expect(page.locator(".heat figcaption")).to_contain_text("rank 2, steps")
    page.mouse.click(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.6)
    charts.wait("step_time", lambda drawn: [line["name"] for line in drawn["lines"]] == ["rank 2"])
