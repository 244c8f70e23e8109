"""The settings of the service. All of them are read and checked here, before anything starts."""

from __future__ import annotations

import ipaddress
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from runstream_service.artifacts.paths import BUCKET_SCHEMES
from runstream_service.auth.identity_settings import KubernetesSettings, OidcSettings, read_kubernetes, read_oidc
from runstream_service.database.database_url import DatabaseUrl
from runstream_service.errors.startup import StartupError
from runstream_service.limits.workspace_limits import Limits
from runstream_service.monitoring.logs import FORMATS, LEVELS
from runstream_service.server.pool_shares import LEAST_POOL_SIZE
from runstream_service.tls.files import CERTIFICATE, CLIENT_CA, KEY, TlsFiles

T = TypeVar("T")

# The first segments of the service's own paths. A --path-prefix that begins with one of them would be ambiguous.
TOP_PATHS = (
    *("api", "ajax-api", "graphql", "get-artifact", "model-versions", "static-files"),
    *("about", "health", "healthz", "metrics", "readyz", "signin", "signout", "version"),
)

MAX_WORKERS = 64
LEAST_QUEUED_POINTS = 16_384  # so that a batch of the largest size fits

# A client retries after at most half a minute, and notices a silent connection after 40 s.
LEAST_SILENT_RUN_AFTER_S = 60.0

