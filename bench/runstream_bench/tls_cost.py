"""`runstream bench --tls`: what TLS costs the service, against plaintext.

Both services run at the same time on one PostgreSQL, and have the same load in turns, so that both find the machine as
busy with other things. The load itself encrypts, too, and takes its part of the machine; so the CPU of the service is
measured as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import psutil
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from runstream_bench import report
from runstream_bench.load import push
from runstream_bench.paired import PairedFigures, print_pairs
from runstream_bench.progress import say
from runstream_bench.server_process import RunstreamProcess
from runstream_bench.service import service, temporary_postgres
from runstream_bench.session import AGENTS, DIRECT, NO_ROLL_UP
from runstream_bench.usage import cpu_seconds
from runstream_service.database.pool import Database

PLAIN, TLS = "plaintext", "tls"
LOADS = (DIRECT, AGENTS)
_CALLERS = 4  # callers of HTTP, each with one connection at a time
_HTTP_PART = 0.4  # the part of a round that HTTP gets
_REQUEST = b"GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: %b\r\n\r\n"


def run(*, seconds: float, pairs: int, scale: float, as_json: bool) -> int:
    """Measures and prints; the loads have `scale` of their streams. Returns the exit code: 1 if a point was refused."""
    values = uvloop.run(measure(seconds, pairs, scale))
    if as_json:
        sys.stdout.write(report.as_json(values) + "\n")
    else:
        print_pairs("runstream bench --tls", (PLAIN, TLS), _ROWS, values)
    return 0 if values["rows_exact"] else 1


async def measure(seconds: float, pairs: int, scale: float = 1.0) -> dict[str, float | bool]:
    """The figures of all rounds."""
    figures, refused = PairedFigures((PLAIN, TLS)), 0
    async with _services() as (services, certificate, database):
        for number in range(pairs + 1):
            measured = figures if number else PairedFigures((PLAIN, TLS))  # the first round warms up
            for kind, one in services.items():
                say(f"{kind}, {f'pair {number} of {pairs}' if number else 'warming up'}")
                length = seconds if number else min(seconds, 1.0)
                refused += await _ingest(measured, kind, one, certificate, length, scale)
                await database.execute("TRUNCATE hot_batches, commits")
                await _http(measured, kind, one, certificate, length)
    return {**figures.values(), "rows_exact": refused == 0}


@contextlib.asynccontextmanager
async def _services() -> AsyncIterator[tuple[dict[str, RunstreamProcess], bytes, Database]]:
    async with contextlib.AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(temporary_postgres())
        certificate, options = _make_certificate(postgres.data_dir)
        services = {}
        for kind, of_kind in ((PLAIN, ()), (TLS, options)):
            log = postgres.data_dir / f"service-{kind}.log"
            one = service(postgres.url, log, *NO_ROLL_UP, *of_kind)
            services[kind] = await stack.enter_async_context(one)
        database = await Database.open(postgres.url)
        stack.push_async_callback(database.close)
        yield services, certificate, database


async def _ingest(
    figures: PairedFigures, kind: str, one: RunstreamProcess, certificate: bytes, seconds: float, scale: float
) -> int:
    """Measures points a second over gRPC, and their CPU time; returns how many points were refused."""
    credentials = grpc.ssl_channel_credentials(certificate) if kind == TLS else None
    process, refused = psutil.Process(one.pid), 0
    for load in LOADS:
        before = cpu_seconds(process)
        outcome = await push(one.grpc_address, load.scaled(scale), seconds, credentials=credentials)
        cpu_s = cpu_seconds(process) - before
        figures.add(f"points_per_s_{load.name}", kind, outcome.points_per_s)
        figures.add(f"service_cpu_s_per_million_points_{load.name}", kind, cpu_s / outcome.points_acknowledged * 1e6)
        refused += outcome.points_refused
    return refused


async def _http(figures: PairedFigures, kind: str, one: RunstreamProcess, certificate: bytes, seconds: float) -> None:
    """Requests a second, each over a connection of its own, with its handshake, or over one that stays open."""
    context = ssl.create_default_context(cadata=certificate.decode()) if kind == TLS else None
    address = urlsplit(one.http_url)
    process = psutil.Process(one.pid)
    for name, kept in (("new_connections", False), ("kept_connections", True)):
        taken = await requests_during(seconds * _HTTP_PART, address.port or 0, context, process, kept=kept)
        figures.add(f"{name}_per_s", kind, taken.count / taken.seconds)
        figures.add(f"{name}_service_cpu_ms", kind, taken.cpu_s / taken.count * 1_000)


@dataclass(frozen=True, slots=True)
class Requests:
    """A number of requests, and what they cost."""

    count: int
    seconds: float
    cpu_s: float  # of the service


async def requests_during(
    seconds: float, port: int, context: ssl.SSLContext | None, process: psutil.Process, *, kept: bool
) -> Requests:
    """Requests for some seconds, and until the service has used CPU that can be measured: it is counted in hundredths
    of a second, and on a busy machine a short round is over before the first one."""
    begun, before, count = time.perf_counter(), cpu_seconds(process), 0
    while not (cpu_s := cpu_seconds(process) - before) or time.perf_counter() < begun + seconds:
        until = max(begun + seconds, time.perf_counter())
        count += sum(await asyncio.gather(*(_call_until(until, port, context, kept=kept) for _ in range(_CALLERS))))
    return Requests(count, time.perf_counter() - begun, cpu_s)


async def _call_until(until: float, port: int, context: ssl.SSLContext | None, *, kept: bool) -> int:
    """How many requests were answered; at least one."""
    count = 0
    while not count or time.perf_counter() < until:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        with contextlib.closing(writer):
            while not count or time.perf_counter() < until:
                writer.write(_REQUEST % (b"keep-alive" if kept else b"close"))
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]))
                count += 1
                if not kept:
                    break
    return count


def _make_certificate(directory: Path) -> tuple[bytes, tuple[str, ...]]:
    """A self-signed certificate, and the options of a service that uses it."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "runstream bench")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    day = timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
    certificate = builder.add_extension(names, critical=False).sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    file = directory / "tls.pem"
    file.touch(mode=0o600)
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate)
    return certificate, ("--server-certificate", str(file), "--server-key", str(file))


_ROWS = (
    *((f"points/s, {load.name}", f"points_per_s_{load.name}", 0) for load in LOADS),
    *(
        (f"CPU of the service, s/million points, {load.name}", f"service_cpu_s_per_million_points_{load.name}", 2)
        for load in LOADS
    ),
    ("HTTP requests/s, each on a new connection", "new_connections_per_s", 0),
    ("CPU of the service for one, ms", "new_connections_service_cpu_ms", 2),
    ("HTTP requests/s on kept connections", "kept_connections_per_s", 0),
    ("CPU of the service for one, ms", "kept_connections_service_cpu_ms", 2),
)
