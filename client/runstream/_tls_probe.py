"""TLS of the standard library: finds out why a connection fails.

For most failures, gRPC only reports that it could not connect. So the connection is tried once more with the standard
library, which knows whether the certificate or the name is wrong, or the other side does not use TLS at all.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Mapping
from typing import NamedTuple

from runstream._endpoint import Endpoint, TlsFiles
from runstream._tls import CannotDial, system_bundle

_TIMEOUT_S = 2.0  # for each step of a probe
_ANSWER_S = 0.5  # how long to wait after the handshake for a refusal, or for the SETTINGS of a server that accepts us
# What the HTTP/2 client says first (RFC 9113, 3.4), with empty SETTINGS.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_EXPIRED, _NOT_YET_VALID, _WRONG_NAMES = 10, 9, (62, 64)  # of OpenSSL: X509_V_ERR_...


class Probe(NamedTuple):
    """What a test connection found. `problem` says what is wrong and what to do; empty if nothing was found.
    `certificate` is that of the other side, if it is valid."""

    problem: str = ""
    certificate: Mapping[str, object] | None = None


def probe(endpoint: Endpoint) -> Probe:
    """Connects as gRPC does, to find out what is wrong. Takes a few seconds at most; never raises."""
    place = endpoint.host_and_port()
    if place is None:
        return Probe()
    try:
        if endpoint.uses_tls:
            return _probe_tls(endpoint, place)
        return Probe(_missing_tls_problem(endpoint, place))
    except (OSError, ValueError):  # no connection at all: gRPC's message is good enough
        return Probe()


def context_of(files: TlsFiles) -> ssl.SSLContext:
    """The TLS context for connections of the standard library. Raises CannotDial."""
    authorities = files.ca or system_bundle()
    try:
        context = ssl.create_default_context(cafile=authorities or None)
    except (OSError, ssl.SSLError) as error:
        raise CannotDial(f"RUNSTREAM_TLS_CA: {authorities} is not a file with PEM certificates ({error})") from error
    if files.cert:
        try:
            context.load_cert_chain(files.cert, files.key)
        except (OSError, ssl.SSLError) as error:
            raise CannotDial(
                f"RUNSTREAM_TLS_CERT and RUNSTREAM_TLS_KEY: {files.cert} and {files.key} are not a PEM certificate and "
                f"its key ({error})"
            ) from error
    return context


def _probe_tls(endpoint: Endpoint, place: tuple[str, int]) -> Probe:
    try:
        context = context_of(endpoint.tls)
    except CannotDial as error:
        return Probe(str(error))
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection(place, timeout=_TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=place[0]) as inside,
        ):
            certificate = inside.getpeercert()
            refusal = _refusal_after_handshake(inside)
            return Probe(refusal and _client_certificate_problem(endpoint, refusal), certificate)
    except ssl.SSLCertVerificationError as error:
        return Probe(_certificate_problem(endpoint, error))
    except ssl.SSLError as error:
        return Probe(_handshake_problem(endpoint, error))
    except (ConnectionResetError, ConnectionAbortedError, BrokenPipeError):
        return Probe(f"{endpoint.target} closes connections that begin with TLS. {_advice_without_tls(endpoint)}")


def _refusal_after_handshake(inside: ssl.SSLSocket) -> str:
    """Why the other side does not accept our certificate; empty if it does. With TLS 1.3, a server refuses only after
    the handshake, or just closes the connection; one that accepts us sends SETTINGS."""
    inside.settimeout(_ANSWER_S)
    try:
        inside.sendall(_PREFACE)
        return "" if inside.recv(1) else "it closes the connection"
    except TimeoutError:
        return ""
    except ssl.SSLError as error:
        return error.reason or str(error)
    except OSError as error:
        return error.strerror or str(error)


def _certificate_problem(endpoint: Endpoint, error: ssl.SSLCertVerificationError) -> str:
    about = f"the certificate of {endpoint.target}"
    if error.verify_code == _EXPIRED:
        return f"{about} has expired (or this machine's clock is ahead: it is {_now()}). Have it renewed"
    if error.verify_code == _NOT_YET_VALID:
        return f"{about} is not valid yet: is this machine's clock behind? It is {_now()}"
    if error.verify_code in _WRONG_NAMES:
        return f"{about} is for another name ({error.verify_message}). Use the name that it has in the address"
    trusted = f"by RUNSTREAM_TLS_CA={endpoint.tls.ca}" if endpoint.tls.ca else "by this system's authorities"
    return (
        f"{about} is not trusted {trusted} ({error.verify_message}). Set RUNSTREAM_TLS_CA to the file with the "
        "certificate authority of the service"
    )


def _handshake_problem(endpoint: Endpoint, error: ssl.SSLError) -> str:
    if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"):
        return f"{endpoint.target} does not use TLS. {_advice_without_tls(endpoint)}"
    if "ALERT" in (error.reason or "") and ("CERTIFICATE" in error.reason or "HANDSHAKE_FAILURE" in error.reason):
        return _client_certificate_problem(endpoint, error.reason)
    if isinstance(error, ssl.SSLEOFError) or error.reason == "UNEXPECTED_EOF_WHILE_READING":
        return f"{endpoint.target} closes connections that begin with TLS. {_advice_without_tls(endpoint)}"
    return f"TLS with {endpoint.target} fails: {error.reason or error}"


def _client_certificate_problem(endpoint: Endpoint, reason: str) -> str:
    has = f"does not accept {endpoint.tls.cert}" if endpoint.tls.cert else "asks for a certificate of the client"
    return f"{endpoint.target} {has} ({reason}). Set RUNSTREAM_TLS_CERT and RUNSTREAM_TLS_KEY to one that it accepts"


def _advice_without_tls(endpoint: Endpoint) -> str:
    return f"If it has no TLS, use the address {endpoint.target}, without grpcs://; otherwise correct the port"


def _missing_tls_problem(endpoint: Endpoint, place: tuple[str, int]) -> str:
    with socket.create_connection(place, timeout=_TIMEOUT_S) as plain:
        plain.sendall(_PREFACE)
        try:
            answer = plain.recv(9)
        except OSError:
            answer = b""
    if answer[3:4] == b"\x04" or not _speaks_tls(place):  # SETTINGS: HTTP/2, as it should be
        return ""
    return f"{endpoint.target} uses TLS, and the address does not say so: use grpcs://{endpoint.target}"


def _speaks_tls(place: tuple[str, int]) -> bool:
    """Whether the other side uses TLS. Its certificate does not matter, as nothing is sent to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection(place, timeout=_TIMEOUT_S) as plain, context.wrap_socket(plain):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except OSError:
        return False


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
