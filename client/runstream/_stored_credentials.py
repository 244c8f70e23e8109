"""Stores what the agent needs to send a journal as its writer would: TLS files, the token or where to read it, and the
workspace.

There is one file for each endpoint, in a directory next to the journals, which only this user can read. A journal names
its file in its CREATE record; the name is a hash of the content, so ranks with the same token share a file. The journal
itself contains none of it, as people copy journals to other machines.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from runstream._credentials import Credentials, Secret, write_private
from runstream._endpoint import Endpoint, TlsFiles

FIELD = "credentials"  # of a CREATE record
_NAME_LENGTH = 32
_UNUSED_AFTER_S = 60.0  # a writer saves the file before its journal is there


class StoredCredentials:
    """The stored credentials of one journal directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def next_to(cls, journal: Path) -> StoredCredentials:
        """The stored credentials of the directory that a journal is in."""
        return cls(journal.parent.parent / "credentials")

    def save(self, endpoint: Endpoint) -> str:
        """Stores what the journal must not contain; returns its name, or "" if there is nothing to store. Raises
        OSError."""
        if endpoint == Endpoint(endpoint.address):
            return ""
        data = _encoded(endpoint)
        name = hashlib.sha256(data).hexdigest()[:_NAME_LENGTH]
        path = self.path / f"{name}.json"
        try:
            os.utime(path)  # `newest_of` returns the one that was used last
        except FileNotFoundError:
            write_private(str(path), data)
        return name

    def load(self, name: str) -> Endpoint | None:
        """The endpoint that was saved under this name; None if there is none, or it cannot be read."""
        if len(name) != _NAME_LENGTH or not name.isalnum():
            return None
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            return _decoded((self.path / f"{name}.json").read_bytes())
        return None

    def newest_of(self, address: str, workspace: str) -> Endpoint | None:
        """The endpoint that was used last for this address and workspace; None if there is none."""
        for path in sorted(self._files(), key=_changed_s, reverse=True):
            endpoint = self.load(path.stem)
            if endpoint is not None and (endpoint.address, endpoint.credentials.workspace) == (address, workspace):
                return endpoint
        return None

    def delete_unused(self, used: Collection[str]) -> None:
        """Deletes files that no journal names and that were not used for a minute. `used` are the names in journals.
        Never raises."""
        for path in self._files():
            if path.stem not in used and time.time() - _changed_s(path) > _UNUSED_AFTER_S:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _files(self) -> list[Path]:
        try:
            return list(self.path.iterdir())
        except OSError:
            return []


def _encoded(endpoint: Endpoint) -> bytes:
    credentials = endpoint.credentials
    fields = {
        "address": endpoint.address,
        "tls": endpoint.tls._asdict(),
        "credentials": {**credentials._asdict(), "token": credentials.token.reveal()},
    }
    return json.dumps(fields, indent=1).encode()


def _decoded(data: bytes) -> Endpoint:
    fields: dict[str, Any] = json.loads(data)
    tls, credentials = fields["tls"], fields["credentials"]
    return Endpoint(
        str(fields["address"]),
        TlsFiles(*(str(tls.get(name) or "") for name in TlsFiles._fields)),
        Credentials(
            Secret(str(credentials.get("token") or "")),
            *(str(credentials.get(name) or "") for name in Credentials._fields[1:]),
        ),
    )


def _changed_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
