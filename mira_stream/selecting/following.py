"""Keeps a PolicyLog up with its topic, and knows when the topic is not the one that was read."""

from collections.abc import Sequence
from typing import Final

from msgspec import structs

from mira_stream.errors import ConfigError, DataLossError
from mira_stream.messages import Epoch, SourceState
from mira_stream.records import LogReader, TopicPartition
from mira_stream.selecting.policies import PolicyLog, policy_lost
from mira_stream.selecting.scopes import is_shared_name

LOOKS_MAX: Final = 10
"""Without news: so often the newest record is read again, lest a topic made anew be just as long."""


class PolicyFollower:
    """Keeps a PolicyLog up with its topic. A topic that was made anew is known by its end, or by the newest record that
    was read of it: that is read again, with its time, whenever there is more, and now and then while there is not."""

    def __init__(self, topic: str, reader: LogReader, scores_key: str = "all") -> None:
        self.log = PolicyLog(scores_key)
        self._partition = TopicPartition(topic, 0)
        self._reader = reader
        self._looks = 0
        """In a row, without news."""

    async def refresh(self) -> None:
        """Read all that was committed since the last call. Raises DataLossError(policy_lost) and what PolicyLog.add
        raises."""
        first, end = (await self._reader.bounds([self._partition]))[self._partition]
        check_whole(self._partition, first)
        seen, read_to = self.log.newest, self.log.next_offset
        if end < read_to:
            raise policy_made_anew(self._partition, f"ends at {end}, and was read up to {read_to}")
        self._looks = self._looks + 1 if end == read_to else 0
        if self._looks % LOOKS_MAX:
            return
        begin = read_to if seen is None else seen.offset
        records = [record async for record in self._reader.read(self._partition, begin, end)]
        if seen is not None and (not records or records.pop(0) != seen):
            raise policy_made_anew(
                self._partition, f"has another record at {seen.offset} than the one that was read there"
            )
        self.log.extend(records)
        self.log.next_offset = end

    async def start(self) -> None:
        """Read the topic to its end. Raises ConfigError(policy_missing) if no mask was ever published."""
        await self.refresh()
        if self.log.is_empty:
            raise ConfigError(
                "policy_missing",
                f"{self._partition.topic} holds no mask, so no card can be judged",
                "publish the project's policy first (`mira-stream up` and `demo` do it at their start)",
            )


def check_whole(partition: TopicPartition, first: int) -> None:
    """Refuse a topic whose oldest records were deleted: what they asked for would be passed over in silence. Raises
    DataLossError(policy_lost)."""
    if first > 0:
        raise policy_lost(f"{partition.topic} begins at {first}: what was asked for before that was deleted")


def policy_made_anew(partition: TopicPartition, said: str) -> DataLossError:
    return policy_lost(f"{partition.topic} {said}: it was deleted and made anew")


def check_states(states: Sequence[SourceState], log: PolicyLog) -> None:
    """Refuse states whose thresholds are of a policy that the log does not hold. Raises DataLossError(policy_lost)."""
    for state in states:
        if state.in_force is not None and not _is_known(state, state.in_force, log):
            raise policy_lost(
                f"source {state.source!r} was decided under version {state.in_force.policy} with target"
                f" {state.in_force.target:g}, which mira.policy does not say: its newest version is {log.version}"
            )


def passed_over(state: SourceState, log: PolicyLog) -> SourceState:
    """The state, out of force if its mask is skipped: its source begins under the one before at the next card, as it
    would have without that record. `check_states` has passed it."""
    epoch = state.in_force
    if epoch is None or is_shared_name(state.source) or epoch.policy not in log.skipped:
        return state
    rules = log.rules(state.group, state.source, state.lineage, epoch.policy)
    is_left = rules is None or rules.mask.mask != state.mask
    return structs.replace(state, in_force=None) if is_left else state


def _is_known(state: SourceState, epoch: Epoch, log: PolicyLog) -> bool:
    if is_shared_name(state.source):
        return log.has(epoch.policy)
    if epoch.policy in log.skipped:
        return True  # put in force by a version that did not refuse it: the audit tells
    rules = log.rules(state.group, state.source, state.lineage, epoch.policy)
    return rules is not None and (rules.version, rules.target) == (epoch.policy, epoch.target)
