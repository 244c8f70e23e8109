"""Where a journal goes, and as whom.

The agent uses what the writer of the journal has left for it, else its own environment, as that of an operator's agent
may have a token for all. `runstream sync` prefers its own environment: that is how a person sends what a token that is
no longer valid has left.
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
    """Of one transport. `address`: instead of those in the journals."""

    def __init__(
        self, address: str = "", *, prefers_own: bool = False, environ: Mapping[str, str] = os.environ
    ) -> None:
        self._address = address
        self._prefers_own = prefers_own
        self._environ = environ

    def of(self, create: Mapping[str, Any], path: Path | None) -> Endpoint:
        """Of the journal with this CREATE record. Raises ValueError if its address is none."""
        address = check_address(self._address or str(create.get("address") or DEFAULT_ADDRESS))
        own = resolve(address, self._environ)
        if path is None or (self._prefers_own and own.credentials.has_token):
            return own
        stored = StoredCredentials.next_to(path).load(str(create.get(FIELD) or ""))
        # A token is sent to the service that it was made for, so not to another address that was passed to sync.
        return stored if stored is not None and stored.address == address else own

    def alternatives(self, endpoint: Endpoint, path: Path | None) -> Callable[[], Iterator[Credentials]]:
        """What may stand in for credentials that the service refuses: our own, or those that another process has used
        since, if both name the same workspace, or if the writer had none at all."""

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
