"""TLS of connections over HTTP: which certificate they get, why a handshake failed, and what the client is told.

The event loop makes an SSLObject for each connection by `SSLContext.wrap_bio`, and closes the connection when its
handshake fails: without a word in the log, and without sending the alert that OpenSSL has written for the client. Both
classes here are the places that the `ssl` module has for such a thing: the class of its objects can be chosen
(`sslobject_class`), and `wrap_bio` may be overridden.
"""

from __future__ import annotations

import ssl
import time
import weakref
from typing import Any

import structlog

from runstream_service.tls.metrics import (
    CLIENT_CERTIFICATE,
    NO_CLIENT_CERTIFICATE,
    NO_COMMON_VERSION,
    NOT_TRUSTED,
    OTHER,
    PLAINTEXT,
    TLS_TO_PLAINTEXT,
    TOO_MANY,
    TlsMetrics,
)

log = structlog.get_logger()

# Handshakes under way. Each holds some memory, and nobody has said yet who it is; a further one is cut.
MAX_HANDSHAKES = 1_000
# Most seconds of a handshake.
HANDSHAKE_S = 20.0
# Whoever speaks plaintext to the port may do so a thousand times a second.
LOG_EVERY_S = 60.0

_USE_HTTPS = b"This port speaks TLS: use https:// in its address.\n"
_ANSWER_TO_PLAINTEXT = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
    b"connection: close\r\n\r\n%b" % (len(_USE_HTTPS), _USE_HTTPS)
)

# OpenSSL's words for what it found; of alerts, see _reason.
_REASONS = {
    "HTTP_REQUEST": PLAINTEXT,
    "HTTPS_PROXY_REQUEST": PLAINTEXT,
    "WRONG_VERSION_NUMBER": PLAINTEXT,
    "PACKET_LENGTH_TOO_LONG": PLAINTEXT,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": NO_CLIENT_CERTIFICATE,
    "CERTIFICATE_VERIFY_FAILED": CLIENT_CERTIFICATE,
    "NO_SHARED_CIPHER": NO_COMMON_VERSION,
    "UNSUPPORTED_PROTOCOL": NO_COMMON_VERSION,
    "VERSION_TOO_LOW": NO_COMMON_VERSION,
}
_MEANINGS = {
    PLAINTEXT: "a client sent something else than TLS; addresses of this port begin with https://",
    TLS_TO_PLAINTEXT: (
        "a client sent TLS to the HTTP port, which has no certificate; either its address has to begin with http://, "
        "or the service needs --server-certificate"
    ),
    NO_CLIENT_CERTIFICATE: "a client has no certificate, which --server-client-ca demands",
    CLIENT_CERTIFICATE: "the certificate of a client is not accepted by --server-client-ca",
    NOT_TRUSTED: (
        "a client does not accept the certificate of this service: it needs the CA that issued it, or calls the "
        "service by a name that is not in it"
    ),
    NO_COMMON_VERSION: "a client has no version or cipher of TLS in common with this service, which wants 1.2 or newer",
    TOO_MANY: f"{MAX_HANDSHAKES:,} handshakes are under way already",
    OTHER: "a client and this service do not understand each other",
}


class HandshakeFailures:
    """Counts all of them, and logs one a minute of each reason."""

    def __init__(self, metrics: TlsMetrics) -> None:
        self._metrics = metrics
        self._logged_at: dict[str, float] = {}
        self._unlogged: dict[str, int] = {}

    def add(self, reason: str, detail: str = "") -> None:
        """One more."""
        self._metrics.failed_handshakes.labels(reason).inc()
        count = self._unlogged[reason] = self._unlogged.get(reason, 0) + 1
        now = time.monotonic()
        if now - self._logged_at.get(reason, -LOG_EVERY_S) < LOG_EVERY_S:
            return
        self._logged_at[reason], self._unlogged[reason] = now, 0
        log.warning(
            f"A connection failed: {_MEANINGS[reason]}",
            action="tls_handshake_failed",
            reason=reason,
            detail=detail,
            count_since_last=count,
        )

    def add_tls_to_plaintext(self, client: str) -> None:
        """One more client that speaks TLS to a port without it."""
        self.add(TLS_TO_PLAINTEXT, client)

    def add_error(self, error: ssl.SSLError) -> None:
        """One more, of which OpenSSL has said what it was."""
        self.add(_reason(error), getattr(error, "verify_message", "") or error.reason or str(error))


def _reason(error: ssl.SSLError) -> str:
    name = error.reason or ""
    if "_ALERT_" not in name:
        return _REASONS.get(name, OTHER)
    if "CERTIFICATE" in name or "UNKNOWN_CA" in name:
        return NOT_TRUSTED
    return NO_COMMON_VERSION if "PROTOCOL_VERSION" in name or "HANDSHAKE_FAILURE" in name else OTHER


class Connection(ssl.SSLObject):
    """The TLS of one connection. If the handshake fails, that is reported, and the client is told."""

    outgoing: ssl.MemoryBIO
    failures: HandshakeFailures
    failure: ssl.SSLError | None = None
    awaits_goodbye = False  # everything was said, and the client has not closed its side
    under_way: weakref.WeakSet[Connection]

    def do_handshake(self) -> None:
        """Go on with what the client has sent."""
        if self.failure is not None:  # the client has sent more after it was told
            raise self.failure
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self.under_way.discard(self)
            self.failures.add_error(error)
            if _reason(error) == PLAINTEXT:
                self.outgoing.read()  # an alert, which is not HTTP
                self.outgoing.write(_ANSWER_TO_PLAINTEXT)
            # The event loop would close the connection at once. When more data is wanted, it sends what is in
            # `outgoing`: the alert, on which the client closes the connection; else the time limit ends it.
            self.failure = error
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "The handshake failed") from error
        self.under_way.discard(self)

    def unwrap(self) -> None:
        """Say that nothing follows, and wait for the same from the client: some lose what they have not read yet when
        the connection ends before."""
        try:
            super().unwrap()
        except ssl.SSLWantReadError:
            self.awaits_goodbye = True
            raise


class LiveContext(ssl.SSLContext):
    """The context that the server keeps. Each connection gets the `current` one, so that certificates and authorities
    are replaced at once and together; authorities cannot be removed from a context."""

    current: ssl.SSLContext
    failures: HandshakeFailures
    _under_way: weakref.WeakSet[Connection]

    @classmethod
    def make(cls, current: ssl.SSLContext, failures: HandshakeFailures) -> LiveContext:
        """A context that stands for others. (The constructor belongs to the `ssl` module.)"""
        self = cls(ssl.PROTOCOL_TLS_SERVER)
        self.current, self.failures, self._under_way = current, failures, weakref.WeakSet()
        return self

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **named: Any) -> ssl.SSLObject:
        """The TLS of a new connection."""
        connection = self.current.wrap_bio(incoming, outgoing, *args, **named)
        assert isinstance(connection, Connection)
        connection.outgoing, connection.failures, connection.under_way = outgoing, self.failures, self._under_way
        if len(self._under_way) >= MAX_HANDSHAKES:
            self.failures.add(TOO_MANY)
            connection.failure = ssl.SSLError(ssl.SSL_ERROR_SSL, "Too many handshakes")
        else:
            self._under_way.add(connection)
        return connection
