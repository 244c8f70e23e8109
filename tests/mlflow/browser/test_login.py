"""`runstream login` with a real browser: the person allows it on a page, and the command line has a token of theirs."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import webbrowser

import pytest
from playwright.sync_api import Page, expect

import runstream
from runstream.login.browser import SignedIn, challenge_of, sign_in_with_browser
from runstream_bench.http_client import Answer
from tests.mlflow.ui_page import needs_chromium
from tests.support.access import as_operator, make_token
from tests.support.pages import ask, keep_picture, sign_in
from tests.support.polling import until_now
from tests.support.rest import Rest
from tests.support.serve import ServeProcess

VERIFIER = "v" * 43
QUESTION = "port=40000&state=0123456789abcdef0123&challenge=" + "c" * 43 + "&machine=laptop"


@pytest.fixture
def serve(guarded: ServeProcess) -> ServeProcess:
    return guarded


@pytest.fixture
def token(tokens: dict[str, str]) -> str:
    return tokens["team-a"]


class Login(threading.Thread):
    """What the command does, up to the token."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(daemon=True)
        self.opened = threading.Event()
        self.page = ""
        self.given: SignedIn | None = None
        self.problem = ""
        self._url = url
        monkeypatch.setattr(webbrowser, "open", self._open)

    def _open(self, page: str) -> bool:
        self.page = page
        self.opened.set()
        return True

    def run(self) -> None:
        try:
            self.given = sign_in_with_browser(self._url)
        except ValueError as error:
            self.problem = str(error)


@needs_chromium
def test_who_allows_it_in_the_browser_has_a_token_on_the_command_line(
    serve: ServeProcess, token: str, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = Login(serve.http_url, monkeypatch)
    login.start()
    assert login.opened.wait(10)
    page.goto(login.page)
    page.get_by_label("Token").fill(token)  # nobody is signed in yet
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Log in on the command line?")).to_be_visible()
    keep_picture(page, "login")
    page.get_by_role("button", name="Allow").click()
    expect(page.get_by_role("heading", name="Done")).to_be_visible()
    login.join(10)
    assert login.given is not None, login.problem
    with runstream.Client(serve.grpc_address, token=login.given.token.reveal()) as client:
        caller = client.who_am_i()
    assert (caller.workspace, caller.role, login.given.workspace) == ("team-a", "manage", "team-a")
    assert caller.principal.startswith("manager on ")


def allow(serve: ServeProcess, token: str, verifier: str) -> str:
    """The code that the page gives to a command with this verifier."""
    cookie = sign_in(serve.http_url, token).cookie
    question = QUESTION.replace("c" * 43, challenge_of(verifier))
    answer = ask(
        serve.http_url, f"/signin/command-line?{question}", form={}, cookie=cookie, sec_fetch_site="same-origin"
    )
    assert answer.status == 303
    found = re.fullmatch(
        r"http://127\.0\.0\.1:40000/\?code=([\w-]+)&state=0123456789abcdef0123", answer.headers["location"]
    )
    assert found is not None
    return found[1]


def exchange(serve: ServeProcess, code: str, verifier: str) -> Answer:
    with contextlib.closing(Rest(serve.http_url)) as rest:
        return rest.post("/signin/command-line/token", {"code": code, "verifier": verifier})


def test_a_code_is_used_once_and_only_by_who_has_the_verifier(serve: ServeProcess, token: str) -> None:
    code = allow(serve, token, VERIFIER)
    assert exchange(serve, code, VERIFIER).body["workspace"] == "team-a"
    assert exchange(serve, code, VERIFIER).error[:2] == (401, "UNAUTHENTICATED")
    stolen = allow(serve, token, VERIFIER)
    assert exchange(serve, stolen, "guessed").error[:2] == (401, "UNAUTHENTICATED")
    assert exchange(serve, stolen, VERIFIER).error[:2] == (401, "UNAUTHENTICATED")  # and is gone after a wrong guess


def test_a_page_of_others_cannot_allow_it(serve: ServeProcess, token: str) -> None:
    cookie = sign_in(serve.http_url, token).cookie
    path = f"/signin/command-line?{QUESTION}"
    assert ask(serve.http_url, path, form={}, cookie=cookie, sec_fetch_site="cross-site").status == 403


@pytest.mark.parametrize("broken", ["port=80", "port=x", "state=short", "challenge=c", "machine=%3Cscript%3E"])
def test_a_page_that_no_command_opened_asks_nothing(broken: str, serve: ServeProcess, token: str) -> None:
    cookie = sign_in(serve.http_url, token).cookie
    name = broken.partition("=")[0]
    question = "&".join(broken if part.startswith(f"{name}=") else part for part in QUESTION.split("&"))
    answer = ask(serve.http_url, f"/signin/command-line?{question}", cookie=cookie)
    assert answer.status == 400
    assert "runstream login URL" in answer.text
    assert "Allow" not in answer.text


def test_a_login_ends_with_the_token_that_was_signed_in_with(serve: ServeProcess) -> None:
    made = make_token(serve, name="grace", workspace="team-a")
    login = exchange(serve, allow(serve, made, VERIFIER), VERIFIER).body["token"]
    with runstream.Client(serve.grpc_address, token=login) as client:
        assert client.who_am_i().principal == "grace on laptop"
        uri = client.tracking_uri()
    listed = [json.loads(line) for line in as_operator(serve, "token", "list", "--all", "--json").splitlines()]
    (grace,) = (one["id"] for one in listed if one["name"] == "grace")
    as_operator(serve, "token", "revoke", str(grace))
    for token in (login, uri.removeprefix("http://token:").partition("@")[0]):
        with runstream.Client(serve.grpc_address, token=token) as client:
            until_raises(client)


def until_raises(client: runstream.Client) -> None:
    def refused() -> bool:
        try:
            client.who_am_i()
        except runstream.PermissionDenied as error:
            return "was revoked on" in str(error)
        return False

    until_now(refused)
