"""Which workspaces a person or a pod may enter, and with which roles."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from runstream_service.core.caller import DEFAULT_WORKSPACE, Role
from runstream_service.core.workspace_names import check_workspace_name
from runstream_service.errors.core import InvalidField, WorkspaceNotFound

ANY = "*"


@dataclass(frozen=True, slots=True)
class Grants:
    """The roles of one person, by the name of the workspace. Only admins have ANY in it: they may enter all
    workspaces."""

    roles: Mapping[str, Role] = field(default_factory=dict)

    @property
    def is_admin(self) -> bool:
        """Whether the person is an admin, who may enter all workspaces."""
        return ANY in self.roles

    def role_in(self, workspace: str) -> Role | None:
        """The role in a workspace; None: the person may not enter it."""
        return self.roles.get(ANY) or self.roles.get(workspace)

    def names(self) -> Collection[str] | None:
        """Names of the workspaces that the person may enter; None: all."""
        return None if self.is_admin else sorted(self.roles)

    def others(self, workspace: str) -> tuple[str, ...]:
        """Names of the workspaces besides this one; empty for admins, who may enter all."""
        return tuple(name for name in self.roles if name not in (workspace, ANY))

    def default(self) -> str:
        """The workspace of a call that names none: the only one, or the default one for admins. Raises
        WorkspaceNotFound if there are several to choose from."""
        if self.is_admin:
            return DEFAULT_WORKSPACE
        if len(self.roles) == 1:
            return next(iter(self.roles))
        raise WorkspaceNotFound(
            f"choose one of your workspaces, {', '.join(sorted(self.roles)[:20])}: with MLFLOW_WORKSPACE, or the "
            "workspace setting",
            field="workspace",
        )

    def to_json(self) -> str:
        """The roles as JSON, for the database."""
        return json.dumps({name: str(role) for name, role in self.roles.items()})

    @classmethod
    def of_json(cls, text: str) -> Grants:
        """The roles from what `to_json` returned."""
        return cls({name: Role.of(role) for name, role in json.loads(text).items()})


@dataclass(frozen=True, slots=True)
class GrantTable:
    """What an operator grants to groups of people, or to namespaces of a cluster: `ml=team-a:write,ops=*:admin`.

    The group `*` means everybody. The workspace `*` means all workspaces with the role admin; with another role, it
    means the workspace that has the name of the group.
    """

    entries: tuple[tuple[str, str, Role], ...] = ()

    @classmethod
    def parse(cls, text: str) -> GrantTable:
        """Parses the text of a setting. Entries are separated by commas; or by line ends, if there are any, since names
        of groups may contain commas.

        Raises:
            ValueError: it says which entry is wrong, and why.
        """
        parts = text.splitlines() if "\n" in text else text.split(",")
        return cls(tuple(_entry(part.strip()) for part in parts if part.strip()))

    def of(self, groups: Iterable[str]) -> Grants:
        """The grants of a member of these groups: in each workspace, the highest of the roles that they give."""
        roles: dict[str, Role] = {}
        for group in groups:
            for name, workspace, role in self.entries:
                if name not in (ANY, group):
                    continue
                where = group if workspace == ANY and role is not Role.ADMIN else workspace
                if not where:
                    continue
                roles[where] = max(role, roles.get(where, role))
        return Grants(roles)


def _entry(text: str) -> tuple[str, str, Role]:
    match = re.fullmatch(r"(?P<group>.+)=(?P<workspace>[^=:]+):(?P<role>\w+)", text)
    if match is None:
        raise ValueError(f"{text[:80]!r} is not GROUP=WORKSPACE:ROLE")
    try:
        role = Role.of(match["role"].strip())
    except KeyError:
        raise ValueError(f"{match['role'][:20]!r} is not a role; roles are {', '.join(map(str, Role))}") from None
    group, workspace = match["group"].strip(), match["workspace"].strip()
    if (role is Role.ADMIN) != (workspace == ANY) and workspace != ANY:
        raise ValueError(f"{text[:80]!r}: the role admin holds in all workspaces; write {group[:40]}=*:admin")
    if workspace != ANY:
        try:
            check_workspace_name(workspace)
        except InvalidField as error:
            raise ValueError(error.message.removeprefix("name: ")) from error
    return group, workspace, role
