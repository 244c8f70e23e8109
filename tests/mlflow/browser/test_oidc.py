"""People sign in at an OpenID Connect provider, with a real browser.

`UI_SCREENSHOTS=DIRECTORY` keeps a picture of every page.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from runstream_bench.http_client import Answer
from runstream_bench.server_process import free_port
from tests.mlflow.ui_page import needs_chromium
from tests.support.access import AUTH, as_operator, make_workspace
from tests.support.databases import short_directory
from tests.support.issuer import CLIENT_ID, CLIENT_SECRET, LocalIssuer
from tests.support.pages import ask, keep_picture
from tests.support.polling import until_now
from tests.support.serve import ServeProcess

PREFIX = "/ml"
GRANTS = "speech=team-a:write,speech=team-b:read,ops=*:admin,vision=team-b:manage"
ACCOUNTS: dict[str, dict[str, object]] = {
    "ada": {"email": "ada@example.org", "email_verified": True, "groups": ["speech", "unknown"]},
    "bob": {"preferred_username": "bob", "email": "ada@example.org", "email_verified": False, "groups": "vision"},
    "eve": {"email": "eve@example.org", "groups": ["others"]},
}


@pytest.fixture(scope="module")
def issuer() -> Iterator[LocalIssuer]:
    with LocalIssuer(ACCOUNTS) as running:
        yield running


@contextlib.contextmanager
def service_with(issuer: str, client_id: str, secret: str) -> Iterator[ServeProcess]:
    """A service with two workspaces at which people of a provider sign in."""
    environment = {"RUNSTREAM_OIDC_CLIENT_SECRET": secret}
    settings = {"issuer": issuer, "client-id": client_id, "grants": GRANTS}
    given = [part for name, value in settings.items() for part in (f"--oidc-{name}", value)]
    # The provider needs to know where it sends people back to, hence the port.
    url = f"http://127.0.0.1:{free_port()}"
    arguments = (*AUTH, "--path-prefix", PREFIX, *given, "--public-url", f"{url}{PREFIX}")
    with short_directory() as directory:
        running = ServeProcess(directory / "data", arguments=arguments, environment=environment)
        running.http_url = url
        with running:
            for name in ("team-a", "team-b"):
                make_workspace(running, name)
            yield running


@pytest.fixture(scope="module")
def serve(issuer: LocalIssuer) -> Iterator[ServeProcess]:
    with service_with(issuer.url, CLIENT_ID, CLIENT_SECRET) as running:
        issuer.redirect_uris.add(f"{running.http_url}/signin/oidc/callback")
        yield running


def go_to_provider_and_back(page: Page, account: str) -> None:
    page.get_by_role("link", name="Sign in with your organisation").click()
    expect(page.get_by_role("heading", name="The provider of tests")).to_be_visible()
    page.get_by_label("Account").fill(account)
    page.get_by_role("button", name="Continue").click()


# -- in a browser ----------------------------------------------------------------------------------------------------


@needs_chromium
def test_a_person_signs_in_at_the_provider_works_in_their_workspaces_and_signs_out_of_both(
    serve: ServeProcess, page: Page
) -> None:
    page.goto(f"{serve.http_url}/about")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    keep_picture(page, "oidc-sign-in")
    go_to_provider_and_back(page, "ada")
    page.wait_for_url(f"{serve.http_url}/about")
    page.goto(f"{serve.http_url}/#/")
    for name in ("team-a", "team-b"):
        expect(page.get_by_role("link", name=name)).to_be_visible()
    expect(page.get_by_role("link", name="default")).to_have_count(0)
    keep_picture(page, "oidc-workspaces")
    page.goto(f"{serve.http_url}/signin")
    expect(page.get_by_text("ada@example.org")).to_be_visible()
    keep_picture(page, "oidc-signed-in")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Signed out of the provider")).to_be_visible()
    keep_picture(page, "oidc-signed-out")
    page.goto(f"{serve.http_url}/about")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    actions = [json.loads(line)["action"] for line in as_operator(serve, "audit", "--all", "--json").splitlines()]
    assert {"signed_in", "signed_out"} <= set(actions)


@needs_chromium
def test_the_menu_of_the_page_signs_out_at_the_provider_too(serve: ServeProcess, page: Page) -> None:
    page.goto(f"{serve.http_url}/about")
    go_to_provider_and_back(page, "bob")
    page.wait_for_url(f"{serve.http_url}/about")
    page.goto(f"{serve.http_url}/")
    page.get_by_role("button", name="Account: bob, workspace team-b").click()
    page.get_by_role("dialog", name="Account").get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Signed out of the provider")).to_be_visible()
    page.goto(f"{serve.http_url}/about")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


@needs_chromium
def test_a_person_whose_groups_may_not_enter_gets_a_message(serve: ServeProcess, page: Page) -> None:
    page.goto(f"{serve.http_url}/signin")
    go_to_provider_and_back(page, "eve")
    expect(page.get_by_role("alert")).to_contain_text("eve@example.org, and none of your groups (1 in the claim")
    keep_picture(page, "oidc-no-groups")
    assert [one["name"] for one in page.context.cookies()] == []


@needs_chromium
def test_what_the_provider_says_against_it_is_shown_and_a_token_still_helps(serve: ServeProcess, page: Page) -> None:
    page.goto(f"{serve.http_url}/signin")
    go_to_provider_and_back(page, "mallory")
    expect(page.get_by_role("alert")).to_contain_text("there is no such account")
    page.get_by_label("Token").fill("rst_0")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("mistyped")


# -- as its requests -------------------------------------------------------------------------------------------------


def begin(serve: ServeProcess) -> tuple[str, str]:
    """The provider's URL, and the cookie of the sign-in that has begun."""
    answer = ask(serve.http_url, "/signin/oidc?next=%2Fabout")
    assert answer.status == 303
    return answer.headers["location"], answer.cookie


