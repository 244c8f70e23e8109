"""Signing in the command line with the browser (`runstream login`).

The command opens a page in the browser, with the hash of a random verifier (the challenge; RFC 7636). When the person
allows it there, the page sends a code to the command, which exchanges the code and the verifier for a token. A code can
be used once, within a minute.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from typing import TYPE_CHECKING

from runstream_service.auth.token_text import hash_of
from runstream_service.core.caller import Caller, Role
from runstream_service.database.queries import load
from runstream_service.errors.core import InvalidField, Unauthenticated

if TYPE_CHECKING:
    from runstream_service.auth.tokens import NewToken, Tokens
    from runstream_service.database.pool import Database

SQL = load("access")

# A person who leaves a group at their provider keeps this token, and what it may do, until it expires.
TOKEN_AGE_S = 7 * 86_400.0
_CODE_AGE_S = 60.0
_RANDOM_BYTES = 32
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_MACHINE = re.compile(r"[A-Za-z0-9._-]{1,100}")


class CommandLineSignIns:
    """The codes for commands that a person allowed, and their exchange for tokens. All methods also raise
    DatabaseUnavailable."""

    def __init__(self, database: Database, tokens: Tokens) -> None:
        self._database = database
        self._tokens = tokens

    async def allow(self, caller: Caller, *, challenge: str, machine: str) -> str:
        """Makes the code for a command on a machine; the command may then do what the caller may.

        Raises:
            InvalidField: see check_question.
        """
        check_question(challenge, machine)
        code = secrets.token_urlsafe(_RANDOM_BYTES)
        await self._database.execute(
            SQL["insert_code"],
            hash_of(code),
            challenge,
            machine,
            caller.workspace_id,
            caller.principal,
            str(caller.role),
            caller.token_id,
            _CODE_AGE_S,
        )
        return code

    async def exchange(self, code: str, verifier: str) -> NewToken:
        """Exchanges a code for a token. Raises Unauthenticated if the code or the verifier is wrong, or the code is
        used or too old."""
        row = await self._database.fetchrow(SQL["take_code"], hash_of(code))
        if row is None or not secrets.compare_digest(row["challenge"], _hash_of_verifier(verifier)):
            raise Unauthenticated("this code is unknown, used or older than a minute: log in again")
        caller = Caller(
            workspace_id=row["workspace_id"],
            workspace=row["workspace"],
            principal=row["principal"],
            role=Role.of(row["role"]),
            token_id=row["token_id"],
        )
        return await self._tokens.create_for_login(caller, row["machine"], expires_in_s=TOKEN_AGE_S)


def check_question(challenge: str, machine: str) -> None:
    """Checks the parameters that the page was opened with. Raises InvalidField if they are not those of the command
    `runstream login`."""
    if not _CHALLENGE.fullmatch(challenge):
        raise InvalidField("challenge: open this page with the command: runstream login URL", field="challenge")
    if not _MACHINE.fullmatch(machine):
        raise InvalidField("machine: open this page with the command: runstream login URL", field="machine")


def _hash_of_verifier(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode("utf-8", "replace")).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
