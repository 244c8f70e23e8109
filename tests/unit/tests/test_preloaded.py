"""A process that has imported its modules already is like one that was started afresh."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.preloaded import Preloaded, run

MODULES = ("json",)

WHAT_IT_SEES = """
import json, os, sys
print(json.dumps([sys.argv, sys.path[0], __name__, os.getcwd(), dict(os.environ), sys.stdin.read()]))
print("and an error", file=sys.stderr)
sys.exit(3)
"""


@pytest.mark.parametrize("kind", ["code", "file", "module"])
def test_a_program_sees_and_prints_what_it_would_otherwise(kind: str, tmp_path: Path) -> None:
    (tmp_path / "seen.py").write_text(WHAT_IT_SEES)
    program = {"code": ["-c", WHAT_IT_SEES], "file": [str(tmp_path / "seen.py")], "module": ["-m", "seen"]}[kind]
    command = [sys.executable, *program, "an argument"]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path), "LC_CTYPE": "C.UTF-8", "SOME": "thing"}
    afresh = subprocess.run(command, env=env, cwd=tmp_path, input="typed", capture_output=True, text=True)
    forked = run(command, env, modules=MODULES, cwd=tmp_path, text_input="typed")
    assert json.loads(forked.stdout) == json.loads(afresh.stdout)
    assert (forked.stderr, forked.returncode) == (afresh.stderr, afresh.returncode) == ("and an error\n", 3)


def test_its_end_is_noticed_whatever_ends_it() -> None:
    waits = [sys.executable, "-c", "import signal; print('ready', flush=True); signal.pause()"]
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
        with Preloaded(
            waits, dict(os.environ), modules=MODULES, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as it:
            assert it.stdout is not None
            assert it.stdout.readline() == "ready\n"
            assert it.poll() is None
            with pytest.raises(subprocess.TimeoutExpired):
                it.wait(0.01)
            it.send_signal(number)
            assert it.wait(60) == -number


ENDS = {
    "a bug": "raise ValueError('a bug')",
    "a message": "import sys; sys.exit('what went wrong')",
    "no status": "import sys; sys.exit()",
    "a large status": "import sys; sys.exit(300)",
    "Ctrl-C": "raise KeyboardInterrupt",
    "threads": "import threading, time; threading.Thread(target=lambda: (time.sleep(0.1), print('later'))).start()",
    "atexit": "import atexit; atexit.register(print, 'second'); atexit.register(print, 'first'); print('0', end='')",
}


@pytest.mark.parametrize("code", ENDS.values(), ids=ENDS)
def test_it_ends_as_it_would_otherwise(code: str) -> None:
    command = [sys.executable, "-c", code]
    afresh = subprocess.run(command, capture_output=True, text=True)
    forked = run(command, dict(os.environ), modules=MODULES)
    assert (forked.stdout, forked.returncode) == (afresh.stdout, afresh.returncode)
    assert forked.stderr.splitlines()[-1:] == afresh.stderr.splitlines()[-1:]


def test_several_run_at_once_and_end_in_any_order() -> None:
    waits = [sys.executable, "-c", "print(input())"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    first, second = (Preloaded(waits, dict(os.environ), modules=MODULES, **pipes) for _ in range(2))
    assert second.communicate("two", timeout=60)[0] == "two\n"
    assert first.poll() is None
    assert first.communicate("one", timeout=60)[0] == "one\n"
    assert (first.returncode, second.returncode) == (0, 0)
