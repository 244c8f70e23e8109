"""Who calls the port. What a caller logs is sent with that caller's credentials, or with the agent's if it has none.

The port does not check whether a token is valid: it writes to a journal, and the service accepts or refuses what is in
the journal, under the token of the caller who logged it. So callers share neither journals nor what is known about
runs.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runstream._credentials import Credentials as Sent
from runstream._credentials import Secret, check_token, check_workspace
from runstream._endpoint import Endpoint
from runstream_service.core.caller import DEFAULT_WORKSPACE_ID, Caller, Role
from runstream_service.errors.core import InvalidField, Unauthenticated

if TYPE_CHECKING:
    from runstream_service.auth.authenticator import Credentials
    from runstream_service.errors.core import CoreError


@dataclass(frozen=True, slots=True, kw_only=True)
class PortCaller(Caller):
    """`endpoint` is the service with the credentials of this caller; `key` is different for each caller."""

    endpoint: Endpoint = field(repr=False)
    key: str

    def headers(self, present: Mapping[str, str]) -> dict[str, str]:
        """The headers with this caller's credentials to add to a request for the service that has `present` already."""
        names = {name.lower() for name in present}
        return {name: value for name, value in self.endpoint.metadata() if name not in names}


class PortAuthenticator:
    """Implements Authenticator. `own` is the service with the agent's own credentials."""

    def __init__(self, own: Endpoint) -> None:
        self._own = own

    async def authenticate(self, credentials: Credentials) -> PortCaller:
        """The caller with these credentials, which are not checked. Raises Unauthenticated, InvalidField for bad
        forms."""
        return PortCaller(
            workspace_id=DEFAULT_WORKSPACE_ID,  # only the service knows the real one; nothing here depends on it
            workspace=credentials.workspace,
            principal="a caller of the port",
            role=Role.MANAGE,
            endpoint=self._endpoint(credentials.token, credentials.workspace),
            key=hashlib.sha256(f"{credentials.workspace} {credentials.token}".encode()).hexdigest(),
        )

    def watching(self, _caller: Caller, _end: Callable[[CoreError], None]) -> AbstractContextManager[None]:
        """Does nothing: no response of the port lasts long enough for its caller's token to be revoked meanwhile."""
        return contextlib.nullcontext()

    def _endpoint(self, token: str, workspace: str) -> Endpoint:
        own = self._own.credentials
        try:
            if workspace:
                own = own._replace(workspace=check_workspace(workspace, "the header X-MLFLOW-WORKSPACE"))
        except ValueError as error:
            raise InvalidField(str(error)) from error
        try:
            secret = Secret(check_token(token, "the token in the header Authorization")) if token else Secret()
        except ValueError as error:
            raise Unauthenticated(str(error)) from error
        if not secret:
            return self._own._replace(credentials=own)
        source = "the token sent to the agent's port for MLflow"
        return self._own._replace(credentials=Sent(secret, workspace=workspace, source=source))


def port_caller(caller: Caller | None) -> PortCaller:
    """The caller of a request, which PortAuthenticator has made."""
    assert isinstance(caller, PortCaller), "the port has no other authenticator"
    return caller
