"""Pages of a service, asked for as a browser does, and pictures of them."""

from __future__ import annotations

import contextlib
import http.client
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from playwright.sync_api import Page


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: str

    @property
    def cookie(self) -> str:
        """What a browser would send from now on."""
        return self.headers.get("set-cookie", "").partition(";")[0]


def ask(url: str, path: str, *, method: str = "GET", form: Mapping[str, str] | None = None, **headers: str) -> Answer:
    """One request, without redirects."""
    parts = urlsplit(url)
    body = urlencode(form) if form is not None else None
    with contextlib.closing(http.client.HTTPConnection(parts.netloc, timeout=30)) as connection:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST" if form is not None else method, parts.path + path, body, named)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read().decode())


def sign_in(url: str, token: str, **headers: str) -> Answer:
    return ask(url, "/signin", form={"token": token}, **{"sec_fetch_site": "same-origin", **headers})


def keep_picture(page: Page, name: str) -> None:
    """Of a page at the end of a test, where `UI_SCREENSHOTS` says."""
    if directory := os.environ.get("UI_SCREENSHOTS"):
        page.screenshot(path=Path(directory) / f"{name}.png")
