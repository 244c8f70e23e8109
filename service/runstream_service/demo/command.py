"""The steps of the demo, from its start to the exit code."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.markup import escape

from runstream_service.demo import report
from runstream_service.demo.crew import Crew
from runstream_service.demo.failure import DemoFailed
from runstream_service.demo.mishaps import mishaps_of
from runstream_service.demo.model import Samples, load_digits
from runstream_service.demo.service import Service
from runstream_service.demo.view import View, view_for
from runstream_service.demo.worker import Finished, Progress, Task

_LISTEN_S = 0.25  # how often the service is checked while no rank reports anything


@dataclass(frozen=True)
class Options:
    """The options of the command line. Without a data directory a temporary one is used."""

    steps: int
    workers: int
    keep: bool
    data_dir: Path | None


class Interrupted(BaseException):
    """SIGINT, SIGTERM or SIGHUP. Like KeyboardInterrupt, it is caught only at the end of the demo."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run(options: Options) -> int:
    """Runs the demo and stops everything that it started; returns the exit code."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal without UTF-8 gets question marks, not a traceback
    console = Console(highlight=False)
    service = Service(options.data_dir)
    code = 1
    try:
        with _signals_raise():
            _Demo(console, options, service).run()
        code = 0
    except Interrupted as signalled:
        code = 0 if options.keep and signalled.number == signal.SIGINT else 128 + signalled.number
        console.print("\nStopping.", style="dim")
    except DemoFailed as failure:
        console.print(f"\n[bold red]✗ The demo failed:[/] {escape(str(failure))}")
        console.print(f"The service's log: {service.log}", soft_wrap=True)
    finally:
        service.stop()
        service.tidy(keep_log=code == 1)
    return code


class _Demo:
    def __init__(self, console: Console, options: Options, service: Service) -> None:
        self._console = console
        self._options = options
        self._service = service
        self._run_id = uuid.uuid4().hex
        # A run that is kept is more interesting to look at if something goes wrong in it.
        self._mishaps = mishaps_of(options.steps, options.workers) if options.keep else None

    def run(self) -> None:
        """Raises DemoFailed."""
        train, test = self._prepare()
        finished = self._train(train, test)
        self._check_acknowledged(finished)
        self._show_stored(finished)
        self._tell_more()
        if self._options.keep:
            self._service.wait()

    def _prepare(self) -> tuple[Samples, Samples]:
        self._console.print(
            "\n[bold]runstream demo[/]: a small model, trained in parallel, with its metrics streamed\n"
        )
        began = time.monotonic()
        self._service.start()
        train, test = load_digits()  # meanwhile
        self._service.wait_ready()
        self._done(f"service ready after {time.monotonic() - began:.1f} s, with an embedded PostgreSQL")
        self._console.print(f"  [dim]gRPC {self._service.grpc_address}, HTTP {self._service.http_url}[/]")
        self._done(f"{len(train):,} handwritten digits to train on, {len(test):,} to test with")
        self._done(f"{self._options.workers} worker processes, ranks of one run, average their gradients every step")
        self._console.print(f"  [dim]run {self._run_id}[/]")
        return train, test

    def _train(self, train: Samples, test: Samples) -> list[Finished]:
        """Runs all attempts of all ranks, and shows their progress."""
        options, mishaps = self._options, self._mishaps
        tasks = [
            Task(
                self._run_id,
                self._service.grpc_address,
                rank,
                options.workers,
                options.steps,
                train.shard(rank, options.workers),
                test if rank == 0 else None,
                mishaps,
            )
            for rank in range(options.workers)
        ]
        with (
            tempfile.TemporaryDirectory(prefix="runstream-demo-", ignore_cleanup_errors=True) as journals,
            view_for(self._console, ranks=options.workers, steps=options.steps) as view,
        ):
            finished = self._attempt(tasks, journals, view)
            if mishaps is not None:
                again = [replace(task, checkpoint=finished[task.rank].checkpoint) for task in tasks]
                finished += self._attempt(again, journals, view)
        return finished

    def _attempt(self, tasks: list[Task], journals: str, view: View) -> list[Finished]:
        """Runs one attempt of all ranks; returns their results, in the order of the ranks."""
        finished = dict[int, Finished]()
        with Crew(tasks, journals) as crew:
            while crew.working:
                for message in crew.listen(_LISTEN_S):
                    if isinstance(message, Progress):
                        view.show(message)
                    elif isinstance(message, Finished):
                        finished[message.rank] = message
                self._service.check()
        return [finished[rank] for rank in sorted(finished)]

    def _check_acknowledged(self, finished: list[Finished]) -> None:
        for rank in finished:
            if rank.stats.acknowledged != len(rank.logged):
                raise DemoFailed(
                    f"rank {rank.rank} logged {len(rank.logged):,} points, {rank.stats.acknowledged:,} were "
                    f"acknowledged, refused: {dict(rank.stats.refused)}, last error: {rank.stats.last_error or 'none'}"
                )

    def _show_stored(self, finished: list[Finished]) -> None:
        stored = report.read_back(self._service.grpc_address, self._run_id)
        name = f"{stored.run.experiment} / {stored.run.name}"
        self._console.print(f"\n[bold]Read back from the service[/]: {escape(name)}, {stored.run.status}")
        self._console.print(report.stored_table(stored))
        width = min(self._console.width, 100)
        self._console.print(report.loss_chart(stored, width=width), markup=False, soft_wrap=True)
        self._console.print()

        logged = sum(len(rank.logged) for rank in finished)
        differences = report.compare(stored, finished)
        if differences:
            raise DemoFailed(
                "the points that were read back differ from those that were logged:\n" + "\n".join(differences)
            )
        self._done(f"{logged:,} points logged, {stored.points:,} read back: each once, with its step and value")
        seconds = max(rank.ended for rank in finished) - min(rank.began for rank in finished)
        self._done(f"{logged / seconds:,.0f} points per second for {seconds:.1f} s, as fast as these ranks train")
        accuracy = finished[-self._options.workers].logged.values["test_accuracy"][-1]
        self._done(f"the model recognises {accuracy:.1%} of the digits that it has not seen before")

    def _tell_more(self) -> None:
        service, command = self._service, shown_program()
        if not service.temporary:
            again = f"  {command} serve --data-dir {shlex.quote(str(service.data_dir))}"
            self._print_plain(f"\nThe data are kept in {service.data_dir}. To serve them again:\n\n{again}")
        if self._options.keep:
            self._tell_mishaps()
            self._print_plain(
                f"\nThe page of the run:\n\n  {service.http_url}/r/{self._run_id}\n\n"
                "The service runs until Ctrl-C. In another terminal:\n\n"
                f"  curl -s {service.http_url}/metrics | grep runstream_points\n\n"
                f"  export RUNSTREAM_ADDRESS={service.grpc_address}\n"
                f'  {shown_path(sys.executable)} -c "import runstream; print(*runstream.Client().latest(\n'
                f"      '{self._run_id}'), sep='\\n')\"\n"
            )
        else:
            self._print_plain(
                "\nNext steps:\n\n"
                f"  {command} demo --keep\n      a run with mishaps; its page stays open until Ctrl-C\n"
                f"  {command} serve\n      your own service; README.md has a first script for it\n"
            )

    def _tell_mishaps(self) -> None:
        if self._mishaps is not None:
            lines = "\n".join(f"  · {line}" for line in self._mishaps.described())
            self._print_plain(f"\nSome things went wrong on purpose. Find them on the page of the run:\n\n{lines}")

    def _done(self, what: str) -> None:
        self._console.print(f"[green]✓[/] {escape(what)}")

    def _print_plain(self, text: str) -> None:
        """Prints a text unchanged: lines to copy must not be wrapped."""
        self._console.print(text, markup=False, soft_wrap=True)


def shown_program() -> str:
    """The command line with which the user can start this program again."""
    found = shutil.which("runstream")
    if found and Path(found).absolute() == Path(sys.argv[0]).absolute():
        return "runstream"
    if Path(sys.argv[0]).name == "__main__.py":
        return f"{shown_path(sys.executable)} -m runstream_service"
    return shown_path(sys.argv[0])


def shown_path(path: str) -> str:
    """A path, quoted for a shell, and relative if it is below the working directory."""
    inside = Path(path).absolute()
    return shlex.quote(os.path.relpath(inside) if inside.is_relative_to(Path.cwd()) else str(inside))


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Makes the first signal that would end the program raise Interrupted. Later ones, and those after the block, are
    ignored, so that they do not disturb the clean-up, whose time is bounded."""
    asked = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # In the background (`nohup runstream demo &`) some are ignored already, and have to stay ignored.
    numbers = [number for number in asked if signal.getsignal(number) is not signal.SIG_IGN]

    def ignore() -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)

    def interrupt(number: int, _frame: FrameType | None) -> None:
        ignore()
        if number == signal.SIGHUP:
            # The terminal is gone; further output must not fail because of that.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
        raise Interrupted(number)

    for number in numbers:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        ignore()
