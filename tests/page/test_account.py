"""The page for a person who signed in with a token."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Request, expect

from tests.mlflow.ui_page import IN_A_BROWSER
from tests.page.conftest import Open, Opened
from tests.page.support import Logged, make_experiment, serious_issues_in_both_themes
from tests.support.access import AUTH, execute, make_token, make_workspace
from tests.support.databases import short_directory
from tests.support.pages import keep_picture
from tests.support.rest import Rest
from tests.support.serve import ServeProcess

pytestmark = IN_A_BROWSER

TEAM = "team-a"


@pytest.fixture(scope="module")
def guarded() -> Iterator[ServeProcess]:
    """A service that asks for tokens."""
    with short_directory() as directory, ServeProcess(directory, arguments=AUTH) as serve:
        make_workspace(serve, TEAM)
        yield serve


@pytest.fixture(scope="module")
def tokens(guarded: ServeProcess) -> dict[str, str]:
    """The tokens, by role."""
    of_team = {role: make_token(guarded, name=role, role=role, workspace=TEAM) for role in ("read", "write", "manage")}
    return {**of_team, "admin": make_token(guarded, name="admin", role="admin")}


@pytest.fixture(scope="module")
def run_id(guarded: ServeProcess, tokens: dict[str, str]) -> str:
    """A running run with a point, a tag and a note."""
    tags = {"team": "vision", "mlflow.note.content": "a note"}
    logged = make_experiment(guarded, token=tokens["manage"])
    return logged.run("first", metrics={"loss": 0.5}, tags=tags, status="RUNNING")


@pytest.fixture
def tab(open_tab: Open, guarded: ServeProcess) -> Opened:
    return open_tab(url=guarded.http_url)


def sign_in(page: Page, token: str) -> None:
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()


def enter(tab: Opened, token: str, path: str = "") -> Page:
    page = tab.open(path)
    sign_in(page, token)
    return page


def test_the_menu_says_who_is_signed_in_and_where_and_signs_out(tab: Opened, tokens: dict[str, str]) -> None:
    page = enter(tab, tokens["write"])
    page.get_by_role("button", name="Account: write, workspace team-a").click()
    menu = page.get_by_role("dialog", name="Account")
    expect(menu).to_contain_text("write in team-a")
    expect(menu.get_by_role("heading", name="Workspaces")).to_have_count(0)
    menu.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    tab.open()
    expect(page.get_by_label("Token")).to_be_visible()


def test_another_workspace_is_chosen_in_the_menu(tab: Opened, tokens: dict[str, str], run_id: str) -> None:
    page = enter(tab, tokens["admin"], "e/0?filter=first")
    expect(page.get_by_role("heading", name="Default")).to_be_visible()
    page.get_by_role("button", name="Account: admin, workspace default").click()
    menu = page.get_by_role("dialog", name="Account")
    expect(menu.get_by_role("button", name="default")).to_have_attribute("aria-current", "true")
    keep_picture(page, "account_menu")
    menu.get_by_role("button", name=TEAM).click()
    expect(page.get_by_role("button", name="Account: admin, workspace team-a")).to_be_visible()
    expect(page.get_by_role("link", name="first", exact=True)).to_be_visible()


def test_nothing_keeps_people_from_using_the_menu(
    open_tab: Open, guarded: ServeProcess, tokens: dict[str, str]
) -> None:
    tab = open_tab(url=guarded.http_url, bypass_csp=True)
    tab.expected = ["favicon.ico"]  # the policy of the page for signing in keeps browsers from asking for it
    page = enter(tab, tokens["admin"])
    page.get_by_role("button", name="Account: admin").click()
    expect(page.get_by_role("dialog", name="Account")).to_be_visible()
    assert serious_issues_in_both_themes(page) == {}


def test_nobody_is_offered_what_their_role_does_not_permit(tab: Opened, tokens: dict[str, str], run_id: str) -> None:
    changes = {"read": [], "write": ["Rename"], "manage": ["Rename", "Delete"]}
    for role, offered in changes.items():
        page = enter(tab, tokens[role], f"r/{run_id}?tab=params")
        expect(page.get_by_role("button", name=f"Account: {role}")).to_be_visible()
        expect(page.get_by_role("button", name="Save view" if offered else "Views", exact=True)).to_be_visible()
        buttons = page.locator(".run-actions").get_by_role("button")
        assert [name for name in buttons.all_inner_texts() if name in ("Rename", "Delete")] == offered
        can_edit = 1 if offered else 0
        expect(page.get_by_label("Key of the tag")).to_have_count(can_edit)
        expect(page.get_by_role("button", name="Delete the tag team")).to_have_count(can_edit)
        page.get_by_role("tab", name="Notes").click()
        expect(page.get_by_text("a note")).to_be_visible()
        expect(page.get_by_role("button", name="Edit")).to_have_count(can_edit)
        page.get_by_role("link", name="runstream", exact=True).click()
        page.get_by_label("Select first").check()
        bar = page.get_by_role("toolbar", name="Selected runs")
        assert [name for name in bar.get_by_role("button").all_inner_texts() if name in ("Rename", "Delete")] == offered
        expect(bar.get_by_role("button", name="Tag")).to_have_count(can_edit)
        if "Delete" not in offered:
            page.get_by_role("grid").focus()
            page.keyboard.press("Delete")
            expect(page.get_by_role("link", name="first", exact=True)).to_be_visible()
        page.goto("about:blank")
        page.context.clear_cookies()


def test_a_reader_sees_saved_views_and_changes_none(tab: Opened, guarded: ServeProcess, tokens: dict[str, str]) -> None:
    with contextlib.closing(Rest(guarded.http_url, token=tokens["write"])) as rest:
        rest.post("/web/api/views", {"name": "failed ones", "state": "/?filter=failed"})
    page = enter(tab, tokens["read"])
    page.get_by_role("button", name="Views", exact=True).click()
    dialog = page.get_by_role("dialog", name="Views")
    expect(dialog.get_by_role("link", name="failed ones")).to_be_visible()
    expect(dialog.get_by_role("button")).to_have_count(0)
    expect(dialog.get_by_role("textbox")).to_have_count(0)


@pytest.mark.parametrize("place", ["table", "run"])
def test_a_session_that_ends_is_said_once_and_asks_no_more(
    place: str, open_tab: Open, guarded: ServeProcess, tokens: dict[str, str], run_id: str
) -> None:
    tab = open_tab(url=guarded.http_url, is_shared=False)  # its clock is the test's
    tab.page.clock.install()
    tab.expected = ["401 (Unauthorized)"]
    path = {"table": "?sort=m:loss", "run": f"r/{run_id}?x=time"}[place]
    page = enter(tab, tokens["write"], path)
    expect(page.get_by_role("link" if place == "table" else "heading", name="first", exact=True)).to_be_visible()
    wanted = page.url
    assert asked_while_time_passes(page) != [], "a live page asks again and again"
    refused: list[str] = []
    page.on("response", lambda answer: refused.append(answer.url) if answer.status == 401 else None)
    execute(guarded, "DELETE FROM sessions")
    expect(page.get_by_role("alert")).to_contain_text("You are signed out")
    assert asked_while_time_passes(page) == []
    assert len(refused) < 10
    assert page.url == wanted
    page.get_by_role("alert").get_by_role("link", name="Sign in").click()
    sign_in(page, tokens["write"])
    expect(page.get_by_role("button", name="Account: write")).to_be_visible()
    assert page.url == wanted


def asked_while_time_passes(page: Page) -> list[str]:
    """What a page with a clock of its own asks for within 35 s, which pass at once. Its intervals are shorter."""
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    page.on("request", note)
    page.clock.run_for(35_000)
    with page.expect_request("**/signin?last"):  # those before it have been reported then
        page.evaluate("fetch('/signin?last').then(({status}) => status)")
    page.remove_listener("request", note)
    return [url for url in asked if not url.endswith("?last")]


def test_a_session_that_begins_again_in_another_tab_goes_on_here(
    tab: Opened, guarded: ServeProcess, tokens: dict[str, str], run_id: str
) -> None:
    tab.expected = ["401 (Unauthorized)"]
    page = enter(tab, tokens["write"], f"r/{run_id}?tab=notes")
    page.get_by_role("button", name="Edit").click()
    page.get_by_label("Note in Markdown").fill("what was typed")
    execute(guarded, "DELETE FROM sessions")
    expect(page.get_by_role("alert")).to_contain_text("You are signed out")
    other = page.context.new_page()
    other.goto(f"{guarded.http_url}/signin?next=%2Fabout")
    sign_in(other, tokens["write"])
    other.wait_for_url(f"{guarded.http_url}/about")  # closing a page on its way to another one sometimes never ended
    other.close()
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.get_by_role("alert")).to_have_count(0)
    page.get_by_role("tabpanel").get_by_role("button", name="Save").click()
    expect(page.get_by_role("tabpanel").get_by_text("what was typed")).to_be_visible()


def test_without_authentication_there_is_no_menu_and_everything_is_offered(
    open_tab: Open, service: ServeProcess
) -> None:
    logged: Logged = make_experiment(service)
    page = open_tab().open(f"r/{logged.run('first')}")
    expect(page.get_by_role("button", name="Delete")).to_be_visible()
    expect(page.get_by_role("button", name="Account")).to_have_count(0)
