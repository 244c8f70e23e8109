"""The certificate that both servers use now, and its replacement when the files change.

Files are compared by their content every few seconds: a renewed certificate may come by a new symlink (Kubernetes), by
a rename, or by being written in place. New connections get what was loaded last; open ones stay as they are.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import structlog

from runstream_service.concurrency.deadlines import with_timeout
from runstream_service.concurrency.threads import ThreadPool
from runstream_service.errors.core import Overloaded
from runstream_service.tls.connections import Connection, HandshakeFailures, LiveContext
from runstream_service.tls.files import CERTIFICATE, CLIENT_CA, TlsContents, TlsFiles, UnusableFiles
from runstream_service.tls.metrics import TlsMetrics

if TYPE_CHECKING:
    from runstream_service.tls.certificates import Certificates

log = structlog.get_logger()

CHECK_EVERY_S = 5.0
_READ_TIMEOUT_S = 20.0
# A thread of its own: the files may be on a network file system that hangs.
_FILES = ThreadPool("reading certificates", threads=1, max_waiting=1)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Files that were checked, and what each server needs of them: an SSLContext for HTTP, a configuration for gRPC."""

    contents: TlsContents
    certificates: Certificates
    context: ssl.SSLContext
    grpc_configuration: grpc.ServerCertificateConfiguration


def load(files: TlsFiles) -> Loaded:
    """Reads and checks the files. Raises UnusableFiles."""
    from runstream_service.tls.certificates import check  # here, as cryptography takes 20 ms to import

    contents = files.read()
    certificates = check(files, contents)
    loaded = Loaded(contents, certificates, _context(files), _grpc_configuration(contents))
    if files.read() != contents:  # the `ssl` module reads the files itself
        raise UnusableFiles(f"{files.certificate} or its key changed while they were read", setting=CERTIFICATE)
    return loaded


def _context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslobject_class = Connection
    try:
        context.load_cert_chain(files.certificate, files.key, password="")  # else it would ask on the terminal
    except (ssl.SSLError, OSError) as error:
        why = getattr(error, "reason", "") or str(error)
        raise UnusableFiles(f"{files.certificate} cannot be used: {why}", setting=CERTIFICATE) from error
    if files.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(files.client_ca)
        except (ssl.SSLError, OSError) as error:
            why = getattr(error, "reason", "") or str(error)
            raise UnusableFiles(f"{files.client_ca} cannot be used: {why}", setting=CLIENT_CA) from error
    return context


def _grpc_configuration(contents: TlsContents) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(contents.key, contents.certificate)], contents.client_ca)


class ServerTls:
    """The TLS of both servers. `run` checks, as long as the process lives, whether the files have changed."""

    def __init__(self, files: TlsFiles, metrics: TlsMetrics, failures: HandshakeFailures) -> None:
        """Loads the files. Raises UnusableFiles."""
        self._files = files
        self._metrics = metrics
        self._used = load(files)
        # What the last check found, if it was not usable: the contents, or why they could not be read.
        self._failed: TlsContents | str | None = None
        self._is_reported = False
        self.http_context = LiveContext.make(self._used.context, failures)
        # A configuration that gRPC has not fetched yet; it asks for one before each handshake, in a thread of its own.
        self._for_grpc: deque[grpc.ServerCertificateConfiguration] = deque(maxlen=1)
        metrics.serves(self._used.certificates)
        log.info("TLS is on", action="tls_loaded", **self._described())

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """Credentials for `grpc.aio.Server.add_secure_port`, which follow the replacement of the files."""
        return grpc.dynamic_ssl_server_credentials(
            self._used.grpc_configuration,
            self._next_for_grpc,  # type: ignore[arg-type]  # its types leave out None, which means "unchanged"
            require_client_authentication=self._files.client_ca is not None,
        )

    def _next_for_grpc(self) -> grpc.ServerCertificateConfiguration | None:
        try:
            return self._for_grpc.popleft()
        except IndexError:
            return None  # nothing has changed

    async def run(self) -> None:
        """Reads the files every few seconds, and uses what has changed. Runs until it is cancelled."""
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            try:
                await with_timeout(_FILES.run(self._check_files), _READ_TIMEOUT_S)
            except (TimeoutError, Overloaded):
                self._cannot_use(f"the files were not read within {_READ_TIMEOUT_S:g} s", "cannot be read")

    def _check_files(self) -> None:
        try:
            contents = self._files.read()
        except UnusableFiles as error:
            return self._cannot_use(str(error), str(error))
        if contents == self._used.contents:
            self._failed = None
            return self._metrics.unchanged()
        try:
            self._use(load(self._files))
        except UnusableFiles as error:
            self._cannot_use(str(error), contents)
        return None

    def _use(self, loaded: Loaded) -> None:
        self._used, self._failed = loaded, None
        self.http_context.current = loaded.context
        self._for_grpc.append(loaded.grpc_configuration)
        self._metrics.serves(loaded.certificates)
        self._metrics.replaced()
        log.info("New connections get the replaced certificate", action="tls_reloaded", **self._described())

    def _cannot_use(self, why: str, what: TlsContents | str) -> None:
        """Keeps what was loaded. It is reported when two checks in a row find the same, since files that are just being
        written are no failure."""
        if what != self._failed:
            self._failed, self._is_reported = what, False
        elif not self._is_reported:
            self._is_reported = True
            self._metrics.refused()
            log.error(
                f"The files of TLS have changed and cannot be used; new connections get the old certificate: {why}",
                action="tls_reload_failed",
                error=why,
                expires=self._used.certificates.expires.isoformat(),
            )

    def _described(self) -> dict[str, object]:
        certificates = self._used.certificates
        return {
            "names": list(certificates.names),
            "expires": certificates.expires.isoformat(),
            "asks_for_client_certificates": self._files.client_ca is not None,
        }
