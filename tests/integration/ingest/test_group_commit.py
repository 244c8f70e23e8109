"""The steps of a group commit. Each is tested twice: with the step, the promise holds; with the step left out, the same
scenario breaks it. So none of these tests passes without testing anything."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import asyncpg
import pytest

from runstream_service.errors.core import CommitFailed, Fenced, LedgerBehind
from runstream_service.ingest.group import SMALL_GROUP_POINTS
from runstream_service.retention.expiry import LedgerExpiry
from runstream_service.rollup import epochs
from runstream_service.stores.hot_store import COMMIT_SMALL
from tests.integration.ingest.conftest import acknowledged, fail_for, mutate, new_run, running_replica
from tests.support.hot import copy_batches
from tests.support.locks import waiting_for_locks
from tests.support.points import columns

EPOCH_LOCK = 1920298867
BEGIN = "SELECT * FROM begin_group_commit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
NO_WRITES: tuple[list[object], ...] = ([], [], [], [])


# The epoch ------------------------------------------------------------------------------------------------------------


async def _commit_while_its_epoch_is_sealed(database, replica, run_id):
    """A writer reads epoch 1 as open and then has to wait; meanwhile the epoch is sealed and 2 opened."""
    stream = await replica.open(run_id)
    async with database.acquire() as sealer:
        await sealer.execute("SELECT pg_advisory_lock($1, 1)", EPOCH_LOCK)
        await replica.send(stream, 1, [1.0])
        await _until(sealer, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        async with sealer.transaction():
            await sealer.execute("UPDATE epochs SET state = 'closing' WHERE epoch = 1")
            await sealer.execute("INSERT INTO epochs (epoch, state) VALUES (2, 'open')")
            await sealer.execute("SELECT create_hot_partition(2)")
        await sealer.execute("SELECT pg_advisory_unlock($1, 1)", EPOCH_LOCK)
    await acknowledged(stream, 1)


async def test_a_late_writer_lands_in_the_epoch_that_is_open(database, replica, run_id, stored):
    await _commit_while_its_epoch_is_sealed(database, replica, run_id)
    assert await stored() == [(2, 1.0)]


async def test_without_the_second_look_a_late_writer_would_land_in_a_sealed_epoch(database, replica, run_id, stored):
    await mutate(database, "begin_group_commit", "EXIT WHEN FOUND", "EXIT")
    await _commit_while_its_epoch_is_sealed(database, replica, run_id)
    assert await stored() == [(1, 1.0)]


async def test_an_open_group_keeps_its_epoch_from_being_sealed(database, run_id):
    writer = await database.connect_writer()
    try:
        transaction = writer.transaction()
        await transaction.start()
        await writer.fetch(BEGIN, [], [], [], [], [], [], [], *NO_WRITES)
        async with database.acquire() as sealer:
            assert not await sealer.fetchval("SELECT pg_try_advisory_lock($1, 1)", EPOCH_LOCK)
            await transaction.commit()
            assert await sealer.fetchval("SELECT pg_try_advisory_lock($1, 1)", EPOCH_LOCK)
            await sealer.execute("SELECT pg_advisory_unlock($1, 1)", EPOCH_LOCK)
    finally:
        await writer.close()


# Sessions -------------------------------------------------------------------------------------------------------------


async def _write_from_an_old_stream_after_the_producer_opened_elsewhere(replica, other_replica, run_id):
    producer = uuid4()
    old = await replica.open(run_id, producer)
    await replica.send(old, 1, [1.0])
    await acknowledged(old, 1)
    new = await other_replica.open(run_id, producer, first_unacked=2)
    assert new.committed_number == 1
    await replica.send(old, 2, [-1.0])  # the zombie: it has not noticed yet
    return old, new


async def test_a_zombie_on_another_replica_is_fenced(replica, other_replica, run_id, stored):
    old, new = await _write_from_an_old_stream_after_the_producer_opened_elsewhere(replica, other_replica, run_id)
    with pytest.raises(Fenced):
        await acknowledged(old, 2)
    await other_replica.send(new, 2, [2.0])
    await acknowledged(new, 2)
    assert await stored() == [(1, 1.0), (1, 2.0)]


async def test_without_sessions_a_zombie_would_write(database, replica, other_replica, run_id, stored):
    await mutate(database, "begin_group_commit", "p.session IS DISTINCT FROM a.session", "false")
    old, _ = await _write_from_an_old_stream_after_the_producer_opened_elsewhere(replica, other_replica, run_id)
    await acknowledged(old, 2)
    assert (1, -1.0) in await stored()


async def test_on_one_replica_the_older_stream_hears_at_once_also_when_it_sends_nothing(replica, run_id):
    producer = uuid4()
    old = await replica.open(run_id, producer)
    new = await replica.open(run_id, producer)
    assert isinstance(old.failed.result(), Fenced)
    assert not new.failed.done()


async def test_deleting_a_run_fences_its_producers(database, replica, run_id, stored):
    stream = await replica.open(run_id)
    await database.execute("UPDATE producers SET session = session + 1 WHERE run_id = $1", run_id)
    await replica.send(stream, 1, [1.0])
    with pytest.raises(Fenced):
        await acknowledged(stream, 1)
    assert await stored() == []


# Numbers --------------------------------------------------------------------------------------------------------------


async def test_a_batch_that_comes_again_through_another_replica_is_stored_once(replica, other_replica, run_id, stored):
    producer = uuid4()
    for number, where in [(1, replica), (2, other_replica), (3, replica), (4, other_replica)]:
        stream = await where.open(run_id, producer)
        # The client lost every ack: it sends everything again.
        for repeated in range(1, number + 1):
            await where.send(stream, repeated, [float(repeated)])
        await acknowledged(stream, number) if number > stream.committed_number else None
    assert [value for _, value in await stored()] == [1.0, 2.0, 3.0, 4.0]


async def _commit_twice_with_an_unknown_outcome(database, run_id, values):
    """COMMIT happens, its answer is lost: the writer has to try the same group again."""
    connect = database.connect_writer
    losses = 1

    async def connect_and_lose_the_answer():
        connection = await connect()

        def losing(call):
            async def losing_call(query, *args, **kwargs):
                nonlocal losses
                answer = await call(query, *args, **kwargs)
                if losses and (query == "COMMIT" or query == COMMIT_SMALL):
                    losses -= 1
                    raise ConnectionResetError("the answer to COMMIT was lost")
                return answer

            return losing_call

        return _Overlay(connection, execute=losing(connection.execute), fetch=losing(connection.fetch))

    database.connect_writer = connect_and_lose_the_answer
    async with running_replica(database) as replica:
        stream = await replica.open(run_id)
        await replica.send(stream, 1, values)
        await acknowledged(stream, 1)
        assert replica.metric("runstream_group_commit_failures_total", error="ConnectionResetError") == 1
        return replica.metric("runstream_batches_duplicate_total")


class _Overlay:
    """A connection with some methods replaced."""

    def __init__(self, inner, **methods):
        self._inner = inner
        self.__dict__.update(methods)

    def __getattr__(self, name):
        return getattr(self._inner, name)


@pytest.mark.parametrize("count", [1, SMALL_GROUP_POINTS + 1], ids=["in one statement", "with COPY"])
async def test_a_group_whose_commit_was_not_answered_is_stored_once(database, run_id, stored, count):
    assert await _commit_twice_with_an_unknown_outcome(database, run_id, [1.0] * count) == 1
    assert await stored() == [(1, 1.0)] * count


@pytest.mark.parametrize("count", [1, SMALL_GROUP_POINTS + 1], ids=["in one statement", "with COPY"])
async def test_without_the_ledger_a_lost_answer_would_double_points(database, run_id, stored, count):
    await mutate(database, "begin_group_commit", "p.committed_number >= a.last_number", "false")
    await mutate(database, "begin_group_commit", "p.committed_number >= a.first_number - 1", "true")
    await mutate(database, "begin_group_commit", "s.committed_number FROM standing", "0::bigint FROM standing")
    await _commit_twice_with_an_unknown_outcome(database, run_id, [1.0] * count)
    assert await stored() == [(1, 1.0)] * 2 * count


async def test_points_and_ledger_are_one_transaction(database, run_id):
    """Whenever a writer dies, either both are there or none."""
    writer = await database.connect_writer()
    async with running_replica(database) as replica:
        producer = (await replica.open(run_id)).producer_id
    await writer.execute("BEGIN")
    arguments = ([producer], [1], [1], [1], [1], [1], [1])
    (row,) = await writer.fetch(BEGIN, *arguments, *NO_WRITES)
    assert row["verdict"] == "advanced"
    await copy_batches(writer, columns([(1, 1, 0, 1.0)]), row["epoch"], row["commit_no"])
    writer.terminate()
    ledger, points, commits = await database.fetchrow(
        """SELECT (SELECT committed_number FROM producers), (SELECT count(*) FROM metric_points_hot),
                  (SELECT count(*) FROM commits)"""
    )
    assert (ledger, points, commits) == (0, 0, 0)


async def test_the_commit_log_counts_the_points_that_were_stored(database, replica, run_id):
    producer = uuid4()
    stream = await replica.open(run_id, producer)
    await replica.send(stream, 1, [1.0, 2.0])
    await acknowledged(stream, 1)
    await replica.send(stream, 2, [3.0])
    await acknowledged(stream, 2)
    assert await database.fetchval("SELECT sum(point_count) FROM commits") == 3
    assert await database.fetchval(
        "SELECT count(*) FROM metric_points_hot h JOIN commits c USING (epoch, commit_no)"
    ) == 3  # fmt: skip


# The life of a ledger row ---------------------------------------------------------------------------------------------


async def test_producers_are_forgotten_after_90_days_of_silence(database, replica, run_id):
    expiry = LedgerExpiry(database)
    busy, silent, new = [await replica.open(run_id, rank=rank) for rank in range(3)]
    for stream in (busy, silent):
        await replica.send(stream, 1, [1.0])
        await acknowledged(stream, 1)
    assert await expiry.run_once() == 0
    await database.execute("UPDATE producers SET opened_at = now() - interval '91 days' WHERE rank < 2")
    await database.execute("UPDATE producers SET committed_at = now() - interval '91 days' WHERE rank = 1")
    await database.execute("UPDATE shared_tasks SET due_at = now() WHERE name = 'ledger'")
    assert [await expiry.run_if_due(), await expiry.run_if_due()] == [1, 0]
    left = {row["producer_id"] for row in await database.fetch("SELECT producer_id FROM producers")}
    assert left == {busy.producer_id, new.producer_id}
    with pytest.raises(LedgerBehind):
        await replica.open(run_id, silent.producer_id, rank=1, first_unacked=2)


# Locks ----------------------------------------------------------------------------------------------------------------


async def _groups_with_their_producers_in_opposite_order(database, run_id):
    """Two writers ask for the same three ledger rows in opposite order, while somebody holds the one in the middle.

    A writer that takes rows as they are asked for then holds one end and waits for the middle, and so does the other.
    When the middle comes free, each waits for what the other has.
    """
    async with running_replica(database) as replica:
        producers = sorted([(await replica.open(run_id)).producer_id for _ in range(3)])

    async def write(order: list[UUID]) -> None:
        writer = await database.connect_writer()
        try:
            async with writer.transaction():
                await writer.fetch(BEGIN, order, [1] * 3, [1] * 3, [1] * 3, [1, 2, 3], [1] * 3, [1] * 3, *NO_WRITES)
        finally:
            await writer.close()

    async with database.transaction() as holder:
        await holder.execute("SELECT 1 FROM producers WHERE producer_id = $1 FOR UPDATE", producers[1])
        writing = [asyncio.create_task(write(order)) for order in (producers, producers[::-1])]
        await waiting_for_locks(database, statements=2)
    for ended in await asyncio.gather(*writing, return_exceptions=True):
        if ended is not None:
            raise ended


async def test_ledger_rows_asked_for_in_opposite_order_never_deadlock(database, run_id):
    await _groups_with_their_producers_in_opposite_order(database, run_id)


async def test_without_the_producer_order_they_would(database, run_id):
    await mutate(
        database,
        "begin_group_commit",
        "PERFORM 1 FROM producers p WHERE p.producer_id = ANY (producer_ids) ORDER BY p.producer_id FOR UPDATE;",
        """FOR i IN 1 .. cardinality(producer_ids) LOOP
               PERFORM 1 FROM producers p WHERE p.producer_id = producer_ids[i] FOR UPDATE;
           END LOOP;""",
    )
    with pytest.raises(asyncpg.DeadlockDetectedError):
        await _groups_with_their_producers_in_opposite_order(database, run_id)


async def test_a_group_waits_for_a_ledger_row_that_somebody_holds(database, replica, run_id, stored):
    stream = await replica.open(run_id)
    async with database.acquire() as holder, holder.transaction():
        await holder.execute("SELECT 1 FROM producers FOR UPDATE")
        await replica.send(stream, 1, [1.0])
        await _until(holder, "SELECT count(*) FROM pg_locks WHERE NOT granted")
        assert stream.committed_number == 0
    await acknowledged(stream, 1)
    assert await stored() == [(1, 1.0)]


# Unknown errors -------------------------------------------------------------------------------------------------------


# An error of the service's own statements, and one that says that the data are bad: they cannot be.
@pytest.mark.parametrize("state", ["42P01", "22003"])
@pytest.mark.parametrize("count", [1, SMALL_GROUP_POINTS + 1], ids=["in one statement", "with COPY"])
async def test_a_batch_that_fails_for_an_unknown_reason_stops_only_its_own_stream(
    database, run_id, stored, count, state
):
    await fail_for(database, "666", state=state)
    async with running_replica(database, writers=1) as replica:
        good, bad, later = [await replica.open(run_id, rank=rank) for rank in range(3)]
        async with database.acquire() as holder, holder.transaction():
            await holder.execute("SELECT 1 FROM producers FOR UPDATE")
            await replica.send(later, 1, [0.0])
            await _until(holder, "SELECT count(*) FROM pg_locks WHERE NOT granted")
            await replica.send(good, 1, [1.0])
            await replica.send(bad, 1, [2.0])
            await replica.send(bad, 2, [666.0] * count)
            await replica.send(bad, 3, [3.0])
            await replica.send(good, 2, [4.0])
        await acknowledged(good, 2)
        await acknowledged(bad, 1)
        error = await asyncio.wait_for(bad.failed, 10)
        assert isinstance(error, CommitFailed)
        assert "batch 2" in error.message
        await replica.send(later, 2, [5.0])
        await acknowledged(later, 2)
        assert replica.metric("runstream_queue_points") == 0
        # Nothing of it was final: when the reason is gone, its client brings it again.
        await database.execute("DROP TRIGGER fail ON hot_batches_1")
        again = await replica.open(run_id, bad.producer_id, rank=1, first_unacked=2)
        assert again.committed_number == 1
        await replica.send(again, 2, [666.0] * count)
        await acknowledged(again, 2)
    assert sorted(value for _, value in await stored()) == [0.0, 1.0, 2.0, 4.0, 5.0, *[666.0] * count]


async def test_a_data_error_refuses_nothing(database, replica, run_id, stored):
    """Rows have no bad data. An SQLSTATE that says so makes the writer try again, and not refuse the points."""
    await database.execute("INSERT INTO commits (commit_no, epoch, point_count) VALUES (1, 1, 0)")
    stream = await replica.open(run_id)
    await replica.send(stream, 1, [1.0])
    assert await acknowledged(stream, 1) == []
    assert await stored() == [(1, 1.0)]


async def test_a_table_that_is_missing_for_a_moment_loses_nothing(database, replica, run_id, stored):
    stream = await replica.open(run_id)
    await database.execute("ALTER TABLE hot_batches_1 RENAME TO elsewhere")
    await replica.send(stream, 1, [1.0])
    assert isinstance(await asyncio.wait_for(stream.failed, 10), CommitFailed)
    await database.execute("ALTER TABLE elsewhere RENAME TO hot_batches_1")
    again = await replica.open(run_id, stream.producer_id)
    await replica.send(again, 1, [1.0])
    await acknowledged(again, 1)
    assert await stored() == [(1, 1.0)]


# No open epoch --------------------------------------------------------------------------------------------------------


async def test_without_an_open_epoch_a_group_fails_at_once_and_is_stored_when_there_is_one(database, run_id, stored):
    await database.execute("UPDATE epochs SET state = 'sealed'")  # restored by hand
    async with running_replica(database) as replica:
        stream = await replica.open(run_id)
        await replica.send(stream, 1, [1.0])
        while not replica.metric("runstream_group_commit_failures_total", error="UnknownPostgresError"):
            await asyncio.sleep(0.01)
        assert not stream.failed.done()
        connection = await database.connect_rollup()
        try:
            for _ in range(2):
                await epochs.rotate(connection, max_points=1_000_000, max_age_s=1_000)
        finally:
            await connection.close()
        await acknowledged(stream, 1)
    assert await stored() == [(2, 1.0)]
    assert await database.fetchval("SELECT count(*) FROM epochs WHERE state = 'open'") == 1


# The connection -------------------------------------------------------------------------------------------------------


async def test_a_writer_commits_synchronously_whatever_the_database_says(database):
    name = await database.fetchval("SELECT current_database()")
    await database.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    await database.execute(f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = 'repeatable read'")
    writer = await database.connect_writer()
    try:
        assert await writer.fetchval("SHOW synchronous_commit") == "on"
        assert await writer.fetchval("SHOW transaction_isolation") == "read committed"
        timeouts = [
            await writer.fetchval(f"SHOW {name}")
            for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        ]
        assert "0" not in timeouts
    finally:
        await writer.close()


async def test_a_backend_that_is_terminated_again_and_again_costs_nothing(database, run_id, stored):
    async with running_replica(database) as replica:
        streams = [await replica.open(run_id, rank=rank) for rank in range(4)]

        async def terminate() -> int:
            killed = 0
            while killed < 8:
                killed += await database.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                    "WHERE application_name = 'runstream-writer' AND datname = current_database()"
                )
                await asyncio.sleep(0)
            return killed

        killer = asyncio.ensure_future(terminate())
        for number in range(1, 31):
            for stream in streams:
                await replica.send(stream, number, [float(number)] * 200)
            await asyncio.sleep(0)
        for stream in streams:
            await acknowledged(stream, 30)
        assert await killer >= 8
    expected = [(1, float(number)) for _ in range(4) for number in range(1, 31) for _ in range(200)]
    assert await stored() == expected


async def test_one_producer_stays_with_one_writer_and_many_are_spread(database, replica):
    runs = [await new_run(database) for _ in range(20)]
    streams = [await replica.open(run) for run in runs]
    for number in range(1, 6):
        for stream in streams:
            await replica.send(stream, number, [1.0])
    for stream in streams:
        await acknowledged(stream, 5)
    writers = await database.fetchval(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE application_name = 'runstream-writer' AND datname = current_database()"
    )
    assert writers == 2


async def _until(connection, count_query: str) -> None:
    """Wait until a count is above zero; PostgreSQL has no event for a lock that somebody waits for."""
    async with asyncio.timeout(20) if hasattr(asyncio, "timeout") else _no_limit():
        while not await connection.fetchval(count_query):
            await asyncio.sleep(0.005)


class _no_limit:  # noqa: N801 - stands in for asyncio.timeout on Python 3.10; pytest's own limit is left
    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return None
