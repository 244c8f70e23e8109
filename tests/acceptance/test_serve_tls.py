"""`runstream serve` with TLS and mutual TLS, and certificates that are replaced while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import mlflow
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc

from runstream.v1 import ingest_pb2, query_pb2, query_pb2_grpc, run_pb2, run_pb2_grpc
from runstream_bench import http_client
from runstream_bench.load import append, batch_message
from tests.support import preloaded
from tests.support.authorities import Authority, Issued, SecretMount, channel_credentials, trusting
from tests.support.databases import short_directory
from tests.support.polling import until, until_now
from tests.support.producers import Producers, assert_exactly_once
from tests.support.rest import Rest
from tests.support.serve import COMMAND, ServeProcess, command_environment
from tests.support.tasks import end

_REPLACED_WITHIN_S = 30.0


@dataclass
class TlsService:
    """A service with TLS, its files, and their authority."""

    serve: ServeProcess
    mount: SecretMount
    authority: Authority
    clients: Authority
    directory: Path

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of HTTP."""
        return "127.0.0.1", int(self.serve.http_url.rpartition(":")[2])

    def serial(self, context: ssl.SSLContext) -> int:
        """The serial number of the certificate that a new connection gets over HTTP."""
        with (
            socket.create_connection(self.address, timeout=60) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as inside,
        ):
            certificate = inside.getpeercert()
            assert certificate is not None
            return int(str(certificate["serialNumber"]), 16)

    def failures(self, reason: str) -> float:
        """How many handshakes failed for this reason."""
        return self.serve.metric("runstream_tls_handshakes_failed_total", reason=reason)


@contextlib.contextmanager
def tls_service(*, mutual: bool = False, workers: int = 1, options: Sequence[str] = ()) -> Iterator[TlsService]:
    with short_directory() as directory:
        authority, clients = Authority(), Authority()
        mount = SecretMount(directory / "tls")
        mount.put(authority.issue(), clients.pem)
        arguments = [*mount.arguments(mutual=mutual), "--monitoring-listen", "127.0.0.1:0", "--workers", str(workers)]
        arguments += options
        with ServeProcess(directory / "data", arguments=arguments) as serve:
            yield TlsService(serve, mount, authority, clients, directory)


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two workers"])
def service(request: pytest.FixtureRequest) -> Iterator[TlsService]:
    with tls_service(workers=request.param) as running:
        yield running


@pytest.fixture(scope="module")
def mutual() -> Iterator[TlsService]:
    with tls_service(mutual=True) as running:
        yield running


def serial_of(issued: Issued) -> int:
    return x509.load_pem_x509_certificates(issued.chain)[0].serial_number


def health(address: str, credentials: grpc.ChannelCredentials, *, name: str | None = None) -> int:
    options = [("grpc.ssl_target_name_override", name)] if name else []
    with grpc.secure_channel(address, credentials, options=options) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
    return int(answer.status)


def get(service: TlsService, context: ssl.SSLContext, path: str = "/readyz") -> int:
    return http_client.get(service.serve.http_url + path, context=context).status


# -- one certificate for both ports ------------------------------------------------------------------------------------


def test_both_ports_speak_tls_and_say_so(service: TlsService) -> None:
    assert service.serve.http_url.startswith("https://")
    assert health(service.serve.grpc_address, channel_credentials(service.authority)) == 1
    assert get(service, trusting(service.authority)) == 200


def test_a_client_that_does_not_trust_the_certificate_is_counted_with_the_reason(service: TlsService) -> None:
    before = service.failures("not_trusted")
    stranger = Authority()
    with pytest.raises(ssl.SSLCertVerificationError, match=r"unable to get local issuer|self.signed"):
        service.serial(trusting(stranger))
    with (
        pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for 'tracker\.example\.org'"),
        socket.create_connection(service.address) as plain,
    ):
        trusting(service.authority).wrap_socket(plain, server_hostname="tracker.example.org")
    until_now(lambda: service.failures("not_trusted") == before + 2)
    record = service.serve.wait_for_action("tls_handshake_failed")
    assert record["level"] == "warning"
    for credentials, name in (
        (channel_credentials(stranger), None),
        (channel_credentials(service.authority), "tracker.example.org"),
    ):
        with pytest.raises(grpc.RpcError):
            health(service.serve.grpc_address, credentials, name=name)


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS"])
def test_plaintext_to_the_tls_port_is_answered_with_a_message(service: TlsService, method: str) -> None:
    before = service.failures("plaintext")
    with Rest(service.serve.http_url.replace("https:", "http:")) as rest:
        answer = rest.request(method, "experiments/search")
    assert (answer.status, answer.content) == (400, b"This port speaks TLS: use https:// in its address.\n")
    until_now(lambda: service.failures("plaintext") == before + 1)


