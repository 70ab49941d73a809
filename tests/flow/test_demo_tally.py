"""Counts of a run are read from its topics: over the broker in memory, with what services would have written."""

from pathlib import Path

import pytest

from mira_stream.config import Project, Settings
from mira_stream.demo.tally import Tally
from mira_stream.messages import (
    CardPosition,
    DeadLetter,
    Decision,
    Epoch,
    IngestPosition,
    Origin,
    Verdict,
    Wire,
    encode,
)
from mira_stream.sections import GroupSection, SourceSection
from mira_stream.streaming.topics import topic_specs
from mira_stream.testing.broker import MemoryBroker


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(
        tmp_path,
        Settings(groups={"text": GroupSection(family="text")}, sources={"stdlib": SourceSection(group="text")}),
    )


def decision(number: int, verdict: Verdict) -> Decision:
    return Decision(
        id=f"doc-{number}",
        source="stdlib",
        group="text",
        origin=Origin(topic="mira.documents.text", partition=0, offset=number, timestamp_ms=0),
        card=CardPosition(partition=0, offset=number),
        lineage="l",
        mask="m",
        epoch_of="stdlib",
        epoch=0,
        policy=0,
        decision=verdict,
        selected=verdict == "keep",
        reason="above",
        quality=50.0,
        dimensions_used=[],
        scores=[5.0] * 15,
    )


def position(feed: str, documents: int, rejected: int) -> IngestPosition:
    return IngestPosition(feed=feed, etag="", unit="byte", next=0, documents=documents, rejected=rejected, done=False)


async def test_counts_follow_the_topics(project: Project) -> None:
    broker = MemoryBroker()
    await broker.create_topics(topic_specs(project), 1)

    def write(topic: str, key: str, message: Wire, partition: int = 0) -> None:
        broker.append(project.topic(topic), key.encode(), encode(message), partition)

    tally = Tally(project, await broker.reader())
    await tally.poll()
    assert (tally.produced, tally.settled, tally.decisions_end) == (0, 0, {})

    write("ingest", "a", position("a", 1, 0))
    write("ingest", "a", position("a", 3, 1))
    write("ingest", "b", position("b", 1, 0))
    write("decisions", "doc-0", decision(0, "keep"))
    write("decisions", "doc-1", decision(1, "drop"), partition=2)
    write("dead-letters", "x", DeadLetter(stage="produce", reason="invalid_json", error=""))
    broker.append(project.topic("scores"), b"text", b"{}", 0)
    await tally.poll()
    assert tally.produced == 5  # the newest position of each feed, the refused document included
    assert tally.settled == 3
    assert tally.scored == {"text": 1}
    assert {(end.partition, offset) for end, offset in tally.decisions_end.items()} == {(0, 1), (2, 1)}

    write("decisions", "doc-2", decision(2, "keep"))
    write("epochs", "stdlib", epoch(1))
    write("epochs", "stdlib", epoch(2))
    await tally.poll()
    assert [found.id for found in tally.decisions] == ["doc-0", "doc-1", "doc-2"]
    assert tally.epochs["stdlib"].epoch == 2


def epoch(number: int) -> Epoch:
    return Epoch(
        epoch_of="stdlib",
        group="text",
        lineage="l",
        epoch=number,
        cause="count",
        first_offset=0,
        policy=0,
        basis="source",
        n=10,
        weight=10.0,
        target=0.5,
        target_corrected=0.5,
        keep=None,
        drop=None,
    )
