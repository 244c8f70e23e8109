"""A journal on its way, without a stream."""

from __future__ import annotations

from runstream._endpoint import Endpoint
from runstream.journal import Directory, Position
from runstream.journal.reader import JournalReader
from runstream.transport.feed import Feed
from tests.unit.client.transport.conftest import QUICK
from tests.unit.client.transport.journals import Trainer


def test_what_the_service_has_before_it_is_read_is_saved_as_settled(directory: Directory) -> None:
    trainer = Trainer.start(directory, "127.0.0.1:1")
    trainer.log(range(300), batch=100)
    position = Position(records=2, run_id=trainer.run_id, run_state="created")  # all but the batches
    reader = JournalReader(trainer.path, position.records + 1)
    feed = Feed(reader, trainer.path, position, QUICK, lambda level, text: None, Endpoint("127.0.0.1:1"))
    feed.opening(0, now_s=1.0)
    assert feed.opened(committed=3)
    assert feed.position_to_save(now_s=2.0) is not None  # the connection
    assert not feed.unsaved

    feed.take(*feed.read_records(1 << 20, check_writer=False))

    assert feed.unsaved
    due = feed.position_to_save(now_s=3.0)
    assert due is not None
    assert (due[0].records, due[0].acknowledged_points) == (5, 300)
    assert not feed.unsaved
    trainer.die()