def test_plaintext_to_the_grpc_port_fails_at_once(service: TlsService) -> None:
    with grpc.insecure_channel(service.serve.grpc_address) as channel, pytest.raises(grpc.RpcError) as caught:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_tls_to_a_plaintext_port_is_answered_and_counted(service: TlsService) -> None:
    before = service.failures("tls_to_plaintext")
    port = int(service.serve.monitoring_url.rpartition(":")[2])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as plain,
        pytest.raises(ssl.SSLError, match=r"(?i)wrong.version.number|record layer failure"),
    ):
        trusting(service.authority).wrap_socket(plain, server_hostname="127.0.0.1")
    until_now(lambda: service.failures("tls_to_plaintext") == before + 1)


def test_old_versions_of_tls_are_refused(service: TlsService) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.deprecated_call():
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(service.address, timeout=60) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain)


def test_a_connection_that_says_nothing_keeps_nobody_else_out(service: TlsService) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(socket.create_connection(service.address))
        assert get(service, trusting(service.authority)) == 200


def test_the_monitoring_port_has_the_pages_for_probes_and_prometheus_alone(service: TlsService) -> None:
    assert service.serve.monitoring_url.startswith("http://")
    for path, status in (("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/", 404), ("/about", 404)):
        assert service.serve.get(path)[0] == status, path
    assert service.serve.get("/api/2.0/mlflow/experiments/get?experiment_id=0")[0] == 404
    context = trusting(service.authority)
    assert [get(service, context, path) for path in ("/metrics", "/healthz", "/readyz")] == [404, 200, 200]


# -- replaced while it works -------------------------------------------------------------------------------------------


@dataclass
class OpenStreams:
    """An Append stream that sends batches all the time, and a Tail of its run."""

    acknowledged: int = 0
    points_seen: int = 0
    ended: BaseException | None = None

    @contextlib.asynccontextmanager
    async def on(self, channel: grpc.aio.Channel) -> AsyncIterator[OpenStreams]:
        run_id = uuid.uuid4().hex
        await run_pb2_grpc.RunServiceStub(channel).CreateRun(
            run_pb2.CreateRunRequest(run_id=run_id, experiment="tls", name="tls")
        )
        call = append(channel)
        opening = ingest_pb2.Open(run_id=run_id, producer_id=uuid.uuid4().bytes, first_unacked=1)
        declared = [ingest_pb2.SeriesDeclaration(series_index=0, key="loss")]
        await call.write(ingest_pb2.AppendRequest(open=opening).SerializeToString())
        await call.write(ingest_pb2.AppendRequest(declare=ingest_pb2.Declare(series=declared)).SerializeToString())
        tail = query_pb2_grpc.QueryServiceStub(channel).Tail(query_pb2.TailRequest(run_id=run_id))
        tasks = [asyncio.create_task(work) for work in (self._send(call), self._follow(tail))]
        try:
            yield self
        finally:
            await end(*tasks)

    async def _send(self, call: Any) -> None:
        try:
            await call.read()  # opened
            for number in range(10**9):
                await call.write(batch_message(10, 1, number))
                ack = ingest_pb2.AppendResponse.FromString(await call.read()).ack
                self.acknowledged = ack.committed_number
                await asyncio.sleep(0.02)  # as training does: its certificates are replaced, the service is not loaded
        except grpc.aio.AioRpcError as error:
            self.ended = error

    async def _follow(self, tail: Any) -> None:
        try:
            async for answer in tail:
                self.points_seen += sum(piece.point_count for piece in answer.series)
        except grpc.aio.AioRpcError as error:
            self.ended = error


