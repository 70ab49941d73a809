"""Facts about a project's Kafka, asked once and judged by many checks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

from mira_stream.clock import now_ms
from mira_stream.config import Project
from mira_stream.doctor import broker_rules as rules
from mira_stream.doctor import rights_rules
from mira_stream.doctor.verdict import Check, Verdict, fail, ok, skipped
from mira_stream.errors import ConfigError, DataLossError, MiraError, ProducerFenced
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.streaming.topics import topic_specs

READ_EVERY_S = 0.02
AGAIN_S = 0.5
"""Between two looks at a transaction that seems to hang."""
ANSWER_S = 2.5
"""A broker that does not answer in this time counts as not reachable."""


class Rights(NamedTuple):
    """Names of operations that we have."""

    cluster: Collection[str]
    topics: rights_rules.Having
    groups: rights_rules.Having
    transactional_ids: rights_rules.Having


class Cluster:
    """One look at the broker, shared by the checks; `servers` None: there is none to look at, `why`. `missed`: services
    of the project run that need it."""

    def __init__(
        self, project: Project, servers: str | None, why: str, embedded: bool, *, missed: bool = False
    ) -> None:
        self.project = project
        self.servers = servers
        self.why = why
        self.embedded = embedded
        self.missed = missed
        self.specs = topic_specs(project)
        self.documents = [project.documents_topic(group) for group in sorted(project.settings.groups)]
        self._look: asyncio.Task[rules.BrokerFacts] | None = None
        self._probe: asyncio.Task[tuple[int, int, int]] | None = None
        self._rights: asyncio.Task[Rights] | None = None

    async def facts(self) -> rules.BrokerFacts:
        """Raises DependencyError, ConfigError."""
        if self._look is None:
            self._look = asyncio.ensure_future(self._ask())
        return await asyncio.shield(self._look)

    async def rights(self) -> Rights:
        """Raises DependencyError, ConfigError."""
        if self._rights is None:
            self._rights = asyncio.ensure_future(self._may())
        return await asyncio.shield(self._rights)

    async def probe(self) -> tuple[int, int, int]:
        """A record in a transaction, read back: the broker's time of it, ours before and after, in ms."""
        if self._probe is None:
            self._probe = asyncio.ensure_future(self._transact())
        return await asyncio.shield(self._probe)

    async def transactions(self) -> Verdict:
        """Raises DependencyError, ConfigError."""
        from mira_stream.kafka.transactions import Transactions

        assert self.servers is not None
        async with _answering(self.servers), Transactions(self.project.settings.broker, self.servers) as asked:
            found = await asked.examine([spec.name for spec in self.specs], AGAIN_S)
        return rules.open_transactions([(one.partition, standing) for one, (standing, _) in found.items()])

    async def score_log(self) -> Verdict:
        """Raises DependencyError, ConfigError."""
        from mira_stream.kafka import KafkaBroker
        from mira_stream.streaming.score_log import examine

        facts = await self.facts()
        assert self.servers is not None
        scores = facts.topics.get(self.project.topic("scores"))
        if scores is None:
            return skipped("it is not there yet")
        broker = KafkaBroker(self.project.settings.broker, self.servers)
        try:
            async with _answering(self.servers):
                return rules.score_log(await examine(self.project, broker), scores.partitions)
        finally:
            await broker.close()

    async def policy_log(self) -> Verdict:
        """Raises DependencyError, ConfigError."""
        from mira_stream.kafka import KafkaBroker
        from mira_stream.selecting.following import PolicyFollower

        facts, topic = await self.facts(), self.project.topic("policy")
        assert self.servers is not None
        if topic not in facts.topics:
            return skipped("it is not there yet")
        broker = KafkaBroker(self.project.settings.broker, self.servers)
        try:
            async with _answering(self.servers):
                reader = await broker.reader()
                follower = PolicyFollower(topic, reader, self.project.settings.topics.scores_key)
                try:
                    await follower.refresh()
                    return rules.policy_log(None, follower.log.version)
                except (ConfigError, DataLossError) as problem:
                    return rules.policy_log(problem, follower.log.version)
                finally:
                    await reader.close()
        finally:
            await broker.close()

    async def _ask(self) -> rules.BrokerFacts:
        from mira_stream.kafka.looking import look

        assert self.servers is not None
        async with _answering(self.servers):
            seen = await look(self.project.settings.broker, self.servers, [spec.name for spec in self.specs])
        topics = {name: rules.TopicFacts(*topic) for name, topic in seen.topics.items()}
        return rules.BrokerFacts(seen.brokers, seen.apis, seen.configs, topics)

    async def _may(self) -> Rights:
        from mira_stream.kafka.rights import rights

        assert self.servers is not None
        project = self.project
        readers = dict(
            zip(self.documents, (f"scorer.{group}" for group in sorted(project.settings.groups)), strict=True)
        )
        readers |= {project.topic("scores"): "aggregator", project.topic("decisions"): "exporter"}
        groups = {topic: project.consumer_group(stage) for topic, stage in readers.items()}
        ids = [f"{group}.{topic}.0" for topic, group in groups.items()]
        ids += [project.topic("produce.http"), project.topic("policy.publish")]
        names = [spec.name for spec in self.specs]
        async with _answering(self.servers):
            may = await rights(project.settings.broker, self.servers, names, list(groups.values()), ids)
        return Rights(
            {one.name for one in may.cluster}, *({k: {o.name for o in v} for k, v in part.items()} for part in may[1:])
        )

    async def _transact(self) -> tuple[int, int, int]:
        from mira_stream.kafka import KafkaBroker
        from mira_stream.kafka.looking import create_stamped

        assert self.servers is not None
        settings, topic = self.project.settings.broker, self.project.topic("doctor")
        await create_stamped(settings, self.servers, topic, self.project.settings.topics.replication_factor)
        partition, broker = TopicPartition(topic, 0), KafkaBroker(settings, self.servers)
        try:
            producer = await broker.producer(topic)
            reader = await broker.reader()
            try:
                before = (await reader.bounds([partition]))[partition][1]
                sent = now_ms()
                await producer.commit([Outgoing(topic, None, b"well?", 0)], {}, None)
                while True:
                    async for record in reader.read(partition, before, before + 1):
                        return record.timestamp_ms, sent, now_ms()
                    await asyncio.sleep(READ_EVERY_S)  # acknowledged before its marker makes it readable
            finally:
                await producer.close()
                await reader.close()
        finally:
            await broker.close()


