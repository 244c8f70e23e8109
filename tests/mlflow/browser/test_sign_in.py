"""People sign in with a real browser, and MLflow's UI works with their cookie alone.

`UI_SCREENSHOTS=DIRECTORY` keeps a picture of every page.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import http.server
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from tests.mlflow.ui_page import needs_chromium
from tests.support.access import as_operator, make_token
from tests.support.pages import ask, keep_picture, sign_in
from tests.support.rest import Rest
from tests.support.serve import ServeProcess

PREFIX = "/ml"
EXPERIMENT = "digits of team a"
# Five seconds are promised.
ENDS_WITHIN_S = 5.0


@pytest.fixture
def serve(guarded: ServeProcess) -> ServeProcess:
    return guarded


@pytest.fixture(scope="module")
def token(guarded: ServeProcess) -> str:
    """A token of team-a, which has an experiment."""
    made = make_token(guarded, name="ada", workspace="team-a")
    with contextlib.closing(Rest(guarded.http_url)) as rest:
        body = {"name": EXPERIMENT}
        created = rest.request(
            "POST", "experiments/create", json.dumps(body).encode(), headers={"authorization": f"Bearer {made}"}
        )
        assert created.status == 200
    return made


@pytest.fixture
def other_port(tmp_path: Path) -> Iterator[str]:
    """A web page of another server on this machine."""
    (tmp_path / "index.html").write_text("<p>something else")
    handler = functools.partial(_QuietHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        """Writes no log."""


# -- in a browser ----------------------------------------------------------------------------------------------------


@needs_chromium
def test_a_person_is_led_to_the_form_and_from_there_to_the_page_they_wanted(
    serve: ServeProcess, token: str, page: Page
) -> None:
    with contextlib.closing(Rest(serve.http_url)) as rest:
        found = rest.request(
            "GET",
            f"experiments/get-by-name?{urlencode({'experiment_name': EXPERIMENT})}",
            headers={"authorization": f"Bearer {token}"},
        ).body["experiment"]
    experiment_id = found["experiment_id"]
    wanted = f"#/experiments/{experiment_id}/runs?workspace=team-a"
    page.goto(f"{serve.http_url}/{wanted}")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    keep_picture(page, "sign-in")
    page.get_by_label("Token").fill("rst_0000")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("mistyped or cut off")
    keep_picture(page, "sign-in-refused")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text(EXPERIMENT).first).to_be_visible()
    keep_picture(page, "signed-in-ui")
    assert page.url.startswith(f"{serve.http_url}/mlflow/{wanted}")
    assert token not in page.content()


@needs_chromium
def test_mlflows_ui_changes_things_with_the_cookie_alone_until_the_person_signs_out(
    serve: ServeProcess, token: str, page: Page
) -> None:
    page.goto(f"{serve.http_url}/signin")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    page.goto(f"{serve.http_url}/mlflow/#/experiments?workspace=team-a")
    page.get_by_role("button", name="Create").first.click()
    page.get_by_placeholder("experiment name").fill("made in the browser")
    page.get_by_role("dialog").get_by_role("button", name="Create").click()
    expect(page.get_by_text("made in the browser").first).to_be_visible()
    page.goto(f"{serve.http_url}/signin")
    expect(page.get_by_text("ada")).to_be_visible()
    keep_picture(page, "signed-in")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    assert page.context.cookies() == []
    page.goto(f"{serve.http_url}/")
    expect(page.get_by_label("Token")).to_be_visible()


@needs_chromium
def test_an_admin_chooses_a_workspace_in_mlflows_ui_or_on_our_page(serve: ServeProcess, token: str, page: Page) -> None:
    page.goto(f"{serve.http_url}/mlflow/")
    page.get_by_label("Token").fill(make_token(serve, name="root of the pages", role="admin"))
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="team-a").first.click()
    page.goto(f"{serve.http_url}/mlflow/#/experiments")
    expect(page.get_by_text(EXPERIMENT).first).to_be_visible()
    keep_picture(page, "workspace-chosen-in-ui")
    page.goto(f"{serve.http_url}/signin")
    expect(page.get_by_text("workspace default")).to_be_visible()
    page.get_by_role("link", name="Choose another workspace").click()
    expect(page.get_by_role("heading", name="Choose a workspace")).to_be_visible()
    keep_picture(page, "choose-workspace")
    page.get_by_role("button", name="team-a").click()
    page.goto(f"{serve.http_url}/signin")
    expect(page.get_by_text("workspace team-a")).to_be_visible()


@needs_chromium
def test_a_page_of_another_port_cannot_use_the_cookie(
    serve: ServeProcess, token: str, page: Page, other_port: str
) -> None:
    page.goto(f"{serve.http_url}/signin")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_label("Token")).to_have_count(0)
    page.goto(other_port)
    # The same site for the browser, since ports do not count, so the cookie goes along.
    with page.expect_response("**/experiments/create") as sent:
        page.evaluate(
            "url => fetch(url, {method: 'POST', mode: 'no-cors', credentials: 'include', body: '{}'})",
            f"{serve.http_url}/api/2.0/mlflow/experiments/create",
        )
    assert sent.value.status == 403, "it would be 401 without the cookie"


# -- as its requests -------------------------------------------------------------------------------------------------


def test_a_page_leads_to_the_form_and_a_call_is_refused(serve: ServeProcess) -> None:
    page = ask(serve.http_url, "/about?a=1&b=%2F", accept="text/html,*/*")
    assert (page.status, page.headers["location"]) == (303, "./signin?next=%2Fabout%3Fa%3D1%26b%3D%252F")
    deep = ask(serve.http_url, "/static-files/a%20b/c", accept="text/html")
    assert deep.headers["location"] == ".././../signin?next=%2Fstatic-files%2Fa%2520b%2Fc".replace(
        ".././../", "../.././"
    )
    call = ask(serve.http_url, "/api/2.0/mlflow/experiments/search?max_results=1", accept="*/*")
    assert (call.status, call.body["error_code"]) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize(
    "wanted", ["//evil.com", "https://evil.com", "/\\evil.com", "\\\\evil.com", "javascript:alert(1)", "/\tx", ""]
)
def test_nobody_is_led_elsewhere(serve: ServeProcess, token: str, wanted: str) -> None:
    answer = ask(
        serve.http_url, f"/signin?{urlencode({'next': wanted})}", form={"token": token}, sec_fetch_site="same-origin"
    )
    assert (answer.status, answer.headers["location"]) == (303, "./")


def test_the_cookie_is_for_this_service_alone_and_no_script_reads_it(serve: ServeProcess, token: str) -> None:
    plain = sign_in(serve.http_url, token).headers["set-cookie"]
    assert re.fullmatch(
        rf"runstream_session=[\w-]{{43}}\.team-a; HttpOnly; Max-Age=43200; Path={PREFIX}; SameSite=lax", plain
    )
    secure = sign_in(serve.http_url, token, x_forwarded_proto="https").headers["set-cookie"]
    assert secure.startswith("__Secure-runstream_session=")
    assert secure.endswith("; Secure")


def test_a_form_that_another_page_sends_signs_nobody_in(serve: ServeProcess, token: str) -> None:
    for headers in ({"sec_fetch_site": "cross-site"}, {"sec_fetch_site": "same-site"}):
        assert sign_in(serve.http_url, token, **headers).status == 403
    assert ask(serve.http_url, "/signin", form={"token": token}).status == 403
    assert ask(serve.http_url, "/signin", form={"token": token}, origin="http://evil.com").status == 403


def test_a_session_ends_with_its_token_and_says_what_to_do(serve: ServeProcess) -> None:
    made = make_token(serve, name="short-lived", workspace="team-a")
    cookie = sign_in(serve.http_url, made).cookie
    search = "/api/2.0/mlflow/experiments/search?max_results=1"
    assert ask(serve.http_url, search, cookie=cookie).status == 200
    listed = map(json.loads, as_operator(serve, "token", "list", "--workspace", "team-a", "--json").splitlines())
    as_operator(serve, "token", "revoke", str(next(one["id"] for one in listed if one["name"] == "short-lived")))
    give_up = time.monotonic() + ENDS_WITHIN_S
    while (answer := ask(serve.http_url, search, cookie=cookie)).status == 200:
        assert time.monotonic() < give_up
        time.sleep(0.05)
    assert (answer.status, "sign in again" in answer.text) == (401, True)


def test_a_workspace_that_was_chosen_and_is_not_theirs_leads_back_to_the_choice(
    serve: ServeProcess, token: str
) -> None:
    session = sign_in(serve.http_url, token).cookie.rpartition(".")[0]
    answer = ask(serve.http_url, "/about", cookie=f"{session}.team-b", accept="text/html")
    assert (answer.status, answer.headers["location"]) == (303, "./signin/workspace?next=%2Fabout")
    chosen = ask(
        serve.http_url,
        "/signin/workspace?next=%2Fabout",
        form={"workspace": "team-b"},
        cookie=f"{session}.team-b",
        sec_fetch_site="same-origin",
    )
    assert chosen.headers["location"] == ".././signin/workspace?next=%2Fabout"
    call = ask(serve.http_url, "/api/2.0/mlflow/experiments/search?max_results=1", cookie=f"{session}.team-b")
    assert call.status == 404


def test_sign_ins_and_sign_outs_are_audited_and_refused_ones_noted(serve: ServeProcess, token: str) -> None:
    cookie = sign_in(serve.http_url, token).cookie
    ask(serve.http_url, "/signout", form={}, cookie=cookie, sec_fetch_site="same-origin")
    assert sign_in(serve.http_url, f"rst_{'0' * 40}").status == 401
    events = [json.loads(line) for line in as_operator(serve, "audit", "--all", "--json").splitlines()]
    assert {"signed_in", "signed_out"} <= {one["action"] for one in events}
    refused = [one for one in serve.log_records if one["action"] == "call_refused"]
    assert "POST /signin" in [one["call"] for one in refused]
    assert token not in serve.stderr
    assert cookie.partition("=")[2].partition(".")[0] not in serve.stderr


def test_too_much_is_no_form(serve: ServeProcess) -> None:
    assert sign_in(serve.http_url, "x" * 100_000).status == 401
