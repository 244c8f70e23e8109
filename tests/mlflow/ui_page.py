"""A page of MLflow's web UI in a real browser, for the tests that click through it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from playwright.sync_api import ConsoleMessage, Error, Page, Response

from tests.support.browsers import CHROMIUM

# Requests for which the UI expects a 404: features other than tracking, which every page asks for, and free names.
TAKES_A_404 = ("users/current", "assistant/", "experiments/get-by-name?")
# Messages of the UI disappear after a few seconds; this writes each one to the console when it appears.
_NOTICE = "notice of the UI: "
_TELL_OF_NOTICES = """
new MutationObserver((changes) => {
  for (const node of changes.flatMap((change) => [...change.addedNodes])) {
    const notice = node instanceof Element && (node.closest(NOTICE) || node.querySelector(NOTICE));
    if (notice) console.debug(PREFIX + notice.innerText);
  }
}).observe(document, { childList: true, subtree: true });
""".replace("NOTICE", "'[class*=notification-notice]'").replace("PREFIX", f"'{_NOTICE}'")

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on the path; on Debian: apt-get install chromium-headless-shell"
)
IN_A_BROWSER = [needs_chromium]


@dataclass(kw_only=True)
class UiPage:
    """A page, what it was refused, and the messages that it showed."""

    page: Page
    base: str
    refused: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listening: list[Page] = []
        self.listen(self.page)

    def listen(self, page: Page) -> None:
        """Remembers what goes wrong on a page."""
        page.on("response", self.note)
        page.on("pageerror", self._note_error)
        page.on("console", self._note_notice)
        self._listening.append(page)

    def stop_listening(self) -> None:
        """Leaves the pages to the next test."""
        for page in self._listening:
            page.remove_listener("response", self.note)
            page.remove_listener("pageerror", self._note_error)
            page.remove_listener("console", self._note_notice)
        self._listening.clear()

    def open(self, path: str) -> Page:
        """Goes to a place of the UI."""
        self.page.goto(f"{self.base}/mlflow/#/{path}")
        return self.page

    def note(self, response: Response) -> None:
        """Records answers that are errors for the UI."""
        if response.status >= 400 and not any(part in response.url for part in TAKES_A_404):
            request = response.request
            self.refused.append(f"{response.status} {request.method} {response.url} {request.post_data or ''}".strip())

    def _note_error(self, error: Error) -> None:
        self.refused.append(str(error))

    def _note_notice(self, message: ConsoleMessage) -> None:
        if message.text.startswith(_NOTICE):
            self.notices.append(message.text.removeprefix(_NOTICE))


def tell_of_notices(page: Page) -> None:
    """Lets a new page report the messages of the UI."""
    page.add_init_script(_TELL_OF_NOTICES)