async def test_certificates_are_replaced_without_dropping_a_stream_or_a_connection(service: TlsService) -> None:
    context = trusting(service.authority)
    kept = http.client.HTTPSConnection(*service.address, context=context, timeout=30)
    successor = Authority()
    credentials = channel_credentials(service.authority)
    async with (
        grpc.aio.secure_channel(service.serve.grpc_address, credentials) as channel,
        OpenStreams().on(channel) as streams,
    ):
        await until(lambda: streams.acknowledged > 5 and streams.points_seen > 0)
        await asyncio.to_thread(_get_on, kept)
        connection = kept.sock
        replacement = successor.issue()
        service.mount.put(replacement)
        await asyncio.to_thread(_wait_for_serial, service, trusting(successor), serial_of(replacement))
        acknowledged, seen = streams.acknowledged, streams.points_seen
        await until(lambda: streams.acknowledged > acknowledged + 5 and streams.points_seen > seen)
        assert streams.ended is None
        await asyncio.to_thread(_get_on, kept)
        assert kept.sock is connection
    kept.close()
    # gRPC's new connections get it as well, and nothing else.
    assert await asyncio.to_thread(health, service.serve.grpc_address, channel_credentials(successor)) == 1
    with pytest.raises(grpc.RpcError):
        await asyncio.to_thread(health, service.serve.grpc_address, channel_credentials(service.authority))
    service.authority = successor
    assert "tls_reload_failed" not in service.serve.actions()


def _get_on(connection: http.client.HTTPSConnection) -> None:
    connection.request("GET", "/readyz")
    answer = connection.getresponse()
    assert (answer.status, bool(answer.read())) == (200, True)


def _wait_for_serial(service: TlsService, context: ssl.SSLContext, serial: int) -> None:
    """Until every worker has it: the kernel distributes connections."""
    until_now(lambda: all(_has_serial(service, context, serial) for _ in range(20)), timeout_s=_REPLACED_WITHIN_S)


def _has_serial(service: TlsService, context: ssl.SSLContext, serial: int) -> bool:
    try:
        return service.serial(context) == serial
    except ssl.SSLCertVerificationError:
        return False


def test_a_broken_replacement_keeps_the_old_certificate_and_is_reported(service: TlsService) -> None:
    context = trusting(service.authority)
    serial = service.serial(context)
    refused = service.serve.actions().count("tls_reload_failed")
    service.mount.put(Issued(service.authority.issue().chain, service.authority.issue().key))
    record = service.serve.wait_for_action("tls_reload_failed", count=refused + 1)
    assert "is not the key of the certificate" in record["error"]
    until_now(lambda: service.serve.metric("runstream_tls_files_refused") >= 1)
    assert service.serial(context) == serial
    repaired = service.authority.issue()
    service.mount.put(repaired)
    _wait_for_serial(service, context, serial_of(repaired))
    until_now(lambda: service.serve.metric("runstream_tls_files_refused") == 0)


def test_the_expiry_of_what_is_served_is_in_the_metrics(service: TlsService) -> None:
    def expires_in_days() -> float:
        name = "runstream_tls_certificate_expiry_timestamp_seconds"
        return (service.serve.metric(name, certificate="server") - time.time()) / 86_400

    service.mount.put(service.authority.issue(days=10))
    until_now(lambda: 9 < expires_in_days() < 11)


# -- mutual TLS --------------------------------------------------------------------------------------------------------


def test_clients_with_a_certificate_are_served_by_both_ports(mutual: TlsService) -> None:
    own = mutual.clients.issue("trainer")
    assert health(mutual.serve.grpc_address, channel_credentials(mutual.authority, own)) == 1
    assert get(mutual, trusting(mutual.authority, own, directory=mutual.directory)) == 200


@pytest.mark.parametrize("whose", ["none", "of somebody else", "expired"])
def test_other_clients_are_refused_in_the_handshake_by_both_ports(mutual: TlsService, whose: str) -> None:
    reason = "no_client_certificate" if whose == "none" else "client_certificate"
    before = mutual.failures(reason)
    own = {"none": None, "of somebody else": Authority().issue("x"), "expired": mutual.clients.issue("x", days=-1)}[
        whose
    ]
    said = {"none": "certificate required", "of somebody else": "unknown ca", "expired": "certificate expired"}[whose]
    with pytest.raises(ssl.SSLError, match=said):
        get(mutual, trusting(mutual.authority, own, directory=mutual.directory))
    until_now(lambda: mutual.failures(reason) == before + 1)
    with pytest.raises(grpc.RpcError):
        health(mutual.serve.grpc_address, channel_credentials(mutual.authority, own))


def test_probes_and_prometheus_need_no_certificate(mutual: TlsService) -> None:
    assert [mutual.serve.get(path)[0] for path in ("/healthz", "/readyz", "/metrics")] == [200, 200, 200]


