"""All open pages of one process, and the runs that they watch."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
import structlog

from runstream_service.concurrency.deadlines import with_call_timeout
from runstream_service.core.caller import Caller, Role
from runstream_service.errors.core import CoreError, Draining, Overloaded, RunNotFound
from runstream_service.sharing.current import work_for
from runstream_service.sharing.stream_slots import StreamSlots
from runstream_service.web.live import position
from runstream_service.web.live.feed import Feed
from runstream_service.web.live.subscription import Event, Subscription
from runstream_service.web.run_answers import rendered_run

if TYPE_CHECKING:
    from datetime import datetime

    from runstream_service.core.run_rows import Run
    from runstream_service.core.run_states import RunStates, WatchedRun
    from runstream_service.core.runs import Runs
    from runstream_service.core.stream_lifetime import StreamLifetime
    from runstream_service.query.tail.tail import Tail
    from runstream_service.web.live.metrics import LiveMetrics

log = structlog.get_logger()

MAX_STREAMS = 1_000
_FLUSH_EVERY_S = 0.25
_CHECK_EVERY_S = 1.0
# How long a page waits for its feed to start: a tail waits for its turn, and then reads the database once.
_START_WITHIN_S = 20.0
# A run is watched for this long after its last page has gone, so that a page that is loaded again finds its feed.
_LINGER_S = 10.0

# Workspace id and run id.
_Key = tuple[int, str]


@dataclass(eq=False, slots=True)
class _Watched:
    """A run that pages watch."""

    key: _Key
    state: tuple[Any, ...]  # when it was last checked
    # The first feed serves all pages. Further ones began at older cursors, and are joined with the first when they have
    # caught up with it.
    feeds: list[tuple[Feed, asyncio.Task[None]]] = field(default_factory=list)
    subscriptions: set[Subscription] = field(default_factory=set)

    @property
    def watched_run(self) -> WatchedRun:
        return (self.key[0], UUID(self.key[1]))

    def drop_ended(self) -> None:
        """Removes feeds that failed to start, or whose run was purged."""
        self.feeds = [(feed, task) for feed, task in self.feeds if not task.done()]


class Hub:
    """Sends events to pages, while `run` runs in a task."""

    def __init__(
        self, tail: Tail, runs: Runs, states: RunStates, lifetime: StreamLifetime, metrics: LiveMetrics
    ) -> None:
        self._tail = tail
        self._runs = runs
        self._states = states
        self._lifetime = lifetime
        self._metrics = metrics
        self._slots = StreamSlots(MAX_STREAMS, "pages")
        self._watched: dict[_Key, _Watched] = {}
        self._any = asyncio.Event()
        self._subscriptions: set[Subscription] = set()
        self._draining = False
        metrics.feeds.set_function(lambda: sum(len(watched.feeds) for watched in self._watched.values()))

    # -- pages -------------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def subscribed(
        self, caller: Caller, *, points_of: Sequence[str], states_of: Sequence[str], since: str | None
    ) -> AsyncIterator[Subscription]:
        """A page that watches runs until the end of the block: `points_of` with their points, `states_of` without.
        `since` is the last event id of a page that reconnects.

        Raises:
            RunNotFound, Overloaded, Draining, DatabaseUnavailable.
        """
        with self._slot(caller):
            runs = list(dict.fromkeys([*points_of, *states_of]))
            states = await self._states.read([(caller.workspace_id, UUID(run_id)) for run_id in runs])
            _check_found(runs, {run_id.hex for _, run_id in states})
            subscription = Subscription(points_of)
            self._subscriptions.add(subscription)
            try:
                with self._lifetime.limit(caller, subscription.end):
                    for (_, run_id), state in states.items():
                        self._watch(caller, run_id.hex, state).subscriptions.add(subscription)
                    await self._follow(caller, subscription, since)
                    # Read after the runs are watched, so that no change in between is missed.
                    self._send([subscription], await self._read_runs(caller, runs))
                    if self._draining:
                        raise _draining()
                    yield subscription
            finally:
                self._subscriptions.discard(subscription)
                self._metrics.resets.inc(subscription.resets)
                self._leave(caller, runs, subscription)

    @contextlib.contextmanager
    def _slot(self, caller: Caller) -> Iterator[None]:
        if self._draining:
            raise _draining()
        with self._slots.slot(caller), self._metrics.streams.track_inprogress():
            yield

    def _watch(self, caller: Caller, run_id: str, state: tuple[Any, ...]) -> _Watched:
        key = (caller.workspace_id, run_id)
        if key not in self._watched:
            self._watched[key] = _Watched(key, state)
            self._any.set()
        return self._watched[key]

    async def _follow(self, caller: Caller, subscription: Subscription, since: str | None) -> None:
        cursors = position.decode(since or "", subscription.runs)
        if since is not None and len(cursors) < len(subscription.runs):
            subscription.reset()  # it is not known what the page has received
            cursors = {}
        feeds = {run_id: self._feed(caller, run_id, cursors.get(run_id, b"")) for run_id in subscription.runs}
        for run_id, feed in feeds.items():
            await with_call_timeout(asyncio.shield(feed.started), _START_WITHIN_S)
            missed = feed.since(cursors[run_id]) if run_id in cursors else []
            if missed is None:  # they are not kept any more
                subscription.reset()
            feed.join(subscription, missed or [])

    def _feed(self, caller: Caller, run_id: str, cursor: bytes) -> Feed:
        """A feed for a page that has received everything up to a cursor: an existing one if possible, or a new one."""
        watched = self._watched[caller.workspace_id, run_id]
        watched.drop_ended()
        for feed, _ in watched.feeds:
            if feed.is_current if not cursor else feed.since(cursor) is not None:
                return feed
        # It reads for everybody in the workspace, so it must not end when the token of one caller does.
        feed = Feed(self._tail, _reader(caller.workspace_id), run_id, cursor)
        watched.feeds.append((feed, asyncio.create_task(_run_feed(feed, caller.workspace_id))))
        return feed

    def _leave(self, caller: Caller, run_ids: Iterable[str], subscription: Subscription) -> None:
        for run_id in run_ids:
            watched = self._watched.get((caller.workspace_id, run_id))
            if watched is None:
                continue
            watched.subscriptions.discard(subscription)
            for feed, _ in watched.feeds:
                feed.subscriptions.discard(subscription)
            if not watched.subscriptions:
                asyncio.get_running_loop().call_later(_LINGER_S, self._forget_if_unused, watched)

    def _forget_if_unused(self, watched: _Watched) -> None:
        if not watched.subscriptions and self._watched.get(watched.key) is watched:
            del self._watched[watched.key]
            for feed in list(watched.feeds):
                self._end_feed(watched, feed)

    def _end_feed(self, watched: _Watched, feed: tuple[Feed, asyncio.Task[None]]) -> None:
        watched.feeds.remove(feed)
        feed[1].cancel()

    def drain(self) -> None:
        """Refuses new pages and ends the open ones, which reconnect to another replica."""
        self._draining = True
        for subscription in self._subscriptions:
            subscription.end(_draining())
        for watched in self._watched.values():
            for feed in list(watched.feeds):
                self._end_feed(watched, feed)

    # -- events ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Sends events to pages until cancelled."""
        await asyncio.gather(self._flush_all(), self._check_runs())

    async def _flush_all(self) -> None:
        """Flushes all feeds at the same moments, so that the feeds of one run have the same cursors and can be
        joined."""
        while True:
            await self._any.wait()
            await asyncio.sleep(_FLUSH_EVERY_S)
            for watched in list(self._watched.values()):
                await self._flush(watched)

    async def _flush(self, watched: _Watched) -> None:
        try:
            watched.drop_ended()
            for feed, _ in list(watched.feeds):
                await feed.flush()
            self._join_feeds(watched)
        except Exception:
            log.exception("Sending events to pages failed because of a bug", action="events_failed")
            for subscription in watched.subscriptions:
                subscription.reset()

    def _join_feeds(self, watched: _Watched) -> None:
        """Moves pages of other feeds to the first feed once theirs has caught up with it."""
        if len(watched.feeds) < 2:
            return
        (first, _), *others = watched.feeds
        for feed, task in others:
            missed = first.since(feed.cursor) if feed.started.done() else None
            if missed is None:
                continue
            first.is_current |= feed.is_current
            for subscription in feed.subscriptions:
                first.join(subscription, missed)
            feed.subscriptions.clear()
            self._end_feed(watched, (feed, task))

    async def _check_runs(self) -> None:
        while True:
            await self._any.wait()
            try:
                await self._check_runs_once()
            except CoreError as error:
                log.debug("Could not check watched runs", action="runs_not_checked", error=error.message)
            await asyncio.sleep(_CHECK_EVERY_S)
            if not self._watched:
                self._any.clear()

    async def _check_runs_once(self) -> None:
        """Reads the states of all watched runs in one statement, and sends those that have changed to their pages."""
        all_watched = {watched.watched_run: watched for watched in self._watched.values()}
        states = await self._states.read(all_watched.keys())
        changed: dict[int, list[_Watched]] = {}
        for run, watched in all_watched.items():
            state = states.get(run)
            if state is None:
                self._gone(watched)
            elif watched.state != state:
                changed.setdefault(run[0], []).append(watched)
                watched.state = state
        for workspace_id, runs in changed.items():
            reader = _reader(workspace_id)
            events = await self._read_runs(reader, [watched.key[1] for watched in runs])
            self._send({page for watched in runs for page in watched.subscriptions}, events)

    async def _read_runs(self, caller: Caller, run_ids: Sequence[str]) -> list[tuple[_Key, bytes]]:
        """Reads runs and encodes each as an event."""
        uids = [UUID(run_id) for run_id in run_ids]
        runs, commits = await asyncio.gather(self._runs.get_many(caller, uids), self._runs.last_commits(caller, uids))
        return [((caller.workspace_id, run.run_id.hex), _of_run(run, commits.get(run.run_id))) for run in runs]

    def _send(self, subscriptions: Iterable[Subscription], runs: Sequence[tuple[_Key, bytes]]) -> None:
        """Sends each page the events of those runs that it watches, as one piece."""
        watched = [(self._watched.get(key), data) for key, data in runs]
        for subscription in subscriptions:
            own = [data for one, data in watched if one is not None and subscription in one.subscriptions]
            if own:
                subscription.put(Event(b"\n".join(own)))

    def _gone(self, watched: _Watched) -> None:
        """Informs pages that a run was purged, and stops watching it."""
        data = orjson.dumps({"run_id": watched.key[1]})
        for subscription in watched.subscriptions:
            subscription.cursors.pop(watched.key[1], None)
            subscription.put(Event(b"event: gone\ndata: " + data + b"\n"))
        watched.subscriptions.clear()
        self._forget_if_unused(watched)


async def _run_feed(feed: Feed, workspace_id: int) -> None:
    work_for(workspace_id)
    try:
        await feed.run()
    except Exception:
        # Its pages get nothing more from this feed. They reconnect, which starts another one.
        log.exception("Following a run for pages failed because of a bug", action="events_failed")
        for subscription in feed.subscriptions:
            subscription.end(Overloaded("the stream of events failed; reconnect", retry_after_s=1.0))


def _reader(workspace_id: int) -> Caller:
    """The caller in whose name runs are read for all pages of a workspace."""
    return Caller(workspace_id=workspace_id, workspace="", principal="pages", role=Role.READ)


def _check_found(run_ids: Sequence[str], found: Collection[str]) -> None:
    for run_id in run_ids:
        if run_id not in found:
            raise RunNotFound(f"no run with id {run_id}", field="run", subject=run_id)


def _of_run(run: Run, committed_at: datetime | None) -> bytes:
    return b"event: run\ndata: " + orjson.dumps(rendered_run(run, None, None, committed_at)) + b"\n"


def _draining() -> Draining:
    return Draining("this replica shuts down; reconnect", retry_after_s=0.1)
