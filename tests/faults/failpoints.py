"""Places in a transaction where a worker's process ends (or freezes) itself. Only the fault suite's worker has them.

MIRA_FAILPOINT=place:nth:SIGNAL    at the nth transaction of this process that has results and offsets
    after_send     all records are acknowledged, the offsets are not sent
    before_end     the offsets are sent, EndTxn is not
    after_end      EndTxn is sent, its answer is not looked at

MIRA_STOP=place:nth            at the nth transaction of this process that commits, it is told to stop
    before_end     EndTxn is not sent
    after_end      EndTxn is answered, which nobody has heard
and stands still there until that is heard.
"""

import asyncio
import os
import signal
from functools import partial
from typing import Any, Final, NamedTuple

from mira_stream.kafka.producer import TrackedProducer

VARIABLE: Final = "MIRA_FAILPOINT"
STOP: Final = "MIRA_STOP"
PLACES: Final = ("after_send", "before_end", "after_end")


class Failpoint(NamedTuple):
    place: str
    nth: int
    number: signal.Signals


def parse(text: str) -> Failpoint:
    place, nth, name = text.split(":")
    if place not in PLACES:
        raise ValueError(f"{place!r} is none of {PLACES}")
    return Failpoint(place, int(nth), signal.Signals[f"SIG{name}"])


def install(failpoint: Failpoint) -> None:
    """Change aiokafka's producer in this process: it strikes once, in the transaction that was the nth to hand over its
    offsets, whatever others have done before that one ends."""
    seen = 0
    strike = partial(os.kill, os.getpid(), failpoint.number)
    send_offsets, commit = TrackedProducer.send_offsets_to_transaction, TrackedProducer.commit_transaction
    send_batch = TrackedProducer.send_batch

    async def noted_send_batch(self: Any, batch: Any, topic: str, *, partition: int) -> Any:
        if not topic.endswith(".progress"):
            self.holds_results = True
        return await send_batch(self, batch, topic, partition=partition)

    async def counted_send_offsets(self: Any, offsets: Any, group_id: str) -> None:
        nonlocal seen
        if not getattr(self, "holds_results", False):  # a partition's start is committed with its Progress alone
            await send_offsets(self, offsets, group_id)
            return
        seen += 1
        self.is_nth = seen == failpoint.nth
        if failpoint.place == "after_send" and self.is_nth:
            strike()
        await send_offsets(self, offsets, group_id)
        self.holds_offsets = True

    async def counted_commit(self: Any) -> None:
        with_offsets, self.holds_offsets, self.holds_results = getattr(self, "holds_offsets", False), False, False
        if not with_offsets:
            await commit(self)
            return
        if failpoint.place == "before_end" and self.is_nth:
            strike()
        ending = asyncio.ensure_future(commit(self))
        if failpoint.place == "after_end" and self.is_nth:
            while not any(connection._requests for connection in self.client._conns.values()):
                if ending.done():
                    break
                await asyncio.sleep(0)
            strike()
        await ending

    TrackedProducer.send_batch = noted_send_batch
    TrackedProducer.send_offsets_to_transaction = counted_send_offsets
    TrackedProducer.commit_transaction = counted_commit


def install_stop(text: str) -> None:
    """Ctrl-C amid a transaction of a producer, as its process feels it."""
    place, nth = text.split(":")
    seen = 0
    commit = TrackedProducer.commit_transaction

    async def stopped_commit(self: Any) -> None:
        nonlocal seen
        seen += 1
        if seen != int(nth):
            await commit(self)
            return
        if place == "after_end":
            await commit(self)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()

    TrackedProducer.commit_transaction = stopped_commit
