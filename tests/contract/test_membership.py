"""Static members: back without a rebalance, gone with one, never two of one name."""

import pytest

from mira_stream.errors import DependencyError
from tests.contract.rig import Listener, Rig, make_topic, poll_until, write


async def test_a_killed_member_that_comes_back_disturbs_nobody(rig: Rig) -> None:
    topic, group = await make_topic(rig, partitions=4), f"{rig.prefix}.g"
    one, two, again = Listener(), Listener(), Listener()
    first = await rig.broker.consumer(group, [topic], one, "a")
    await one.owns(4)
    second = await rig.broker.consumer(group, [topic], two, "b")
    theirs = await two.owns(2)
    ours = await one.owns(2)
    calls = list(two.calls)
    await rig.kill(first)
    third = await rig.broker.consumer(group, [topic], again, "a")
    assert await again.owns(2) == ours
    for partition in ours:
        third.seek(partition, 0)
    await write(rig, topic, [b"x"], min(ours).partition)
    assert [record.value for record in await poll_until(third, 1)] == [b"x"]
    assert (two.calls, two.owned) == (calls, theirs)
    await second.close()
    await third.close()


async def test_a_member_that_stops_in_order_leaves_its_partitions_at_once(rig: Rig) -> None:
    topic, group = await make_topic(rig, partitions=2), f"{rig.prefix}.g"
    one, two = Listener(), Listener()
    first = await rig.broker.consumer(group, [topic], one, "a")
    await one.owns(2)
    second = await rig.broker.consumer(group, [topic], two, "b")
    await two.owns(1)
    await first.close()
    await two.owns(2)  # its session lasts for longer than this waits
    await second.close()


async def test_of_two_processes_with_one_name_the_older_is_told(rig: Rig) -> None:
    topic, group = await make_topic(rig, partitions=2), f"{rig.prefix}.g"
    one, two = Listener(), Listener()
    older = await rig.broker.consumer(group, [topic], one, "a")
    await one.owns(2)
    newer = await rig.broker.consumer(group, [topic], two, "a")
    await two.owns(2)
    with pytest.raises(DependencyError, match="instance_taken"):
        await poll_until(older, 1)
    await older.close()
    for partition in two.owned:
        newer.seek(partition, 0)
    await write(rig, topic, [b"x"])
    assert [record.value for record in await poll_until(newer, 1)] == [b"x"]
    assert [name for name, _ in two.calls] == ["assigned"]
    await newer.close()
