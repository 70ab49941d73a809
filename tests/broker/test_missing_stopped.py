"""Ctrl-C amid `produce files --missing` on a real Kafka: it says what it has sent, the same command sends the rest."""

from collections import Counter
from pathlib import Path

import pytest

from mira_stream.ingest.batches import BATCH_ROWS
from tests.broker.test_missing import PARTITIONS, Rig, victim
from tests.faults.kafka import Kafka
from tests.faults.stream import CALM, Stream
from tests.faults.topic_faults import Admin

__all__ = ["victim"]

pytestmark = [pytest.mark.broker, pytest.mark.timeout(900)]

ROWS = 5_000
STOPPED = 130
STOPPED_IN = 3
"""Its second transaction of documents: the first opens the feed."""


@pytest.mark.parametrize(("place", "committed"), [("before_end", 1), ("after_end", 2)])
async def test_ctrl_c_and_the_same_command_send_each_once(
    victim: Kafka, tmp_path: Path, place: str, committed: int
) -> None:
    prefix = f"missing-{place.replace('_', '-')}"
    stream = await Stream.create(victim, tmp_path / "project", prefix, partitions=PARTITIONS, timeouts=CALM)
    rig = Rig(stream, tmp_path / "notes.jsonl")
    try:
        rig.append(0, ROWS)
        assert (await rig.produce())[1]["new"] == ROWS
        async with Admin(stream.kafka.servers) as admin:
            for number in range(PARTITIONS):
                await admin.delete_before(rig.topic, number, -1)
        assert await rig.ids(rig.topic) == Counter()

        code, said, talk = await rig.stopped_in(f"{place}:{STOPPED_IN}", "--missing")
        assert (code, said["stopped"], said["again"]) == (STOPPED, True, BATCH_ROWS), talk
        assert f"{BATCH_ROWS} of those produced before sent again" in talk
        assert "stopped: what was sent stays, and the same command goes on with the rest" in talk

        code, said = await rig.produce("--missing")
        assert (code, said["again"], said["new"]) == (0, ROWS - committed * BATCH_ROWS, 0), said
        code, said = await rig.produce("--missing")
        assert (code, said["again"], said["new"]) == (0, 0, 0), said
        assert await rig.ids(rig.topic) == Counter(f"d{number}" for number in range(ROWS))
    finally:
        await stream.close()