_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]]+):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Address:
    """Host and TCP port to listen on. Port 0: the system chooses a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The checked settings of `runstream serve`; units are in the names. The help texts of OPTIONS say what each
    means."""

    grpc_listen: Address
    http_listen: Address
    monitoring_listen: Address | None  # None: /metrics is on the HTTP port
    tls: TlsFiles | None
    auth: bool
    session_s: float
    oidc: OidcSettings | None
    kubernetes: KubernetesSettings | None
    public_url: str  # without a slash at its end, or empty
    allowed_hosts: tuple[str, ...]
    trusted_proxies: tuple[str, ...]  # addresses and networks, or "*"
    path_prefix: str  # with a slash at its beginning and none at its end, or empty
    data_dir: Path
    artifacts: str  # a directory, the URL of a bucket, or NO_ARTIFACTS
    database_url: str | None = field(repr=False)  # it holds a password
    database_wait_s: float
    workers: int
    pool_size: int
    writers: int
    max_queued_points: int
    max_streams: int
    max_series_per_run: int
    workspace_limits: Limits
    metrics_by_workspace: bool
    max_connection_age_s: float  # 0: no limit
    epoch_points: int
    epoch_seconds: float
    max_read_age_s: float
    hot_points_max: int
    purge_after_days: int
    silent_run_after_s: float  # 0: silent runs are not ended
    shutdown_grace_s: float
    json_ready: bool
    log_level: str
    log_format: str
    texts: Mapping[str, str] = field(repr=False)  # before they were parsed, by flag; sent to worker processes

    @property
    def names(self) -> tuple[str, ...]:
        """Public host names of the service: --allowed-hosts, and the one of --public-url."""
        own = urlsplit(self.public_url).hostname
        return (*self.allowed_hosts, own) if own else self.allowed_hosts

    def of_worker(self) -> Settings:
        """The settings of each of several workers, among which the limits of the replica are divided."""
        return replace(
            self,
            max_queued_points=max(LEAST_QUEUED_POINTS, self.max_queued_points // self.workers),
            max_streams=max(1, self.max_streams // self.workers),
        )


@dataclass(frozen=True, slots=True)
class Option:
    """A setting as it appears on the command line: flag, environment variable, default and help text."""

    flag: str
    default: str
    help: str

    @property
    def variable(self) -> str:
        """The environment variable with the same meaning."""
        return "RUNSTREAM_" + self.flag.removeprefix("--").replace("-", "_").upper()


# All options except --json-ready, which takes no value.
OPTIONS = (
    Option("--grpc-listen", "127.0.0.1:50051", "Address of the gRPC server; port 0 takes any free one."),
    Option("--http-listen", "127.0.0.1:5000", "Address of the HTTP server; port 0 takes any free one."),
    Option(
        "--monitoring-listen",
        "",
        "Address of a further HTTP server, without TLS, for /metrics, /healthz and /readyz; /metrics is there alone.",
    ),
    Option(CERTIFICATE, "", "File with the certificate of this service for TLS, and those that issued it (PEM)."),
    Option(KEY, "", "File with the private key of that certificate (PEM, not encrypted)."),
    Option(CLIENT_CA, "", "File with CAs (PEM): only clients with a certificate of one of them may connect."),
    Option("--auth", "off", "on: every call needs a token; off: everybody may do everything."),
    Option("--session-hours", "12", "Hours after which somebody who signed in with a browser has to do so again."),
    Option("--oidc-issuer", "", "OpenID Connect provider where people sign in: the issuer that its tokens name."),
    Option("--oidc-client-id", "", "Name of this service at the provider."),
    Option(
        "--oidc-client-secret-file",
        "",
        "File with the secret of this service at the provider; none: it has none.",
    ),
    Option("--oidc-scopes", "openid profile email", "Scopes that are asked for, with spaces."),
    Option("--oidc-groups-claim", "groups", "Claim of the provider's tokens that has somebody's groups."),
    Option(
        "--oidc-audience",
        "",
        "Audiences of tokens of the provider that are accepted, with commas; else the client id.",
    ),
    Option("--oidc-grants", "", "Who may enter which workspace: GROUP=WORKSPACE:ROLE, with commas; * is everybody."),
    Option("--kubernetes-issuer", "", "Cluster whose service-account tokens are accepted: the issuer that they have."),
    Option("--kubernetes-audience", "runstream", "Audience that these tokens need to have."),
    Option("--kubernetes-jwks-url", "", "Where the cluster's public keys are, if not where its issuer says."),
    Option("--kubernetes-grants", "", "Whose pods may enter which workspace: NAMESPACE=WORKSPACE:ROLE, with commas."),
    Option("--public-url", "", "Where people reach the HTTP port, such as https://runstream.example.org."),
    Option("--allowed-hosts", "", "Public names of this service, with commas, * as a wildcard; others are refused."),
    Option("--trusted-proxies", "", "Addresses or networks, with commas, whose X-Forwarded-* headers are taken."),
    Option("--path-prefix", "", "Path below which HTTP is served, too, such as /runstream, for a proxy in front."),
    Option("--data-dir", "./runstream-data", "Where the embedded PostgreSQL keeps its data, and artifacts by default."),
    Option("--artifacts", "", "Where artifacts are kept: a directory, an s3://, gs:// or az:// URL, or none."),
    Option("--database", "", "URL of an existing PostgreSQL (14 or newer): postgresql://... Then nothing is embedded."),
    Option("--database-wait", "30", "Seconds to wait at the start for a database that does not answer yet."),
    Option("--workers", "1", "Processes that serve, on the same ports, each about one core; 1: this process alone."),
    Option("--pool-size", "10", "Most connections to PostgreSQL of a worker, besides those of writers and a few more."),
    Option("--writers", "2", "Ingest writers of a worker, each with a connection; 2 keep a small machine busy."),
    Option("--max-queued-points", "400000", "Points in memory that wait for their commit; above, streams wait."),
    Option("--max-streams", "5000", "Most ingest streams at a time; a further one is refused and tries again later."),
    Option("--max-series-per-run", "2000000", "Series (metric, rank, attempt) of a run; further ones are refused."),
    Option("--workspace-points-per-second", "0", "Points/s of each workspace; above, its streams wait; 0: no limit."),
    Option("--workspace-streams", "0", "Ingest streams of each workspace at a time; 0: no limit."),
    Option("--workspace-concurrent-reads", "0", "Reads of each workspace at a time; above, they wait; 0: no limit."),
    Option("--workspace-file-bytes", "0", "Largest file of artifacts of each workspace, in bytes; 0: no limit."),
    Option("--metrics-by-workspace", "off", "on: metrics of limits have the name of the workspace."),
    Option("--max-connection-age", "1800", "Seconds after which a stream has to choose a replica again; 0: never."),
    Option("--epoch-points", "2000000", "Hot points that are rolled up into segments together."),
    Option("--epoch-seconds", "60", "Seconds after which fewer are rolled up, too."),
    Option(
        "--max-read-age", "60", "Seconds that hot batches are kept for reads that began before they were rolled up."
    ),
    Option("--hot-points-max", "20000000", "Points that wait for roll-up; above, streams wait."),
    Option(
        "--purge-after-days", "30", "Days after which what was deleted is gone for good; 0: within a minute or two."
    ),
    Option(
        "--silent-run-after",
        "3600",
        "Seconds after which a run whose producers are all gone is ended as KILLED; it runs again when one comes back. "
        "At least 60; 0: never.",
    ),
    Option("--shutdown-grace", "20", "Seconds from SIGTERM until everything has ended."),
    Option("--log-level", "info", f"Least severity that is logged: {', '.join(LEVELS)}."),
    Option("--log-format", "auto", "json, text, or auto: text on a terminal, else json."),
)


def read_settings(values: Mapping[str, str], *, json_ready: bool = False) -> Settings:
    """Parses and checks the values, which are by flag; a flag that is missing gets its default.

    Raises:
        StartupError: a value is wrong; it names the flag, the variable and an example.
    """
    texts = {option.flag: values.get(option.flag, option.default) for option in OPTIONS}

    def read(flag: str, parse: Callable[[str], T], example: str) -> T:
        try:
            return parse(texts[flag].strip())
        except ValueError as error:
            raise StartupError(str(error), setting=flag, example=example) from error

    data_dir = read("--data-dir", _path, "./runstream-data")
    is_on = read("--auth", _one_of(("off", "on")), "on") == "on"
    public_url = read("--public-url", _public_url, "https://runstream.example.org")
    return Settings(
        grpc_listen=read("--grpc-listen", parse_address, "127.0.0.1:50051"),
        http_listen=read("--http-listen", parse_address, "127.0.0.1:5000"),
        monitoring_listen=read("--monitoring-listen", _optional(parse_address), "127.0.0.1:9464"),
        tls=_tls(
            certificate=read(CERTIFICATE, _optional(_path), "/etc/runstream/tls/tls.crt"),
            key=read(KEY, _optional(_path), "/etc/runstream/tls/tls.key"),
            client_ca=read(CLIENT_CA, _optional(_path), "/etc/runstream/tls/clients.crt"),
        ),
        auth=is_on,
        session_s=read("--session-hours", _whole(1, 8_760), "12") * 3_600.0,
        oidc=read_oidc(texts, read, is_on=is_on, has_public_url=bool(public_url)),
        kubernetes=read_kubernetes(texts, read, is_on=is_on),
        public_url=public_url,
        allowed_hosts=read("--allowed-hosts", _hosts, "runstream.example.org,*.example.org"),
        trusted_proxies=read("--trusted-proxies", _proxies, "10.0.0.7,10.1.0.0/16"),
        path_prefix=read("--path-prefix", _prefix, "/runstream"),
        data_dir=data_dir,
        artifacts=read("--artifacts", _artifacts, "./artifacts") or str(data_dir / "artifacts"),
        database_url=read("--database", _database_url, "postgresql://user:password@host:5432/runstream"),
        database_wait_s=read("--database-wait", _seconds(0, 3_600), "30"),
        workers=read("--workers", _workers, "2"),
        pool_size=read("--pool-size", _pool_size, "10"),
        writers=read("--writers", _whole(1, 64), "2"),
        max_queued_points=read("--max-queued-points", _whole(LEAST_QUEUED_POINTS, 1_000_000_000), "400000"),
        max_streams=read("--max-streams", _whole(1, 1_000_000), "5000"),
        max_series_per_run=read("--max-series-per-run", _whole(1, 1_000_000_000), "2000000"),
        workspace_limits=Limits(
            points_per_second=read("--workspace-points-per-second", _LIMIT, "100000"),
            streams=read("--workspace-streams", _LIMIT, "500"),
            concurrent_reads=read("--workspace-concurrent-reads", _LIMIT, "20"),
            file_bytes=read("--workspace-file-bytes", _LIMIT, "10000000000"),
        ),
        metrics_by_workspace=read("--metrics-by-workspace", _one_of(("off", "on")), "off") == "on",
        max_connection_age_s=read("--max-connection-age", _seconds(0, 604_800), "1800"),
        epoch_points=read("--epoch-points", _whole(1, 100_000_000), "2000000"),
        epoch_seconds=read("--epoch-seconds", _seconds(0, 86_400), "60"),
        max_read_age_s=read("--max-read-age", _seconds(0, 86_400), "60"),
        hot_points_max=read("--hot-points-max", _whole(1, 10_000_000_000), "20000000"),
        purge_after_days=read("--purge-after-days", _whole(0, 36_500), "30"),
        silent_run_after_s=read("--silent-run-after", _silent_run_after, "3600"),
        shutdown_grace_s=read("--shutdown-grace", _seconds(1, 3_600), "20"),
        json_ready=json_ready,
        log_level=read("--log-level", _one_of(LEVELS), "info"),
        log_format=read("--log-format", _one_of(FORMATS), "json"),
        texts=texts,
    )


def check_who_can_reach(settings: Settings, *, allow_anonymous: bool) -> None:
    """Without authentication, everybody who can reach a port may delete everything. So ports that other machines can
    reach need authentication, or --allow-anonymous.

    Raises:
        StartupError: there is neither.
    """
    if settings.auth or allow_anonymous:
        return
    for flag, address in (("--grpc-listen", settings.grpc_listen), ("--http-listen", settings.http_listen)):
        if not is_loopback(address.host):
            raise StartupError(
                f"{address} can be reached from other machines, and without authentication everybody who reaches it "
                "may read, change and delete everything. Either switch authentication on, with --auth on "
                "(RUNSTREAM_AUTH=on), or confirm that this is intended, with --allow-anonymous "
                "(RUNSTREAM_ALLOW_ANONYMOUS=true)",
                setting=flag,
                example="127.0.0.1:5000",
            )


def is_loopback(host: str) -> bool:
    """Whether `host` is an address that only this machine can reach."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def parse_address(text: str) -> Address:
    """Parses HOST:PORT. Raises ValueError."""
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65_535:
        raise ValueError(f"{text!r} is not HOST:PORT with a port from 0 to 65535")
    return Address(match["host"].strip("[]"), int(match["port"]))


def _hosts(text: str) -> tuple[str, ...]:
    hosts = tuple(part.strip() for part in text.split(",") if part.strip())
    for host in hosts:
        if not re.fullmatch(r"[A-Za-z0-9.*_-]+", host):
            raise ValueError(f"{host!r} is not the name of a host; it has no scheme, port or path")
    return hosts


def _proxies(text: str) -> tuple[str, ...]:
    proxies = tuple(part.strip() for part in text.split(",") if part.strip())
    if "*" in proxies and len(proxies) > 1:
        raise ValueError("'*' trusts all addresses; leave out the other entries")
    return proxies if proxies == ("*",) else tuple(map(_network, proxies))


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(
            f"{text!r} is neither an IP address nor a network such as 10.1.0.0/16, with zeros after its prefix"
        ) from error
    return text


def _prefix(text: str) -> str:
    prefix = text.rstrip("/")
    if prefix and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", prefix):
        raise ValueError(
            f"{text!r} is not a path: a slash, then letters, digits and . _ ~ - and perhaps further slashes"
        )
    first = prefix.split("/")[1] if prefix else ""
    if first in TOP_PATHS or first in (".", ".."):
        raise ValueError(f"{text!r} begins like the paths of the service itself; choose another prefix")
    return prefix


def _public_url(text: str) -> str:
    url = text.rstrip("/")
    if url and not re.fullmatch(r"https?://[A-Za-z0-9.\[\]:_-]+(/[A-Za-z0-9._~/-]*)?", url):
        raise ValueError(f"{text[:200]!r} is not the URL of a host that begins with http:// or https://")
    return url


def _tls(*, certificate: Path | None, key: Path | None, client_ca: Path | None) -> TlsFiles | None:
    if certificate is not None and key is not None:
        return TlsFiles(certificate, key, client_ca)
    if certificate is not None:
        raise StartupError(f"{CERTIFICATE} needs the key of the certificate", setting=KEY, example="tls.key")
    if key is not None or client_ca is not None:
        why = f"{KEY if key is not None else CLIENT_CA} has no effect without a certificate of this service"
        raise StartupError(why, setting=CERTIFICATE, example="tls.crt")
    return None


def _optional(parse: Callable[[str], T]) -> Callable[[str], T | None]:
    return lambda text: parse(text) if text else None


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError("it is empty, or holds a NUL character; a path is needed")
    return Path(text)


def _artifacts(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if separator and scheme not in BUCKET_SCHEMES:
        known = ", ".join(f"{one}://" for one in BUCKET_SCHEMES)
        raise ValueError(f"{scheme[:20]!r} is not a scheme of a bucket for artifacts; possible are {known}")
    if "\0" in text or (separator and not rest.strip("/")):
        raise ValueError("a directory is needed, or the URL of a bucket with its name")
    return text


def _database_url(text: str) -> str | None:
    if not text:
        return None
    DatabaseUrl.parse(text)
    return text


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = int(text) if re.fullmatch(r"[0-9]{1,12}", text) else -1
        if not least <= number <= most:
            raise ValueError(f"{text!r} is not a whole number from {least:,} to {most:,}")
        return number

    return parse


def _workers(text: str) -> int:
    workers = _whole(1, MAX_WORKERS)(text)
    if workers > 1 and sys.platform != "linux":
        raise ValueError("several workers share their ports, which only Linux can do; use 1 on this system")
    return workers


def _pool_size(text: str) -> int:
    size = _whole(1, 1_000)(text)
    if size < LEAST_POOL_SIZE:
        raise ValueError(
            f"{size} connections are too few: streams that open, histories, charts and live tails take a share each, "
            f"and calls need one; the least is {LEAST_POOL_SIZE}"
        )
    return size


def _seconds(least: float, most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        number = float(text) if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text) else -1.0
        if not least <= number <= most:
            raise ValueError(f"{text!r} is not a number of seconds from {least:,} to {most:,}")
        return number

    return parse


def _silent_run_after(text: str) -> float:
    seconds = _seconds(0, 999_999)(text)
    if 0 < seconds < LEAST_SILENT_RUN_AFTER_S:
        raise ValueError(
            f"{seconds:g} s are too short: a client that lost its connection may wait for half a minute before it "
            "tries again, and its run would be ended meanwhile; the least is "
            f"{LEAST_SILENT_RUN_AFTER_S:g}, and 0 ends none"
        )
    return seconds


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"{text!r} is not one of {', '.join(choices)}")
        return text.lower()

    return parse


_LIMIT = _whole(0, 999_999_999_999)
