"""Verdicts about a Kafka from what it says of itself. Pure."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from mira_stream.doctor.verdict import Verdict, fail, ok, skipped, warn
from mira_stream.errors import MiraError
from mira_stream.records import TopicPartition
from mira_stream.streaming.limits import OPEN_TRANSACTION_FIX
from mira_stream.streaming.ports import TopicSpec

TRANSACTIONS: Final = {22: "InitProducerId", 25: "AddOffsetsToTxn", 28: "TxnOffsetCommit"}
"""Keys of Kafka's protocol that exactly-once needs."""
SINCE_4_1: Final = 90
"""DescribeShareGroupOffsets came with Kafka 4.1."""
SKEW_WARN_MS: Final = 1_000
SKEW_FAIL_MS: Final = 60_000
ZONE_MS: Final = 30 * 60_000
"""Time zones differ by multiples of half an hour, nearly all."""
DAY_MS: Final = 86_400_000
FOR_EVER_MS: Final = 365 * DAY_MS
"""Documents without a retention: offsets should last a year."""


class TopicFacts(NamedTuple):
    """`replicas` and `in_sync`: the least of any partition."""

    partitions: int
    replicas: int
    in_sync: int
    configs: Mapping[str, str]


class BrokerFacts(NamedTuple):
    """`topics`: those that are there; `apis`: keys of the protocol it speaks; `configs`: of one broker."""

    brokers: int
    apis: frozenset[int]
    configs: Mapping[str, str]
    topics: Mapping[str, TopicFacts]


def version(facts: BrokerFacts, embedded: bool) -> Verdict:
    missing = [name for key, name in TRANSACTIONS.items() if key not in facts.apis]
    if missing:
        return fail(
            f"it lacks {', '.join(missing)}", "use Apache Kafka 2.5 or newer, or what speaks all of its protocol"
        )
    if SINCE_4_1 in facts.apis and not embedded:
        return warn(
            "Kafka 4.1 or newer: 4.1 to 4.3 can end a transaction without markers when a broker is lost (KAFKA-20734)",
            "run several brokers with min.insync.replicas = 2, and mira-stream audit after every unclean end",
        )
    return ok("it has transactions" + (", and starts again safely (the embedded one)" if embedded else ""))


def topics_there(specs: Sequence[TopicSpec], facts: BrokerFacts, fixed: Collection[str] = ()) -> Verdict:
    """`fixed`: topics that keep the partitions they began with, whatever mira.toml says since."""
    missing = [spec.name for spec in specs if spec.name not in facts.topics]
    if missing:
        return warn(
            f"{len(missing)} of {len(specs)} are not there yet, the first: {missing[0]}",
            "mira-stream up creates them; before it, nothing can be produced",
        )
    fewer = [
        f"{spec.name} {facts.topics[spec.name].partitions} instead of {spec.partitions}"
        for spec in specs
        if facts.topics[spec.name].partitions < spec.partitions and spec.name not in fixed
    ]
    if fewer:
        return fail(f"too few partitions: {', '.join(fewer[:3])}", "add partitions, or lower [topics] partitions")
    return ok(f"{len(specs)} with their partitions")


def score_log(problem: MiraError | None, partitions: int) -> Verdict:
    """What streaming/score_log.py has found."""
    if problem is not None:
        return fail(f"{problem.code}: {problem.cause}", problem.fix)
    return ok(f"{partitions} partitions, as they began")


def policy_log(problem: MiraError | None, version: int) -> Verdict:
    """What every aggregator meets when it reads the policy topic; `version`: the newest, -1 if there is none."""
    if problem is not None:
        return fail(f"{problem.code}: {problem.cause}", problem.fix)
    return ok(f"whole, up to version {version}") if version >= 0 else skipped("nothing was published yet")


def cleanup(specs: Sequence[TopicSpec], facts: BrokerFacts) -> Verdict:
    wrong = []
    for spec in specs:
        configs = facts.topics[spec.name].configs if spec.name in facts.topics else {}
        policy = configs.get("cleanup.policy", "")
        wanted = "compact" if spec.compacted else "delete"
        if configs and policy != wanted:
            wrong.append(f"{spec.name}: cleanup.policy {policy}, not {wanted}")
        if configs and spec.kept and configs.get("retention.ms") != "-1":
            wrong.append(f"{spec.name}: retention.ms {configs.get('retention.ms')}, not -1")
    if wrong:
        return fail("; ".join(wrong[:3]), "set it with kafka-configs: a restart and the audit read these topics again")
    return ok("cleanup policies and retention as needed") if facts.topics else skipped("no topic is there yet")


