"""What operators grant to groups and namespaces."""

from __future__ import annotations

import pytest

from runstream_service.auth.grants import Grants, GrantTable
from runstream_service.core.caller import Role
from runstream_service.errors.core import WorkspaceNotFound


def test_the_highest_role_of_somebodys_groups_counts() -> None:
    table = GrantTable.parse("a=team-a:read, b=team-a:manage,b=team-b:write,*=public:read")
    assert table.of(["a", "b", "c"]).roles == {"team-a": Role.MANAGE, "team-b": Role.WRITE, "public": Role.READ}
    assert table.of([]).roles == {}
    assert table.of([""]).roles == {"public": Role.READ}


def test_a_workspace_may_have_the_name_of_the_group() -> None:
    assert GrantTable.parse("*=*:write").of(["team-a", ""]).roles == {"team-a": Role.WRITE}


def test_admins_may_enter_all_workspaces() -> None:
    grants = GrantTable.parse("ops=*:admin").of(["ops"])
    assert (grants.is_admin, grants.role_in("whatever"), grants.names(), grants.default()) == (
        True,
        Role.ADMIN,
        None,
        "default",
    )


def test_names_of_groups_with_commas_and_equal_signs_go_by_line() -> None:
    table = GrantTable.parse("cn=ml,dc=example=team-a:write\ncn=ops,dc=example=*:admin\n")
    assert table.of(["cn=ml,dc=example"]).roles == {"team-a": Role.WRITE}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a", "GROUP=WORKSPACE:ROLE"), ("a=b", "GROUP=WORKSPACE:ROLE"), ("a=team-a:owner", "'owner' is not a role"),
        ("a=team-a:admin", "write a=*:admin"), ("a=Team:read", "cannot be the name of a workspace"),
    ],
)  # fmt: skip
def test_a_wrong_entry_is_named(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        GrantTable.parse(f"x=team-x:read,{text}")
    assert said in str(raised.value)


def test_who_may_enter_several_has_to_choose_one() -> None:
    grants = Grants({"team-b": Role.READ, "team-a": Role.WRITE})
    with pytest.raises(WorkspaceNotFound, match="team-a, team-b"):
        grants.default()
    assert grants.others("team-a") == ("team-b",)
    assert Grants.of_json(grants.to_json()) == grants
