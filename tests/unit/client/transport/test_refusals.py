"""Each journal is sent with the credentials of its writer, and no point is lost when these are refused."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest

from runstream._credentials import Credentials, Secret
from runstream._endpoint import Endpoint
from runstream._stored_credentials import FIELD, StoredCredentials
from runstream.agent.status import StatusFile
from runstream.agent.sync import sync
from runstream.journal import Directory
from tests.unit.client.ledger import Refused
from tests.unit.client.reference_service import ReferenceService
from tests.unit.client.transport.conftest import StartTransport, until
from tests.unit.client.transport.journals import Trainer
from tests.unit.client.transport.outcomes import settled, steps, texts

pytestmark = pytest.mark.reference_only("the test says which tokens are valid; tests/access/ has the real ones")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests do not see the tokens and settings of the person who runs them."""
    for name in [name for name in os.environ if name.startswith("RUNSTREAM_TOKEN")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def trainer_with(directory: Directory, service: ReferenceService, credentials: Credentials, **fields: Any) -> Trainer:
    name = StoredCredentials(directory.credentials_path).save(Endpoint(service.address, credentials=credentials))
    return Trainer.start(directory, service.address, **{FIELD: name}, **fields)


def literal(token: str, workspace: str = "") -> Credentials:
    return Credentials(Secret(token), workspace=workspace, source="RUNSTREAM_TOKEN")


def test_two_runs_with_two_tokens_are_each_sent_with_their_own(
    service: ReferenceService, directory: Directory, transports: StartTransport
) -> None:
    service.gate.only("token-a", "token-b")
    transport = transports(directory)
    trainers = {token: trainer_with(directory, service, literal(token, token[-1])) for token in ("token-a", "token-b")}
    for trainer in trainers.values():
        trainer.params(a="1")
        trainer.log(range(100))
        settled(trainer)
    for method in ("CreateRun", "LogParams", "Append"):
        assert sorted(service.gate.calls(method)) == [("token-a", "a"), ("token-b", "b")]
    for trainer in trainers.values():
        trainer.finish()
        trainer.die()
    until(lambda: not directory.journals())
    status = StatusFile(directory, transport, stays=False)
    status.write()
    shown = directory.agent_status_path.read_text()
    assert len(json.loads(shown)["addresses"]) == 2
    assert "token-a" not in shown


def test_a_refused_token_is_reported_once_and_its_points_wait_for_a_valid_one(
    service: ReferenceService, directory: Directory, transports: StartTransport, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    path.write_text("old")
    service.gate.only("new")
    credentials = Credentials(token_file=str(path), source=f"the token file {path}")
    trainer = trainer_with(directory, service, credentials)
    trainer.params(lr="0.1")
    trainer.log(range(1_000))
    transports(directory)
    until(lambda: "the token 'ci' has expired" in trainer.position().last_error)
    tries = len(service.gate.seen)
    until(lambda: len(service.gate.seen) >= tries + 2)
    assert texts(trainer).count("refuses the credentials") == 1
    assert f"The token file {path} is not valid here" in texts(trainer)
    assert trainer.position().run_state == "refused", "so that nobody waits for it at the end of a process"
    path.write_text("new")
    settled(trainer)
    assert service.values("loss") == steps(1_000)
    assert dict(service.run(trainer.run_id).params) == {"lr": "0.1"}
    assert "connected to the runstream service" in texts(trainer)


@pytest.mark.parametrize(
    ("code", "reason", "words"),
    [
        ("PERMISSION_DENIED", "FORBIDDEN", "Ask for a role"),
        ("NOT_FOUND", "WORKSPACE_NOT_FOUND", "Correct the workspace"),
    ],
)
def test_points_wait_until_missing_rights_are_granted(
    service: ReferenceService, directory: Directory, transports: StartTransport, code: str, reason: str, words: str
) -> None:
    refused = Refused(grpc.StatusCode[code], reason)
    service.gate.refusal_of = lambda token, workspace: refused
    trainer = trainer_with(directory, service, literal("t", "w"))
    trainer.tags(stage="a")
    trainer.log(range(100))
    transports(directory)
    until(lambda: words in texts(trainer))
    service.gate.refusal_of = lambda token, workspace: None
    settled(trainer)
    assert dict(service.run(trainer.run_id).tags) == {"stage": "a"}


def test_a_token_that_expires_during_a_stream_is_replaced_without_a_warning(
    service: ReferenceService, directory: Directory, transports: StartTransport, tmp_path: Path
) -> None:
    """Kubernetes rotates the token of a pod so: when the service ends the stream, the file has a new token already."""
    path = tmp_path / "token"
    path.write_text("0")
    expired = Refused(grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", "the token has expired")
    service.gate.only("0")
    trainer = trainer_with(directory, service, Credentials(token_file=str(path), source="the token file"))
    transports(directory)
    count = 0
    for number in range(1, 4):
        trainer.log(range(count, count + 2_000), batch=100)
        count += 2_000
        fired = threading.Event()

        def fault(event: str, _number: int, number: int = number, fired: threading.Event = fired) -> None:
            if event == "batch" and not fired.is_set():
                path.write_text(str(number))
                service.gate.only(str(number))
                fired.set()
                raise expired

        service.ledger.fault = fault
        settled(trainer)
        assert fired.is_set()
    assert service.values("loss") == steps(count)
    assert {token for token, _ in service.gate.calls("Append")} == {"0", "1", "2", "3"}
    assert "refuses the credentials" not in texts(trainer)


def test_a_journal_whose_token_has_expired_is_sent_with_a_newer_token_of_the_same_workspace(
    service: ReferenceService, directory: Directory, transports: StartTransport
) -> None:
    service.gate.only("newer", "of-others")
    left = trainer_with(directory, service, literal("expired", "team-a"), attempt=1)
    left.log(range(100))
    left.finish()
    left.die()
    elsewhere = trainer_with(directory, service, literal("expired-too", "team-b"))
    elsewhere.log(range(100), "b")
    trainer_with(directory, service, literal("of-others"))
    transports(directory)
    until(lambda: "refuses the credentials" in texts(left) and "refuses the credentials" in texts(elsewhere))
    trainer_with(directory, service, literal("newer", "team-a"))
    until(lambda: service.values("loss") == steps(100))
    assert service.values("b") == []
    assert ("of-others", "team-a") not in service.gate.calls("CreateRun")


def test_sync_sends_with_its_own_token(
    service: ReferenceService, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.gate.only("mine")
    trainer = trainer_with(directory, service, literal("expired"))
    trainer.log(range(100))
    trainer.finish()
    trainer.die()
    refused = sync(directory.path, timeout_s=1.0)
    assert not refused.ok
    assert "has expired" in refused.journals[0].last_error
    monkeypatch.setenv("RUNSTREAM_TOKEN", "mine")
    assert sync(directory.path).ok
    assert service.values("loss") == steps(100)


def test_a_stored_token_is_sent_only_to_its_own_address(service: ReferenceService, directory: Directory) -> None:
    service.gate.only("")
    trainer = trainer_with(directory, service, literal("secret"))
    trainer.finish()
    trainer.die()
    other = ReferenceService()
    assert sync(directory.path, other.address).ok
    other.stop()
    assert {token for _, token, _ in other.gate.seen} == {""}


def test_a_journal_without_credentials_is_sent_with_those_of_an_operators_agent(
    service: ReferenceService, directory: Directory, transports: StartTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.gate.only("operator")
    monkeypatch.setenv("RUNSTREAM_TOKEN", "operator")
    trainer = Trainer.start(directory, service.address)
    trainer.log(range(10))
    transports(directory)
    settled(trainer)
