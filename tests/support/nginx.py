"""A real nginx, with the server that docs/security.md shows."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

import pytest

from runstream_bench.server_process import free_port
from tests.support.authorities import Issued
from tests.support.markdown import ROOT, blocks_of

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed (.ci/run installs it)")

_AROUND = """
daemon off;
pid nginx.pid;
error_log stderr warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
{server}
}}
"""


class Nginx:
    """An nginx in front of a service, with a certificate. A context manager."""

    def __init__(self, directory: Path, issued: Issued, *, grpc_address: str, http_address: str) -> None:
        self._directory = directory
        self.port = free_port()
        (server,) = (block.text for block in blocks_of(ROOT / "docs" / "security.md") if block.language == "nginx")
        for documented, real in (
            ("listen 443 ", f"listen 127.0.0.1:{self.port} "),
            ("127.0.0.1:5000", http_address),
            ("127.0.0.1:50051", grpc_address),
        ):
            assert documented in server
            server = server.replace(documented, real)
        directory.mkdir()
        (directory / "tls.crt").write_bytes(issued.chain)
        (directory / "tls.key").write_bytes(issued.key)
        (directory / "nginx.conf").write_text(_AROUND.format(server=server))

    def __enter__(self) -> Nginx:
        assert NGINX is not None
        self._process = subprocess.Popen(
            [NGINX, "-p", str(self._directory), "-c", "nginx.conf", "-e", "stderr"], stderr=subprocess.PIPE, text=True
        )
        give_up = time.monotonic() + 30
        while not self._answers():
            assert self._process.poll() is None, self._process.communicate()[1]
            assert time.monotonic() < give_up
            time.sleep(0.05)
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate(timeout=30)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except ConnectionError:
            return False
        return True
