"""AccessService: decodes, calls auth/, encodes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import grpc

from runstream.v1 import access_pb2, access_pb2_grpc
from runstream_service.auth.tracking_uris import tracking_uri
from runstream_service.core.caller import Role
from runstream_service.database.times import to_unix_us
from runstream_service.errors.core import InvalidField
from runstream_service.rpc.caller import caller_of

if TYPE_CHECKING:
    from runstream_service.auth.access import Access
    from runstream_service.auth.tokens import Token
    from runstream_service.auth.workspaces import Workspace
    from runstream_service.core.audit import Event

Context = grpc.aio.ServicerContext[Any, Any]


class AccessServicer(access_pb2_grpc.AccessServiceServicer):
    """One method per RPC; their contract is in access.proto."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def WhoAmI(self, request: access_pb2.WhoAmIRequest, context: Context) -> access_pb2.WhoAmIResponse:
        caller = caller_of(context)
        return access_pb2.WhoAmIResponse(
            principal=caller.principal,
            workspace=caller.workspace,
            role=caller.role.value,  # type: ignore[arg-type]  # the numbers are the same
            authentication=self._access.is_on,
        )

    async def CreateWorkspace(
        self, request: access_pb2.CreateWorkspaceRequest, context: Context
    ) -> access_pb2.CreateWorkspaceResponse:
        created = await self._access.workspaces.create(
            caller_of(context), request.name, description=request.description
        )
        return access_pb2.CreateWorkspaceResponse(workspace=_workspace(created))

    async def ListWorkspaces(
        self, request: access_pb2.ListWorkspacesRequest, context: Context
    ) -> access_pb2.ListWorkspacesResponse:
        found = await self._access.workspaces.list(caller_of(context))
        return access_pb2.ListWorkspacesResponse(workspaces=map(_workspace, found))

    async def GetWorkspaceLimits(
        self, request: access_pb2.GetWorkspaceLimitsRequest, context: Context
    ) -> access_pb2.GetWorkspaceLimitsResponse:
        limits = await self._access.limits.get(caller_of(context), request.workspace)
        return access_pb2.GetWorkspaceLimitsResponse(limits=access_pb2.WorkspaceLimits(**limits))

    async def SetWorkspaceLimits(
        self, request: access_pb2.SetWorkspaceLimitsRequest, context: Context
    ) -> access_pb2.SetWorkspaceLimitsResponse:
        limits = {field.name: value for field, value in request.limits.ListFields()}
        await self._access.limits.set(caller_of(context), request.workspace, limits)
        return access_pb2.SetWorkspaceLimitsResponse(limits=request.limits)

    async def CreateToken(
        self, request: access_pb2.CreateTokenRequest, context: Context
    ) -> access_pb2.CreateTokenResponse:
        new = await self._access.tokens.create(
            caller_of(context), request.name, _role(request.role), expires_in_s=request.expires_in_s or None
        )
        return access_pb2.CreateTokenResponse(token=_token(new.token), text=new.text)

    async def ListTokens(
        self, request: access_pb2.ListTokensRequest, context: Context
    ) -> access_pb2.ListTokensResponse:
        tokens, after = await self._access.tokens.list(
            caller_of(context),
            all_workspaces=request.all_workspaces,
            include_revoked=request.include_revoked,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return access_pb2.ListTokensResponse(tokens=map(_token, tokens), next_page_token=after)

    async def RevokeToken(
        self, request: access_pb2.RevokeTokenRequest, context: Context
    ) -> access_pb2.RevokeTokenResponse:
        return access_pb2.RevokeTokenResponse(
            token=_token(await self._access.tokens.revoke(caller_of(context), request.token_id))
        )

    async def CreateTrackingUri(
        self, request: access_pb2.CreateTrackingUriRequest, context: Context
    ) -> access_pb2.CreateTrackingUriResponse:
        new = await self._access.tokens.create_for_uri(caller_of(context), expires_in_s=request.expires_in_s)
        assert new.token.expires_at is not None
        return access_pb2.CreateTrackingUriResponse(
            uri=tracking_uri(self._access.public_url, new.text) if self._access.public_url else "",
            text=new.text,
            expires_at_unix_us=to_unix_us(new.token.expires_at),
        )

    async def ListAuditEvents(
        self, request: access_pb2.ListAuditEventsRequest, context: Context
    ) -> access_pb2.ListAuditEventsResponse:
        events, after = await self._access.audit.list(
            caller_of(context),
            all_workspaces=request.all_workspaces,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return access_pb2.ListAuditEventsResponse(events=map(_event, events), next_page_token=after)


def _role(number: int) -> Role:
    try:
        return Role(number)
    except ValueError as error:
        raise InvalidField(
            f"role: {number} is none of READ (1), WRITE (2), MANAGE (3) and ADMIN (4)", field="role"
        ) from error


def _workspace(one: Workspace) -> access_pb2.Workspace:
    return access_pb2.Workspace(
        name=one.name, description=one.description, created_at_unix_us=to_unix_us(one.created_at)
    )


def _token(one: Token) -> access_pb2.Token:
    return access_pb2.Token(
        token_id=one.token_id,
        name=one.name,
        role=one.role.value,  # type: ignore[arg-type]  # the numbers are the same
        workspace=one.workspace,
        created_by=one.created_by,
        created_at_unix_us=to_unix_us(one.created_at),
        expires_at_unix_us=to_unix_us(one.expires_at) if one.expires_at else 0,
        revoked_at_unix_us=to_unix_us(one.revoked_at) if one.revoked_at else 0,
    )


def _event(one: Event) -> access_pb2.AuditEvent:
    return access_pb2.AuditEvent(
        event_id=one.event_id,
        at_unix_us=to_unix_us(one.at),
        workspace=one.workspace,
        principal=one.principal,
        action=one.action,
        subject=one.subject,
        details=json.dumps(one.details),
    )
