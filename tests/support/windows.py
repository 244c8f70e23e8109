"""Windows of the browser that tests use one after another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.sync_api import Browser, CDPSession, Frame, Page

from tests.support.browsers import DEADLINE_MS


@dataclass(eq=False)
class _Window:
    page: Page
    session: CDPSession
    origins: set[str] = field(default_factory=set)  # where it has been

    def __post_init__(self) -> None:
        self.page.on("framenavigated", self._note)

    def _note(self, frame: Frame) -> None:
        parts = urlsplit(frame.url)
        if parts.scheme.startswith("http"):
            self.origins.add(f"{parts.scheme}://{parts.netloc}")


class Windows:
    """Each is a browser of its own, with one page. In a new one, everything takes twice the processor time: the browser
    starts a process for it, which compiles every script again."""

    def __init__(self, browser: Browser, prepare: Callable[[Page], object] = lambda _: None) -> None:
        """`prepare` is called with each new page."""
        self._browser = browser
        self._prepare = prepare
        self._windows: list[_Window] = []

    def page(self, number: int = 0) -> Page:
        """A page without any state."""
        while len(self._windows) <= number:
            page = self._browser.new_context().new_page()
            page.set_default_timeout(DEADLINE_MS)
            page.emulate_media(reduced_motion="reduce")  # what moves is drawn sixty times a second, by the processor
            self._prepare(page)
            self._windows.append(_Window(page, page.context.new_cdp_session(page)))
        return self._windows[number].page

    def bypass_policy(self, number: int = 0) -> None:
        """Lets scripts of the test into the page, until it is cleared."""
        self._windows[number].session.send("Page.setBypassCSP", {"enabled": True})

    def clear(self) -> None:
        """Removes what a test left: pages, headers, cookies, what is stored, and where the pointer was."""
        for window in self._windows:
            if window.origins:
                _clear(window)

    def close(self) -> None:
        """The next test gets new windows."""
        for window in self._windows:
            window.page.context.close()
        self._windows.clear()


def _clear(window: _Window) -> None:
    page, session = window.page, window.session
    for other in page.context.pages[1:]:
        other.close()
    page.goto("about:blank")
    page.mouse.move(-10, -10)
    page.context.clear_cookies()
    page.context.clear_permissions()
    page.context.set_extra_http_headers({})
    session.send("Page.setBypassCSP", {"enabled": False})
    for origin in window.origins:
        session.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})
    window.origins.clear()
