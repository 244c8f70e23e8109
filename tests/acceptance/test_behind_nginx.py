"""TLS that ends at a proxy, as in docs/security.md: everything works as without a proxy."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest

import runstream
from runstream_bench import http_client
from tests.support.authorities import Authority, trusting
from tests.support.databases import short_directory
from tests.support.nginx import Nginx, needs_nginx
from tests.support.serve import ServeProcess

pytestmark = needs_nginx

PREFIX = "/ml"


@dataclass
class Proxied:
    """A service behind nginx."""

    port: int
    authority: Authority
    ca: Path

    @property
    def url(self) -> str:
        """The URL of HTTP."""
        return f"https://localhost:{self.port}"

    def get(self, path: str) -> tuple[str, str]:
        """GET of a path; where it redirects to, which is not followed, and its body."""
        answer = http_client.get(self.url + path, context=trusting(self.authority))
        return answer.headers.get("location", ""), answer.text


@pytest.fixture(scope="module")
def proxied() -> Iterator[Proxied]:
    with short_directory() as directory:
        authority = Authority()
        (directory / "ca.pem").write_bytes(authority.pem)
        arguments = ["--trusted-proxies", "127.0.0.1", "--path-prefix", PREFIX]
        with ServeProcess(directory / "data", arguments=arguments) as serve:
            address = serve.http_url.removeprefix("http://").removesuffix(PREFIX)
            with Nginx(
                directory / "nginx", authority.issue(), grpc_address=serve.grpc_address, http_address=address
            ) as nginx:
                yield Proxied(nginx.port, authority, directory / "ca.pem")


def test_links_and_redirects_have_the_scheme_and_the_host_of_the_proxy(proxied: Proxied) -> None:
    _, page = proxied.get(f"{PREFIX}/about")
    assert re.findall(r'set_tracking_uri\("(.*?)"\)', page) == [f"{proxied.url}{PREFIX}"]
    for path in (PREFIX, f"{PREFIX}/about/"):
        location, _ = proxied.get(path)
        assert location.startswith(("/", f"{proxied.url}/")), (path, location)


def test_the_client_streams_and_reads_through_it(proxied: Proxied, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNSTREAM_TLS_CA", str(proxied.ca))
    address = f"grpcs://localhost:{proxied.port}"
    with runstream.start_run("proxied", "tls", address=address) as run:
        for step in range(1_000):
            run.log({"loss": step}, step=step)
        assert run.flush(120)
    with runstream.Client(address) as client:
        assert [point.step for point in client.history(run.run_id, "loss")] == list(range(1_000))
        tail: Any = client.tail(run.run_id)
        with contextlib.closing(tail):
            assert next(tail) is not None


def test_mlflow_works_through_it(proxied: Proxied, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(proxied.ca))
    client = mlflow.MlflowClient(f"{proxied.url}{PREFIX}")
    run = client.create_run(client.create_experiment("through nginx"))
    client.log_metric(run.info.run_id, "loss", 0.5)
    assert client.get_run(run.info.run_id).data.metrics == {"loss": 0.5}
