"""Topics: what a broker says of them."""

import asyncio

import pytest

from mira_stream.errors import DependencyError
from mira_stream.streaming.ports import TopicSpec
from tests.contract.rig import PATIENCE_S, Rig


async def test_a_topic_made_anew_has_another_id(rig: Rig) -> None:
    one, other = (TopicSpec(f"{rig.prefix}.{name}", 2) for name in ("one", "other"))
    await rig.broker.create_topics([one, other], 1)
    before = await rig.broker.topic_id(one.name)
    assert before == await rig.broker.topic_id(one.name)
    of_other = await rig.broker.topic_id(other.name)
    assert before not in ("", of_other)
    assert await rig.broker.topic_ids([other.name, one.name]) == {one.name: before, other.name: of_other}
    await rig.delete_topic(one.name)
    with pytest.raises(DependencyError, match=f"topic_missing.*{one.name}"):
        await asyncio.wait_for(asked_for_ever(rig, one.name), PATIENCE_S)  # a broker takes its time
    with pytest.raises(DependencyError, match=f"topic_missing.*{one.name}"):
        await asyncio.wait_for(asked_for_ever(rig, other.name, one.name), PATIENCE_S)
    await rig.broker.create_topics([one], 1)
    assert await rig.broker.topic_id(one.name) not in ("", before)


async def asked_for_ever(rig: Rig, *topics: str) -> None:
    while True:
        await rig.broker.topic_ids(topics)
        await asyncio.sleep(0.05)
