"""Settings of the process itself, made before it starts."""

from __future__ import annotations

import subprocess
import sys

_SHOW = "import resource as r; print(*r.getrlimit(r.RLIMIT_NOFILE))"
_START = "from runstream_service.server import process_tuning; process_tuning.before_start();"


def test_the_service_may_open_as_many_files_as_the_system_lets_it() -> None:
    command = ["bash", "-c", 'ulimit -Sn 64; ulimit -Hn 4000; exec "$0" -c "$1"', sys.executable, f"{_START} {_SHOW}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split() == ["4000", "4000"]


def test_a_busy_thread_gives_the_event_loop_the_interpreter_within_a_millisecond() -> None:
    script = f"{_START} import sys; print(sys.getswitchinterval())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert float(done.stdout) <= 0.001
