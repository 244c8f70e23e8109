from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runstream.journal import Position
from runstream.journal.position import MAX_NOTICES

POSITION = Position(
    records=7,
    acknowledged_points=1_000,
    refused={"key_empty": 2},
    producer="ab" * 16,
    run_name="größe",
    notices=({"n": 1, "level": "warning", "text": "a"},),
    finished=True,
)


def test_a_position_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    assert Position.load(tmp_path) is None

    POSITION.save(tmp_path, durable=False)
    assert Position.load(tmp_path) == POSITION

    Position(records=8).save(tmp_path, durable=True)
    assert Position.load(tmp_path) == Position(records=8)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_a_damaged_position_counts_as_the_last_durable_one(tmp_path: Path, data: st.DataObject) -> None:
    file = tmp_path / "position.json"
    Position(records=3).save(tmp_path, durable=True)
    POSITION.save(tmp_path, durable=False)
    content = bytearray(file.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)

    assert Position.load(tmp_path) == Position(records=3)

    (tmp_path / "position.durable.json").write_bytes(b"\0" * 100)
    assert Position.load(tmp_path) is None
    (tmp_path / "position.durable.json").unlink()


def test_keys_of_a_newer_release_are_ignored(tmp_path: Path) -> None:
    line = b'{"records":5,"colour":"red","notices":[]}'
    (tmp_path / "position.json").write_bytes(b"%s\n%08x\n" % (line, crc32(line)))

    assert Position.load(tmp_path) == Position(records=5)


def test_only_the_last_notices_are_kept(tmp_path: Path) -> None:
    notices = [{"n": number, "level": "info", "text": ""} for number in range(200)]

    Position(notices=notices).save(tmp_path, durable=False)

    loaded = Position.load(tmp_path)
    assert loaded is not None
    assert loaded.notices == tuple(notices[-MAX_NOTICES:])


def test_saving_into_a_directory_that_is_gone_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        POSITION.save(tmp_path / "gone", durable=True)
