"""Open transactions as partitions' leaders and transactions' coordinators see them (KIP-664, Kafka 3.0), and an end to
those that only the leaders know of.

A transaction hangs if its records are open at a leader, the coordinator of its transactional id says that it has no
transaction with that partition, and it has been silent for longer than any may be: nobody will ever write its marker.
Of one whose id no coordinator names nothing is known: ids that we may not see (Describe), and those of a coordinator
that is away, are left out of the answers without a word.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import aiokafka.errors as foreign
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.api import Request

from mira_stream.clock import now_ms
from mira_stream.kafka.connection import Connection
from mira_stream.kafka.failures import translating
from mira_stream.kafka.transaction_requests import (
    DescribeProducers,
    DescribeTransactions,
    ListTransactions,
    WriteMarker,
)
from mira_stream.records import TopicPartition
from mira_stream.sections import BrokerSection

NONE_OPEN: Final = -1
UNDER_WAY: Final = frozenset({"Ongoing", "PrepareCommit", "PrepareAbort", "PrepareEpochFence"})
"""States in which a coordinator will still write markers."""
MARGIN_MS: Final = 60_000
"""Clocks differ, and a broker looks for what is over its time every 10 s."""

Standing = Literal["under way", "not owned", "hangs", "not known"]
"""`not owned`: no coordinator will end it as far as is known, but it is too young to be sure."""


class Open(NamedTuple):
    """A transaction whose records stand in a partition without a marker, from offset `since` on; `last_ms`: when its
    producer wrote there last."""

    partition: TopicPartition
    since: int
    producer_id: int
    producer_epoch: int
    coordinator_epoch: int
    last_ms: int


class Known(NamedTuple):
    """What a coordinator knows of a transactional id."""

    transactional_id: str
    state: str
    timeout_ms: int
    partitions: frozenset[TopicPartition]

    def ends(self, one: Open) -> bool:
        """Whether its coordinator will write this one's marker."""
        return self.state in UNDER_WAY and one.partition in self.partitions


class Seen(NamedTuple):
    """`known`: by producer id; of an id that no coordinator names, nothing. `timeout_ms`: of the project's own
    transactions; `now_ms`: when it was seen."""

    open: list[Open]
    known: Mapping[int, Known]
    timeout_ms: int
    now_ms: int

    def standing(self, one: Open) -> Standing:
        known = self.known.get(one.producer_id)
        if known is None:
            return "not known"
        if known.ends(one):
            return "under way"
        bound_ms = 2 * max(self.timeout_ms, known.timeout_ms) + MARGIN_MS
        return "hangs" if self.now_ms - one.last_ms > bound_ms else "not owned"

    def transactional_id(self, one: Open) -> str:
        """Empty if no coordinator names it."""
        known = self.known.get(one.producer_id)
        return "" if known is None else known.transactional_id


