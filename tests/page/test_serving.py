"""How the files of the page are served."""

from __future__ import annotations

import gzip
import re

import pytest
from playwright.sync_api import expect

from runstream_service.web.page_files import PageFiles
from runstream_service.web.page_routes import PLACES
from tests.mlflow.ui_page import IN_A_BROWSER
from tests.page.conftest import Open, Opened
from tests.page.support import make_experiment
from tests.support.pages import ask
from tests.support.serve import ServeProcess

pytestmark = IN_A_BROWSER
_PLACES = [re.sub(r"\{\w+\}", "1", path) for path in PLACES]


@pytest.mark.parametrize("path", _PLACES)
def test_every_place_is_served_the_same_page_which_is_checked_each_time(service: ServeProcess, path: str) -> None:
    answer = ask(service.http_url, path)
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-cache")
    assert f'<base href="{"../" * (path.count("/") - 1)}./">' in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(("path", "module"), [("/r/1", "charts/plot.js"), ("/compare", "places/compare.js")])
def test_a_place_names_the_modules_that_only_it_needs(service: ServeProcess, path: str, module: str) -> None:
    def preloads(path: str) -> set[str]:
        body = ask(service.http_url, path).text
        return set(re.findall(r'<link rel="modulepreload" href="web/page/\w+/([^"]+)">', body))

    files = PageFiles.read().files
    assert {module, "vendor/uplot.mjs", "vendor/preact.mjs"} <= preloads(path) <= set(files)
    assert not {module, "vendor/uplot.mjs"} & preloads("/")


def test_files_are_kept_forever_and_compressed(service: ServeProcess) -> None:
    script = re.findall(r'<script type="module" src="([^"]+)"', ask(service.http_url, "/").text)[0]
    answer = ask(service.http_url, f"/{script}")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "immutable" in answer.headers["cache-control"]
    files = PageFiles.read()
    compressed = files.files["vendor/preact.mjs"].compressed
    assert compressed is not None
    assert gzip.decompress(compressed) == files.files["vendor/preact.mjs"].content


def test_a_replica_of_another_version_serves_what_it_has_but_nobody_keeps_it(service: ServeProcess) -> None:
    answer = ask(service.http_url, "/web/page/0123456789abcdef/main.js")
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    assert ask(service.http_url, "/web/page/0123456789abcdef/no-such-file.js").status == 404
    assert ask(service.http_url, "/web/page/0123456789abcdef/../../pages.py").status == 404


# The document, and what was asked for before modules of other places are loaded ahead (state/ahead.js).
_OF_FIRST_PAINT = """() => {
  const entries = performance.getEntriesByType('resource');
  const begun = entries.find(({ name }) => name.endsWith('/main.js')).responseEnd;
  const first = entries.filter(({ startTime }) => startTime < begun + 3000);
  const sizes = [...performance.getEntriesByType('navigation'), ...first].map(({ encodedBodySize }) => encodedBodySize);
  return { count: sizes.length, bytes: sizes.reduce((sum, size) => sum + size) };
}"""


def test_the_first_paint_needs_less_than_150_kb(prefixed: ServeProcess, open_tab: Open) -> None:
    logged = make_experiment(prefixed)  # on a service where tests leave few runs, since they come with the page
    for number in range(20):
        logged.run(f"run {number}", params={"lr": "0.1"}, metrics={"loss": 1 / 3})
    page = open_tab(url=prefixed.http_url).open()
    expect(page.get_by_role("link", name="run 19", exact=True)).to_be_visible()
    page.wait_for_load_state("networkidle")
    found = page.evaluate(_OF_FIRST_PAINT)
    assert 5 < found["count"] < 80
    assert 30_000 < found["bytes"] < 150_000


@pytest.mark.parametrize("path", ["", "e/0", "#/experiments"])
def test_page_and_mlflows_ui_work_below_a_prefix(prefixed: ServeProcess, open_tab: Open, path: str) -> None:
    tab = open_tab(url=prefixed.http_url)
    tab.expected = ["users/current", "assistant/"]  # what MLflow's UI asks for, and takes a 404 for
    page = tab.open(path)
    if path.startswith("#"):
        page.wait_for_url(f"{prefixed.http_url}/mlflow/#/**")
        expect(page.get_by_role("link", name="Default")).to_be_visible()
        tab.expected.append("")  # what else it says on the console is its own
        return
    expect(page.get_by_role("main")).to_be_visible()
    page.get_by_role("link", name="MLflow").first.click()
    page.wait_for_url(f"{prefixed.http_url}/mlflow/**")
    tab.expected.append("")


def test_a_link_of_mlflows_clients_leads_into_its_ui(tab: Opened) -> None:
    tab.expected = [""]  # MLflow's UI has messages of its own
    page = tab.open("#/experiments/0")
    page.wait_for_url(f"{tab.url}/mlflow/#/experiments/0**")
    expect(page.get_by_text("Default").first).to_be_visible()
