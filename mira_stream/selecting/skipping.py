"""`mira-stream policy skip`: a record of `mira.policy` that cannot be put in force is passed over by all."""

from collections.abc import Sequence

from mira_stream.config import Project
from mira_stream.errors import ConfigError, UsageError
from mira_stream.messages import Policy, encode
from mira_stream.records import LogReader, Outgoing, Record, TopicPartition
from mira_stream.selecting.following import check_whole
from mira_stream.selecting.policies import PolicyLog, read_policy, skipped
from mira_stream.selecting.publish import PolicyBroker
from mira_stream.selecting.sense import SKIP_KEY


async def read_all(reader: LogReader, partition: TopicPartition) -> list[Record]:
    """All records of the policy topic as they are, readable or not. Raises DataLossError(policy_lost)."""
    first, end = (await reader.bounds([partition]))[partition]
    check_whole(partition, first)
    return [record async for record in reader.read(partition, first, end)] if first < end else []


async def skip(broker: PolicyBroker, project: Project, offset: int, note: str) -> ConfigError | None:
    """Write that the record at `offset` is to be passed over; what still stands in the way, if anything does. Raises
    UsageError: offset_unknown, policy_valid, nothing_changed."""
    partition, scores_key = TopicPartition(project.topic("policy"), 0), project.settings.topics.scores_key
    producer = await broker.producer(project.topic("policy.publish"))  # first: it fences a second publisher
    try:
        reader = await broker.reader()
        try:
            _check(await read_all(reader, partition), offset, scores_key)
            message = Policy(skips=[offset], note=note, by="command")
            await producer.commit([Outgoing(partition.topic, SKIP_KEY, encode(message), 0)], {}, None)
            return _in_the_way(await read_all(reader, partition), scores_key)
        finally:
            await reader.close()
    finally:
        await producer.close()


def _check(records: Sequence[Record], offset: int, scores_key: str) -> None:
    found = next((record for record in records if record.offset == offset), None)
    if found is None:
        raise UsageError("offset_unknown", f"no record is at {offset}", "see what there is: mira-stream policy history")
    if offset in skipped(records):
        raise UsageError("nothing_changed", f"{offset} is passed over already", "see it: mira-stream policy history")
    try:
        read_policy(found, scores_key)
    except ConfigError:
        return
    raise UsageError(
        "policy_valid",
        f"{offset} can be put in force, and cards may have been decided under it",
        "ask for something else from the next card on: mira-stream policy set",
    )


def _in_the_way(records: Sequence[Record], scores_key: str) -> ConfigError | None:
    try:
        PolicyLog(scores_key).extend(records)
    except ConfigError as problem:
        return problem
    return None
