"""A policy topic that is not the one that was read, seen by whoever follows it."""

import asyncio
import contextlib

import pytest

from mira_stream.errors import DataLossError, DependencyError
from mira_stream.messages import Policy, encode
from mira_stream.records import LogReader, Outgoing, TopicPartition
from mira_stream.selecting.following import LOOKS_MAX, PolicyFollower
from mira_stream.streaming.ports import TopicSpec
from tests.contract.rig import PATIENCE_S, Rig
from tests.settled import settle


async def write(rig: Rig, topic: str, *policies: Policy) -> None:
    producer = await rig.broker.producer(f"{topic}.publish")
    for policy in policies:
        await producer.commit([Outgoing(topic, b"*", encode(policy), 0)], {}, None)
    await producer.close()
    await settle(rig.broker, f"{topic}.publish")


async def make_anew(rig: Rig, spec: TopicSpec) -> None:
    before = await rig.broker.topic_id(spec.name)
    await rig.delete_topic(spec.name)
    async with asyncio.timeout(PATIENCE_S):  # a broker takes its time
        while True:
            await rig.broker.create_topics([spec], 1)
            with contextlib.suppress(DependencyError):
                if await rig.broker.topic_id(spec.name) != before:
                    return
            await asyncio.sleep(0.05)


async def followed(rig: Rig, reader: LogReader) -> tuple[TopicSpec, PolicyFollower]:
    """Three versions are written and read; going on is nothing special."""
    spec = TopicSpec(f"{rig.prefix}.policy", 1, kept=True)
    await rig.broker.create_topics([spec], 1)
    follower = PolicyFollower(spec.name, reader)
    await write(rig, spec.name, Policy(retention=0.1))
    await follower.refresh()
    await write(rig, spec.name, Policy(retention=0.2), Policy(retention=0.3))
    for _ in range(2 * LOOKS_MAX):
        await follower.refresh()
    assert follower.log.newest_policy("*") == Policy(retention=0.3)
    return spec, follower


@pytest.mark.parametrize("written", [1, 3, 5])
async def test_one_that_was_made_anew_is_lost_be_it_shorter_as_long_or_longer(rig: Rig, written: int) -> None:
    reader = await rig.broker.reader()
    spec, follower = await followed(rig, reader)
    await make_anew(rig, spec)
    await write(rig, spec.name, *[Policy(retention=0.9)] * written)
    with pytest.raises(DataLossError, match=r"policy_lost.*made anew"):
        await asyncio.wait_for(refreshed_for_ever(follower), PATIENCE_S)
    assert follower.log.newest_policy("*") == Policy(retention=0.3)
    await reader.close()


async def test_one_without_its_oldest_records_is_lost(rig: Rig) -> None:
    reader = await rig.broker.reader()
    spec, follower = await followed(rig, reader)
    await rig.delete_before(TopicPartition(spec.name, 0), 1)
    for one in (follower, PolicyFollower(spec.name, reader)):
        with pytest.raises(DataLossError, match=r"policy_lost.*begins at 1"):
            await one.refresh()
    await reader.close()


async def refreshed_for_ever(follower: PolicyFollower) -> None:
    while True:
        with contextlib.suppress(DependencyError):  # it is not known everywhere yet
            await follower.refresh()
        await asyncio.sleep(0.01)
