import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runstream.journal import Directory, JournalWriter
from runstream.journal import directory as directory_module
from runstream.journal.directory import DEFAULT_LIMIT_BYTES, network_file_system
from runstream.journal.reader import JournalReader
from tests.support.polling import until_now
from tests.unit.journal.records import CREATE

NO_MOUNTS = ""
MOUNTS = """\
22 1 253:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:25 / /home rw,relatime shared:9 - nfs4 filer:/home rw,vers=4.2
31 30 253:1 / /home/local\\040disk rw - xfs /dev/vdb rw
32 22 0:30 / /scratch rw - lustre mgs@tcp:/scratch rw
33 22 0:31 / /remote rw - fuse.sshfs host:/ rw
34 22 0:32 / /box rw - fuse.fuse-overlayfs fuse-overlayfs rw
35 22 0:33 / /twice rw - nfs filer:/a rw
36 35 0:34 / /twice rw - tmpfs none rw
"""


@pytest.mark.parametrize(
    ("path", "file_system"),
    [
        ("/var/tmp/x", ""),
        ("/home", "nfs4"),
        ("/home/me/.local", "nfs4"),
        ("/homes", ""),
        ("/home/local disk/me", ""),
        ("/scratch/a/b", "lustre"),
        ("/remote/x", "fuse.sshfs"),
        ("/box/x", ""),
        ("/twice/x", ""),
    ],
)
def test_network_file_systems_are_recognised(path: str, file_system: str) -> None:
    assert network_file_system(Path(path), MOUNTS) == file_system


def test_without_a_readable_mountinfo_every_file_system_counts_as_local() -> None:
    assert network_file_system(Path("/home"), "garbage\n - \n1 2 3 - nfs\n") == ""


def test_a_symbolic_link_counts_as_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/home/me")

    assert network_file_system(tmp_path / "link" / "x", MOUNTS) == "nfs4"


def test_the_directory_that_is_named_is_made_for_this_user_alone(tmp_path: Path) -> None:
    chosen = Directory.choose({"RUNSTREAM_DIR": str(tmp_path / "a" / "b")}, NO_MOUNTS)

    assert chosen.path == tmp_path / "a" / "b"
    assert chosen.journals_path.is_dir()
    assert stat.S_IMODE((tmp_path / "a" / "b" / "v1").stat().st_mode) == 0o700
    assert "RUNSTREAM_DIR" in chosen.chosen()
    assert chosen.warning == ""
    assert chosen.journals() == []


def test_a_relative_directory_stays_the_same_when_the_process_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = Directory.choose({"RUNSTREAM_DIR": "points"}, NO_MOUNTS)
    monkeypatch.chdir("/")

    assert chosen.path == tmp_path / "points"
    assert chosen.journals_path.is_dir()


def test_a_named_directory_on_a_network_file_system_is_used_with_a_warning(tmp_path: Path) -> None:
    mounts = f"30 22 0:25 / {tmp_path} rw - nfs4 filer:/home rw\n"

    chosen = Directory.choose({"RUNSTREAM_DIR": str(tmp_path / "x")}, mounts)

    assert chosen.path == tmp_path / "x"
    assert "network file system (nfs4)" in chosen.warning


def test_a_named_directory_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(OSError, match="file"):
        Directory.choose({"RUNSTREAM_DIR": str(tmp_path / "file" / "x")}, NO_MOUNTS)


