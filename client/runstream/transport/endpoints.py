"""Decides which service a journal is sent to, and with which credentials.

The agent uses the credentials that the writer of the journal has stored, else its own environment: an operator's agent
may have one token for all. `runstream sync` prefers its own environment, so that a person can send what was written
with a token that is no longer valid.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from runstream._credentials import Credentials
from runstream._endpoint import DEFAULT_ADDRESS, Endpoint, check_address, resolve
from runstream._stored_credentials import FIELD, StoredCredentials


class Endpoints:
    """The endpoints for the journals of one transport."""

    def __init__(
        self, address: str = "", *, prefers_own: bool = False, environ: Mapping[str, str] = os.environ
    ) -> None:
        """`address` replaces the addresses in the journals. `prefers_own`: this process's own credentials, if it has a
        token, before those that writers have stored."""
        self._address = address
        self._prefers_own = prefers_own
        self._environ = environ

    def of(self, create: Mapping[str, Any], path: Path | None) -> Endpoint:
        """The endpoint for the journal with this CREATE record, in the directory `path` (None: in memory). Raises
        ValueError if its address has a wrong form."""
        address = check_address(self._address or str(create.get("address") or DEFAULT_ADDRESS))
        own = resolve(address, self._environ)
        if path is None or (self._prefers_own and own.credentials.has_token):
            return own
        stored = StoredCredentials.next_to(path).load(str(create.get(FIELD) or ""))
        # A stored token is only sent to the service that it was stored for, not to another address passed to sync.
        return stored if stored is not None and stored.address == address else own

    def alternatives(self, endpoint: Endpoint, path: Path | None) -> Callable[[], Iterator[Credentials]]:
        """Returns a function that finds credentials to use instead of refused ones: this process's own, or those that
        another process has stored since. They must be for the same workspace, unless the writer had none at all."""

        def find() -> Iterator[Credentials]:
            refused = endpoint.credentials
            own = resolve(endpoint.address, self._environ).credentials
            if not refused.has_token or (refused.workspace and refused.workspace == own.workspace):
                yield own._replace(workspace=refused.workspace or own.workspace)
            if refused.workspace and path is not None:
                newest = StoredCredentials.next_to(path).newest_of(endpoint.address, refused.workspace)
                if newest is not None:
                    yield newest.credentials

        return find
