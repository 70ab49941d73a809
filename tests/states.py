"""The batch reference of the aggregator's state: the whole score log judged in one go, without a restart.

When a window was summed up depends on transactions and on the clock: that, and which documents were late for that, is
left out of the comparison here; the audit compares what was written about it.
"""

from typing import Final

from msgspec.structs import replace

from mira_stream.config import Project
from mira_stream.messages import Decision, Epoch, ScoreCard, decoder, encode
from mira_stream.records import LogReader, TopicPartition
from mira_stream.selecting.following import PolicyFollower
from mira_stream.selecting.policies import PolicyLog
from mira_stream.selecting.restore import restore
from mira_stream.selecting.selector import Selector
from mira_stream.selecting.windowing import Windowing, prior_under
from mira_stream.streaming.ports import Broker
from mira_stream.window_messages import WindowsState

_card: Final = decoder(ScoreCard).decode
_epoch: Final = decoder(Epoch).decode


async def differing_states(project: Project, broker: Broker, *, resized: bool = False) -> list[str]:
    """Partitions whose state, restored from `mira.state`, is not that of a selector that judged the score log from its
    start; empty if all are equal. `resized`: without the windows, whose size was changed at a card nobody knows."""
    reader = await broker.reader()
    try:
        follower = PolicyFollower(project.topic("policy"), reader, project.settings.topics.scores_key)
        await follower.refresh()
        scores = await reader.partitions(project.topic("scores"))
        committed = await broker.committed(project.consumer_group("aggregator"), scores)
        said = []
        for partition in scores:
            end = committed.get(partition, 0)
            reference = await _judged(reader, project, partition, end, follower.log)
            restored = await _restored(reader, project, partition, end, follower.log)
            expected, found = (_everything(*both, end, resized=resized) for both in (reference, restored))
            if expected != found:
                said.append(f"{partition}: restored {found}, the score log says {expected}")
        return said
    finally:
        await reader.close()


async def _restored(
    reader: LogReader, project: Project, partition: TopicPartition, end: int, policies: PolicyLog
) -> tuple[Selector, Windowing]:
    selector = Selector(partition.partition)
    windowing = Windowing(project.settings.windows, prior_under(policies))
    state, epochs = (TopicPartition(project.topic(name), partition.partition) for name in ("state", "epochs"))
    await restore(selector, windowing, reader, partition, state, epochs, policies, end)
    return selector, windowing


async def _judged(
    reader: LogReader, project: Project, partition: TopicPartition, end: int, policies: PolicyLog
) -> tuple[Selector, Windowing]:
    """Only what cannot be known from cards and policies is taken from the epochs: which version had been read. At a
    card that is the newest of any epoch up to there: had a newer one been read that says anything of the card, an epoch
    would begin at it."""
    selector, of_epochs = Selector(partition.partition), TopicPartition(project.topic("epochs"), partition.partition)
    windowing = Windowing(project.settings.windows, prior_under(policies))
    bounds = await reader.bounds([of_epochs, partition])
    written = [_epoch(record.value or b"") async for record in reader.read(of_epochs, *bounds[of_epochs])]
    versions = {epoch.first_offset: epoch.policy for epoch in written}
    seen = -1
    async for record in reader.read(partition, bounds[partition][0], end):
        card = _card(record.value or b"")
        seen = max(seen, versions.get(record.offset, -1))
        rules = policies.rules(card.group, card.source, card.lineage, seen)
        if rules is None:
            continue  # unknown_source: a dead letter
        decision = selector.select(card, record.offset, rules).outcome
        if isinstance(decision, Decision):
            windowing.add(decision)
    return selector, windowing


def _everything(selector: Selector, windowing: Windowing, committed: int, *, resized: bool) -> list[bytes]:
    """All states, written down as if they had just changed."""
    for standing in selector._standings.values():
        standing.changed = True
    states = [encode(state) for state in selector.checkpoint(committed)]
    if resized:
        return states
    return states + [encode(_counted(source.freeze(committed))) for _, source in sorted(windowing._sources.items())]


def _counted(state: WindowsState) -> WindowsState:
    return replace(state, windows=[replace(one, revision=0, stale=False, late=0) for one in state.windows])
