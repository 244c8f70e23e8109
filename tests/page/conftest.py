"""The page in a real browser, on a service of its own. No test may leave an error on the browser's console."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page

from tests.support.browsers import DEADLINE_MS, running_browser
from tests.support.databases import short_directory
from tests.support.pages import keep_picture
from tests.support.serve import ServeProcess
from tests.support.windows import Windows


@dataclass(kw_only=True, eq=False)
class Opened:
    """A browser's tab with the page, and the errors in it."""

    page: Page
    url: str
    wrong: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(DEADLINE_MS)
        self.page.on("console", self._note)
        self.page.on("pageerror", self._note_error)

    def stop_listening(self) -> None:
        """Leaves the page to the next test."""
        self.page.remove_listener("console", self._note)
        self.page.remove_listener("pageerror", self._note_error)

    def _note_error(self, error: Error) -> None:
        self.wrong.append(str(error))

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"{message.text} {message.location.get('url', '')}")

    def open(self, path: str = "") -> Page:
        """Goes to a path of the page."""
        self.page.goto(f"{self.url}/{path}")
        return self.page

    @property
    def unexpected(self) -> list[str]:
        """The unexpected errors, among them violations of the content security policy."""
        return [one for one in self.wrong if not any(part in one for part in self.expected)]


Open = Callable[..., Opened]


@pytest.fixture(scope="package")
def service() -> Iterator[ServeProcess]:
    with short_directory() as directory, ServeProcess(directory) as serve:
        yield serve


@pytest.fixture(scope="package")
def other_service() -> Iterator[ServeProcess]:
    with short_directory() as directory, ServeProcess(directory, arguments=["--path-prefix", "/ml"]) as serve:
        yield serve


@pytest.fixture
def prefixed(other_service: ServeProcess) -> Iterator[ServeProcess]:
    """A service below a prefix, on which there are few runs. A test may kill it."""
    yield other_service
    if not other_service.is_running:
        other_service.start()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One browser for all files, closed afterwards: while it runs, no asynchronous test can run."""
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="package")
def windows(browser: Browser) -> Iterator[Windows]:
    windows = Windows(browser)
    yield windows
    windows.close()


@pytest.fixture
def open_tab(
    browser: Browser, windows: Windows, service: ServeProcess, request: pytest.FixtureRequest
) -> Iterator[Open]:
    """Opens a tab in a browser without any state: with `dark`, `width`, or another `url`; each of a test is another
    browser. They are windows that tests share, unless one is to be of the test alone (`is_shared=False`)."""
    tabs: list[Opened] = []
    shared: list[Page] = []
    failed = request.session.testsfailed

    def shared_page(*, bypass_csp: bool, permissions: Sequence[str]) -> Page:
        page = windows.page(len(shared))
        if bypass_csp:
            windows.bypass_policy(len(shared))
        if permissions:
            page.context.grant_permissions(permissions)
        shared.append(page)
        return page

    def open_one(
        *,
        dark: bool = False,
        width: int = 1440,
        height: int = 900,
        url: str = "",
        is_shared: bool = True,
        bypass_csp: bool = False,
        permissions: Sequence[str] = (),
    ) -> Opened:
        if is_shared:
            page = shared_page(bypass_csp=bypass_csp, permissions=permissions)
        else:
            page = browser.new_context(bypass_csp=bypass_csp, permissions=permissions).new_page()
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme="dark" if dark else "light")
        tabs.append(Opened(page=page, url=url or service.http_url))
        return tabs[-1]

    yield open_one
    for number, tab in enumerate(tabs):
        keep_picture(tab.page, request.node.name + (f"-{number}" if number else ""))
        tab.stop_listening()
        if tab.page not in shared:
            tab.page.context.close()
    if request.session.testsfailed == failed:
        windows.clear()
    else:
        windows.close()
    assert [tab.unexpected for tab in tabs] == [[] for _ in tabs]


@pytest.fixture
def tab(open_tab: Open) -> Opened:
    return open_tab()
