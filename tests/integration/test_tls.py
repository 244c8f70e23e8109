"""TLS to PostgreSQL that cannot work is refused immediately, with a clear message."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from runstream_bench.tcp_proxy import Proxy, socket_of, through
from runstream_service.database.external import open_at_once, open_external
from runstream_service.database.replica import ReplicaId
from runstream_service.errors.startup import StartupError
from tests.support.databases import short_directory
from tests.support.tls_front import TlsFront

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")

SERVER = "certificates"


def _make(directory: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate and its key."""
    certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    subprocess.run([*command, "-out", str(certificate), "-keyout", str(key)], check=True, capture_output=True)
    key.chmod(0o600)
    return certificate, key


@pytest.fixture(scope="module")
def certificates() -> Iterator[Path]:
    with short_directory() as directory:
        for name in (SERVER, "other"):
            _make(directory, name)
        (directory / "empty.crt").write_text("no certificate\n")
        yield directory


@pytest.fixture
def url(database_url: str, certificates: Path) -> Iterator[str]:
    """A server that speaks TLS."""
    own = certificates / SERVER
    with TlsFront(socket_of(database_url), f"{own}.crt", f"{own}.key") as front:
        yield through(database_url, front.address)


@pytest.fixture
def replica() -> ReplicaId:
    return ReplicaId.of_this_process("1")


async def test_certificates_that_are_right(url: str, certificates: Path, replica: ReplicaId) -> None:
    for mode in ("prefer", "require", f"verify-ca&sslrootcert={certificates}/{SERVER}.crt"):
        database = await open_external(f"{url}?sslmode={mode}", pool_size=1, wait_s=0, replica=replica)
        try:
            assert await database.fetchval("SELECT 1") == 1
        finally:
            await database.close()


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ("sslmode=verify-ca&sslrootcert={}/other.crt", "the certificate of the server is not accepted"),
        ("sslmode=verify-full&sslrootcert={}/certificates.crt", "the certificate of the server is not accepted"),
        ("sslmode=verify-ca&sslrootcert={}/empty.crt", "holds none"),
        ("sslmode=require&sslcert={0}/other.crt&sslkey={0}/certificates.key", "is not the one of the certificate"),
        ("sslmode=require&sslcert={0}/empty.crt&sslkey={0}/other.key", "holds no certificate or no key"),
        ("sslmode=require&sslcert={}/missing.crt", "missing.crt of sslcert: No such file or directory"),
        ("sslmode=verify-full", "root certificate file"),
    ],
)
async def test_what_cannot_work_is_refused_at_once(
    url: str, certificates: Path, replica: ReplicaId, parameters: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    wrong = f"{url}?{parameters.format(certificates)}"
    openings: list[Callable[[], Awaitable[object]]] = [
        lambda: open_external(wrong, pool_size=1, wait_s=100, replica=replica),
        lambda: open_at_once(wrong, max_size=1),
    ]
    for opening in openings:
        with pytest.raises(StartupError) as caught:
            await asyncio.wait_for(opening(), 20)
        assert said in caught.value.message
        assert "\n" not in caught.value.message
        assert caught.value.exit_code == 2


async def test_a_server_without_tls(database_url: str, replica: ReplicaId) -> None:
    with Proxy(socket_of(database_url)) as proxy:
        wrong = f"{through(database_url, proxy.address)}?sslmode=require"
        with pytest.raises(StartupError, match="the server does not speak TLS"):
            await asyncio.wait_for(open_external(wrong, pool_size=1, wait_s=100, replica=replica), 20)
