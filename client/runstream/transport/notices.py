"""Messages to the user about one journal. They are saved in its position, from which the training process logs them,
and written to agent.log.

Each is reported once, or at most once a minute.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from runstream import _status
from runstream._repetition import Repetition, some

_KEPT = 50  # how many notices a position has; older ones are dropped, as counts are kept elsewhere
_TEXT_CHARACTERS = 2_000

Log = Callable[[str, str], None]  # level and text


class JournalNotices:
    """The notices of one journal."""

    def __init__(self, address: str, run_id: str, log: Log, earlier: Iterable[Mapping[str, Any]] = ()) -> None:
        self.run_id = run_id
        self.address = address
        self.last_error = ""
        self.changed = False  # set when a notice is added; its user resets it
        self._log = log
        self._texts: deque[dict[str, Any]] = deque((dict(one) for one in earlier), maxlen=_KEPT)
        self._number = max((int(one.get("n", 0)) for one in self._texts), default=0)
        self._repetition = Repetition()
        self._was_reported_lost = False  # the loss of the connection was reported, and it is still lost
        self._reported_refusal = ""  # the last reported refusal of the caller, or by TLS; empty after a success

    def texts(self) -> list[dict[str, Any]]:
        """The newest notices, {"n", "level", "text"} each; `n` counts them from 1."""
        return list(self._texts)

    def add(self, level: str, message: str, *args: object) -> None:
        """Adds a notice. `level` is a level of the module logging, in lower case."""
        text = (message % args if args else message)[:_TEXT_CHARACTERS]
        self._number += 1
        self._texts.append({"n": self._number, "level": level, "text": text})
        self.changed = True
        self._log(level, f"run {self.run_id}: {text}")

    def log_only(self, message: str, *args: object) -> None:
        """Writes to the agent's log only, for what the training process reports itself."""
        self._log("info", f"run {self.run_id}: {message % args}")

    def add_once(self, about: str, message: str, *args: object) -> None:
        """Warns at most once for each journal and agent."""
        if self._repetition.is_first(about):
            self.add("warning", message, *args)

    def add_limited(self, about: str, message: str, *args: object, level: str = "warning") -> bool:
        """Warns at most once a minute; returns whether it did."""
        due = self._repetition.is_due(about)
        if due:
            self.add(level, message, *args)
        return due

    def connection_failed(self, why: object, retry_in_s: float) -> None:
        """Warns that the service did not answer, or that the stream broke."""
        if isinstance(why, _status.Failure) and why.reason == _status.TLS_FAILED:
            self._tls_failed(why)
            return
        self._was_reported_lost |= self.add_limited(
            "connection",
            "no connection to the runstream service at %s%s (%s); training continues, points are kept in the journal, "
            "next try in %.1f s. If the address is wrong: start_run(address=...) or RUNSTREAM_ADDRESS",
            self.address,
            _status.through_proxy(),
            why,
            retry_in_s,
        )

    def _tls_failed(self, failure: _status.Failure) -> None:
        """Reports what is wrong with TLS: once, as only a person can change it."""
        if self._reported_refusal != failure.message:
            self._reported_refusal = failure.message
            self.add(
                "error",
                "no connection to the runstream service at %s: %s. Training continues, points are kept in the journal "
                "and are sent when the connection works",
                self.address,
                failure.message,
            )

    def caller_refused(self, failure: _status.Failure) -> None:
        """Reports that the service refuses the caller: once for each reason, until it accepts the caller."""
        if self._reported_refusal != f"{failure.code} {failure.reason}":
            self._reported_refusal = f"{failure.code} {failure.reason}"
            self.add(
                "error",
                "the runstream service at %s refuses the credentials of this run (%s); training continues, points are "
                "kept in the journal and are sent when they are accepted",
                self.address,
                failure,
            )

    def connected(self) -> None:
        """Notes that the service has answered a call or opened the stream; reports it if the loss was reported."""
        if self._reported_refusal:
            self._reported_refusal = ""
            self._was_reported_lost = True
        if self._was_reported_lost:
            self._was_reported_lost = False
            self.add("info", "connected to the runstream service at %s again", self.address)

    def stream_refused(self, failure: _status.Failure) -> None:
        """Reports a status of the stream that a retry alone does not cure."""
        self.add_limited(
            "refused",
            "the stream to the runstream service at %s%s was refused (%s); points are kept in the journal, next try in "
            "about a minute. %s",
            self.address,
            _status.through_proxy(),
            failure,
            _status.advice(failure) or "This is a bug in runstream, please report it",
            level="error",
        )

    def call_refused(self, method: str, keys: list[str], failure: _status.Failure) -> None:
        """Warns that a call was refused for good, with the keys of its params or tags."""
        what = {"LogParams": "param", "SetTags": "tag"}.get(method)
        if what is None:
            self.add(
                "warning", "the end of the run is not set, so it stays RUNNING: the service refuses it (%s)", failure
            )
            return
        fresh = [key for key in keys if self._repetition.is_new(f"{what} {key}")]
        if fresh:
            self.add("warning", "%s %s refused: %s (said once for each)", what, some(fresh), failure)

    def points_refused(self, refusals: Iterable[tuple[str, int, str]]) -> None:
        """Warns about points that the service will never store: (reason, count, example)."""
        for reason, count, example in refusals:
            self.add_limited(
                f"service/{reason}",
                "the service refused %d points for good, reason %s, for example: %s",
                count,
                reason,
                example,
            )
