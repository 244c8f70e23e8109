"""Small training programs that the tests run in processes of their own: `python -m tests.unit.client.processes NAME`.

Each logs the key "parent" or "child<n>"; values count from 0, so that the test sees what is missing or twice.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import types

import runstream


def count(run: runstream.Run, key: str, first: int, points: int) -> None:
    """Logs `points` values from `first` on."""
    for value in range(first, first + points):
        run.log({key: value}, step=value)


def os_fork(rounds: int) -> None:
    """Forks while it streams; each child logs and flushes, as does the parent between forks."""
    run = runstream.start_run("e", "fork")
    stop = threading.Event()

    def stream() -> None:
        value = 0
        while not stop.is_set():
            run.log({"parent": value}, step=value)
            value += 1
            time.sleep(0.0002)
        print("parent", value, flush=True)

    thread = threading.Thread(target=stream)
    thread.start()
    failed = 0
    for number in range(rounds):
        pid = os.fork()
        if pid == 0:
            signal.alarm(30)
            count(run, f"child{number}", 0, 1_200)
            os._exit(0 if run.flush(20) else 3)
        failed += os.waitpid(pid, 0)[1] != 0
        assert run.flush(120), run.stats()
    stop.set()
    thread.join()
    print("failed", failed, flush=True)
    run.finish()


def fork_while_a_call_is_locked(points: int) -> None:
    """The child collects a finished call as garbage, while a thread of the parent held its lock at the fork."""
    run = runstream.start_run("e", "locked")
    count(run, "parent", 0, points)
    run.flush(20)
    pieces = runstream.Client().stream_history(run.run_id, "parent")
    next(pieces)
    (call,) = sys.modules["runstream._channel"].channels()._streams
    if os.fork() == 0:  # ends the call
        os._exit(0)
    os.wait()
    with contextlib.suppress(runstream.RunstreamError):
        list(pieces)
    count(run, "parent", points, points)
    run.flush(20)

    locked, release = threading.Event(), threading.Event()

    def hold(lock: threading.Condition) -> None:
        with lock:
            locked.set()
            release.wait()

    thread = threading.Thread(target=hold, args=(call._state.condition,))
    thread.start()
    locked.wait()
    gc.disable()
    garbage = [call]
    garbage.append(garbage)
    del call, garbage
    if os.fork() == 0:
        signal.alarm(10)
        gc.collect()
        count(run, "child0", 0, points)
        os._exit(0 if run.flush(5) else 3)
    print("child", os.wait()[1], flush=True)
    release.set()
    thread.join()
    gc.enable()
    run.finish()


def _in_child(run: runstream.Run, number: int) -> None:
    count(run, f"child{number}", 0, 700)  # no flush: the end of the process must do that


def _nothing(number: int) -> int:
    return number


def fork_pool(rounds: int) -> None:
    """multiprocessing children, several at once, which do not flush; and, as of data loaders, some that never log."""
    context = multiprocessing.get_context("fork")
    with runstream.start_run("e", "pool") as run:
        for start in range(0, rounds, 4):
            count(run, "parent", start * 100, 400)
            children = [context.Process(target=_in_child, args=(run, number)) for number in range(start, start + 4)]
            for child in children:
                child.start()
            with context.Pool(2) as pool:
                assert pool.map(_nothing, range(8)) == list(range(8))
            for child in children:
                child.join()
                assert child.exitcode == 0, child.exitcode
        assert run.flush(120), run.stats()


def spawned(points: int) -> None:
    """A spawned child starts a run of its own and leaves without finishing it."""
    child = multiprocessing.get_context("spawn").Process(target=_own_run, args=(points,))
    child.start()
    child.join()
    sys.exit(child.exitcode)


def _own_run(points: int) -> None:
    run = runstream.start_run("e", "spawned")
    count(run, "child0", 0, points)
    print(run.run_id, flush=True)


def falls_off_the_end(points: int) -> None:
    """Ends without finish() or flush()."""
    run = runstream.start_run("e", "end")
    print(run.run_id, flush=True)
    count(run, "parent", 0, points)


def raises(points: int) -> None:
    """Ends with an uncaught exception."""
    falls_off_the_end(points)
    raise RuntimeError("training diverged")


def interrupted(points: int) -> None:
    """Ends with Ctrl-C."""
    falls_off_the_end(points)
    signal.raise_signal(signal.SIGINT)


def sys_exit_with_code(points: int) -> None:
    """Ends by sys.exit() with a code."""
    falls_off_the_end(points)
    sys.exit(3)


def exit_with_code(points: int) -> None:
    """Ends by exit() with a code."""
    falls_off_the_end(points)
    exit(5)


def quit_with_zero(points: int) -> None:
    """Ends by quit(), after an exit() that did not end the program."""
    falls_off_the_end(points)
    with contextlib.suppress(SystemExit):
        exit(2)
    quit()


def sys_exit_with_words(points: int) -> None:
    """Ends by sys.exit() with a message."""
    falls_off_the_end(points)
    sys.exit("no data")


def sys_exit_with_zero(points: int) -> None:
    """Ends by sys.exit() without a code."""
    falls_off_the_end(points)
    sys.exit()


def terminated(points: int) -> None:
    """Ends by SIGTERM, which a handler turns into an exit."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    falls_off_the_end(points)
    signal.raise_signal(signal.SIGTERM)


