"""The page on which somebody allows `runstream login` to act for them, and the route from which that command gets its
token."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from runstream_service.auth.command_line import check_question
from runstream_service.errors.core import CoreError, InvalidField, NotConnected
from runstream_service.errors.statuses import status_of
from runstream_service.http.callers import caller_of, set_error
from runstream_service.http.page_html import page
from runstream_service.http.refusals import refused
from runstream_service.http.sign_in_paths import COMMAND_LINE, COMMAND_LINE_TOKEN
from runstream_service.http.small_bodies import read_object

if TYPE_CHECKING:
    from runstream_service.auth.command_line import CommandLineSignIns

_ASK = """<h1>Log in on the command line?</h1>
<p>The command <code>runstream login</code> on <b>{machine}</b> wants to act as <b>{principal}</b>, with the role
<b>{role}</b> in the workspace <b>{workspace}</b>, for a week.</p>
<p>Only allow it if you have just started it there.</p>
<form method="post"><button>Allow</button></form>
"""
_REFUSED = """<h1>That did not work</h1>
<p class="problem" role="alert">{problem}</p>
"""


_REOPEN = "this page is opened by the command `runstream login URL`; start it again"


class Exchange(msgspec.Struct, frozen=True):
    """What the command sends to get its token."""

    code: str
    verifier: str


class _Question(msgspec.Struct, frozen=True):
    """The query with which the command has opened the page."""

    port: int
    state: str
    challenge: str
    machine: str

    @classmethod
    def of(cls, request: Request) -> _Question:
        """The question in the query of a request. Raises InvalidField."""
        query = request.query_params
        port, state = query.get("port", ""), query.get("state", "")
        if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1_024 <= int(port) < 65_536):
            raise InvalidField(f"port: {_REOPEN}", field="port")
        if not 16 <= len(state) <= 100:
            raise InvalidField(f"state: {_REOPEN}", field="state")
        question = cls(int(port), state, query.get("challenge", ""), query.get("machine", ""))
        check_question(question.challenge, question.machine)
        return question

    @property
    def origin(self) -> str:
        """Where the command waits for the answer: on the machine of the browser, never elsewhere."""
        return f"http://127.0.0.1:{self.port}"


class CommandLinePages:
    """The page and the route. Until `use` is called, when the database is ready, they ask to try again later."""

    def __init__(self) -> None:
        self._sign_ins: CommandLineSignIns | None = None

    def use(self, sign_ins: CommandLineSignIns) -> None:
        """Lets people allow the command from now on."""
        self._sign_ins = sign_ins

    def routes(self) -> list[BaseRoute]:
        """The routes of the page, and of what the command calls."""
        return [
            Route(COMMAND_LINE, self._ask),
            Route(COMMAND_LINE, self._allow, methods=["POST"]),
            Route(COMMAND_LINE_TOKEN, self._exchange, methods=["POST"]),
        ]

    async def _ask(self, request: Request) -> Response:
        try:
            question = _Question.of(request)
        except CoreError as error:
            return _refused(error, request)
        caller = caller_of(request)
        body = _ASK.format(
            machine=html.escape(question.machine),
            principal=html.escape(caller.principal),
            role=caller.role,
            workspace=html.escape(caller.workspace),
        )
        # The form is answered by a redirect to the command, to which the page's policy applies as well.
        return page(body, title="Log in · runstream", form_targets=f"'self' {question.origin}")

    async def _allow(self, request: Request) -> Response:
        try:
            question = _Question.of(request)
            code = await self._ready().allow(caller_of(request), challenge=question.challenge, machine=question.machine)
        except CoreError as error:
            return _refused(error, request)
        answer = urlencode({"code": code, "state": question.state})
        return RedirectResponse(f"{question.origin}/?{answer}", 303, {"cache-control": "no-store"})

    async def _exchange(self, request: Request) -> Response:
        try:
            sent = await read_object(request, Exchange)
            new = await self._ready().exchange(sent.code, sent.verifier)
        except Exception as error:
            set_error(request.scope, error)
            return refused(request.scope, error)
        content = msgspec.json.encode({"token": new.text, "workspace": new.token.workspace})
        return Response(content, media_type="application/json", headers={"cache-control": "no-store"})

    def _ready(self) -> CommandLineSignIns:
        if self._sign_ins is None:
            raise NotConnected("the service is starting: its database is not ready yet; try again")
        return self._sign_ins


def _refused(error: CoreError, request: Request) -> Response:
    set_error(request.scope, error)
    body = _REFUSED.format(problem=html.escape(error.message))
    return page(body, title="Log in · runstream", status=status_of(error).http_status)
