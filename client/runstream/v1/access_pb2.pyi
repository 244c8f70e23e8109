from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    ROLE_READ: _ClassVar[Role]
    ROLE_WRITE: _ClassVar[Role]
    ROLE_MANAGE: _ClassVar[Role]
    ROLE_ADMIN: _ClassVar[Role]
ROLE_UNSPECIFIED: Role
ROLE_READ: Role
ROLE_WRITE: Role
ROLE_MANAGE: Role
ROLE_ADMIN: Role

class Workspace(_message.Message):
    __slots__ = ("name", "description", "created_at_unix_us")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_UNIX_US_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    created_at_unix_us: int
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., created_at_unix_us: _Optional[int] = ...) -> None: ...

class Token(_message.Message):
    __slots__ = ("token_id", "name", "role", "workspace", "created_by", "created_at_unix_us", "expires_at_unix_us", "revoked_at_unix_us")
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_UNIX_US_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_UNIX_US_FIELD_NUMBER: _ClassVar[int]
    REVOKED_AT_UNIX_US_FIELD_NUMBER: _ClassVar[int]
    token_id: int
    name: str
    role: Role
    workspace: str
    created_by: str
    created_at_unix_us: int
    expires_at_unix_us: int
    revoked_at_unix_us: int
    def __init__(self, token_id: _Optional[int] = ..., name: _Optional[str] = ..., role: _Optional[_Union[Role, str]] = ..., workspace: _Optional[str] = ..., created_by: _Optional[str] = ..., created_at_unix_us: _Optional[int] = ..., expires_at_unix_us: _Optional[int] = ..., revoked_at_unix_us: _Optional[int] = ...) -> None: ...

class WhoAmIRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WhoAmIResponse(_message.Message):
    __slots__ = ("principal", "workspace", "role", "authentication")
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    AUTHENTICATION_FIELD_NUMBER: _ClassVar[int]
    principal: str
    workspace: str
    role: Role
    authentication: bool
    def __init__(self, principal: _Optional[str] = ..., workspace: _Optional[str] = ..., role: _Optional[_Union[Role, str]] = ..., authentication: bool = ...) -> None: ...

class CreateWorkspaceRequest(_message.Message):
    __slots__ = ("name", "description")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...

class CreateWorkspaceResponse(_message.Message):
    __slots__ = ("workspace",)
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    workspace: Workspace
    def __init__(self, workspace: _Optional[_Union[Workspace, _Mapping]] = ...) -> None: ...

class ListWorkspacesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListWorkspacesResponse(_message.Message):
    __slots__ = ("workspaces",)
    WORKSPACES_FIELD_NUMBER: _ClassVar[int]
    workspaces: _containers.RepeatedCompositeFieldContainer[Workspace]
    def __init__(self, workspaces: _Optional[_Iterable[_Union[Workspace, _Mapping]]] = ...) -> None: ...

class WorkspaceLimits(_message.Message):
    __slots__ = ("points_per_second", "streams", "concurrent_reads", "series_per_run", "file_bytes")
    POINTS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    CONCURRENT_READS_FIELD_NUMBER: _ClassVar[int]
    SERIES_PER_RUN_FIELD_NUMBER: _ClassVar[int]
    FILE_BYTES_FIELD_NUMBER: _ClassVar[int]
    points_per_second: int
    streams: int
    concurrent_reads: int
    series_per_run: int
    file_bytes: int
    def __init__(self, points_per_second: _Optional[int] = ..., streams: _Optional[int] = ..., concurrent_reads: _Optional[int] = ..., series_per_run: _Optional[int] = ..., file_bytes: _Optional[int] = ...) -> None: ...

class GetWorkspaceLimitsRequest(_message.Message):
    __slots__ = ("workspace",)
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    workspace: str
    def __init__(self, workspace: _Optional[str] = ...) -> None: ...

class GetWorkspaceLimitsResponse(_message.Message):
    __slots__ = ("limits",)
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    limits: WorkspaceLimits
    def __init__(self, limits: _Optional[_Union[WorkspaceLimits, _Mapping]] = ...) -> None: ...