class Transactions:
    """`async with` connects. Every call raises DependencyError if the broker cannot be asked, or does not let us."""

    def __init__(self, settings: BrokerSection, bootstrap_servers: str) -> None:
        self._connection = Connection(settings, bootstrap_servers)
        self._admin: Any = None

    async def __aenter__(self) -> "Transactions":
        await self._connection.reach()
        self._admin = AIOKafkaAdminClient(**self._connection.arguments())
        try:
            with translating("connecting"):
                await self._admin.start()
        except BaseException:
            await self._admin.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._admin.close()

    async def look(self, topics: Sequence[str]) -> Seen:
        """Transactions that are open in these topics; one that is not there has none."""
        with translating("looking at transactions"):
            async with asyncio.timeout(self._connection.timeout_s):
                found = await self._open(topics)
                known = await self._known({one.producer_id for one in found})
                return Seen(found, known, self._connection.settings.transaction_timeout_ms, now_ms())

    async def examine(self, topics: Sequence[str], pause_s: float) -> dict[Open, tuple[Standing, str]]:
        """What is open, how it stands, and its transactional id (empty: not known). What does not look sound is looked
        at twice, for a transaction may end between a leader's answer and its coordinator's."""
        before = await self.look(topics)
        if all(before.standing(one) == "under way" for one in before.open):
            return {one: ("under way", before.transactional_id(one)) for one in before.open}
        await asyncio.sleep(pause_s)
        seen = await self.look(topics)
        found: dict[Open, tuple[Standing, str]] = {}
        for one in seen.open:
            standing = seen.standing(one)
            if standing == "hangs" and not (one in before.open and before.standing(one) == "hangs"):
                standing = "not owned"
            found[one] = standing, seen.transactional_id(one)
        return found

    async def abort(self, one: Open) -> None:
        """Write the marker that is missing. Only for what hangs: an owner's would be torn."""
        with translating(f"aborting a transaction in {one.partition.topic}/{one.partition.partition}"):
            async with asyncio.timeout(self._connection.timeout_s):
                leaders = await self._leaders([one.partition.topic])
                answer = await self._send(
                    leaders[one.partition],
                    WriteMarker(one.partition, one.producer_id, one.producer_epoch, one.coordinator_epoch),
                )
                for _, topics, _ in answer.markers:
                    for _, partitions, _ in topics:
                        for _, error, _ in partitions:
                            _raise(error)

    async def _open(self, topics: Sequence[str]) -> list[Open]:
        by_leader: dict[int, list[TopicPartition]] = {}
        for partition, leader in (await self._leaders(topics)).items():
            by_leader.setdefault(leader, []).append(partition)
        found = []
        for leader, partitions in sorted(by_leader.items()):
            answer = await self._send(leader, DescribeProducers(partitions))
            for topic, rows, _ in answer.topics:
                for number, error, _, producers, _ in rows:
                    _raise(error)
                    found += [
                        Open(TopicPartition(topic, number), since, producer, epoch, max(0, coordinator), last_ms)
                        for producer, epoch, _, last_ms, coordinator, since, _ in producers
                        if since != NONE_OPEN
                    ]
        return sorted(found)

    async def _known(self, producer_ids: set[int]) -> dict[int, Known]:
        """Of those producers; every broker coordinates some transactional ids. Where two brokers speak of one, for a
        moment after a coordinator has moved, what is under way counts."""
        found: dict[int, Known] = {}
        if not producer_ids:
            return found
        cluster = await self._admin.describe_cluster()
        for broker in cluster["brokers"]:
            listed = await self._send(broker["node_id"], ListTransactions(producer_ids))
            _raise(listed.error_code)
            for name, *_ in listed.transaction_states:
                described = await self._send(broker["node_id"], DescribeTransactions(name))
                for error, _, state, timeout_ms, _, producer, _, topics, _ in described.transaction_states:
                    _raise(error)
                    places = frozenset(TopicPartition(topic, one) for topic, numbers, _ in topics for one in numbers)
                    if producer not in found or state in UNDER_WAY:
                        found[producer] = Known(name, state, timeout_ms, places)
        return found

    async def _leaders(self, topics: Sequence[str]) -> dict[TopicPartition, int]:
        """Raises a retriable error for a partition without one; of a topic that is not there nothing is found."""
        described = await self._admin.describe_topics(list(topics)) if topics else []
        found = {}
        for row in described:
            if row["error_code"] == foreign.UnknownTopicOrPartitionError.errno:
                continue
            _raise(row["error_code"])
            for one in row["partitions"]:
                _raise(one["error_code"])
                found[TopicPartition(row["topic"], one["partition"])] = one["leader"]
        return found

    async def _send(self, node: int, request: Request[Any]) -> Any:
        try:
            return await self._admin._send_request_to_node(node, request)
        except NotImplementedError:
            raise foreign.UnsupportedVersionError("this needs Kafka 3.0 or newer") from None


def _raise(code: int) -> None:
    error = foreign.for_code(code)
    if error is not foreign.NoError:
        raise error
