"""TLS to a real server, and what the client reports when it fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import grpc
import pytest

import runstream
from runstream._credentials import Credentials, Secret
from runstream._endpoint import Endpoint, TlsFiles, resolve
from runstream._stored_credentials import FIELD, StoredCredentials
from runstream._tls_probe import probe
from runstream.journal import Directory
from tests.support.authorities import CertificateFiles
from tests.unit.client.reference_service import ReferenceService
from tests.unit.client.transport.conftest import StartTransport, until
from tests.unit.client.transport.conftest import transports as transports
from tests.unit.client.transport.journals import Trainer
from tests.unit.client.transport.outcomes import settled, texts
from tests.unit.client.transport.test_refusals import no_environment as no_environment

StartService = Callable[[grpc.ServerCredentials | None], ReferenceService]


class StartTrainer(Protocol):
    """Starts the writer of a journal with these credentials."""

    def __call__(self, address: str, token: str = "", ca: str = "") -> Trainer: ...


@pytest.fixture
def certificates(tmp_path: Path) -> CertificateFiles:
    """Certificates of the authority of the service."""
    return CertificateFiles(tmp_path / "certificates")


@pytest.fixture
def start_service() -> Iterator[StartService]:
    """Starts services, which listen with the given credentials."""
    services: list[ReferenceService] = []

    def start(credentials: grpc.ServerCredentials | None) -> ReferenceService:
        services.append(ReferenceService(credentials=credentials))
        return services[-1]

    yield start
    for service in services:
        service.stop()
        assert service.ledger.violations == []


@pytest.fixture
def trainer_of(tmp_path: Path) -> StartTrainer:
    """Starts writers of journals, with the given credentials."""
    directory = Directory(tmp_path / "state")
    directory.make()

    def start(address: str, token: str = "", ca: str = "") -> Trainer:
        credentials = Credentials(Secret(token), source="RUNSTREAM_TOKEN") if token else Credentials()
        endpoint = Endpoint(address, TlsFiles(ca=ca), credentials)
        name = StoredCredentials(directory.credentials_path).save(endpoint)
        return Trainer.start(directory, address, **{FIELD: name})

    return start


def problem(address: str, **variables: str) -> str:
    return probe(resolve(address, variables)).problem


def test_points_and_reads_go_over_tls(
    start_service: StartService,
    certificates: CertificateFiles,
    trainer_of: StartTrainer,
    transports: StartTransport,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RUNSTREAM_TLS_CA", certificates.ca)
    service = start_service(certificates.of_server("127.0.0.1"))
    service.gate.only("t")
    trainer = trainer_of(service.address, token="t", ca=certificates.ca)
    transports(trainer.directory)
    trainer.log(range(100))
    settled(trainer)
    assert list(runstream.Client(service.address, token="t").history(trainer.run_id, "loss").values) == [
        float(step) for step in range(100)
    ]


def test_a_certificate_of_an_untrusted_authority_is_reported(
    start_service: StartService, certificates: CertificateFiles, tmp_path: Path
) -> None:
    service = start_service(certificates.of_server("127.0.0.1"))
    other = CertificateFiles(tmp_path / "other")
    words = problem(service.address, RUNSTREAM_TLS_CA=other.ca)
    assert f"not trusted by RUNSTREAM_TLS_CA={other.ca}" in words
    assert "by this system's authorities" in problem(service.address)
    with pytest.raises(runstream.Unavailable, match="is not trusted"):
        runstream.Client(service.address).latest("0" * 32)


def test_a_certificate_for_another_name_is_reported(
    start_service: StartService, certificates: CertificateFiles
) -> None:
    service = start_service(certificates.of_server("elsewhere.example"))
    assert "is for another name" in problem(service.address, RUNSTREAM_TLS_CA=certificates.ca)


def test_an_expired_certificate_is_reported(start_service: StartService, certificates: CertificateFiles) -> None:
    service = start_service(certificates.of_server("127.0.0.1", days=-1))
    words = problem(service.address, RUNSTREAM_TLS_CA=certificates.ca)
    assert "has expired" in words
    assert "clock" in words


def test_an_address_without_tls_of_a_service_with_tls_is_reported(
    start_service: StartService, certificates: CertificateFiles
) -> None:
    service = start_service(certificates.of_server("127.0.0.1"))
    plain = service.address.removeprefix("grpcs://")
    assert problem(plain) == f"{plain} uses TLS, and the address does not say so: use grpcs://{plain}"
    with pytest.raises(runstream.Unavailable, match="uses TLS"):
        runstream.Client(plain).latest("0" * 32)


def test_an_address_with_tls_of_a_service_without_tls_is_reported(start_service: StartService) -> None:
    service = start_service(None)
    words = problem(f"grpcs://{service.address}")
    assert service.address in words
    assert f"use the address {service.address}, without grpcs://" in words
    assert problem(service.address) == ""


def test_a_missing_or_wrong_client_certificate_is_reported(
    start_service: StartService, certificates: CertificateFiles
) -> None:
    service = start_service(certificates.of_server("127.0.0.1", asks_client=True))
    assert "asks for a certificate of the client" in problem(service.address, RUNSTREAM_TLS_CA=certificates.ca)
    cert, key = certificates.issue("client@example.com", file="client")
    variables = {"RUNSTREAM_TLS_CA": certificates.ca, "RUNSTREAM_TLS_CERT": cert, "RUNSTREAM_TLS_KEY": key}
    assert problem(service.address, **variables) == ""
    own = CertificateFiles(Path(cert).parent / "own")
    cert, key = own.issue("client@example.com", file="client")
    variables = {**variables, "RUNSTREAM_TLS_CERT": cert, "RUNSTREAM_TLS_KEY": key}
    assert f"does not accept {cert}" in problem(service.address, **variables)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_certificate_file_that_is_missing_or_invalid_is_named(
    tmp_path: Path, content: str | None, start_service: StartService, certificates: CertificateFiles
) -> None:
    service = start_service(certificates.of_server("127.0.0.1"))
    path = tmp_path / "ca.pem"
    if content:
        path.write_text(content)
    assert str(path) in problem(service.address, RUNSTREAM_TLS_CA=str(path))


def test_an_error_of_a_reader_names_the_file_that_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUNSTREAM_TLS_CA", str(tmp_path / "missing.pem"))
    with pytest.raises(runstream.FailedPrecondition, match=r"missing\.pem cannot be read"):
        runstream.Client("grpcs://127.0.0.1:1").latest("0" * 32)


def test_a_tls_failure_is_reported_once_and_points_arrive_when_tls_works(
    start_service: StartService,
    certificates: CertificateFiles,
    trainer_of: StartTrainer,
    transports: StartTransport,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    ca = tmp_path / "ca.pem"
    ca.write_text(Path(CertificateFiles(tmp_path / "other").ca).read_text())
    service = start_service(certificates.of_server("127.0.0.1"))
    trainer = trainer_of(service.address, ca=str(ca))
    trainer.log(range(100))
    transport = transports(trainer.directory)
    until(lambda: "is not trusted" in texts(trainer))
    assert trainer.position().last_error.startswith("CreateRun: UNAVAILABLE TLS_FAILED: the certificate of")
    ca.write_text(Path(certificates.ca).read_text())
    transport.retry_now()
    settled(trainer)
    assert texts(trainer).count("is not trusted") == 1