def test_the_default_is_below_the_state_directory(tmp_path: Path) -> None:
    assert Directory.choose({"XDG_STATE_HOME": str(tmp_path)}, NO_MOUNTS).path == tmp_path / "runstream"
    assert Directory.choose({"HOME": str(tmp_path), "XDG_STATE_HOME": "state"}, NO_MOUNTS).path == (
        tmp_path / ".local" / "state" / "runstream"
    )


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that stands for /var/tmp."""
    path = tmp_path / "shared"
    path.mkdir()
    monkeypatch.setattr(directory_module, "SHARED_DIRECTORY", path)
    return path


def fallback(path: Path) -> Path:
    return path / f"runstream-{os.getuid()}"


def test_a_home_on_a_network_file_system_is_not_used(tmp_path: Path, shared: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    mounts = f"30 22 0:25 / {home} rw - nfs4 filer:/home rw\n"

    chosen = Directory.choose({"HOME": str(home)}, mounts)

    assert chosen.path == fallback(shared)
    assert stat.S_IMODE(chosen.path.stat().st_mode) == 0o700
    assert "network file system (nfs4)" in chosen.chosen()
    assert list(home.iterdir()) == []


def test_a_home_that_cannot_be_written_is_not_used(tmp_path: Path, shared: Path) -> None:
    home = tmp_path / "home"
    home.write_text("no directory")  # permissions do not stop root

    assert Directory.choose({"HOME": str(home)}, NO_MOUNTS).path == fallback(shared)


def test_a_user_without_a_home_gets_a_directory(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_entry(_uid: int) -> None:
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", no_entry)

    assert Directory.choose({}, NO_MOUNTS).path == fallback(shared)


@pytest.mark.parametrize("obstacle", ["link", "file", "of another user"])
def test_a_fallback_directory_of_another_user_is_not_used(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "mine").mkdir()
    if obstacle == "link":
        fallback(shared).symlink_to(tmp_path / "theirs")
    elif obstacle == "file":
        fallback(shared).write_text("")
    else:
        fallback(shared).mkdir()
        if os.getuid() == 0:
            os.chown(fallback(shared), 12345, 12345)
        else:
            real, here = os.getuid(), fallback(shared)
            monkeypatch.setattr(os, "getuid", lambda: real + 1)
            here.rename(fallback(shared))

    chosen = Directory.choose({"XDG_STATE_HOME": "/proc/nothing", "TMPDIR": str(tmp_path / "mine")}, NO_MOUNTS)

    assert chosen.path == fallback(tmp_path / "mine")
    assert "cannot be used" in chosen.reason
    assert list((tmp_path / "theirs").iterdir()) == []


def test_a_fallback_that_others_can_read_is_closed_to_them(shared: Path) -> None:
    fallback(shared).mkdir(mode=0o777)
    fallback(shared).chmod(0o777)

    chosen = Directory.choose({"XDG_STATE_HOME": "/proc/nothing"}, NO_MOUNTS)

    assert stat.S_IMODE(chosen.path.stat().st_mode) == 0o700


def test_where_nothing_can_be_used_the_error_says_what_was_tried(tmp_path: Path, shared: Path) -> None:
    fallback(shared).write_text("")
    (tmp_path / "file").write_text("")

    with pytest.raises(OSError, match=r"/proc/nothing.*shared.*file.*RUNSTREAM_DIR"):
        Directory.choose({"XDG_STATE_HOME": "/proc/nothing", "TMPDIR": str(tmp_path / "file")}, NO_MOUNTS)


def test_the_limit_of_the_directory_comes_from_the_environment(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    named = {"RUNSTREAM_DIR": str(tmp_path)}

    assert Directory.choose(named).limit_bytes == DEFAULT_LIMIT_BYTES
    assert Directory.choose({**named, "RUNSTREAM_DIR_BYTES": "5000"}).limit_bytes == 5_000
    assert Directory.choose({**named, "RUNSTREAM_DIR_BYTES": "5 GB"}).limit_bytes == DEFAULT_LIMIT_BYTES
    assert "RUNSTREAM_DIR_BYTES='5 GB' is not a number of bytes" in caplog.text


def test_the_size_of_all_journals_is_counted_and_a_smaller_limit_holds_at_once(tmp_path: Path) -> None:
    environ = {"RUNSTREAM_DIR": str(tmp_path)}
    writer = JournalWriter.create(Directory.choose(environ), CREATE)

    again = Directory.choose({**environ, "RUNSTREAM_DIR_BYTES": "100"})

    assert again.total_bytes() == writer.size_bytes
    assert again.is_full()
    assert not Directory.choose(environ).is_full()
    writer.close()


def test_only_a_directory_of_journals_can_be_opened(tmp_path: Path, directory: Directory) -> None:
    assert Directory.open(directory.path).journals() == []
    with pytest.raises(FileNotFoundError, match="not a directory of runstream"):
        Directory.open(tmp_path / "other")


def test_a_deleted_journal_leaves_what_was_quarantined(directory: Directory) -> None:
    writer = JournalWriter.create(directory, CREATE)
    (writer.path / "damaged").mkdir()
    (writer.path / "damaged" / "00000001.seg-48.bin").write_bytes(b"?")
    writer.close()

    directory.delete_journal(writer.path)

    assert directory.journals() == []
    assert list(directory.journals_path.iterdir()) == []
    assert (directory.damaged_path / writer.id / "00000001.seg-48.bin").read_bytes() == b"?"


def test_quarantined_bytes_are_bounded(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_module, "_KEPT_DAMAGED_BYTES", 25)
    ids = []
    for age in (30, 20, 10):
        writer = JournalWriter.create(directory, CREATE)
        (writer.path / "damaged").mkdir()
        (writer.path / "damaged" / "x.bin").write_bytes(bytes(10))
        os.utime(writer.path / "damaged", (time.time() - age,) * 2)
        writer.close()
        directory.delete_journal(writer.path)
        ids.append(writer.id)

    assert {path.name for path in directory.damaged_path.iterdir()} == set(ids[1:])


def test_unfinished_files_of_dead_processes_are_deleted(directory: Directory) -> None:
    old, new = (directory.journals_path / name for name in (".new-old", ".new-new"))
    for path in (old, new):
        path.mkdir()
        (path / "writer.lock").write_text("")
    os.utime(old, (time.time() - 3_600,) * 2)

    directory.delete_abandoned()

    assert [path.name for path in directory.journals_path.iterdir()] == [".new-new"]
    assert directory.journals() == []


def test_the_bell_changes_with_each_ring(directory: Directory) -> None:
    times = [directory.bell_time_ns()]
    for _ in range(20):
        directory.ring_bell()
        times.append(directory.bell_time_ns())

    assert times[0] == 0
    assert len(set(times)) == 21


def test_ringing_in_a_directory_that_is_gone_does_nothing(tmp_path: Path) -> None:
    Directory(tmp_path / "gone").ring_bell()


def test_only_one_process_has_the_lock_of_the_agent(directory: Directory) -> None:
    lock = directory.agent_lock()
    assert lock is not None
    assert directory.agent_runs()
    assert directory.agent_pid() == os.getpid()
    assert directory.agent_lock() is None

    lock.release()

    assert not directory.agent_runs()
    again = directory.agent_lock()
    assert again is not None
    again.release()


def test_the_lock_of_a_killed_agent_is_free(directory: Directory) -> None:
    program = (
        "import sys, time; from pathlib import Path; from runstream.journal import Directory\n"
        "lock = Directory(Path(sys.argv[1])).agent_lock(); print(lock is not None, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(directory.path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"True\n"
        assert directory.agent_lock() is None
        assert directory.agent_pid() == process.pid
        process.kill()
    until_now(lambda: not directory.agent_runs())

    lock = directory.agent_lock()

    assert lock is not None
    assert directory.agent_pid() == os.getpid()
    lock.release()


def test_a_lock_whose_file_is_deleted_is_no_longer_in_place(directory: Directory) -> None:
    lock = directory.agent_lock()
    assert lock is not None
    assert lock.in_place()

    directory.agent_lock_path.unlink()

    assert not lock.in_place()
    lock.release()


def test_a_second_writer_of_a_journal_is_refused(directory: Directory) -> None:
    from runstream.journal.files import OS_FILES

    writer = JournalWriter.create_with(OS_FILES, directory.journals_path, "ab" * 16, CREATE)

    with pytest.raises(OSError, match=r"not empty|exists"):
        JournalWriter.create_with(OS_FILES, directory.journals_path, "ab" * 16, CREATE)

    assert JournalReader(writer.path).create == CREATE
    assert [path.name for path in directory.journals_path.iterdir()] == ["ab" * 16]
    writer.close()