class SetWorkspaceLimitsRequest(_message.Message):
    __slots__ = ("workspace", "limits")
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    workspace: str
    limits: WorkspaceLimits
    def __init__(self, workspace: _Optional[str] = ..., limits: _Optional[_Union[WorkspaceLimits, _Mapping]] = ...) -> None: ...

class SetWorkspaceLimitsResponse(_message.Message):
    __slots__ = ("limits",)
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    limits: WorkspaceLimits
    def __init__(self, limits: _Optional[_Union[WorkspaceLimits, _Mapping]] = ...) -> None: ...

class CreateTokenRequest(_message.Message):
    __slots__ = ("name", "role", "expires_in_s")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_S_FIELD_NUMBER: _ClassVar[int]
    name: str
    role: Role
    expires_in_s: float
    def __init__(self, name: _Optional[str] = ..., role: _Optional[_Union[Role, str]] = ..., expires_in_s: _Optional[float] = ...) -> None: ...

class CreateTokenResponse(_message.Message):
    __slots__ = ("token", "text")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    token: Token
    text: str
    def __init__(self, token: _Optional[_Union[Token, _Mapping]] = ..., text: _Optional[str] = ...) -> None: ...

class ListTokensRequest(_message.Message):
    __slots__ = ("all_workspaces", "include_revoked", "page_size", "page_token")
    ALL_WORKSPACES_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_REVOKED_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    all_workspaces: bool
    include_revoked: bool
    page_size: int
    page_token: str
    def __init__(self, all_workspaces: bool = ..., include_revoked: bool = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListTokensResponse(_message.Message):
    __slots__ = ("tokens", "next_page_token")
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tokens: _containers.RepeatedCompositeFieldContainer[Token]
    next_page_token: str
    def __init__(self, tokens: _Optional[_Iterable[_Union[Token, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class RevokeTokenRequest(_message.Message):
    __slots__ = ("token_id",)
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    token_id: int
    def __init__(self, token_id: _Optional[int] = ...) -> None: ...

class RevokeTokenResponse(_message.Message):
    __slots__ = ("token",)
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    token: Token
    def __init__(self, token: _Optional[_Union[Token, _Mapping]] = ...) -> None: ...

class CreateTrackingUriRequest(_message.Message):
    __slots__ = ("expires_in_s",)
    EXPIRES_IN_S_FIELD_NUMBER: _ClassVar[int]
    expires_in_s: float
    def __init__(self, expires_in_s: _Optional[float] = ...) -> None: ...

class CreateTrackingUriResponse(_message.Message):
    __slots__ = ("uri", "text", "expires_at_unix_us")
    URI_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_UNIX_US_FIELD_NUMBER: _ClassVar[int]
    uri: str
    text: str
    expires_at_unix_us: int
    def __init__(self, uri: _Optional[str] = ..., text: _Optional[str] = ..., expires_at_unix_us: _Optional[int] = ...) -> None: ...

class AuditEvent(_message.Message):
    __slots__ = ("event_id", "at_unix_us", "workspace", "principal", "action", "subject", "details")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    AT_UNIX_US_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    event_id: int
    at_unix_us: int
    workspace: str
    principal: str
    action: str
    subject: str
    details: str
    def __init__(self, event_id: _Optional[int] = ..., at_unix_us: _Optional[int] = ..., workspace: _Optional[str] = ..., principal: _Optional[str] = ..., action: _Optional[str] = ..., subject: _Optional[str] = ..., details: _Optional[str] = ...) -> None: ...

class ListAuditEventsRequest(_message.Message):
    __slots__ = ("all_workspaces", "page_size", "page_token")
    ALL_WORKSPACES_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    all_workspaces: bool
    page_size: int
    page_token: str
    def __init__(self, all_workspaces: bool = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListAuditEventsResponse(_message.Message):
    __slots__ = ("events", "next_page_token")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[AuditEvent]
    next_page_token: str
    def __init__(self, events: _Optional[_Iterable[_Union[AuditEvent, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
