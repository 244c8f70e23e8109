"""Open pages: when their events end, and what a cookie allows."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable

import pytest

from runstream_bench.event_reader import EventReader, PageEvent
from tests.access.conftest import A, B, Team, make_things
from tests.support.access import execute, make_token
from tests.support.pages import ask, sign_in
from tests.support.rest import Rest
from tests.support.serve import ServeProcess

# A revoked token ends within five seconds; a session that was ended, when the stream is looked at again.
WITHIN_S = 40


async def last_event(serve: ServeProcess, run_id: str, headers: dict[str, str], end: Callable[[], object]) -> PageEvent:
    """The last event of a page of which the caller's right ends while it is open."""
    reader = EventReader(serve.http_url, {"run": run_id}, headers=headers)
    assert await reader.open() == 200, reader.head
    last = None
    async with asyncio.timeout(WITHIN_S):
        async for event in reader.events():
            if last is None:
                await asyncio.to_thread(end)
            last = event
    await reader.close()
    assert last is not None
    assert await reader.open() == 401
    await reader.close()
    return last


async def test_events_end_when_the_token_is_revoked(serve: ServeProcess, a: Team) -> None:
    run_id, name = make_things(a).run_id, uuid.uuid4().hex
    token = await asyncio.to_thread(make_token, serve, name=name, role="read", workspace=A)

    def revoke() -> None:
        execute(serve, "UPDATE tokens SET revoked_at = now() WHERE name = $1", name)

    last = await last_event(serve, run_id, {"authorization": f"Bearer {token}"}, revoke)
    assert (last.kind, last.data["error"]["code"]) == ("end", "UNAUTHENTICATED")


async def test_events_end_when_the_person_signs_out(serve: ServeProcess, a: Team) -> None:
    run_id = make_things(a).run_id
    cookie = sign_in(serve.http_url, a.tokens["read"]).cookie

    def sign_out() -> None:
        ask(serve.http_url, "/signout", form={}, cookie=cookie, sec_fetch_site="same-origin")

    last = await last_event(serve, run_id, {"cookie": cookie}, sign_out)
    assert (last.kind, last.data["error"]["code"]) == ("end", "UNAUTHENTICATED")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({}, 403),
    ],
)
def test_a_cookie_changes_things_from_pages_of_this_service_alone(
    serve: ServeProcess, a: Team, headers: dict[str, str], status: int
) -> None:
    run_id = make_things(a).run_id
    sent = {"cookie": sign_in(serve.http_url, a.tokens["manage"]).cookie, "content-type": "application/json", **headers}
    view = f'{{"name": "{uuid.uuid4().hex}", "state": "/"}}'.encode()
    with contextlib.closing(Rest(serve.http_url, prefix="/web/api/")) as rest:
        assert rest.request("POST", f"runs/{run_id}/edit", b'{"name": "x"}', sent).status == status
        assert rest.request("POST", "views", view, sent).status == status
    name = a.rest.get("runs/get", {"run_id": run_id}).body["run"]["info"]["run_name"]
    assert name == ("x" if status == 200 else "run")


async def test_the_events_of_a_workspace_are_its_own(serve: ServeProcess, a: Team, b: Team) -> None:
    run_id = make_things(a).run_id
    for field in ("run", "status"):
        reader = EventReader(serve.http_url, {field: run_id}, headers={"authorization": f"Bearer {b.token}"})
        assert await reader.open() == 404
        await reader.close()


def test_the_page_learns_who_is_asking_and_whether_there_is_a_session_to_end(
    serve: ServeProcess, a: Team, admin: str
) -> None:
    cookie = sign_in(serve.http_url, a.tokens["write"]).cookie
    about = ask(serve.http_url, "/web/api/me", cookie=cookie).body
    name = f"write of {A}"
    expected = {"principal": name, "role": "write", "workspace": A, "workspaces": [A]}
    assert about == {**expected, "signed_in": True}
    assert a.rest.get("/web/api/me").body["signed_in"] is False
    of_admin = ask(serve.http_url, "/web/api/me", cookie=sign_in(serve.http_url, admin).cookie).body
    assert {"default", A, B} <= set(of_admin["workspaces"])


def test_a_script_of_the_page_signs_out_and_is_told_where_to_go(serve: ServeProcess, a: Team) -> None:
    cookie = sign_in(serve.http_url, a.tokens["read"]).cookie
    headers = {"cookie": cookie, "accept": "application/json"}
    assert ask(serve.http_url, "/signout", form={}, **headers).status == 403
    answer = ask(serve.http_url, "/signout", form={}, sec_fetch_site="same-origin", **headers)
    assert (answer.status, answer.body) == (200, {"location": "./signin"})
    assert ask(serve.http_url, "/web/api/me", cookie=cookie).status == 401
