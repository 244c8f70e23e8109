"""One browser and one service that asks for tokens, for all files."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.mlflow.conftest import service_of_teams, tokens_of_teams
from tests.mlflow.ui_page import tell_of_notices
from tests.support.browsers import running_browser
from tests.support.serve import ServeProcess
from tests.support.windows import Windows


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The browser of the tests of the web UI, closed after them: while it runs, no asynchronous test can run."""
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="package")
def shared_windows(browser: Browser) -> Iterator[Windows]:
    windows = Windows(browser, prepare=tell_of_notices)
    yield windows
    windows.close()


@pytest.fixture
def windows(shared_windows: Windows, request: pytest.FixtureRequest) -> Iterator[Windows]:
    """Windows without any state, for one test."""
    failed = request.session.testsfailed
    yield shared_windows
    if request.session.testsfailed == failed:
        shared_windows.clear()
    else:
        shared_windows.close()


@pytest.fixture(scope="module")
def used_windows(shared_windows: Windows) -> Iterator[Windows]:
    """Windows in which the UI stays from test to test: its megabytes of script take a second of processor time."""
    yield shared_windows
    shared_windows.clear()


@pytest.fixture
def page(windows: Windows) -> Page:
    """A page of a browser without any state."""
    page = windows.page()
    page.set_viewport_size({"width": 1280, "height": 900})
    return page


@pytest.fixture(scope="package")
def guarded() -> Iterator[ServeProcess]:
    """A service below a prefix that asks for tokens, with the workspaces of two teams."""
    with service_of_teams("--path-prefix", "/ml", "--trusted-proxies", "127.0.0.1") as serve:
        yield serve


@pytest.fixture(scope="package")
def tokens(guarded: ServeProcess) -> dict[str, str]:
    """Its tokens."""
    return tokens_of_teams(guarded)
