"""A table of thousands of runs, while somebody scrolls."""

from __future__ import annotations

import os

import pytest
from playwright.sync_api import CDPSession, expect

from tests.mlflow.ui_page import IN_A_BROWSER
from tests.page.conftest import Opened
from tests.page.support import Logged, make_experiment
from tests.support.access import execute
from tests.support.serve import ServeProcess

pytestmark = IN_A_BROWSER
COUNT = 2_000
_RUNS = """
WITH made AS (
    INSERT INTO runs (run_id, experiment_id, name, status, started_at, ended_at)
    SELECT gen_random_uuid(), $1, 'run ' || i, 'finished', now() - i * interval '1 minute', now()
    FROM generate_series(1, $2) i RETURNING run_id, name
)
INSERT INTO params (run_id, key, value) SELECT run_id, key, name FROM made, unnest(ARRAY['lr', 'hidden', 'seed']) key
"""
# Scrolls to the end and back, one step a frame, and notes what held the page up meanwhile. A step is longer than the
# window, so that all rows in it are new.
_SCROLL = """async () => {
    const table = document.querySelector('.table')
    const frame = () => new Promise(requestAnimationFrame)
    const tasks = []
    const note = (list) => tasks.push(...list.getEntries().map(({duration}) => duration))
    new PerformanceObserver(note).observe({entryTypes: ['longtask']})
    const frames = []
    let most = 0
    for (const step of [1200, -2400]) {
        for (let last = -1; table.scrollTop !== last;) {
            last = table.scrollTop
            const begun = performance.now()
            table.scrollTop += step
            await frame()
            frames.push(performance.now() - begun)
            most = Math.max(most, document.querySelectorAll('.table .rows [role=row]').length)
        }
    }
    await new Promise((done) => setTimeout(done, 100))  // the observer is told later
    frames.sort((a, b) => a - b)
    return {longest: Math.max(0, ...tasks), p95: frames[Math.floor(frames.length * 0.95)], frames: frames.length, most}
}"""


@pytest.fixture(scope="module")
def many(service: ServeProcess) -> Logged:
    """Makes the runs before the browser starts, whose event loop would interfere."""
    logged = make_experiment(service)
    execute(service, _RUNS, int(logged.experiment_id), COUNT)
    return logged


def test_thousands_of_runs_scroll_without_a_stutter(many: Logged, tab: Opened) -> None:
    page = tab.open(f"e/{many.experiment_id}")
    expect(page.get_by_role("row")).not_to_have_count(1)
    # Down to the last page first, so that all runs are there.
    page.get_by_role("grid").focus()
    for _ in range(200):  # with the wait below, 20 s
        if page.get_by_text("2,000 runs").count():
            break
        page.keyboard.press("End")
        page.wait_for_timeout(100)  # for a page of the list, or a part of it
    expect(page.get_by_text("2,000 runs")).to_be_visible()
    page.keyboard.press("Home")
    expect(page.get_by_role("link", name="run 1", exact=True)).to_be_visible()
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    begun = _task_s(session)
    found = page.evaluate(_SCROLL)
    cpu_ms = (_task_s(session) - begun) / found["frames"] * 1000
    print(found, f"{cpu_ms:.1f} ms of CPU a frame")
    assert found["most"] < 100, "a row is a node only while it is seen"
    assert found["frames"] > 60
    # In CPU time, which other tests on this machine do not lengthen; and as people feel it, if nobody is in the way.
    assert cpu_ms < 50, found
    if os.getloadavg()[0] < (os.cpu_count() or 1) / 2:
        assert found["longest"] < 100, found


def _task_s(session: CDPSession) -> float:
    """The CPU time of the page's main thread."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))
