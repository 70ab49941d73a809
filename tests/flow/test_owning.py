"""Being the only producer of a feed: what the broker itself ended is done again, and a successor is left alone."""

import asyncio

import pytest

from mira_stream.errors import DependencyError
from mira_stream.records import Outgoing
from mira_stream.streaming.ports import TopicSpec, TransactionalProducer
from mira_stream.testing.broker import MemoryBroker
from producers.owning import own


@pytest.mark.parametrize(("timed_out", "replaced"), [(True, False), (True, True), (False, True)])
async def test_only_a_fence_by_the_brokers_own_timeout_opens_the_feed_anew(timed_out: bool, replaced: bool) -> None:
    broker = MemoryBroker()
    await broker.create_topics([TopicSpec("documents", 1)], 1)
    record = Outgoing("documents", None, b"{}", 0)

    async def work(producer: TransactionalProducer) -> None:
        await producer.commit([record], {}, None)

    hold = broker.hold_next_commit("feed")
    owning = asyncio.create_task(own(broker, "feed", "a folder", work))
    await hold.reached.wait()
    if timed_out:
        broker.time_out("feed")
    successor = await broker.producer("feed") if replaced else None
    hold.release()
    if successor is None:
        await owning
    else:
        with pytest.raises(DependencyError, match="another process took over a folder"):
            await owning
        await successor.commit([record], {}, None)
    assert len(broker.records("documents")) == 1
