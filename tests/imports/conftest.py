"""A stock MLflow server with data, and a service of ours that imports it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import runstream
from tests.support.databases import short_directory
from tests.support.serve import ServeProcess
from tests.support.stock import place_stock_database, stock_server

for _name in [name for name in os.environ if name.startswith(("MLFLOW_", "_MLFLOW"))]:
    del os.environ[_name]
os.environ.update({"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "GIT_PYTHON_REFRESH": "quiet"})
with warnings.catch_warnings():
    # Warnings of MLflow and its dependencies during their import; they are not our fault.
    warnings.simplefilter("ignore")
    from tests.imports.source_data import Filled, fill

_HERE = Path(__file__).parent
_MODULES = ("mlflow",)  # no scripts start here


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ignores warnings of MLflow's own code."""
    for item in items:
        if _HERE in item.path.parents:
            for kind in ("DeprecationWarning", "FutureWarning", "UserWarning"):
                item.add_marker(pytest.mark.filterwarnings(f"ignore::{kind}:mlflow.*"), append=False)


@dataclass
class MlflowSource:
    """A server that runs, and where its database and files are."""

    url: str
    directory: Path
    of_database: Filled
    of_server: Filled

    @property
    def database(self) -> str:
        """The database, as `mlflow server --backend-store-uri` takes it."""
        return f"sqlite:///{self.directory}/mlflow.db"

    @property
    def files(self) -> str:
        """The option that says where the files of the server are."""
        return f"--artifacts={self.directory}/artifacts"


@pytest.fixture(scope="session")
def service() -> Iterator[ServeProcess]:
    """The service into which tests import, each of them other experiments."""
    with short_directory() as directory, ServeProcess(directory) as serve:
        yield serve


@pytest.fixture
def client(service: ServeProcess) -> Iterator[runstream.Client]:
    """A client that reads what was imported."""
    with runstream.Client(service.grpc_address) as client:
        yield client


@pytest.fixture(scope="session")
def source() -> Iterator[MlflowSource]:
    """A stock server with data, which tests read and do not change."""
    with short_directory() as directory:
        place = directory / "mlflow"
        with stock_server(place=place, timeout_s=250, modules=_MODULES) as url:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # stages are deprecated, and still there
                of_database, of_server = fill(url, "a"), fill(url, "b")
            yield MlflowSource(url, place, of_database, of_server)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database of MLflow's with nothing in it, in the working directory of the test."""
    place_stock_database(tmp_path / "mlflow.db", _MODULES)
    return tmp_path / "mlflow.db"
