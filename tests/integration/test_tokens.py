"""Tokens that are made with other credentials end with them."""

from __future__ import annotations

import dataclasses
import time

import pytest

from runstream_service.auth.access import Access
from runstream_service.auth.authenticator import Credentials
from runstream_service.auth.authenticator_router import AuthenticatorRouter
from runstream_service.auth.token_authenticator import TokenAuthenticator
from runstream_service.auth.tokens import Tokens
from runstream_service.core.caller import Caller, Role
from runstream_service.database.pool import Database
from runstream_service.errors.core import Forbidden, Unauthenticated, WorkspaceNotFound
from tests.support.callers import ANYONE


async def caller_with(database: Database, text: str) -> Caller:
    """The caller with this token, looked up as by a process that has not seen it before."""
    authenticator = TokenAuthenticator()
    authenticator.use(database)
    return await authenticator.authenticate(Credentials(text))


async def test_a_tracking_uri_ends_with_the_jwt_or_session_that_it_was_made_with(database: Database) -> None:
    ends_at = time.time() + 60
    person = dataclasses.replace(ANYONE, principal="ada", role=Role.MANAGE, expires_at=ends_at)
    made = (await Tokens(database).create_for_uri(person, expires_in_s=3_600)).token
    assert made.expires_at is not None
    assert made.expires_at.timestamp() == pytest.approx(ends_at, abs=5)
    assert made.role is Role.WRITE


async def test_a_tracking_uri_ends_with_the_token_that_it_was_made_with(database: Database) -> None:
    tokens = Tokens(database)
    parent = await tokens.create(ANYONE, "ci", Role.WRITE, expires_in_s=60)
    child = (await tokens.create_for_uri(await caller_with(database, parent.text), expires_in_s=3_600)).token
    assert child.expires_at == parent.token.expires_at


async def test_revoking_a_token_revokes_all_that_was_made_with_it_at_any_depth(database: Database) -> None:
    tokens = Tokens(database)
    first = await tokens.create(ANYONE, "ada", Role.MANAGE)
    login = await tokens.create_for_login(await caller_with(database, first.text), "laptop", expires_in_s=3_600)
    uri = await tokens.create_for_uri(await caller_with(database, login.text))
    other = await tokens.create(ANYONE, "grace", Role.WRITE)
    await tokens.revoke(ANYONE, first.token.token_id)
    for made in (first, login, uri):
        with pytest.raises(Unauthenticated, match="was revoked on"):
            await caller_with(database, made.text)
    assert (await caller_with(database, other.text)).principal == "grace"


async def test_nobody_gives_a_token_a_higher_role_than_their_own(database: Database) -> None:
    manager = dataclasses.replace(ANYONE, role=Role.MANAGE)
    with pytest.raises(Forbidden, match="cannot make a token with the role admin"):
        await Tokens(database).create(manager, "mine", Role.ADMIN)
    with pytest.raises(Forbidden, match="needs the role manage"):
        await Tokens(database).create(dataclasses.replace(ANYONE, role=Role.WRITE), "mine", Role.READ)


@pytest.mark.parametrize("name", ["\0", "a\0b", "\ud800", "x" * 100_000, "purged", "Default"])
async def test_a_name_that_no_workspace_can_have_is_not_found_however_it_comes(name: str, database: Database) -> None:
    access = Access.of(database, is_on=True)
    admin = await access.tokens.create(ANYONE, "root", Role.ADMIN)
    authenticator = AuthenticatorRouter()
    authenticator.use(database)
    with pytest.raises(WorkspaceNotFound):
        await authenticator.authenticate(Credentials(admin.text, name))
    with pytest.raises(WorkspaceNotFound):
        await access.workspaces.get(ANYONE, name)
    with pytest.raises(WorkspaceNotFound):
        await access.workspaces.describe(ANYONE, name, "x")
