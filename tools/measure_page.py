"""How fast the page is in a real browser: docs/page.md has the figures.

    .venv/bin/python -m tools.measure_page charts 75
    .venv/bin/python -m tools.measure_page live 30
    .venv/bin/python -m tools.measure_page memory 60

`charts` takes millions of points in the database, `live` seconds, `memory` minutes. Each starts a service with a
PostgreSQL of its own and Debian's Chromium, and prints the results. Nothing else should run on the machine.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import asyncpg
from playwright.sync_api import Browser, CDPSession, Page

import runstream
from runstream_bench.load import Load, push
from runstream_bench.server_process import RunstreamProcess
from runstream_bench.service import service, temporary_postgres
from tests.support.browsers import running_browser

_PANELS, _RUNS, _POINTS = 20, 10, 100_000
_MILLION = 1_000_000
_RESTS_MS, _PRESSED_MS = 120, 70
# Without pauses a stream keeps eight batches under way: each run is pushed alone, as a training job that ends.
_RUN = Load(streams=1, batch_points=10_000, keys=_PANELS, batches=_PANELS * _POINTS // 10_000)
_LONG = Load(streams=1, batch_points=10_000, keys=1, batches=_MILLION // 10_000)
_OTHERS = Load(streams=100, batch_points=1_000, keys=20)
# 100,000 points/s.
_OTHER_LOAD = Load(streams=40, batch_points=250, keys=20, pause_s=0.1)

# Since when the page has waited, and when some number of panels had lines with as many buckets as wanted: of a first
# picture, and of exact curves.
_WATCH = """
(panels) => {
  window.seen = {};
  const begun = performance.now();
  const look = () => {
    const elements = [...document.querySelectorAll('.panel .plot')];
    const plots = elements.map((element) => element.plot).filter((plot) => plot?.lines?.length);
    const having = (buckets) => plots.filter(({ lines }) => lines.every(({ curve }) => curve.length >= buckets)).length;
    const now = performance.now() - (window.clicked ?? begun);
    if (having(1) >= panels) window.seen.first ??= now;
    if (having(250) >= panels) window.seen.exact ??= now;
    if (window.seen.exact === undefined) requestAnimationFrame(look);
  };
  look();
}
"""
_NOTE_CLICK = "addEventListener('click', () => { window.clicked = performance.now(); }, { capture: true, once: true })"
# The times at which frames began while the range was moved.
_NOTE_FRAMES = """
() => {
  window.frames_ = [];
  const note = (now) => { window.frames_.push(now); window.frameWanted = requestAnimationFrame(note); };
  note(performance.now());
}
"""
_FRAMES = "() => { cancelAnimationFrame(window.frameWanted); return window.frames_.slice(1); }"
# The first frame in which a step of the only curve is drawn, by the clock that points have, too.
_NOTE_STEPS = """
() => {
  window.drawnAt = {};
  let last = -1;
  const look = () => {
    const end = document.querySelector('.panel .plot')?.plot?.lines?.[0]?.curve.end ?? -1;
    if (end > last) window.drawnAt[(last = end)] = performance.timeOrigin + performance.now();
    requestAnimationFrame(look);
  };
  look();
}
"""


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def _with_browser(measure: Callable[..., None], *arguments: Any, height: int = 900) -> None:
    """Runs a measurement with Playwright in a thread, because Playwright needs one without an event loop."""

    def run() -> None:
        with running_browser() as browser:
            measure(_page(browser, height), *arguments)

    await asyncio.to_thread(run)


def _page(browser: Browser, height: int) -> Page:
    page = browser.new_context(viewport={"width": 1440, "height": height}, bypass_csp=True).new_page()
    page.set_default_timeout(60_000)
    return page


# -- charts -----------------------------------------------------------------------------------------------------------


async def charts(running: RunstreamProcess, database_url: str, millions: float) -> None:
    """The time until a series of a million points, and many panels, are drawn; and frames while the range is moved."""
    run_ids = [(await push(running.grpc_address, _RUN)).run_id for _ in range(_RUNS)]
    long_id = (await push(running.grpc_address, _LONG)).run_id
    points = _RUNS * _PANELS * _POINTS + _MILLION
    if rest := max(0, round(millions * 1e6) - points) // (_OTHERS.streams * _OTHERS.batch_points):
        points += (await push(running.grpc_address, replace(_OTHERS, batches=rest))).points_acknowledged
    connection = await asyncpg.connect(database_url)
    await _rolled_up(connection)
    experiment = await connection.fetchval("SELECT experiment_id FROM runs WHERE run_id = $1", uuid.UUID(long_id))
    await connection.close()
    _say(f"{points:,} points are stored")
    await _with_browser(_measure_one_chart, running.http_url, experiment, long_id)
    await _with_browser(_measure_panels, running.http_url, run_ids, height=6_000)
    await _with_browser(_measure_panning, running.http_url, run_ids)


async def _rolled_up(connection: asyncpg.Connection[Any]) -> None:
    waiting = "SELECT coalesce(sum(point_count), 0) FROM commits WHERE epoch > (SELECT visible_epoch FROM watermark)"
    open_epoch = 2_000_000  # is rolled up when it is old enough
    while await connection.fetchval(waiting) > open_epoch:  # noqa: ASYNC110 - PostgreSQL has no event for it
        await asyncio.sleep(0.2)
    await asyncio.sleep(2)


def _measure_one_chart(page: Page, url: str, experiment: int, run_id: str) -> None:
    for visit in range(6):
        page.goto(f"{url}/e/{experiment}")
        link = page.locator(f'a[href*="{run_id}"]').first
        link.wait_for()
        page.wait_for_timeout(500)
        page.evaluate(_NOTE_CLICK)
        page.evaluate(_WATCH, 1)
        # As a hand does: the mouse rests for a moment, then is pressed, and the click is its release.
        link.hover()
        page.wait_for_timeout(_RESTS_MS)
        page.mouse.down()
        page.wait_for_timeout(_PRESSED_MS)
        page.mouse.up()
        page.wait_for_function("window.seen.exact !== undefined")
        seen = page.evaluate("window.seen")
        _say(f"1,000,000 points, click {visit + 1}: first picture {seen['first']:.0f} ms, exact {seen['exact']:.0f} ms")


def _measure_panels(page: Page, url: str, run_ids: list[str]) -> None:
    page.add_init_script(f"addEventListener('DOMContentLoaded', () => ({_WATCH})({_PANELS}))")
    for visit in range(4):
        page.goto(f"{url}/compare?r={','.join(run_ids)}")
        page.wait_for_function("window.seen?.exact !== undefined")
        seen = page.evaluate("window.seen")
        _say(
            f"{_PANELS} panels of {_RUNS} runs x {_POINTS:,} points, all on screen, visit {visit + 1}: "
            f"first picture {seen['first']:.0f} ms, exact {seen['exact']:.0f} ms"
        )


def _measure_panning(page: Page, url: str, run_ids: list[str]) -> None:
    page.goto(f"{url}/compare?r={','.join(run_ids)}&zoom=40000~60000")
    page.evaluate(_WATCH, 2)
    page.wait_for_function("window.seen.exact !== undefined")
    box = page.locator(".panel .u-over").first.bounding_box()
    assert box
    middle = box["y"] + box["height"] / 2
    page.keyboard.down("Shift")
    page.mouse.move(box["x"] + box["width"] * 0.8, middle)
    page.mouse.down()
    page.evaluate(_NOTE_FRAMES)
    for step in range(240):
        page.mouse.move(box["x"] + box["width"] * (0.8 - 0.6 * abs(step % 120 - 60) / 60), middle)
    frames = page.evaluate(_FRAMES)
    page.mouse.up()
    page.keyboard.up("Shift")
    gaps = sorted(after - before for before, after in itertools.pairwise(frames))
    rate = (len(frames) - 1) / (frames[-1] - frames[0]) * 1000
    _say(f"panning: {rate:.0f} frames/s; between two: {_percentiles(gaps)}")


# -- live -------------------------------------------------------------------------------------------------------------


async def live(running: RunstreamProcess, database_url: str, seconds: float) -> None:
    """From log() of the real client to the frame that draws the point, while others log 100,000 points/s."""
    run = runstream.start_run("live", address=running.grpc_address)
    run.log({"loss": 1.0}, step=0)
    run.log({"loss": 1.0}, step=1)
    assert await asyncio.to_thread(run.flush, 30)
    over = threading.Event()
    drawn: dict[str, float] = {}
    opened = asyncio.Event()
    loop = asyncio.get_running_loop()

    def watch(page: Page) -> None:
        page.goto(f"{running.http_url}/compare?r={run.run_id}")
        page.locator(".panel canvas").first.wait_for()
        page.evaluate(_NOTE_STEPS)
        loop.call_soon_threadsafe(opened.set)
        while not over.is_set():
            page.wait_for_timeout(200)
        drawn.update(page.evaluate("window.drawnAt"))

    watching = asyncio.create_task(_with_browser(watch))
    await opened.wait()
    load = asyncio.create_task(push(running.grpc_address, _OTHER_LOAD, seconds + 4))
    await asyncio.sleep(3)
    for step in range(2, round(seconds / 0.05)):
        run.log({"loss": 1.0 / step}, step=step)
        await asyncio.sleep(0.05)
    await asyncio.sleep(2)
    over.set()
    await watching
    outcome = await load
    assert await asyncio.to_thread(run.flush, 60)
    await asyncio.to_thread(run.finish)
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch(
        "SELECT step, extract(epoch FROM time) * 1000 AS logged_ms FROM metric_points"
        " WHERE run_id = $1 AND step > 1 ORDER BY step",
        uuid.UUID(str(run.run_id)),
    )
    await connection.close()
    frames = sorted((int(step), at) for step, at in drawn.items())
    ages = sorted(next(at for step, at in frames if step >= row["step"]) - float(row["logged_ms"]) for row in rows)
    _say(f"other load: {outcome.points_per_s:,.0f} points/s")
    _say(f"from log() to the frame: {_percentiles(ages)} of {len(ages)} points")


def _percentiles(values: list[float]) -> str:
    return ", ".join(f"{name} {values[min(len(values) - 1, round(len(values) * share))]:.0f} ms"
                     for name, share in (("median", 0.5), ("99 %", 0.99), ("worst", 1.0)))  # fmt: skip


# -- memory -----------------------------------------------------------------------------------------------------------


async def memory(running: RunstreamProcess, _database_url: str, minutes: float) -> None:
    """The heap of an open tab of charts, after a collection, while 20 metrics are logged ten times a second."""
    run = runstream.start_run("memory", address=running.grpc_address)
    over = threading.Event()

    def log() -> None:
        step = 0
        while not over.wait(0.1):
            run.log({f"metric/{key}": float(step % (key + 7)) for key in range(_PANELS)}, step=step)
            step += 1

    def watch(page: Page) -> None:
        page.goto(f"{running.http_url}/compare?r={run.run_id}")
        page.locator(".panel canvas").first.wait_for()
        session = page.context.new_cdp_session(page)
        for minute in range(round(minutes) + 1):
            _say(f"minute {minute}: {_heap(session)}")
            page.wait_for_timeout(60_000)

    logging = threading.Thread(target=log)
    logging.start()
    try:
        await asyncio.sleep(2)
        await _with_browser(watch)
    finally:
        over.set()
        logging.join()
        await asyncio.to_thread(run.finish)


def _heap(session: CDPSession) -> str:
    session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")
    counters = session.send("Memory.getDOMCounters")
    heap_mb = used["usedSize"] / 1e6
    return f"heap {heap_mb:.2f} MB, {counters['nodes']} nodes, {counters['jsEventListeners']} listeners"


async def _main(what: str, amount: float) -> None:
    measures = {"charts": charts, "live": live, "memory": memory}
    async with (
        temporary_postgres() as postgres,
        service(postgres.url, postgres.data_dir / "service.log") as running,
    ):
        await measures[what](running, postgres.url, amount)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("charts", "live", "memory"):
        sys.exit(__doc__)
    asyncio.run(_main(sys.argv[1], float(sys.argv[2])))
