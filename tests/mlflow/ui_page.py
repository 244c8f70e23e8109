"""A page of MLflow's web UI in a real browser, for the tests that click through it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Page, Response

from tests.support.browsers import CHROMIUM, DEADLINE_MS

# Requests for which the UI expects a 404: features other than tracking, which every page asks for, and free names.
TAKES_A_404 = ("users/current", "assistant/", "experiments/get-by-name?")
# Messages of the UI disappear after a few seconds; this reports each one when it appears.
_TELL_OF_NOTICES = """
new MutationObserver((changes) => {
  for (const node of changes.flatMap((change) => [...change.addedNodes])) {
    const notice = node instanceof Element && (node.closest(NOTICE) || node.querySelector(NOTICE));
    if (notice) window.noticed(notice.innerText);
  }
}).observe(document, { childList: true, subtree: true });
""".replace("NOTICE", "'[class*=notification-notice]'")

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
        self.listen(self.page)

    def listen(self, page: Page) -> None:
        """Remembers what goes wrong on a page."""
        page.set_default_timeout(DEADLINE_MS)
        page.on("response", self.note)
        page.on("pageerror", lambda error: self.refused.append(str(error)))
        page.expose_function("noticed", lambda text: self.notices.append(text))
        page.add_init_script(_TELL_OF_NOTICES)

    def open(self, path: str) -> Page:
        """Goes to a place of the UI."""
        self.page.goto(f"{self.base}/mlflow/#/{path}")
        return self.page

    def note(self, response: Response) -> None:
        """Records answers that are errors for the UI."""
        if response.status >= 400 and not any(part in response.url for part in TAKES_A_404):
            request = response.request
            self.refused.append(f"{response.status} {request.method} {response.url} {request.post_data or ''}".strip())
