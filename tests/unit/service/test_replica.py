"""Names of connections identify their replica."""

from __future__ import annotations

import pytest

from runstream_service.database import connections
from runstream_service.database.replica import ReplicaId

KINDS = [kind.name for kind in vars(connections).values() if isinstance(kind, connections.ConnectionKind)]


@pytest.mark.parametrize("kind", ["runstream", "runstream-writer", "runstream-rollup", "runstream-notifier"])
def test_a_name_says_which_replica_it_is_of(kind: str) -> None:
    replica = ReplicaId("1.2.0rc1", "runstream-7d9c5b9f6d-x2x4z", 7)
    name = replica.application_name(kind)
    assert name == f"{kind}/1.2.0rc1 runstream-7d9c5b9f6d-x2x4z:7"
    assert ReplicaId.parse(name) == replica


def test_a_long_host_keeps_its_end_in_all_kinds_of_connections_alike() -> None:
    replica = ReplicaId("0.1.0", "a-very-long-name-of-a-release-in-some-team-7d9c5b9f6d-x2x4z", 4_194_304)
    assert "runstream-migration" in KINDS
    names = [replica.application_name(kind) for kind in KINDS]
    assert max(map(len, names)) == 63  # what PostgreSQL keeps
    (parsed,) = {ReplicaId.parse(name) for name in names}
    assert parsed is not None
    assert parsed.host.endswith("-7d9c5b9f6d-x2x4z")
    assert (parsed.version, parsed.pid) == ("0.1.0", 4_194_304)


@pytest.mark.parametrize("name", ["runstream", "psql", "", "runstream/0.1.0", "runstreams/0.1.0 host:1"])
def test_others_are_no_replicas(name: str) -> None:
    assert ReplicaId.parse(name) is None
