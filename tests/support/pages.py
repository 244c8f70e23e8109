"""Requests pages of a service as a browser does, and takes pictures of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from playwright.sync_api import Page

from runstream_bench.http_client import Answer, HttpClient


def ask(url: str, path: str, *, method: str = "GET", form: Mapping[str, str] | None = None, **headers: str) -> Answer:
    """Sends one request, over a connection of its own."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = urlencode(form).encode() if form is not None else None
    with HttpClient(url) as client:
        where = urlsplit(url).path + path
        return client.request("POST" if form is not None else method, where, content, named)


def sign_in(url: str, token: str, **headers: str) -> Answer:
    return ask(url, "/signin", form={"token": token}, **{"sec_fetch_site": "same-origin", **headers})


def keep_picture(page: Page, name: str) -> None:
    """Takes a picture of a page at the end of a test, in the directory that `UI_SCREENSHOTS` names."""
    if directory := os.environ.get("UI_SCREENSHOTS"):
        page.screenshot(path=Path(directory) / f"{name}.png")
