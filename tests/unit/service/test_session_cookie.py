"""The cookie of a session, under the names that protect it best."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.responses import Response

from runstream_service.http.session_cookie import clear_session, read_session, set_session

SESSION = "a" * 43


def scope_of(*, scheme: str = "https", prefix: str = "", cookie: str = "") -> dict[str, Any]:
    headers = [(b"cookie", cookie.encode())] if cookie else []
    return {"type": "http", "scheme": scheme, "root_path": prefix, "headers": headers}


@pytest.mark.parametrize(
    ("scheme", "prefix", "begins", "holds"),
    [
        ("https", "", "__Host-runstream_session=", "; Path=/; SameSite=lax; Secure"),
        ("https", "/ml", "__Secure-runstream_session=", "; Path=/ml; SameSite=lax; Secure"),
        ("http", "", "runstream_session=", "; Path=/; SameSite=lax"),
    ],
)
def test_the_name_and_the_path_of_the_cookie(scheme: str, prefix: str, begins: str, holds: str) -> None:
    response = Response()
    set_session(response, scope_of(scheme=scheme, prefix=prefix), SESSION, "team-a", max_age_s=3600)
    cookie = response.headers["set-cookie"]
    assert cookie == f"{begins}{SESSION}.team-a; HttpOnly; Max-Age=3600{holds}"
    sent = cookie.partition(";")[0]
    assert read_session(scope_of(scheme=scheme, prefix=prefix, cookie=sent)) == (SESSION, "team-a")
    clear_session(response, scope_of(scheme=scheme, prefix=prefix))
    assert "Max-Age=0" in response.headers.getlist("set-cookie")[1]


@pytest.mark.parametrize(
    "cookie",
    [
        "",
        "runstream_session=x",
        f"runstream_session={SESSION}.Team",
        f"__Host-runstream_session={SESSION}.team-a",
        "\x7f",
    ],
)
def test_whatever_is_no_session_is_none(cookie: str) -> None:
    assert read_session(scope_of(scheme="http", cookie=cookie)) == ("", "")


def test_a_cookie_that_a_plain_page_could_have_set_is_not_taken_over_https() -> None:
    assert read_session(scope_of(cookie=f"runstream_session={SESSION}.team-a")) == ("", "")
