"""One browser for all files, closed afterwards: while it runs, no asynchronous test can run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext

from tests.support.browsers import DEADLINE_MS, running_browser


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The browser of the tests of the web UI."""
    with running_browser() as browser:
        yield browser


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser without cookies."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(DEADLINE_MS)
    yield context
    context.close()
