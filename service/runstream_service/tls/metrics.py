"""Metrics of TLS: when certificates expire, whether replaced files are used, and handshakes that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge

if TYPE_CHECKING:
    from runstream_service.tls.certificates import Certificates

# Why handshakes fail, over HTTP; gRPC does not report it.
PLAINTEXT, TLS_TO_PLAINTEXT = "plaintext", "tls_to_plaintext"
NO_CLIENT_CERTIFICATE, CLIENT_CERTIFICATE = "no_client_certificate", "client_certificate"
NOT_TRUSTED, NO_COMMON_VERSION, TOO_MANY, OTHER = "not_trusted", "no_common_version", "too_many", "other"
REASONS = (
    *(PLAINTEXT, TLS_TO_PLAINTEXT, NO_CLIENT_CERTIFICATE, CLIENT_CERTIFICATE),
    *(NOT_TRUSTED, NO_COMMON_VERSION, TOO_MANY, OTHER),
)


class TlsMetrics:
    """Made once in a process, also without TLS: TLS that is sent to a plaintext port counts as a failed handshake."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.failed_handshakes = Counter(
            "runstream_tls_handshakes_failed_total",
            "Connections over HTTP on which the two sides found no common TLS, by reason.",
            ["reason"], registry=registry,
        )  # fmt: skip
        for reason in REASONS:
            self.failed_handshakes.labels(reason)
        self._expiry = Gauge(
            "runstream_tls_certificate_expiry_timestamp_seconds",
            "When the certificate that is served expires, and the authorities of clients: the earliest of a file.",
            ["certificate"], registry=registry,
        )  # fmt: skip
        self._refused = Gauge(
            "runstream_tls_files_refused",
            "1 while the files of TLS were replaced by others that cannot be used, so that the old ones are; else 0.",
            registry=registry,
        )  # fmt: skip
        self._reloads = Counter(
            "runstream_tls_reloads_total",
            "Replaced files of TLS, by result: loaded, or refused.",
            ["result"], registry=registry,
        )  # fmt: skip
        for result in ("loaded", "refused"):
            self._reloads.labels(result)

    def serves(self, certificates: Certificates) -> None:
        """Shows when these certificates expire: they are used from now on."""
        self._expiry.labels("server").set(certificates.expires.timestamp())
        if certificates.client_ca_expires is not None:
            self._expiry.labels("client_ca").set(certificates.client_ca_expires.timestamp())
        self._refused.set(0)

    def replaced(self) -> None:
        """Counts files that were replaced and are used now."""
        self._reloads.labels("loaded").inc()

    def refused(self) -> None:
        """Counts files that were replaced and cannot be used."""
        self._reloads.labels("refused").inc()
        self._refused.set(1)

    def unchanged(self) -> None:
        """Shows that the files are (again) those that are used."""
        self._refused.set(0)
