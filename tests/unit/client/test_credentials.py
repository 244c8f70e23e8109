"""Where address, token and workspace come from. A token is shown nowhere."""

from __future__ import annotations

import json
import logging
import os
import pickle
from pathlib import Path
from typing import Any

import grpc
import pytest

import runstream
from runstream import _run_logger
from runstream._credentials import Credentials, Secret
from runstream._endpoint import Endpoint, TlsFiles, check_address, is_exposed, resolve
from runstream._profile import Login, Project, login_path
from runstream._repetition import Repetition
from runstream._settings import from_environment, in_this_process
from runstream._stored_credentials import StoredCredentials
from tests.unit.client.ledger import Refused
from tests.unit.client.reference_service import ReferenceService

TOKEN = "rst_verysecretverysecretverysecretverysecret00"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a project's runstream.toml. This process works in a directory below it."""
    inside = tmp_path / "project" / "src"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    return inside.parent / "runstream.toml"


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has set nothing."""
    return {"HOME": str(tmp_path / "home")}


def log_in(environ: dict[str, str], address: str = "grpcs://team:50051", **fields: Any) -> Login:
    login = Login(login_path(environ), address, token=Secret(TOKEN), **fields)
    login.save()
    return login


def token_of(endpoint: Endpoint) -> str:
    return endpoint.credentials.read(endpoint.address).secret.reveal()


def test_arguments_win_over_the_environment_the_project_and_the_login(project: Path, home: dict[str, str]) -> None:
    project.write_text('address = "grpcs://project:1"\nworkspace = "of-project"\nexperiment = "digits"\n')
    log_in(home, "grpcs://team:50051", workspace="of-login")
    environ = {**home, "RUNSTREAM_ADDRESS": "variable:1", "RUNSTREAM_WORKSPACE": "of-variable", "RUNSTREAM_TOKEN": "v"}
    settings = from_environment("argument:1", environ, token="a", workspace="of-argument")
    assert (settings.address, token_of(settings.endpoint)) == ("argument:1", "a")
    assert (settings.endpoint.credentials.workspace, settings.experiment) == ("of-argument", "digits")

    settings = from_environment(None, environ)
    assert (settings.address, token_of(settings.endpoint)) == ("variable:1", "v")
    assert settings.endpoint.credentials.workspace == "of-variable"

    settings = from_environment(None, home)
    assert settings.address == "grpcs://project:1"
    assert settings.endpoint.credentials.workspace == "of-project"
    assert token_of(settings.endpoint) == "", "the token of the login is for another service"

    project.unlink()
    settings = from_environment(None, home)
    assert (settings.address, token_of(settings.endpoint)) == ("grpcs://team:50051", TOKEN)
    assert settings.endpoint.credentials.workspace == "of-login"


def test_a_login_that_others_can_read_is_not_used(home: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    login = log_in(home)
    assert os.stat(login.path).st_mode & 0o777 == 0o600
    os.chmod(login.path, 0o640)
    assert not resolve(None, home).credentials.has_token
    assert "other users can read it" in caplog.text


def test_a_login_that_is_made_again_is_used_by_calls_that_follow(home: dict[str, str]) -> None:
    log_in(home)
    endpoint = resolve(None, home)
    Login(login_path(home), "grpcs://team:50051", token=Secret("another")).save()
    assert token_of(endpoint) == "another"
    Login(login_path(home), "grpcs://elsewhere:1", token=Secret("another")).save()
    token = endpoint.credentials.read(endpoint.address)
    assert not token.secret
    assert "another service" in token.problem


def test_a_token_file_is_read_again_for_each_call(tmp_path: Path) -> None:
    path = tmp_path / "token"
    endpoint = resolve("a:1", {"RUNSTREAM_TOKEN_FILE": str(path)})
    assert "cannot be read" in endpoint.credentials.read("a:1").problem
    assert endpoint.metadata() == ()
    path.write_text("first\n")
    assert endpoint.metadata() == (("authorization", "Bearer first"),)
    path.write_text("second")
    assert endpoint.metadata() == (("authorization", "Bearer second"),)
    path.write_text("two words")
    assert endpoint.credentials.read("a:1").problem.startswith(f"the token file {path} is not a token")


def test_a_bad_token_is_named_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="token is not a token") as caught:
        resolve(None, {}, token=f"{TOKEN}\n")
    assert TOKEN not in str(caught.value)
    assert not resolve(None, {"RUNSTREAM_TOKEN": f"{TOKEN} {TOKEN}"}).credentials.has_token
    assert "RUNSTREAM_TOKEN is not a token" in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("addres = 'a:1'", "unknown key 'addres'"),
        ("token = 'a'", "never a token"),
        ("address = 5", "address must be a string"),
        ("address", "cannot be read"),
        ("workspace = 'a b'", "expected the name of a workspace"),
    ],
)
def test_a_wrong_project_file_is_named(project: Path, text: str, words: str) -> None:
    project.write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        from_environment(None, {})
    assert str(project) in str(caught.value)


def test_a_project_file_that_anybody_may_write_is_not_used(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    project.write_text('address = "evil:1"')
    os.chmod(project, 0o666)
    assert Project.find() == Project()
    assert "is ignored" in caplog.text


def test_a_working_directory_that_is_gone_has_no_project(project: Path) -> None:
    directory = Path.cwd()
    directory.rmdir()
    assert Project.find() == Project()


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("host:1", "host:1"),
        ("grpc://host:1", "host:1"),
        ("grpcs://host:1", "grpcs://host:1"),
        ("https://host:1/", "grpcs://host:1"),
        ("grpcs://dns:///host:1", "grpcs://dns:///host:1"),
        ("dns:///host:1", "dns:///host:1"),
        ("unix:/tmp/x", "unix:/tmp/x"),
    ],
)
def test_addresses_have_one_form(given: str, address: str) -> None:
    assert check_address(given) == address


@pytest.mark.parametrize("given", ["http://host:1", "grpcs://", "https://host", "https://host:1/x", "grpcs://u:p@h:1"])
def test_an_address_of_no_known_form_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match="address"):
        check_address(given)


def test_a_certificate_without_its_key_is_refused() -> None:
    with pytest.raises(ValueError, match="RUNSTREAM_TLS_CERT is set and RUNSTREAM_TLS_KEY is not"):
        resolve("grpcs://a:1", {"RUNSTREAM_TLS_CERT": "/c"})
    with pytest.raises(ValueError, match="RUNSTREAM_TLS_KEY is set and RUNSTREAM_TLS_CERT is not"):
        resolve("grpcs://a:1", {"RUNSTREAM_TLS_KEY": "/c"})


@pytest.mark.parametrize(
    ("address", "exposed"),
    [
        ("127.0.0.1:1", False),
        ("localhost:1", False),
        ("[::1]:1", False),
        ("unix:/x:1", False),
        ("grpcs://host:1", False),
        ("host:1", True),
        ("dns:///host:1", True),
        ("ipv4:10.0.0.1:1,10.0.0.2:1", True),
    ],
)
def test_a_token_without_tls_is_exposed_beyond_loopback(address: str, exposed: bool) -> None:
    assert is_exposed(resolve(address, {"RUNSTREAM_TOKEN": "t"})) is exposed
    assert not is_exposed(resolve(address, {}))


def test_a_token_that_is_exposed_is_reported_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_run_logger, "_said", Repetition())
    for _ in range(3):
        from_environment("host:1", {"RUNSTREAM_TOKEN": TOKEN})
    records = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(records) == 1
    assert "without TLS" in caplog.text


def test_no_repr_and_no_pickle_has_the_token() -> None:
    settings = from_environment("127.0.0.1:1", {"RUNSTREAM_TOKEN": TOKEN})
    shown = repr(settings) + str(settings.endpoint) + repr(runstream.Client("127.0.0.1:1", token=TOKEN))
    assert TOKEN not in shown
    assert TOKEN.encode() not in pickle.dumps(settings)


def test_a_handle_that_is_sent_elsewhere_uses_the_token_there() -> None:
    sent = pickle.loads(pickle.dumps(from_environment("a:1", {}, token=TOKEN, workspace="w")))
    here = in_this_process(sent, {"RUNSTREAM_TOKEN": "mine"})
    assert (here.address, token_of(here.endpoint), here.endpoint.credentials.workspace) == ("a:1", "mine", "w")
    nothing = in_this_process(sent, {})
    assert "was not passed on" in nothing.endpoint.credentials.read("a:1").problem


def test_stored_credentials_are_private_shared_and_deleted_when_nobody_names_them(tmp_path: Path) -> None:
    stored = StoredCredentials(tmp_path / "credentials")
    endpoint = Endpoint("grpcs://a:1", TlsFiles(ca="/ca"), Credentials(Secret(TOKEN), workspace="w", source="x"))
    name = stored.save(endpoint)
    assert stored.save(endpoint) == name
    assert stored.load(name) == endpoint
    assert stored.save(Endpoint("a:1")) == "", "the address is in the journal"
    (path,) = stored.path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert stored.path.stat().st_mode & 0o777 == 0o700
    stored.delete_unused({name})
    stored.delete_unused(set())
    assert stored.load(name) == endpoint, "its journal may be about to be made"
    os.utime(path, (0, 0))
    stored.delete_unused(set())
    assert stored.load(name) is None
    assert stored.load("../../etc/passwd") is None
    path.write_text(json.dumps({"address": 5}))
    assert stored.load(name) is None


@pytest.mark.reference_only("the test says which tokens are valid; tests/access/ has the real ones")
def test_every_call_of_a_client_has_token_and_workspace(service: ReferenceService) -> None:
    service.gate.only(TOKEN)
    client = runstream.Client(service.address, token=TOKEN, workspace="team-a")
    with pytest.raises(runstream.NotFound):
        client.get_run("0" * 32)
    with pytest.raises(runstream.NotFound):
        client.history("0" * 32, "loss")
    client.latest("0" * 32)
    next(iter(client.tail("0" * 32)))
    assert [(token, workspace) for _, token, workspace in service.gate.seen] == [(TOKEN, "team-a")] * 4


@pytest.mark.reference_only("the test says which tokens are valid; tests/access/ has the real ones")
def test_two_clients_with_two_tokens_have_two_channels(service: ReferenceService) -> None:
    for token in ("one", "two"):
        runstream.Client(service.address, token=token).latest("0" * 32)
    assert service.gate.calls("Latest") == [("one", ""), ("two", "")]


@pytest.mark.reference_only("the test says which tokens are valid; tests/access/ has the real ones")
@pytest.mark.parametrize("call", ["get_run", "history"])
def test_a_refused_client_raises_at_once_and_does_not_show_the_token(service: ReferenceService, call: str) -> None:
    service.gate.only("another")
    client = runstream.Client(service.address, token=TOKEN)
    with pytest.raises(runstream.Unauthenticated, match="the token 'ci' has expired") as caught:
        getattr(client, call)("0" * 32, *(["loss"] if call == "history" else []))
    assert isinstance(caught.value, runstream.PermissionDenied)
    assert caught.value.reason == "UNAUTHENTICATED"
    assert "The token passed as token= is not valid here" in str(caught.value)
    assert TOKEN not in str(caught.value)


@pytest.mark.reference_only("the test says which tokens are valid; tests/access/ has the real ones")
def test_a_workspace_that_does_not_exist_is_not_found(service: ReferenceService) -> None:
    refused = Refused(grpc.StatusCode.NOT_FOUND, "WORKSPACE_NOT_FOUND", "there is no workspace 'team-b'")
    service.gate.refusal_of = lambda token, workspace: refused
    with pytest.raises(runstream.NotFound, match="Correct the workspace"):
        runstream.Client(service.address, token=TOKEN, workspace="team-b").get_run("0" * 32)
