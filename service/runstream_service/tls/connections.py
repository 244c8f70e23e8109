"""TLS of connections over HTTP: which certificate they get, why a handshake failed, and what the client gets to know.

The event loop makes an SSLObject for each connection by `SSLContext.wrap_bio`, and closes the connection when its
handshake fails: it logs nothing, and does not send the alert that OpenSSL has written for the client. The `ssl` module
lets us change that in two places, which the classes here use: the class of its objects can be chosen
(`SSLContext.sslobject_class`: Connection), and `wrap_bio` may be overridden (LiveContext).
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

# Most handshakes at a time. Each holds some memory before the client has authenticated; a further one is refused.
MAX_HANDSHAKES = 1_000
# A handshake that takes longer is ended.
HANDSHAKE_S = 20.0
# Of each reason, since a client that speaks plaintext to the port may do so a thousand times a second.
LOG_EVERY_S = 60.0

_USE_HTTPS = b"This port speaks TLS: use https:// in its address.\n"
_ANSWER_TO_PLAINTEXT = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
    b"connection: close\r\n\r\n%b" % (len(_USE_HTTPS), _USE_HTTPS)
)

# By OpenSSL's names of errors. Alerts of the client, which have other names, are in _reason.
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
    PLAINTEXT: "a client sent something other than TLS; addresses of this port begin with https://",
    TLS_TO_PLAINTEXT: (
        "a client sent TLS to the HTTP port, which has no certificate; either its address has to begin with http://, "
        "or the service needs --server-certificate"
    ),
    NO_CLIENT_CERTIFICATE: "a client sent no certificate, which --server-client-ca demands",
    CLIENT_CERTIFICATE: "the certificate of a client is not accepted by --server-client-ca",
    NOT_TRUSTED: (
        "a client does not accept the certificate of this service: it has to trust the CA that issued the "
        "certificate, and to call the service by a name that is in the certificate"
    ),
    NO_COMMON_VERSION: "a client has no version or cipher of TLS in common with this service, which wants 1.2 or newer",
    TOO_MANY: f"{MAX_HANDSHAKES:,} handshakes are under way already",
    OTHER: "the client and this service did not agree on TLS; the detail says what OpenSSL found",
}


class HandshakeFailures:
    """Counts connections whose handshake failed, and logs one a minute of each reason."""

    def __init__(self, metrics: TlsMetrics) -> None:
        self._metrics = metrics
        self._logged_at: dict[str, float] = {}
        self._unlogged: dict[str, int] = {}

    def add(self, reason: str, detail: str = "") -> None:
        """Counts one failure of a reason in tls/metrics.py (REASONS). `detail` is for the log: what OpenSSL said, or
        the address of the client."""
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
        """Counts a client that speaks TLS to a port without it."""
        self.add(TLS_TO_PLAINTEXT, client)

    def add_error(self, error: ssl.SSLError) -> None:
        """Counts a failure by the error that OpenSSL raised."""
        self.add(_reason(error), getattr(error, "verify_message", "") or error.reason or str(error))


def _reason(error: ssl.SSLError) -> str:
    name = error.reason or ""
    if "_ALERT_" not in name:
        return _REASONS.get(name, OTHER)
    if "CERTIFICATE" in name or "UNKNOWN_CA" in name:
        return NOT_TRUSTED
    return NO_COMMON_VERSION if "PROTOCOL_VERSION" in name or "HANDSHAKE_FAILURE" in name else OTHER


class Connection(ssl.SSLObject):
    """The TLS of one connection. If its handshake fails, that is counted, and the client gets an alert; or a page over
    plain HTTP, if it spoke that."""

    outgoing: ssl.MemoryBIO
    failures: HandshakeFailures
    failure: ssl.SSLError | None = None
    awaits_goodbye = False  # this side has sent that it closes, and the client has not yet
    under_way: weakref.WeakSet[Connection]  # the handshakes of all connections of the port

    def do_handshake(self) -> None:
        """Continues the handshake with what the client has sent. Raises SSLWantReadError until the client has sent
        enough, SSLError if the handshake has failed."""
        if self.failure is not None:  # the client has sent more after the alert
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
        """Sends that this side closes, and waits until the client does, too. (Some clients lose what they have not read
        yet if the connection ends before that.)"""
        try:
            super().unwrap()
        except ssl.SSLWantReadError:
            self.awaits_goodbye = True
            raise


class LiveContext(ssl.SSLContext):
    """The context that the HTTP server has as long as it runs. Each new connection is made by the `current` context,
    which is replaced as a whole: certificates and authorities change together, and authorities cannot be removed from a
    context."""

    current: ssl.SSLContext
    failures: HandshakeFailures
    _under_way: weakref.WeakSet[Connection]

    @classmethod
    def make(cls, current: ssl.SSLContext, failures: HandshakeFailures) -> LiveContext:
        """A context that makes connections by `current`. (A class method, since the `ssl` module defines the
        constructor.)"""
        self = cls(ssl.PROTOCOL_TLS_SERVER)
        self.current, self.failures, self._under_way = current, failures, weakref.WeakSet()
        return self

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **named: Any) -> ssl.SSLObject:
        """The TLS of a new connection; if too many handshakes are under way, one that fails."""
        connection = self.current.wrap_bio(incoming, outgoing, *args, **named)
        assert isinstance(connection, Connection)
        connection.outgoing, connection.failures, connection.under_way = outgoing, self.failures, self._under_way
        if len(self._under_way) >= MAX_HANDSHAKES:
            self.failures.add(TOO_MANY)
            connection.failure = ssl.SSLError(ssl.SSL_ERROR_SSL, "Too many handshakes")
        else:
            self._under_way.add(connection)
        return connection
