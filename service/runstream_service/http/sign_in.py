"""The pages where people sign in, choose a workspace, and sign out."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from runstream_service.auth.authenticator import Authenticator, Credentials
from runstream_service.auth.pending_sign_in import PendingSignIn
from runstream_service.auth.sessions import Person
from runstream_service.errors.core import CoreError, NotConnected, Unauthenticated
from runstream_service.errors.statuses import status_of
from runstream_service.http.callers import set_error
from runstream_service.http.json_responses import json_response
from runstream_service.http.paths import local_path, relative, route_path
from runstream_service.http.session_cookie import (
    clear_session,
    read_pending_sign_in,
    read_session,
    set_pending_sign_in,
    set_session,
)
from runstream_service.http.sign_in_pages import sign_in_page, signed_in_page, workspaces_page
from runstream_service.http.sign_in_paths import CHOOSE_WORKSPACE, OIDC_BEGIN, OIDC_CALLBACK, SIGN_IN, SIGN_OUT
from runstream_service.http.small_bodies import read_form

if TYPE_CHECKING:
    from runstream_service.auth.oidc import OidcProvider
    from runstream_service.auth.sessions import Sessions
    from runstream_service.core.caller import Caller


class SignIn:
    """The pages. Until `use` is called, when the database is ready, they ask people to try again later."""

    def __init__(
        self,
        authenticator: Authenticator,
        *,
        session_s: float,
        public_url: str = "",
        provider: OidcProvider | None = None,
    ) -> None:
        self._authenticator = authenticator
        self._session_s = session_s
        self._public_url = public_url
        self._provider = provider
        self._sessions: Sessions | None = None

    def use(self, sessions: Sessions) -> None:
        """Lets people sign in from now on."""
        self._sessions = sessions

    def routes(self) -> list[BaseRoute]:
        """The routes of the pages, and of the way to the provider and back."""
        return [
            Route(SIGN_IN, self._ask),
            Route(SIGN_IN, self._sign_in, methods=["POST"]),
            Route(CHOOSE_WORKSPACE, self._offer_workspaces),
            Route(CHOOSE_WORKSPACE, self._choose_workspace, methods=["POST"]),
            Route(SIGN_OUT, self._sign_out, methods=["POST"]),
            *([Route(OIDC_BEGIN, self._begin), Route(OIDC_CALLBACK, self._finish)] if self._provider else ()),
        ]

    # -- signing in --------------------------------------------------------------------------------------------------

    async def _ask(self, request: Request) -> Response:
        try:
            caller = await self._caller(request)
        except Unauthenticated:
            return self._page(request)
        except CoreError as error:
            return self._page(request, error)
        return signed_in_page(caller, sign_out_at=await self._sign_out_url())

    async def _sign_in(self, request: Request) -> Response:
        token = (await read_form(request)).get("token", "").strip()
        try:
            caller = await self._authenticator.authenticate(Credentials(token))
            if caller.token_id is None:
                raise Unauthenticated("that is not a token of runstream, which begins with rst_")
            return await self._let_in(request, Person.of(caller), by="token", wanted=_wanted(request))
        except CoreError as error:
            set_error(request.scope, error)
            return self._page(request, error)

    def _page(self, request: Request, error: CoreError | None = None) -> Response:
        """The form; with an error, why it is shown again."""
        provider = _with_next(relative(OIDC_BEGIN, request.scope), request) if self._provider else ""
        action = "" if route_path(request.scope) == SIGN_IN else _with_next(relative(SIGN_IN, request.scope), request)
        if error is None:
            return sign_in_page(action=action, provider=provider)
        return sign_in_page(
            action=action, provider=provider, problem=error.message, status=status_of(error).http_status
        )

    # -- at an OpenID Connect provider -------------------------------------------------------------------------------

    async def _begin(self, request: Request) -> Response:
        assert self._provider is not None, "there is no route otherwise"
        try:
            url, begun = await self._provider.begin(_wanted(request))
        except CoreError as error:
            return self._page(request, error)
        response = _see(url)
        set_pending_sign_in(response, request.scope, msgspec.json.encode(begun))
        return response

    async def _finish(self, request: Request) -> Response:
        assert self._provider is not None, "there is no route otherwise"
        try:
            begun = _begun(request)
            person = await self._provider.finish(request.query_params, begun)
            response = await self._let_in(request, person, by="oidc", wanted=local_path(begun.wanted))
        except CoreError as error:
            set_error(request.scope, error)
            response = self._page(request, error)
        set_pending_sign_in(response, request.scope, b"")
        return response

    async def _let_in(self, request: Request, person: Person, *, by: str, wanted: str) -> Response:
        session = await self._ready().create(person, by=by, address=_address(request))
        response = _see(relative(wanted, request.scope))
        set_session(response, request.scope, session.text, session.workspaces[0], max_age_s=self._session_s)
        return response

    # -- workspaces --------------------------------------------------------------------------------------------------

    async def _offer_workspaces(self, request: Request) -> Response:
        session, chosen = read_session(request.scope)
        try:
            workspaces = await self._ready().workspaces_of(session)
        except Unauthenticated:
            return _see(_with_next(relative(SIGN_IN, request.scope), request))
        except CoreError as error:
            return self._page(request, error)
        return workspaces_page(workspaces, chosen)

    async def _choose_workspace(self, request: Request) -> Response:
        session, _ = read_session(request.scope)
        chosen = (await read_form(request)).get("workspace", "")
        try:
            await self._authenticator.authenticate(Credentials(session=session, workspace=chosen))
        except CoreError:
            return _see(_with_next(relative(CHOOSE_WORKSPACE, request.scope), request))
        response = _see(relative(_wanted(request), request.scope))
        set_session(response, request.scope, session, chosen, max_age_s=self._session_s)
        return response

    # -- signing out -------------------------------------------------------------------------------------------------

    async def _sign_out(self, request: Request) -> Response:
        session, _ = read_session(request.scope)
        try:
            is_of_provider = await self._ready().end(session) if session else False
        except CoreError as error:
            return self._page(request, error)
        url = await self._sign_out_url() if is_of_provider else ""
        location = url or relative(SIGN_IN, request.scope)
        # A script cannot follow a redirect to the provider, so it gets the address in the body.
        is_script = request.headers.get("accept", "") == "application/json"
        response = json_response({"location": location}) if is_script else _see(location)
        clear_session(response, request.scope)
        return response

    async def _sign_out_url(self) -> str:
        """Where somebody signs out at the provider as well; empty if there is no provider, or it has no such page."""
        return await self._provider.sign_out_url(self._public_url + SIGN_IN) if self._provider else ""

    async def _caller(self, request: Request) -> Caller:
        session, chosen = read_session(request.scope)
        return await self._authenticator.authenticate(Credentials(session=session, workspace=chosen))

    def _ready(self) -> Sessions:
        if self._sessions is None:
            raise NotConnected("the service is starting: its database is not ready yet; try again")
        return self._sessions


def _see(location: str) -> Response:
    return RedirectResponse(location, 303, {"cache-control": "no-store"})


def _with_next(location: str, request: Request) -> str:
    return f"{location}?{urlencode({'next': _wanted(request)})}"


def _wanted(request: Request) -> str:
    """The page to show afterwards."""
    return local_path(request.query_params.get("next", "/"))


def _begun(request: Request) -> PendingSignIn:
    try:
        return msgspec.json.decode(read_pending_sign_in(request.scope), type=PendingSignIn)
    except msgspec.DecodeError:
        raise Unauthenticated("this sign-in took too long, or began in another browser; sign in again") from None


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