def test_replaced_authorities_of_clients_shut_out_those_of_the_old_ones(mutual: TlsService) -> None:
    old, successor = mutual.clients, Authority()
    own = successor.issue("trainer")
    before = mutual.serve.actions().count("tls_reloaded")
    mutual.mount.put(mutual.authority.issue(), successor.pem)
    mutual.serve.wait_for_action("tls_reloaded", count=before + 1)
    assert get(mutual, trusting(mutual.authority, own, directory=mutual.directory)) == 200
    assert health(mutual.serve.grpc_address, channel_credentials(mutual.authority, own)) == 1
    with pytest.raises(ssl.SSLError, match="unknown ca"):
        get(mutual, trusting(mutual.authority, old.issue("x"), directory=mutual.directory))
    with pytest.raises(grpc.RpcError):
        health(mutual.serve.grpc_address, channel_credentials(mutual.authority, old.issue("x")))
    mutual.clients = successor


async def test_training_goes_on_over_replaced_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With mutual TLS, and streams that connect again and again. MLflow's client takes part."""
    with tls_service(mutual=True, options=["--max-connection-age", "2"]) as service:
        own, trusted = service.clients.issue("trainer"), tmp_path / "ca.pem"
        trusted.write_bytes(service.authority.pem)
        (tmp_path / "own.crt").write_bytes(own.chain)
        (tmp_path / "own.key").write_bytes(own.key)
        (tmp_path / "both.pem").write_bytes(own.key + own.chain)
        environment = {
            "RUNSTREAM_TLS_CA": str(trusted),
            "RUNSTREAM_TLS_CERT": str(tmp_path / "own.crt"),
            "RUNSTREAM_TLS_KEY": str(tmp_path / "own.key"),
            "MLFLOW_TRACKING_SERVER_CERT_PATH": str(trusted),
            "MLFLOW_TRACKING_CLIENT_CERT_PATH": str(tmp_path / "both.pem"),
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        address = f"grpcs://{service.serve.grpc_address}"
        client = mlflow.MlflowClient(service.serve.http_url)
        with Producers(address, 2, 100, environment=environment) as producers:
            for replacement in range(1, 3):
                service.mount.put(service.authority.issue(), service.clients.pem)
                await asyncio.to_thread(service.serve.wait_for_action, "tls_reloaded", count=replacement)
                client.log_metric(producers.run_id, "replaced", replacement)
            await until(lambda: service.serve.metric("runstream_streams_ended_total", reason="DRAINING") >= 2)
            reports = producers.stop()
        await asyncio.to_thread(assert_exactly_once, address, producers.run_id, reports)
        assert all(report["said"] == [] for report in reports)
        assert client.get_run(producers.run_id).data.metrics["replaced"] == 2


# -- what cannot start -------------------------------------------------------------------------------------------------


def _expired(mount: SecretMount, authority: Authority) -> list[str]:
    mount.put(authority.issue(days=-1))
    return mount.arguments()


def _only_certificate(mount: SecretMount, authority: Authority) -> list[str]:
    mount.put(authority.issue())
    return mount.arguments()[:2]


def _another_key(mount: SecretMount, authority: Authority) -> list[str]:
    mount.put(Issued(authority.issue().chain, authority.issue().key))
    return mount.arguments()


def _no_authorities(mount: SecretMount, authority: Authority) -> list[str]:
    mount.put(authority.issue(), b"")
    return mount.arguments(mutual=True)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_expired, "--server-certificate (RUNSTREAM_SERVER_CERTIFICATE): "),
        (_only_certificate, "--server-key (RUNSTREAM_SERVER_KEY): --server-certificate needs the key"),
        (_another_key, "--server-key (RUNSTREAM_SERVER_KEY): "),
        (_no_authorities, "--server-client-ca (RUNSTREAM_SERVER_CLIENT_CA): "),
    ],
)
def test_half_a_configuration_does_not_start(
    tmp_path: Path, make: Callable[[SecretMount, Authority], list[str]], said: str, workers: str
) -> None:
    arguments = make(SecretMount(tmp_path / "tls"), Authority())
    command = [*COMMAND, "serve", "--data-dir", str(tmp_path / "data"), "--workers", workers, *arguments]
    command += ["--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]
    ended = preloaded.run(command, command_environment())
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith(f"runstream: {said}")
    assert not (tmp_path / "data").exists()