def exit_that_did_not_end(points: int) -> None:
    """An exit that was caught, before the run began, and one of another thread."""
    with contextlib.suppress(SystemExit):
        sys.exit(2)
    falls_off_the_end(points)
    thread = threading.Thread(target=lambda: sys.exit(3))
    thread.start()
    thread.join()


def finishes_in_a_daemon(points: int) -> None:
    """Ends while a daemon thread is finishing the run."""
    run = runstream.start_run("e", "end")
    print(run.run_id, flush=True)
    count(run, "parent", 0, points)
    threading.Thread(target=run.finish, daemon=True).start()
    while not run.stats().refused:  # finish() has begun
        run.log({"late": 1.0})


def without_threads(points: int) -> None:
    """A container at its limit of processes: no thread can be started."""
    _ = runstream.start_run  # imported now: another account may not read where Python is
    if os.getuid() == 0:  # no limit holds for root
        os.setresuid(60_123, 60_123, 60_123)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    with runstream.start_run("e", "end", params={"a": 1}) as run:
        count(run, "parent", 0, points)
        print(run.flush(5), flush=True)
    print(run.finish(), dict(run.stats().refused), flush=True)
    runstream.start_run("e", "left open").log({"parent": 1.0})


def two_services_at_exit(points: int) -> None:
    """Ends with runs of a service that cannot be reached and of one that can."""
    for _ in range(3):
        count(runstream.start_run("e", "lost", address="127.0.0.1:1"), "lost", 0, 10)
    falls_off_the_end(points)
    count(runstream.start_run("e", "lost", address="127.0.0.1:1"), "lost", 0, 10)


def exits_in_child(points: int) -> None:
    """A forked child that leaves by sys.exit() flushes its points and leaves the run to the parent."""
    run = runstream.start_run("e", "exit")
    print(run.run_id, flush=True)
    count(run, "parent", 0, points)
    pid = os.fork()
    if pid == 0:
        count(run, "child0", 0, points)
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0  # at its exit it has waited for everything that it has sent
    print(runstream.Client().get_run(run.run_id).status, flush=True)


def reads_in_child(points: int) -> None:
    """A forked child that has logged nothing reads the run of its parent. Its handle has no journal, and never will."""
    run = runstream.start_run("e", "read")
    count(run, "parent", 0, points)
    run.flush(30)
    pid = os.fork()
    if pid == 0:
        print(runstream.Client(timeout=600).get_run(run.run_id).status, flush=True)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def logs_from_another_thread_at_exit(points: int) -> None:
    """A thread still logs when the interpreter ends."""
    run = runstream.start_run("e", "thread")

    def stream() -> None:
        for value in range(points):
            run.log({"parent": value}, step=value)
            time.sleep(0.0001)

    threading.Thread(target=stream).start()


