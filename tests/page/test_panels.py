"""The layout of panels."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.mlflow.ui_page import IN_A_BROWSER
from tests.page import logged
from tests.page.conftest import Open, Opened
from tests.support.serve import ServeProcess

pytestmark = IN_A_BROWSER


@pytest.fixture(scope="module")
def run_id(service: ServeProcess) -> str:
    return logged.small(service.grpc_address, "panels", seed=1, points=50)


def _panel(page: Page, key: str) -> Locator:
    return page.locator(f'.panel[data-key="{key}"]')


def _box(locator: Locator) -> tuple[float, float, float, float]:
    """Left, top, right and bottom edge."""
    box = locator.bounding_box()
    assert box
    return box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]


def test_small_groups_share_a_row_and_training_comes_first(tab: Opened, run_id: str) -> None:
    page = tab.open(f"r/{run_id}")
    expect(page.locator(".group h2")).to_have_text(["▾ train 2", "▾ val 1", "▾ metrics 2"])
    loss, val, lr = (_box(_panel(page, key)) for key in ("train/loss", "val/loss", "lr"))
    assert loss[1] == val[1] < lr[1]
    assert loss[2] < val[0]
    assert val[2] - val[0] == loss[2] - loss[0]
    page.get_by_role("button", name="val 1").click()
    expect(_panel(page, "val/loss")).to_have_count(0)


def test_a_panel_becomes_wider_than_its_group_was(tab: Opened, run_id: str) -> None:
    page = tab.open(f"r/{run_id}")
    val = _panel(page, "val/loss")
    val.hover()
    before = _box(val)
    page.mouse.move(before[2] - 4, before[3] - 4)
    page.mouse.down()
    page.mouse.move(before[2] + 300, before[3] + 40, steps=4)
    page.mouse.up()
    expect(val).to_have_attribute("style", "--columns: 2; --height: 240px;")
    after = _box(val)
    assert after[2] - after[0] == pytest.approx(2 * (before[2] - before[0]) + 8, abs=1)


def test_on_a_phone_charts_leave_room_for_what_is_done_with_the_selection(open_tab: Open, run_id: str) -> None:
    page = open_tab(width=390, height=780).open(f"?sel={run_id}&charts=1")
    expect(_panel(page, "train/loss")).to_be_visible()
    bar = page.locator(".selection")
    assert _box(page.locator(".charts-box"))[3] <= _box(bar)[1]
    bar.get_by_role("button", name="Charts").click()  # nothing lies above it
    expect(page.locator(".panel")).to_have_count(0)


def test_a_link_that_was_cut_off_says_that_there_is_no_such_run(tab: Opened, run_id: str) -> None:
    tab.expected = ["400 (Bad Request)"]
    page = tab.open(f"r/{run_id[:20]}")
    expect(page.get_by_role("alert")).to_contain_text("The link may be incomplete")


def test_a_run_is_asked_for_once_and_already_when_the_pointer_is_pressed(tab: Opened, run_id: str) -> None:
    page = tab.open()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith(f"/runs/{run_id}") else None)
    link = page.locator(f'a[href$="{run_id}"]')
    left, top, _, bottom = _box(link)
    with page.expect_response(f"**/runs/{run_id}"):
        page.mouse.move(left + 5, (top + bottom) / 2)
        page.mouse.down()
    expect(page.get_by_role("heading", name="All runs")).to_be_visible()
    page.mouse.up()
    expect(_panel(page, "train/loss")).to_be_visible()
    assert len(asked) == 1


def test_the_tab_of_the_machine_shows_its_panels_at_once(tab: Opened, service: ServeProcess) -> None:
    points = [(step, {"system/cpu_percent": 40.0 + step, "loss": 1.0}) for step in range(20)]
    run_id = logged.log_run(service.grpc_address, "machine", points)
    page = tab.open(f"r/{run_id}")
    expect(_panel(page, "loss")).to_be_visible()
    expect(_panel(page, "system/cpu_percent")).to_have_count(0)
    page.get_by_label("Find a metric").fill("cpu")
    expect(_panel(page, "system/cpu_percent")).to_be_visible()
    page.get_by_role("tab", name="System").click()
    expect(_panel(page, "system/cpu_percent")).to_be_visible()


def test_a_menu_at_the_end_of_the_window_is_seen_whole(open_tab: Open, run_id: str) -> None:
    page = open_tab(height=460).open(f"r/{run_id}")
    panel = _panel(page, "train/loss")
    panel.hover()
    panel.get_by_role("button", name="Menu of train/loss").click()
    menu = page.get_by_role("menu")
    expect(menu).to_be_visible()
    assert _box(menu)[3] <= 460