@asynccontextmanager
async def _answering(servers: str) -> AsyncIterator[None]:
    """Raises DependencyError(broker_unreachable) after `ANSWER_S`."""
    from mira_stream.kafka.failures import unreachable

    try:
        async with asyncio.timeout(ANSWER_S):
            yield
    except TimeoutError:
        raise unreachable(f"{servers} does not answer within {ANSWER_S:g} s") from None


def broker_checks(cluster: Cluster, environment: Mapping[str, str], *, probing: bool) -> list[Check]:
    """`probing`: also write one record to `<prefix>.doctor`."""
    project, specs, documents = cluster.project, cluster.specs, cluster.documents
    factor, inline = project.settings.topics.replication_factor, project.settings.ingest.inline_bytes_max

    fixed = list(map(project.topic, ("scores", "state", "epochs", "windows")))

    async def security() -> Verdict:
        from mira_stream.kafka.connection import Connection

        Connection(project.settings.broker, cluster.servers or "localhost", environment)
        return ok(f"{project.settings.broker.security_protocol}, as far as it can be told from here")

    async def reached() -> Verdict:
        found = await cluster.facts()
        return ok(f"{cluster.servers}: {found.brokers} broker{'s' * (found.brokers > 1)}")

    async def open_transactions() -> Verdict:
        try:
            return await cluster.transactions()
        except MiraError as error:
            return skipped(f"not told: {error.cause}")

    async def score_log() -> Verdict:
        try:
            return await cluster.score_log()
        except MiraError as error:
            return skipped(f"not told: {error.cause}")

    async def policy_log() -> Verdict:
        try:
            return await cluster.policy_log()
        except MiraError as error:
            return skipped(f"not told: {error.cause}")

    async def transaction() -> Verdict:
        if not probing:
            return skipped("--read-only")
        try:
            await cluster.facts()
        except MiraError:
            return skipped("the broker cannot be looked at")
        try:
            _, sent, read = await cluster.probe()
        except ProducerFenced:
            return skipped("somebody else probes at the same time")
        return ok(f"committed and read back in {read - sent} ms")

    async def clock() -> Verdict:
        if not probing:
            return skipped("--read-only")
        try:
            await cluster.facts()
            return rules.clock_skew(*await cluster.probe())
        except (MiraError, ProducerFenced):
            return skipped("the transaction did not come through")

    judged: dict[str, Callable[[rules.BrokerFacts], Verdict]] = {
        "version": lambda facts: rules.version(facts, cluster.embedded),
        "topics": lambda facts: rules.topics_there(specs, facts, fixed),
        "cleanup": lambda facts: rules.cleanup(specs, facts),
        "replication": lambda facts: rules.replication(specs, facts, factor),
        "offsets": lambda facts: rules.offsets_retention(facts, documents),
        "message sizes": lambda facts: rules.message_sizes(facts, documents, inline),
    }

    prefix, names = project.settings.project.prefix, [spec.name for spec in specs]
    allowed: dict[str, Callable[[Rights], Verdict]] = {
        "rights on topics": lambda may: rights_rules.topics(prefix, names, may.topics, may.cluster),
        "rights on groups": lambda may: rights_rules.groups(prefix, may.groups),
        "rights on transactions": lambda may: rights_rules.transactional_ids(prefix, may.transactional_ids),
    }

    def by_rights(judge: Callable[[Rights], Verdict]) -> Callable[[], Awaitable[Verdict]]:
        async def run() -> Verdict:
            try:
                return judge(await cluster.rights())
            except MiraError as error:
                return skipped(f"not told: {error.cause}")

        return run

    def by_facts(judge: Callable[[rules.BrokerFacts], Verdict]) -> Callable[[], Awaitable[Verdict]]:
        async def run() -> Verdict:
            try:
                return judge(await cluster.facts())
            except MiraError:
                return skipped("the broker cannot be looked at")

        return run

    checks = [Check("broker: security", security)]
    others = {"reached": reached, **{name: by_facts(judge) for name, judge in judged.items()}}
    others |= {name: by_rights(judge) for name, judge in allowed.items()}
    others |= {
        "score log": score_log,
        "policy": policy_log,
        "open transactions": open_transactions,
        "transaction": transaction,
        "clock": clock,
    }
    for name, run in others.items():
        checks.append(
            Check(
                f"broker: {name}",
                run if cluster.servers else _no_broker(cluster, name == "reached"),
            )
        )
    return checks


def _no_broker(cluster: Cluster, reaching: bool) -> Callable[[], Awaitable[Verdict]]:
    async def run() -> Verdict:
        if not reaching:
            return skipped("no broker to look at")
        if cluster.missed:
            return fail(f"{cluster.why}, and services of the project run", "wait if mira-stream up starts it again")
        return skipped(cluster.why)

    return run