def daemon_thread_at_exit(points: int) -> None:
    """A daemon thread logs forever."""
    run = runstream.start_run("e", "daemon")

    def stream() -> None:
        while True:
            run.log({"daemon": 1.0})

    threading.Thread(target=stream, daemon=True).start()
    count(run, "parent", 0, points)


def say_which(run: runstream.Run) -> None:
    """In one write, since the ranks of a launch have one output: where PYTHONUNBUFFERED is set, print() writes each
    word, and the end of the line, on its own."""
    sys.stdout.write(f"{run.run_id} {run.rank} {run.attempt}\n")
    sys.stdout.flush()


def rank(points: int) -> None:
    """One rank: logs, prints the id of its run, and finishes."""
    with runstream.start_run("launches", "n") as run:
        count(run, "loss", 0, points)
        assert run.flush(120), run.stats()
        say_which(run)


def launches(ranks: int) -> None:
    """A launcher on one node: gives each of its ranks a number in RANK_VARIABLE, as torchrun and others do."""
    here = [sys.executable, "-m", "tests.unit.client.processes", "rank", "10"]
    environments = [{**os.environ, os.environ["RANK_VARIABLE"]: str(number)} for number in range(ranks)]
    children = [subprocess.Popen(here, env=environ) for environ in environments]
    sys.exit(max(child.wait() for child in children))


def lightning(ranks: int) -> None:
    """Starts its run first, and its other ranks later, as a program with Lightning does: they run it again."""
    sys.modules["lightning"] = types.ModuleType("lightning")
    run = runstream.start_run("launches", "n")
    here = [sys.executable, "-m", "tests.unit.client.processes", "rank", "10"]
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="12399", WORLD_SIZE=str(ranks), LOCAL_RANK="0")
    environments = [{**os.environ, "LOCAL_RANK": str(number)} for number in range(1, ranks)]
    children = [subprocess.Popen(here, env=environ) for environ in environments]
    count(run, "loss", 0, 10)
    assert run.flush(120), run.stats()
    say_which(run)
    ended = max(child.wait() for child in children)
    run.finish()
    sys.exit(ended)


def _spawned_rank(number: int, ranks: int) -> None:
    # As the tutorials of torch.multiprocessing.spawn have it.
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT="12355", RANK=str(number), WORLD_SIZE=str(ranks))
    rank(10)


def spawns_ranks(ranks: int) -> None:
    """A program that spawns its ranks itself."""
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=_spawned_rank, args=(number, ranks)) for number in range(ranks)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    sys.exit(max(child.exitcode or 0 for child in children))


def fails_then_is_restarted(seconds: int) -> None:
    """Rank 0 of a job that fails in its first attempt; in the second it waits to be told to end."""
    with runstream.start_run("launches", "restarted") as run:
        count(run, "loss", 10 * run.attempt, 10)
        assert run.flush(120), run.stats()
        print(run.run_id, flush=True)
        if run.attempt == 0:
            raise RuntimeError("a node was lost")
        sys.stdin.readline()


def killed_and_restarted(first: int) -> None:
    """Logs 200 steps from `first` on under the key in KEY, and is killed when they are stored."""
    run = runstream.start_run("launches", "restarted")
    count(run, os.environ["KEY"], first, 200)
    assert run.flush(120), run.stats()
    print(run.run_id, flush=True)
    # Calls are made one after the other: when this one is answered, so is what was asked of earlier processes.
    run.set_tags({"stored": True})
    assert run.flush(120), run.stats()
    os.kill(os.getpid(), signal.SIGKILL)


def imports(_: int) -> None:
    """Prints what importing the logging side of the client imports."""
    assert callable(runstream.start_run)  # imports it
    print(" ".join(sorted(sys.modules)), flush=True)


if __name__ == "__main__":
    globals()[sys.argv[1]](int(sys.argv[2]))
