"""The audit log: what is recorded of deletions, restores, retention and refusals, and for how long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import structlog
from prometheus_client import CollectorRegistry

from runstream_service.artifacts.files_of_caller import FilesOfCaller
from runstream_service.artifacts.store import ArtifactStore
from runstream_service.auth.refused_calls import MAX_KINDS, RefusedCalls
from runstream_service.auth.token_text import hash_of, new_token
from runstream_service.core.audit import AuditLog
from runstream_service.core.experiments import Experiments
from runstream_service.core.logged_models import LoggedModels, NewModel
from runstream_service.core.model_versions import ModelVersions, NewVersion
from runstream_service.core.registered_models import RegisteredModels
from runstream_service.core.runs import NewRun, Runs
from runstream_service.database.pool import Database
from runstream_service.errors.core import Forbidden, InvalidField, NotFound, Unauthenticated, WorkspaceNotFound
from runstream_service.retention.expiry import AccessExpiry
from runstream_service.rpc.peer import Peers
from tests.support.callers import ANYONE
from tests.support.tail import ManualCommit, new_series

# Event, subject and details, oldest first.
Recorded = list[tuple[str, str, dict[str, Any]]]


@pytest.fixture
def runs(database: Database) -> Runs:
    return Runs(database, Experiments(database))


@pytest.fixture
async def manual(database_url: str) -> AsyncIterator[ManualCommit]:
    async with ManualCommit.connect(database_url) as made:
        yield made


async def recorded(database: Database) -> Recorded:
    events, _ = await AuditLog(database).list(ANYONE, all_workspaces=True)
    assert all(one.principal == ANYONE.principal or one.action == "call_refused" for one in events)
    return [(one.action, one.subject, one.details) for one in reversed(events)]


async def test_deletions_and_restores_of_runs_are_recorded_once(database: Database, runs: Runs) -> None:
    run_id = (await runs.create(ANYONE, NewRun())).run.run_id.hex
    for step in (runs.delete, runs.delete, runs.restore, runs.restore):
        await step(ANYONE, run_id)
    with pytest.raises(NotFound):
        await runs.delete(ANYONE, "0" * 32)
    assert await recorded(database) == [("run_deleted", run_id, {"producers": 0}), ("run_restored", run_id, {})]


async def test_deletions_of_series_are_recorded_with_some_of_their_keys(
    database: Database, runs: Runs, manual: ManualCommit
) -> None:
    run = (await runs.create(ANYONE, NewRun())).run
    await new_series(database, run.run_id, "loss")
    await runs.delete_series(ANYONE, run.run_id.hex, ["none of this name"])
    await runs.delete_series(ANYONE, run.run_id.hex, ["loss", *(f"{number:0200}" for number in range(100))])
    ((action, subject, details),) = await recorded(database)
    assert (action, subject, details["series"]) == ("series_deleted", run.run_id.hex, 1)
    assert details["first_keys"] == ["loss", *["0" * 100] * 9]


async def test_changes_of_experiments_are_recorded(database: Database, runs: Runs) -> None:
    experiments = Experiments(database)
    experiment_id = (await experiments.create(ANYONE, "digits"))[0].experiment_id
    await runs.create(ANYONE, NewRun(experiment="digits"))
    await experiments.set_retention(ANYONE, experiment_id, 30)
    await experiments.set_retention(ANYONE, experiment_id, None)
    await experiments.delete(ANYONE, experiment_id)
    await experiments.restore(ANYONE, experiment_id)
    with pytest.raises(NotFound):
        await experiments.set_retention(ANYONE, 10**9, 30)
    subject = str(experiment_id)
    assert await recorded(database) == [
        ("retention_set", subject, {"days": 30}),
        ("retention_set", subject, {"days": None}),
        ("experiment_deleted", subject, {"runs": 1}),
        ("experiment_restored", subject, {}),
    ]


async def test_deletions_of_models_and_files_are_recorded(database: Database, tmp_path: Path) -> None:
    models, versions, registered = LoggedModels(database), ModelVersions(database), RegisteredModels(database)
    model_id = (await models.create(ANYONE, NewModel(experiment_id=0))).model_id
    await models.delete(ANYONE, model_id)
    await models.delete(ANYONE, model_id)
    await registered.create(ANYONE, "m")
    await versions.create(ANYONE, NewVersion(name="m", source="s3://elsewhere/m"))
    await versions.delete(ANYONE, "m", "1")
    await registered.delete(ANYONE, "m")
    await FilesOfCaller(ArtifactStore.open(str(tmp_path / "artifacts")), database).delete(ANYONE, "0/file")
    assert await recorded(database) == [
        ("logged_model_deleted", model_id, {}),
        ("model_version_deleted", "m", {"version": 1}),
        ("registered_model_deleted", "m", {}),
        ("artifact_deleted", "0/file", {}),
    ]


async def test_nothing_is_deleted_that_cannot_be_recorded(database: Database, runs: Runs) -> None:
    run_id = (await runs.create(ANYONE, NewRun())).run.run_id.hex
    await database.execute("ALTER TABLE audit_events ADD CHECK (action <> 'run_deleted')")
    with pytest.raises(asyncpg.CheckViolationError):
        await runs.delete(ANYONE, run_id)
    assert (await runs.get(ANYONE, run_id)).lifecycle == "active"
    assert await recorded(database) == []


# -- refusals --------------------------------------------------------------------------------------------------------


async def test_refusals_become_one_row_and_one_line_for_each_kind(database: Database) -> None:
    registry = CollectorRegistry()
    refused = RefusedCalls(registry)
    with structlog.testing.capture_logs() as lines:
        for _ in range(1_000):
            refused.note(Unauthenticated("who?"), call="/S/GetRun", peer="10.0.0.7", caller=None)
        refused.note(Forbidden("no"), call="/S/DeleteRun", peer="10.0.0.7", caller=ANYONE)
        refused.note(InvalidField("not a refusal"), call="/S/DeleteRun", peer="10.0.0.7", caller=ANYONE)
        await refused.write()  # the service is starting
        refused.use(database)
        await refused.write()
        await refused.write()
    assert await recorded(database) == [
        ("call_refused", "/S/GetRun", {"reason": "UNAUTHENTICATED", "peer": "10.0.0.7", "count": 1_000}),
        ("call_refused", "/S/DeleteRun", {"reason": "FORBIDDEN", "peer": "10.0.0.7", "count": 1}),
    ]
    assert [(line["reason"], line["call"]) for line in lines if line["action"] == "call_refused"] == [
        ("UNAUTHENTICATED", "/S/GetRun"),
        ("FORBIDDEN", "/S/DeleteRun"),
    ]
    name = "runstream_refused_calls_total"
    counts = {
        error.reason: registry.get_sample_value(name, {"reason": error.reason})
        for error in (Unauthenticated, Forbidden, WorkspaceNotFound)
    }
    assert counts == {"UNAUTHENTICATED": 1_000, "FORBIDDEN": 1, "WORKSPACE_NOT_FOUND": 0}


async def test_refusals_of_many_clients_take_bounded_room(database: Database) -> None:
    refused = RefusedCalls(CollectorRegistry())
    refused.use(database)
    with structlog.testing.capture_logs() as lines:
        for number in range(10_000):
            refused.note(Unauthenticated("who?"), call="HTTP", peer=f"fd00::{number:x}", caller=None)
    await refused.write()
    rows = await recorded(database)
    assert len(rows) == len(lines) == MAX_KINDS + 1
    assert sum(details["count"] for _, _, details in rows) == 10_000
    assert rows[-1][1:] == ("several", {"reason": "UNAUTHENTICATED", "peer": "several", "count": 10_000 - MAX_KINDS})


class _Context:
    """A call as the interceptor sees it."""

    def __init__(self, peer: str, forwarded_for: str = "") -> None:
        self._peer = peer
        self._metadata = (("x-forwarded-for", forwarded_for),) if forwarded_for else ()

    def peer(self) -> str:
        return self._peer

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "expected"),
    [
        ("ipv4:10.0.0.7:50000", "", "10.0.0.7"),
        ("ipv6:%5B::1%5D:50000", "", "::1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:50000", "", "fe80::1"),
        ("ipv6:%5B::ffff:10.0.0.7%5D:50000", "", "10.0.0.7"),
        ("unix:", "", "local"),
        ("ipv4:10.0.0.7:50000", "1.2.3.4", "10.0.0.7"),  # nobody whose word counts
        ("ipv4:10.1.0.1:50000", "9.9.9.9, 1.2.3.4", "1.2.3.4"),
        ("ipv6:%5B::ffff:10.1.0.1%5D:50000", "1.2.3.4", "1.2.3.4"),
        ("ipv4:10.1.0.1:50000", "x" * 1_000, "10.1.0.1"),
    ],
)
def test_the_address_of_a_client_is_that_which_a_trusted_proxy_names(
    peer: str, forwarded_for: str, expected: str
) -> None:
    context: Any = _Context(peer, forwarded_for)
    assert Peers(["10.1.0.0/16"]).address_of(context) == expected


# -- for how long ----------------------------------------------------------------------------------------------------


async def test_old_events_and_ended_tokens_are_forgotten_once_a_day(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runstream_service.retention.expiry._EVENTS_AT_ONCE", 2)
    for action, days in (("run_deleted", 401), ("run_deleted", 399), ("call_refused", 31), ("call_refused", 29)):
        await database.execute(
            "INSERT INTO audit_events (at, principal, action, subject) "
            "VALUES (now() - make_interval(days => $1), 'test', $2, $1::text)",
            days,
            action,
        )
    for name, kind, ended in (
        ("expired long ago", "token", 91),
        ("expired", "token", 89),
        ("lasting", "token", None),
        ("uri", "uri", 2),
    ):
        await database.execute(
            "INSERT INTO tokens (hash, kind, name, workspace_id, role, created_by, expires_at) "
            "VALUES ($1, $2, $3, 1, 'read', 'test', now() - make_interval(days => $4))",
            hash_of(new_token()),
            kind,
            name,
            ended,
        )
    for number, over in enumerate((True, False)):
        await database.execute(
            "INSERT INTO sessions (hash, principal, grants, expires_at) "
            "VALUES ($1, 'ada', '{}', now() + make_interval(hours => $2))",
            bytes([number]) * 32,
            -1 if over else 1,
        )
    expiry = AccessExpiry(database)
    assert await expiry.run_if_due() == 5
    assert await expiry.run_if_due() == 0
    assert await database.fetchval("SELECT count(*) FROM sessions") == 1
    assert [row["subject"] for row in await database.fetch("SELECT subject FROM audit_events ORDER BY 1")] == [
        "29",
        "399",
    ]
    assert [row["name"] for row in await database.fetch("SELECT name FROM tokens ORDER BY 1")] == ["expired", "lasting"]
