"""Reads the two files of a user: runstream.toml in a project, and the file of `runstream login`."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from runstream._credentials import Secret, check_token, check_workspace, is_private, write_private
from runstream._run_logger import warn_about_process

PROJECT_FILE = "runstream.toml"
_KEYS = ("address", "workspace", "experiment")
_MAX_BYTES = 64 * 1024


class Project(NamedTuple):
    """The content of a project's runstream.toml; empty if there is none."""

    path: str = ""
    address: str = ""
    workspace: str = ""
    experiment: str = ""

    @classmethod
    def find(cls, start: str | None = None) -> Project:
        """Reads the nearest runstream.toml in a directory or above it; by default, in the working directory. Raises
        ValueError, which names the file, if it is wrong, since it decides where points go."""
        path = _find(start)
        return _read_project(path) if path else cls()


class Login(NamedTuple):
    """The content of the file of `runstream login`; empty if there is none. `problem` says why it cannot be used."""

    path: str = ""
    address: str = ""  # over gRPC; the token is sent to this address alone
    http_url: str = ""
    workspace: str = ""
    tls_ca: str = ""
    token: Secret = Secret()
    problem: str = ""

    @classmethod
    def read(cls, path: str) -> Login:
        """Reads the file. Never raises: `problem` says what is wrong with it."""
        try:
            if not is_private(path):
                return cls(
                    path,
                    problem=f"{path} is not used: other users can read it, or one of them owns it. Run `runstream "
                    "login` again, with a new token, as others may know this one",
                )
            with open(path, "rb") as file:
                fields = json.loads(file.read(_MAX_BYTES))
            return cls(
                path,
                str(fields["address"]),
                str(fields.get("http_url") or ""),
                str(fields.get("workspace") or ""),
                str(fields.get("tls_ca") or ""),
                Secret(check_token(fields["token"], f"the token in {path}")),
            )
        except FileNotFoundError:
            return cls(path, problem=f"there is no {path}: run `runstream login`")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            return cls(path, problem=f"{path} cannot be used ({error!r:.200}): run `runstream login` again")

    def save(self) -> None:
        """Writes the file, which only this user can read. Raises OSError."""
        fields = {**self._asdict(), "token": self.token.reveal()}
        del fields["path"], fields["problem"]
        write_private(self.path, json.dumps(fields, indent=1).encode() + b"\n")


def login_path(environ: Mapping[str, str]) -> str:
    """The file in which `runstream login` stores address and token; empty if the user has no home."""
    base = environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):  # as its specification says, relative paths are ignored
        home = environ.get("HOME", "")
        base = os.path.join(home, ".config") if os.path.isabs(home) else ""
    return os.path.join(base, "runstream", "login.json") if base else ""


def stored_login(environ: Mapping[str, str]) -> Login:
    """The login of this user; empty if there is none."""
    path = login_path(environ)
    return Login.read(path) if path and os.path.exists(path) else Login()


def _find(start: str | None) -> str:
    try:
        directory = os.path.abspath(start or os.getcwd())
    except OSError:  # it was deleted
        return ""
    while True:
        path = os.path.join(directory, PROJECT_FILE)
        if os.path.isfile(path):
            return path if _is_trusted(path) else ""
        above = os.path.dirname(directory)
        if above == directory:
            return ""
        directory = above


def _is_trusted(path: str) -> bool:
    """Whether only this user or root can write the file. It decides where points and tokens go, and anybody may put one
    into a directory such as /tmp. (In a container, root often works in a mounted directory of a user.)"""
    status = os.stat(path)
    of_us = status.st_uid in (os.geteuid(), 0) or os.geteuid() == 0
    if of_us and not status.st_mode & stat.S_IWOTH:
        return True
    warn_about_process(
        "%s is ignored: another user owns or can write it, and could send your points elsewhere", path, about=path
    )
    return False


def _read_project(path: str) -> Project:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        with open(path, "rb") as file:
            fields: dict[str, Any] = tomllib.loads(file.read(_MAX_BYTES).decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    unknown = sorted(fields.keys() - set(_KEYS))
    if unknown:
        raise ValueError(f"{path}: unknown key {unknown[0]!r:.80}; expected {', '.join(_KEYS)}, and never a token")
    for name, value in fields.items():
        if not isinstance(value, str) or not value:
            raise ValueError(f"{path}: {name} must be a string that is not empty")
    if "workspace" in fields:
        check_workspace(fields["workspace"], f"{path}: workspace")
    return Project(path, **fields)
