"""The batch reference of the aggregator's state: the whole score log judged in one go, without a restart."""

from typing import Final

from mira_stream.config import Project
from mira_stream.errors import DocumentError
from mira_stream.messages import Epoch, ScoreCard, decoder, encode
from mira_stream.records import LogReader, TopicPartition
from mira_stream.selecting.handler import rules_of
from mira_stream.selecting.policies import PolicyFollower, PolicyLog, Rules
from mira_stream.selecting.restore import restore
from mira_stream.selecting.selector import Selector
from mira_stream.selecting.windowing import Windowing, prior_under
from mira_stream.streaming.ports import Broker

_card: Final = decoder(ScoreCard).decode
_epoch: Final = decoder(Epoch).decode


async def differing_states(project: Project, broker: Broker) -> list[str]:
    """Partitions whose state, restored from `mira.state`, is not that of a selector that judged the score log from its
    start; empty if all are equal."""
    reader = await broker.reader()
    try:
        follower = PolicyFollower(project.topic("policy"), reader)
        await follower.refresh()
        scores = await reader.partitions(project.topic("scores"))
        committed = await broker.committed(project.consumer_group("aggregator"), scores)
        said = []
        for partition in scores:
            end = committed.get(partition, 0)
            reference = await _judged(reader, project, partition, end, follower.log)
            restored = await _restored(reader, project, partition, end, follower.log)
            expected, found = (_everything(selector, end) for selector in (reference, restored))
            if expected != found:
                said.append(f"{partition}: restored {found}, the score log says {expected}")
        return said
    finally:
        await reader.close()


async def _restored(
    reader: LogReader, project: Project, partition: TopicPartition, end: int, policies: PolicyLog
) -> Selector:
    selector = Selector(partition.partition)
    windowing = Windowing(project.settings.windows, prior_under(policies))
    state, epochs = (TopicPartition(project.topic(name), partition.partition) for name in ("state", "epochs"))
    await restore(selector, windowing, reader, partition, state, epochs, policies, end)
    return selector


async def _judged(
    reader: LogReader, project: Project, partition: TopicPartition, end: int, policies: PolicyLog
) -> Selector:
    """Only what cannot be known from cards and policies is taken from the epochs: the policy version of a border."""
    selector, of_epochs = Selector(partition.partition), TopicPartition(project.topic("epochs"), partition.partition)
    bounds = await reader.bounds([of_epochs, partition])
    written = [_epoch(record.value or b"") async for record in reader.read(of_epochs, *bounds[of_epochs])]
    epochs = {epoch.first_offset: epoch for epoch in written}
    async for record in reader.read(partition, bounds[partition][0], end):
        card, epoch = _card(record.value or b""), epochs.get(record.offset)
        current = selector.current(card.source, card.lineage)
        rules: Rules | DocumentError | None = None if current is None else current.rules
        if epoch is not None and epoch.cause != "count":
            rules = policies.rules(card.group, card.source, card.lineage, epoch.policy)
        if rules is None:
            rules = rules_of(card, policies)
        if isinstance(rules, Rules):
            selector.select(card, record.offset, rules)
    return selector


def _everything(selector: Selector, committed: int) -> list[bytes]:
    """All states, written down as if they had just changed."""
    for standing in selector._standings.values():
        standing.changed = True
    return [encode(state) for state in selector.checkpoint(committed)]
