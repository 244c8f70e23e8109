"""The credentials of calls: a token, or where to read it, and the workspace.

The text of a token is in no `repr`, and in no pickle: a handle that is sent to another process takes the token of that
process's own environment. A file is read again for each call, so a token that somebody replaces there is used at once.
"""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple

_MAX_TOKEN = 16 * 1024  # a JWT with many groups; the headers of a call have a limit of about this size
_MAX_WORKSPACE = 63

Metadata = tuple[tuple[str, str], ...]


class Secret:
    """A text that no `repr`, log or pickle shows."""

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, to be sent with a call or written to a private file."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(***)" if self._text else "Secret()"

    def __reduce__(self) -> tuple[type[Secret], tuple[()]]:
        return Secret, ()


class Token(NamedTuple):
    """A token as read for one call. `problem` says why there is none although one was configured."""

    secret: Secret
    problem: str = ""


class Credentials(NamedTuple):
    """At most one of `token`, `token_file` and `login_file` is set. `source` is its name in messages; empty: there is
    no token."""

    token: Secret = Secret()
    token_file: str = ""
    login_file: str = ""
    workspace: str = ""
    source: str = ""

    @property
    def has_token(self) -> bool:
        """Whether a token was configured."""
        return bool(self.source)

    def read(self, address: str) -> Token:
        """The token for a call to `address`."""
        if self.token_file:
            return _read_token_file(self.token_file)
        if self.login_file:
            from runstream._profile import Login

            login = Login.read(self.login_file)
            if not login.problem and login.address != address:
                return Token(Secret(), f"{self.login_file} has the token of another service, {login.address}")
            return Token(login.token, login.problem)
        if self.source and not self.token:
            return Token(Secret(), f"{self.source} was not passed on to this process")
        return Token(self.token)

    def metadata_with(self, token: Token) -> Metadata:
        """The metadata that a call sends."""
        pairs = []
        if token.secret:
            pairs.append(("authorization", f"Bearer {token.secret.reveal()}"))
        if self.workspace:
            pairs.append(("x-mlflow-workspace", self.workspace))
        return tuple(pairs)


def check_token(text: object, what: str) -> str:
    """Returns a token that can be sent. Raises TypeError or ValueError, which says `what` is wrong and never contains
    its text."""
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a string, not {type(text).__name__}")
    if not 1 <= len(text) <= _MAX_TOKEN or not all("!" <= character <= "~" for character in text):
        raise ValueError(
            f"{what} is not a token ({len(text)} characters): expected 1 to {_MAX_TOKEN} visible ASCII characters "
            "without blanks"
        )
    return text


def check_workspace(text: object, what: str) -> str:
    """Returns a workspace name that can be sent; whether the workspace exists, only the service knows. Raises TypeError
    or ValueError, which names `what` is wrong."""
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a string, not {type(text).__name__}")
    if not 1 <= len(text) <= _MAX_WORKSPACE or not all("!" <= character <= "~" for character in text):
        raise ValueError(f"{what} {text!r:.80}: expected the name of a workspace, such as team-a")
    return text


def _read_token_file(path: str) -> Token:
    what = f"the token file {path}"
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_TOKEN + 2)
    except OSError as error:
        return Token(Secret(), f"{what} cannot be read: {error.strerror or error}")
    try:
        return Token(Secret(check_token(data.decode("latin-1").strip(), what)))
    except ValueError as error:
        return Token(Secret(), str(error))


def is_private(path: str) -> bool:
    """Whether a file belongs to this user and nobody else can read or write it. Raises OSError."""
    status = os.stat(path)
    return status.st_uid == os.geteuid() and not status.st_mode & 0o077


def write_private(path: str, data: bytes) -> None:
    """Writes a file that only this user can read, in one step, and makes its directory. Raises OSError."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    temporary = f"{path}.new-{os.getpid()}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
