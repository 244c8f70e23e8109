"""What the panels of a page draw, for tests of charts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page

from tests.page.conftest import Opened

# What a panel draws, in plain numbers; thousands of them with the buckets.
_DRAWN = """
([key, withBuckets]) => {
  const { plot } = document.querySelector(`.panel[data-key="${key}"] .plot`);
  const range = plot.charts.range;
  const finite = (bucket) =>
    Object.fromEntries(Object.entries(bucket).map(([name, value]) => [name, Number.isFinite(value) ? value : null]));
  return {
    range: [range.min, range.max],
    zoom: plot.charts.zoom,
    marks: plot.charts.attempts,
    replaced: plot.replaced.map(({ curve }) => [curve.rank, curve.start, curve.end]),
    scale: [plot.scales.y.min, plot.scales.y.max],
    lines: plot.lines.map((line) => ({
      name: line.name,
      rank: line.curve.rank,
      isPart: line.curve !== line.whole,
      points: line.whole.points,
      end: line.whole.end,
      count: line.curve.length,
      ...(withBuckets && {
        smooth: line.smooth && Array.from(line.smooth.subarray(0, line.curve.length)),
        buckets: Array.from({ length: line.curve.length }, (_, row) => finite(line.curve.at(row))),
      }),
    })),
  };
}
"""
# How many pixels near a place of a plot, in shares of its width and height, have about a colour.
_PIXELS = """
([key, left, top, width, height, colour]) => {
  const { plot } = document.querySelector(`.panel[data-key="${key}"] .plot`);
  const { frame } = plot;
  const wanted = colour ?? plot.lines[0].stroke.colour;
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(wanted.slice(at, at + 2), 16));
  const canvas = plot.element.querySelector('canvas');
  const place = [frame.left + left * frame.width, frame.top + top * frame.height];
  const size = [Math.ceil(width * frame.width), Math.ceil(height * frame.height)];
  const copy = new OffscreenCanvas(...size).getContext('2d', { willReadFrequently: true });
  copy.drawImage(canvas, ...place.map(Math.round), ...size, 0, 0, ...size);
  const { data } = copy.getImageData(0, 0, ...size);
  let count = 0;
  for (let at = 0; at < data.length; at += 4) {
    // Lines are drawn with some transparency: it is the hue that counts.
    const [dr, dg, db] = [data[at] - r, data[at + 1] - g, data[at + 2] - b];
    const isInk = data[at + 3] > 60 && Math.hypot(dr, dg, db) < 130;
    if (isInk) count++;
  }
  return count;
}
"""


class Charts:
    """The panels of a tab."""

    def __init__(self, tab: Opened) -> None:
        self.tab = tab
        self.page: Page = tab.page

    def open(self, *run_ids: str, **view: str) -> Charts:
        query = "&".join(f"{name}={value}" for name, value in view.items())
        self.tab.open(f"compare?r={','.join(run_ids)}&{query}")
        return self

    def wait(self, key: str, condition: Callable[[dict[str, Any]], Any], *, timeout_s: float = 30) -> dict[str, Any]:
        """Waits until what a panel draws is as wanted. Returns it without the buckets, which are many."""
        deadline = time.monotonic() + timeout_s
        panel = self.page.locator(f'.panel[data-key="{key}"]')
        panel.scroll_into_view_if_needed()  # panels that are not seen draw nothing
        panel.locator("canvas").wait_for()
        while not condition(drawn := self._drawn(key, with_buckets=False)):
            assert time.monotonic() < deadline, drawn
            self.page.wait_for_timeout(50)
        return drawn

    def wait_for_buckets(self, key: str, condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Waits until what a panel draws is as wanted. Returns it with the buckets."""
        while True:
            self.wait(key, condition)
            if condition(drawn := self._drawn(key, with_buckets=True)):
                return drawn

    def _drawn(self, key: str, *, with_buckets: bool) -> dict[str, Any]:
        drawn: dict[str, Any] = self.page.evaluate(_DRAWN, [key, with_buckets])
        return drawn

    def pixels(self, key: str, left: float, top: float, width: float, height: float, colour: str | None = None) -> int:
        """Counts pixels close to this colour, by default that of the first line, in a part of the plot."""
        return int(self.page.evaluate(_PIXELS, [key, left, top, width, height, colour]))

    def plot(self, key: str) -> Any:
        return self.page.locator(f'.panel[data-key="{key}"] .u-over')

    def choose(self, key: str, entry: str) -> None:
        """Chooses an entry of a panel's menu."""
        self.page.get_by_role("button", name=f"Menu of {key}").click()
        self.page.get_by_role("menuitem", name=entry).click()


def loaded(drawn: dict[str, Any]) -> bool:
    return bool(drawn["lines"]) and all(line["count"] for line in drawn["lines"])


def exact(drawn: dict[str, Any]) -> bool:
    return loaded(drawn) and all(line["isPart"] for line in drawn["lines"])


def refined(drawn: dict[str, Any]) -> bool:
    """Whether a panel shows its final curves, not a draft."""
    return loaded(drawn) and all(line["count"] > 250 for line in drawn["lines"])
