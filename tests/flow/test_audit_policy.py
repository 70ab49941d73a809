"""The audit of one who went on by an older policy: every byte is right, and only the time gives it away."""

from pathlib import Path

import pytest

from mira_stream.audit.recompute import READ_WITHIN_MS
from mira_stream.messages import Policy, encode
from mira_stream.records import Outgoing
from tests.flow.audit_logs import FrozenStream
from tests.flow.selecting_world import PRIOR, SCORES, World
from tests.unit.selecting_cards import mask
from tests.unit.windows_model import T0


@pytest.mark.parametrize(("age_ms", "found"), [(READ_WITHIN_MS, 2), (READ_WITHIN_MS - 1, 0)])
async def test_a_policy_that_was_never_read_is_found(tmp_path: Path, age_ms: int, found: int) -> None:
    world = await World.create(tmp_path)
    for source in ("books", "wiki"):
        message = encode(mask(source=source, prior=PRIOR))
        world.broker.append("mira.policy", b"source:" + source.encode(), message, 0, timestamp_ms=T0 - 10**6)
    world.fill(40)
    reader = await world.broker.reader()
    handler = world.handler(SCORES, reader)
    await handler.open(0)
    written: list[Outgoing] = []
    async for record in reader.read(SCORES, 0, 40):  # in one transaction: nobody looks at the policy again
        written += await handler.handle(record)
        if record.offset == 0:
            policy = encode(Policy(retention=0.2))
            world.broker.append("mira.policy", b"*", policy, 0, timestamp_ms=T0 - age_ms)
    producer = await world.broker.producer("mira.aggregator.mira.scores.0")
    await producer.commit(written, {SCORES: 40}, world.project.consumer_group("aggregator"))
    await world.commit_scorer()
    await world.export(tmp_path / "out")
    result = await (await FrozenStream.of(world, tmp_path / "out")).audit()
    assert result.findings_by_code == ({"policy_not_read": found} if found else {})
    assert result.decisions_recomputed == 40
    assert (result.different > 0) == bool(found)