def replication(specs: Sequence[TopicSpec], facts: BrokerFacts, factor: int) -> Verdict:
    if factor > facts.brokers:
        return fail(
            f"[topics] replication_factor = {factor}, {facts.brokers} brokers answer", "lower it, or add brokers"
        )
    there = {spec.name: facts.topics[spec.name] for spec in specs if spec.name in facts.topics}
    behind = [name for name, topic in there.items() if topic.in_sync < topic.replicas]
    if behind:
        return warn(f"{len(behind)} topics have replicas behind, the first: {behind[0]}", "look at the brokers' logs")
    alone = [name for name, topic in there.items() if topic.replicas == 1]
    if facts.brokers > 1 and (alone or factor == 1):
        return warn("one copy only, on a cluster of several brokers", "set [topics] replication_factor = 3")
    thin = [
        name for name, topic in there.items() if topic.replicas > 2 and topic.configs.get("min.insync.replicas") == "1"
    ]
    if thin:
        return warn(f"min.insync.replicas is 1 for {thin[0]}", "set it to 2: else an acknowledged commit can be lost")
    return ok(f"replication factor {factor} on {facts.brokers} brokers")


def offsets_retention(facts: BrokerFacts, documents: Sequence[str]) -> Verdict:
    minutes = facts.configs.get("offsets.retention.minutes")
    if minutes is None:
        return skipped("the broker does not tell offsets.retention.minutes")
    kept_ms = int(minutes) * 60_000
    retentions = [int(facts.topics[name].configs.get("retention.ms", 0)) for name in documents if name in facts.topics]
    longest = max((FOR_EVER_MS if one < 0 else one for one in retentions), default=0)
    if kept_ms < longest:
        return warn(
            f"consumer offsets are kept {kept_ms / DAY_MS:.0f} days, documents {longest / DAY_MS:.0f} or more",
            "raise offsets.retention.minutes of the broker: a longer pause would stop scorers with offsets_expired",
        )
    return ok(f"consumer offsets are kept {kept_ms / DAY_MS:,.0f} days")


def message_sizes(facts: BrokerFacts, documents: Sequence[str], inline_bytes_max: int) -> Verdict:
    """A document's record is its content and names around it: a tenth and 64 KiB more."""
    needed = inline_bytes_max + inline_bytes_max // 10 + 64 * 1024
    limits = {"the broker": facts.configs.get("message.max.bytes")}
    if there := [name for name in documents if name in facts.topics]:
        limits = {name: facts.topics[name].configs.get("max.message.bytes") for name in there}
    small = [f"{name} {limit}" for name, limit in limits.items() if limit is not None and int(limit) < needed]
    if small:
        return fail(
            f"records of {needed:,} bytes do not fit: {', '.join(small[:3])}",
            "raise max.message.bytes of the topic, or lower [ingest] inline_bytes_max",
        )
    return ok(f"records of {needed:,} bytes fit")


def open_transactions(found: Sequence[tuple[TopicPartition, str]]) -> Verdict:
    """Partitions with an open transaction, and how it stands (kafka/transactions.py)."""

    def those(standing: str) -> list[str]:
        return [f"{at.topic}/{at.partition}" for at, one in found if one == standing]

    if hanging := those("hangs"):
        where = ", ".join(hanging[:3])
        return fail(f"{len(hanging)} that nobody will end, nothing behind them is read: {where}", OPEN_TRANSACTION_FIX)
    if unknown := those("not known"):
        return warn(
            f"{len(unknown)} whose transactional id no coordinator names: {', '.join(unknown[:3])}",
            "look again when all brokers are up, as a principal with Describe on all transactional ids of the prefix",
        )
    return ok(f"{len(found)} open, none is seen to hang")


def clock_skew(broker_ms: int, sent_ms: int, read_ms: int) -> Verdict:
    """The broker's time of a record, and ours before it was sent and after it was there."""
    skew = max(sent_ms - broker_ms, broker_ms - read_ms, 0)
    said = f"the broker's clock differs by {skew:,} ms" if skew else "the broker's clock agrees"
    fix = "let both machines keep time by NTP: event times and windows depend on it"
    zones = round(skew / ZONE_MS)
    if zones and abs(skew - zones * ZONE_MS) < SKEW_FAIL_MS:
        return fail(
            f"{said}, which is {zones / 2:g} hours: one of them takes local time for UTC",
            "set that machine's hardware clock to UTC (timedatectl set-local-rtc 0) and its time by NTP",
        )
    if skew > SKEW_FAIL_MS:
        return fail(said, fix)
    return warn(said, fix) if skew > SKEW_WARN_MS else ok(said)
