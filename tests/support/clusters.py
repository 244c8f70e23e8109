"""A PostgreSQL cluster as the first start of a service leaves it: made once, and copied for each service of the tests.

initdb and the migrations are most of what a first start takes, and do the same each time. Tests of them, and of a first
start as a whole, ask for an empty directory. All copies have the system identifier of the original, and none has the
databases `postgres` and `template0`, which nobody needs: half of the files.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import importlib.metadata
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import runstream_service.database
from runstream_service.database.embedded import EmbeddedPostgres
from runstream_service.database.migrate import migrate
from runstream_service.database.pool import Database
from runstream_service.database.postgres_files import WHEEL, account_for, clean_environment, programs_for
from tests.support.databases import short_directory

_TEMPLATES = Path(__file__).resolve().parents[2] / "build" / "postgres"
_STORAGE = Path(runstream_service.database.__file__).parent
_NAME = "postgres"  # of the cluster in a data directory
_PAGE_BYTES = 8192  # of its log
_DROP_OTHERS = ("ALTER DATABASE template0 IS_TEMPLATE false", "DROP DATABASE template0", "DROP DATABASE postgres")


def place_cluster(data_dir: Path) -> None:
    """Puts a cluster with a migrated database into a data directory that does not exist yet, or is empty."""
    made = template()
    data_dir.mkdir(parents=True, exist_ok=True)
    data_dir.chmod(0o755)
    subprocess.run(["tar", "-xpf", str(made), "-C", str(data_dir)], check=True)


def template() -> Path:
    """The original, a tar file, which is made when there is none for this code and this PostgreSQL."""
    made = _TEMPLATES / f"{_fingerprint()}.tar"
    if not made.exists():
        _TEMPLATES.mkdir(parents=True, exist_ok=True)
        with (_TEMPLATES / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                _make(made)
    return made


def _make(place: Path) -> None:
    for older in _TEMPLATES.glob("*.tar"):
        older.unlink()
    with (
        short_directory() as directory,  # PostgreSQL's account may not be able to reach the other one
        ThreadPoolExecutor(1) as thread,  # an event loop may run in this one
    ):
        thread.submit(asyncio.run, _start_and_stop(directory)).result()
        unfinished = _TEMPLATES / "unfinished"
        subprocess.run(["tar", "-cSf", str(unfinished), "-C", str(directory), _NAME], check=True)
        unfinished.rename(place)


async def _start_and_stop(directory: Path) -> None:
    postgres = EmbeddedPostgres(directory)
    await postgres.start()
    try:
        database = await Database.open(postgres.url, max_size=1)
        await migrate(database)
        for statement in _DROP_OTHERS:
            await database.execute(statement)
        await database.close()
    finally:
        await postgres.stop()
    _shorten_log(postgres)


def _shorten_log(postgres: EmbeddedPostgres) -> None:
    """Replaces the log of the migrations, which is half of what there would be to copy, by a file that is nearly all
    hole: PostgreSQL starts a new log with one page."""
    account = account_for(postgres.cluster)
    command = [str(programs_for(postgres.data_dir, account) / "pg_resetwal"), "-f", str(postgres.cluster)]
    options = {"cwd": "/", "env": clean_environment(), "stdout": subprocess.DEVNULL, **account.popen_options()}
    subprocess.run(command, check=True, **options)
    (log,) = (postgres.cluster / "pg_wal").glob("0*")
    size = log.stat().st_size
    os.truncate(log, _PAGE_BYTES)
    os.truncate(log, size)


def _fingerprint() -> str:
    """A hash of everything from which a cluster and its schema are made."""
    made_from = hashlib.sha256(importlib.metadata.version(WHEEL).encode())
    for file in sorted(_STORAGE.rglob("*")):
        if file.suffix in (".py", ".sql"):
            made_from.update(str(file.relative_to(_STORAGE)).encode())
            made_from.update(file.read_bytes())
    return made_from.hexdigest()[:16]