def consent(url: str, account: str) -> dict[str, str]:
    """The query with which the provider sends a person back."""
    parts = urlsplit(url)
    answer = ask(f"{parts.scheme}://{parts.netloc}", f"{parts.path}?{parts.query}", form={"account": account})
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


def come_back(serve: ServeProcess, answer: dict[str, str], cookie: str) -> Answer:
    query = "&".join(f"{name}={value}" for name, value in answer.items())
    return ask(serve.http_url, f"/signin/oidc/callback?{query}", cookie=cookie)


def cookies_of(answer: Answer) -> dict[str, str]:
    pairs = [value.partition(";")[0].partition("=") for value in answer.headers.get_all("set-cookie") or ()]
    return {name: value for name, _, value in pairs if value}


def test_who_has_come_back_is_in_and_unverified_emails_name_nobody(serve: ServeProcess) -> None:
    url, cookie = begin(serve)
    answer = come_back(serve, consent(url, "bob"), cookie)
    assert (answer.status, answer.headers["location"]) == (303, "../.././about")
    session = cookies_of(answer)["runstream_session"]
    page = ask(serve.http_url, "/signin", cookie=f"runstream_session={session}").text
    assert "<b>bob</b>, with the role <b>manage</b> in the workspace <b>team-b</b>" in page


def test_an_answer_is_taken_once_and_from_the_browser_that_began(serve: ServeProcess) -> None:
    url, cookie = begin(serve)
    answer = consent(url, "ada")
    other_url, other_cookie = begin(serve)
    for given, said in (
        ("", "began in another browser"),
        ("runstream_signin=bm9uc2Vuc2U=", "began in another browser"),
        (other_cookie, "belongs to another sign-in"),
    ):
        refused = come_back(serve, answer, given)
        assert (refused.status, said in refused.text) == (401, True)
    assert come_back(serve, {**answer, "iss": "https://other.example"}, cookie).status == 401
    assert come_back(serve, answer, cookie).status == 303
    again = come_back(serve, answer, cookie)
    assert (again.status, "refused the code" in again.text) == (401, True)
    # A code that another browser got, with the state of this one: the challenge was another.
    mixed = {**consent(other_url, "ada"), "state": consent(begin(serve)[0], "ada")["state"]}
    assert come_back(serve, mixed, cookie).status == 401


def test_groups_that_are_not_in_the_token_are_asked_for(serve: ServeProcess, issuer: LocalIssuer) -> None:
    issuer.groups_are_in_userinfo = True
    try:
        url, cookie = begin(serve)
        assert come_back(serve, consent(url, "ada"), cookie).status == 303
    finally:
        issuer.groups_are_in_userinfo = False


def test_the_provider_is_away(serve: ServeProcess, issuer: LocalIssuer) -> None:
    url, cookie = begin(serve)
    answer = consent(url, "ada")
    issuer.is_away = True
    try:
        refused = come_back(serve, answer, cookie)
    finally:
        issuer.is_away = False
    assert (refused.status, "did not answer as OpenID Connect demands" in refused.text) == (503, True)


def test_secrets_and_codes_are_in_no_log(serve: ServeProcess) -> None:
    url, cookie = begin(serve)
    answer = consent(url, "ada")
    session = cookies_of(come_back(serve, answer, cookie))["runstream_session"]
    for secret in (CLIENT_SECRET, answer["code"], session.partition(".")[0], cookie.partition("=")[2]):
        assert secret not in serve.stderr


# -- another provider ------------------------------------------------------------------------------------------------


@pytest.fixture
def maintained_provider(tmp_path: Path) -> Iterator[str]:
    """The package oidc-provider-mock: a provider that is none of ours."""
    claims = json.dumps({"sub": "grace", "email": "grace@example.org", "groups": ["speech"]})
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", "0", "--require-nonce", "true"]
    log = tmp_path / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen([*command, "--user-claims", claims], stdout=stream, stderr=stream)
        try:
            until_now(lambda: "running on http" in log.read_text())
            match = re.search(r"running on (http://\S+)", log.read_text())
            assert match is not None
            yield match[1]
        finally:
            process.terminate()
            process.wait(10)


@needs_chromium
def test_a_person_signs_in_and_out_at_a_provider_that_others_wrote(maintained_provider: str, page: Page) -> None:
    with service_with(maintained_provider, "runstream", "anything") as serve:
        page.goto(f"{serve.http_url}/about")
        page.get_by_role("link", name="Sign in with your organisation").click()
        page.get_by_placeholder("sub").fill("grace")
        page.get_by_role("button", name="Authorize").click()
        page.wait_for_url(f"{serve.http_url}/about")
        page.get_by_role("link", name="signed in").click()
        expect(page.get_by_text("grace@example.org")).to_be_visible()
        page.goto(f"{serve.http_url}/")
        page.get_by_role("button", name="Account: grace@example.org").click()
        menu = page.get_by_role("dialog", name="Account")
        expect(menu).to_contain_text("write in team-a")
        keep_picture(page, "oidc-menu")
        menu.get_by_role("button", name="Sign out").click()
        page.wait_for_url(lambda url: "/signin" in url or url.startswith(maintained_provider))
        keep_picture(page, "oidc-other-provider-signed-out")
        page.goto(f"{serve.http_url}/about")
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
