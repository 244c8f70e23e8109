"""The role that the caller of each RPC needs."""

from __future__ import annotations

from collections.abc import Mapping

from runstream_service.core.caller import Role

_BY_SERVICE: Mapping[str, Mapping[str, Role]] = {
    "IngestService": {"Append": Role.WRITE},
    "RunService": {
        "CreateExperiment": Role.WRITE,
        "GetExperiment": Role.READ,
        "ListExperiments": Role.READ,
        "CreateRun": Role.WRITE,
        "GetRun": Role.READ,
        "ListRuns": Role.READ,
        "SearchRuns": Role.READ,
        "FinishRun": Role.WRITE,
        "LogParams": Role.WRITE,
        "SetTags": Role.WRITE,
        "DeleteRun": Role.MANAGE,
        "RestoreRun": Role.MANAGE,
        "MoveRun": Role.MANAGE,
        "DeleteSeries": Role.MANAGE,
        "SetRetention": Role.MANAGE,
    },
    "AccessService": {
        "WhoAmI": Role.READ,
        "CreateWorkspace": Role.ADMIN,
        "ListWorkspaces": Role.READ,
        "GetWorkspaceLimits": Role.READ,
        "SetWorkspaceLimits": Role.ADMIN,
        "CreateToken": Role.MANAGE,
        "ListTokens": Role.MANAGE,
        "RevokeToken": Role.MANAGE,
        "CreateTrackingUri": Role.READ,
        "ListAuditEvents": Role.MANAGE,
    },
    "QueryService": {
        "History": Role.READ,
        "Latest": Role.READ,
        "Chart": Role.READ,
        "Aggregate": Role.READ,
        "Tail": Role.READ,
    },
}

ROLES: Mapping[str, Role] = {
    f"/runstream.v1.{service}/{method}": role
    for service, methods in _BY_SERVICE.items()
    for method, role in methods.items()
}


def role_of(method: str) -> Role:
    """The role that callers of a method need, by its full name. A method that is not listed is for admins."""
    return ROLES.get(method, Role.ADMIN)
