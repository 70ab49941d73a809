"""How policies and masks get into `mira.policy`: in one transaction, and only what changed."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from mira_stream.config import Project
from mira_stream.errors import ConfigError
from mira_stream.messages import Mask, Policy, encode
from mira_stream.records import LogReader, Outgoing, TopicPartition
from mira_stream.selecting.carrying import carried
from mira_stream.selecting.following import PolicyFollower
from mira_stream.selecting.policies import PolicyLog
from mira_stream.selecting.remasking import table_mask
from mira_stream.selecting.sense import nonsense
from mira_stream.selecting.wanted import LineageOf, ReadColumns, prior_under, project_policies, rubric_under


class Publication(NamedTuple):
    """How many records were written (0: all was in force already), the standing warnings, the keys whose records a
    person set by command and that were left as they are; the keys of what was written, and those of sources and groups
    that the project does not have: of them nothing was touched."""

    written: int
    warnings: list[str]
    kept: list[str]
    keys: list[str]
    foreign: list[str]


class PolicyWriter(Protocol):
    """A TransactionalProducer, as far as it is needed here."""

    async def commit(
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], consumer_group: str | None
    ) -> None: ...

    async def close(self) -> None: ...


class PolicyBroker(Protocol):
    """A Broker, as far as it is needed here."""

    async def reader(self) -> LogReader: ...

    async def producer(self, transactional_id: str) -> PolicyWriter: ...


async def publish(
    broker: PolicyBroker,
    project: Project,
    lineage_of: LineageOf,
    read_columns: ReadColumns,
    *,
    override: bool = False,
) -> Publication:
    """Put the project's policy in force. Run again without a change, it writes nothing. What was set by command stays,
    unless `override`. A mask of a lineage that its source had before, and left, is written anew: the newest counts."""
    wanted = project_policies(project, lineage_of, read_columns)
    prior_of, rubric_of = prior_under(project, lineage_of, read_columns), rubric_under(project)
    warnings, kept, foreign = [*wanted.warnings], list[str](), list[str]()

    def decide(log: PolicyLog) -> list[tuple[str, Policy | Mask]]:
        records = wanted.records
        if not override:
            records, said = carried(log, records, rubric_of, prior_of)
            warnings.extend(said)
        chosen, left = due(log, records, override=override)
        kept.extend(left)
        foreign.extend(_foreign(log, project))
        return chosen

    written, _ = await commit_policy(broker, project, decide)
    return Publication(len(written), warnings, list(dict.fromkeys(kept)), sorted({key for key, _ in written}), foreign)


def due(
    log: PolicyLog, wanted: Sequence[tuple[str, Policy | Mask]], *, override: bool
) -> tuple[list[tuple[str, Policy | Mask]], list[str]]:
    """(what to write so that the project's records are in force, keys left as a person set them by command). Pure."""
    chosen: list[tuple[str, Policy | Mask]] = []
    kept: list[str] = []
    for key, message in wanted:
        newest = newest_of(log, key, message)
        message = _registered(message, newest)
        if newest is not None and newest.by == "command" and not override:
            message = message if says_the_same(newest, message) or message.by == "command" else newest
        if message.by == "command":
            kept.append(key)
        elsewhere = _by_command_elsewhere(log, message) if override else []
        chosen += [(key, mask) for mask in elsewhere]
        if newest is None or not says_the_same(newest, message) or _is_left(log, newest) or elsewhere:
            chosen.append((key, message))
    if override:
        groups = {f"group:{message.group}" for _, message in wanted if isinstance(message, Mask)}
        chosen += [(key, Policy()) for key in log.keys if key in groups and _is_by_command(log, key)]
    return chosen, kept


async def commit_policy(
    broker: PolicyBroker, project: Project, decide: Callable[[PolicyLog], list[tuple[str, Policy | Mask]]]
) -> tuple[list[tuple[str, Policy | Mask]], PolicyLog]:
    """Write in one transaction what `decide` makes of all that is in force; the records, and the log with them."""
    topic, scores_key = project.topic("policy"), project.settings.topics.scores_key
    # The producer first: it fences a second publisher, so that nobody writes between our reading and our writing.
    producer = await broker.producer(project.topic("policy.publish"))
    try:
        reader = await broker.reader()
        try:
            follower = PolicyFollower(topic, reader, scores_key)
            await follower.refresh()
            changed = decide(follower.log)
            if changed:
                check_sense(changed, scores_key)
                outgoing = [Outgoing(topic, key.encode(), encode(message), 0) for key, message in changed]
                await producer.commit(outgoing, {}, None)
                await follower.refresh()
        finally:
            await reader.close()
    finally:
        await producer.close()
    return changed, follower.log


def check_sense(records: Sequence[tuple[str, Policy | Mask]], scores_key: str) -> None:
    """Nothing is written that nobody could put in force. Raises ConfigError(policy_invalid)."""
    for key, message in records:
        wrong = nonsense(key.encode(), message, scores_key)
        if wrong is not None:
            raise ConfigError("policy_invalid", f"{key}: {wrong}", "put that right in mira.toml or in the command")


def newest_of(log: PolicyLog, key: str, message: Policy | Mask) -> Policy | Mask | None:
    """The newest record that this one would replace."""
    if isinstance(message, Mask):
        return log.newest_mask(message.group, message.source, message.lineage)
    return log.newest_policy(key)


def says_the_same(one: Policy | Mask, other: Policy | Mask) -> bool:
    """Whether two records of a key ask for the same, whoever asks."""
    if isinstance(one, Policy) and isinstance(other, Policy):
        return replace(one, note="", by="project") == replace(other, note="", by="project")
    return (
        isinstance(one, Mask) and isinstance(other, Mask) and replace(one, by="project") == replace(other, by="project")
    )


def _by_command_elsewhere(log: PolicyLog, message: Policy | Mask) -> list[Mask]:
    """The masks of the source's other lineages as projects gave them, where they are others by command: once nobody
    asks for a slot, it is not to stay out under scorers of an older lineage, nor when that comes back."""
    if not isinstance(message, Mask):
        return []
    others = [mask for mask in log.masks_of(message.group, message.source) if mask.lineage != message.lineage]
    given = [table_mask(log, mask) for mask in others if mask.by == "command"]
    return [mask for mask in given if mask is not None]


def _is_left(log: PolicyLog, newest: Policy | Mask) -> bool:
    """Whether its source went on to another lineage since: to come back to this one it has to be said anew."""
    return isinstance(newest, Mask) and not log.is_newest(newest)


def _registered(message: Policy | Mask, newest: Policy | Mask | None) -> Policy | Mask:
    """A source that was added while the stream ran stays registered."""
    if isinstance(message, Policy) and isinstance(newest, Policy):
        return replace(message, group=newest.group, like=newest.like)
    return message


def _foreign(log: PolicyLog, project: Project) -> list[str]:
    """Sources with a mask and keys that ask for something, of which the project's files say nothing: another clone of
    it may know them, and they may be running."""
    sources = project.settings.sources
    mine = {f"group:{section.group}" for section in sources.values()} | {f"source:{name}" for name in sources}
    known = {f"source:{mask.source}" for mask in log.masks() if mask.source != "*"}
    known |= {key for key in log.keys if log.newest_policy(key) != Policy() and key.startswith(("group:", "source:"))}
    return sorted(known - mine)


def _is_by_command(log: PolicyLog, key: str) -> bool:
    newest = log.newest_policy(key)
    return newest is not None and newest.by == "command"
