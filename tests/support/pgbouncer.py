"""A real pgbouncer between a test and its database."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from runstream_bench.tcp_proxy import socket_of
from tests.support.databases import short_directory

PORT = 6432

needs_pgbouncer = pytest.mark.skipif(
    shutil.which("pgbouncer") is None, reason="pgbouncer is not installed (.ci/run installs it)"
)


@contextlib.contextmanager
def pgbouncer(url: str, *, mode: str) -> Iterator[str]:
    """The URL of the same database through a pooler, by a unix socket."""
    with short_directory() as directory:
        directory.chmod(0o777)  # it runs as the account of the server, whose socket is closed to others
        settings = {
            "listen_port": PORT,
            "unix_socket_dir": directory,
            "auth_type": "any",
            "pool_mode": mode,
            "default_pool_size": 50,
            "logfile": directory / "log",
        }
        server = Path(socket_of(url)).parent
        lines = ["[databases]", f"* = host={server} port=5432 user=postgres", "[pgbouncer]"]
        config = directory / "pgbouncer.ini"
        config.write_text("\n".join([*lines, *(f"{name} = {value}" for name, value in settings.items())]) + "\n")
        options: dict[str, object] = {}
        if os.geteuid() == 0:
            owner = server.stat()
            options = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
        process = subprocess.Popen(["pgbouncer", "--quiet", str(config)], **options)  # type: ignore[call-overload]
        try:
            give_up = time.monotonic() + 20
            while not (directory / f".s.PGSQL.{PORT}").exists():
                assert process.poll() is None, (directory / "log").read_text()
                assert time.monotonic() < give_up
                time.sleep(0.01)
            parts = urlsplit(url)
            yield f"postgresql://postgres@{parts.path}?host={quote(str(directory), safe='')}&port={PORT}"
        finally:
            process.kill()
            process.wait()
