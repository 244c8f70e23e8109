from pathlib import Path

import pytest

from runstream.journal import Directory


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    directory = Directory(tmp_path / "runstream")
    directory.make()
    return directory
