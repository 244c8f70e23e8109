"""The page in a real browser, on a service of its own. No test may leave an error on the browser's console."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page

from tests.support.browsers import DEADLINE_MS, running_browser
from tests.support.databases import short_directory
from tests.support.pages import keep_picture
from tests.support.serve import ServeProcess


@dataclass(kw_only=True)
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
def browser() -> Iterator[Browser]:
    """One browser for all files, closed afterwards: while it runs, no asynchronous test can run."""
    with running_browser() as browser:
        yield browser


class Window:
    """A page that tests use one after another. In a new one, everything takes twice the processor time: the browser
    starts a process for it, which compiles every script again."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._page: Page | None = None

    def page(self) -> Page:
        """A page without any state."""
        if self._page is None:
            self._page = self._browser.new_context().new_page()
        return self._page

    def clear(self, url: str) -> None:
        """Removes what a test left of a service: pages, cookies, what is stored, and where the pointer was."""
        page = self.page()
        for other in page.context.pages[1:]:
            other.close()
        page.goto("about:blank")
        page.mouse.move(-10, -10)
        page.context.clear_cookies()
        session = page.context.new_cdp_session(page)
        session.send("Storage.clearDataForOrigin", {"origin": url, "storageTypes": "all"})
        session.detach()

    def close(self) -> None:
        """The next test gets a new page."""
        if self._page is not None:
            self._page.context.close()
        self._page = None


@pytest.fixture(scope="package")
def window(browser: Browser) -> Iterator[Window]:
    window = Window(browser)
    yield window
    window.close()


@pytest.fixture
def open_tab(browser: Browser, window: Window, service: ServeProcess, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Opens a tab in a browser without any state: with `dark`, `width`, or another `url`. The first of a test is in the
    window that tests share, unless it is to have one of its own (`is_shared=False`) or further options."""
    tabs: list[Opened] = []
    failed = request.session.testsfailed

    def page_of(*, is_shared: bool, **options: Any) -> Page:
        if is_shared and not tabs and not options:
            return window.page()
        return browser.new_context(**options).new_page()

    def open_one(
        *,
        dark: bool = False,
        width: int = 1440,
        height: int = 900,
        url: str = "",
        is_shared: bool = True,
        **options: Any,
    ) -> Opened:
        page = page_of(is_shared=is_shared, **options)
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme="dark" if dark else "light")
        tabs.append(Opened(page=page, url=url or service.http_url))
        return tabs[-1]

    yield open_one
    for number, tab in enumerate(tabs):
        keep_picture(tab.page, request.node.name + (f"-{number}" if number else ""))
        tab.stop_listening()
        if tab.page is not window.page():
            tab.page.context.close()
    if tabs and request.session.testsfailed == failed:
        window.clear(tabs[0].url)
    else:
        window.close()
    assert [tab.unexpected for tab in tabs] == [[] for _ in tabs]


@pytest.fixture
def tab(open_tab: Open) -> Opened:
    return open_tab()
