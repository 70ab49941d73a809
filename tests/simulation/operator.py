"""What an operator does about documents: topics deleted and made anew, audits amid the losses, and what is gone sent
again (`mira-stream produce files SOURCE --missing`), whatever runs beside it."""

from collections.abc import Callable, Mapping
from typing import Final

import orjson
from msgspec.structs import replace

from mira_stream.audit.run import audit
from mira_stream.config import Project
from mira_stream.errors import ConfigError, DataLossError, DependencyError
from mira_stream.sections import SourceSection
from mira_stream.streaming.ports import Broker
from mira_stream.streaming.topics import topic_specs
from mira_stream.testing.group import Group
from producers.files import produce
from tests.simulation.network import Network
from tests.simulation.oracles import Offsets, Witness
from tests.simulation.project import GROUPS

EXPECTED: Final = ("records_deleted", "offset_beyond_end", "topic_made_anew")
"""A running scorer is told of a loss, and the next start goes on."""


class Operator:
    """`start` starts a run after what is missing, `accept` the scorers of a group anew; `later` calls something when
    seconds are over."""

    def __init__(
        self,
        project: Project,
        network: Network,
        witness: Witness,
        start: Callable[[], None],
        accept: Callable[[str], None],
        later: Callable[..., None],
    ) -> None:
        self.sent = 0
        """Documents that the runs which ended well said to have sent."""
        self.runs = 0
        """How many of them ended well."""
        self.away = 0
        """Topics that are deleted, and not yet made anew."""
        self._project = project
        self._network = network
        self._witness = witness
        self._start = start
        self._accept = accept
        self._later = later
        self._reached = network.reached

    # -- topics --

    def remake(self) -> None:
        """The documents' topic of a group is deleted, and made anew: at once, or when it has been missed."""
        rng, network = self._network.rng, self._network
        topic = self._project.documents_topic(rng.choice(GROUPS))
        partitions = network.cluster.partitions(topic)
        if not partitions:
            return
        group = self._group(topic)
        assert isinstance(group.offsets, Offsets)
        self._witness.made_anew(topic, [one for one in partitions if one in group.offsets.known])
        network.memory.delete_topic(topic)
        group.offsets.made_anew(partitions)
        if rng.random() < 0.5:
            for partition in partitions:
                group.offsets.pop(partition, None)
        self.away += 1
        self._reached["topic made anew"] += 1
        seconds = rng.uniform(0.01, 3.0) if rng.random() < 0.4 else 0.0
        network.tell(f"{topic} is deleted, and made anew in {seconds:.2f} s")
        if seconds:
            self._reached["topic away"] += 1
            self._later(seconds, self._create, topic)
        else:
            self._create(topic)

    def _group(self, topic: str) -> Group:
        return self._network.cluster.group(self._project.consumer_group(f"scorer.{topic.rpartition('.')[2]}"))

    def _create(self, topic: str) -> None:
        spec = next(spec for spec in topic_specs(self._project) if spec.name == topic)
        self._network.cluster.create(spec)
        self.away -= 1
        self._network.tell(f"{topic} is there again")
        self._network.loop.do_outside(self._group(topic).deal_out)
        self.audit()

    # -- the audit, while all goes on --

    def audit(self) -> None:
        """It must name what is gone by now and is not judged by its end."""
        self._network.loop.do_outside(self._network.loop.create_task, self._audit())

    async def _audit(self) -> None:
        witness = self._witness
        witness.look()
        gone, before = witness.unread(), witness.of_before()
        try:
            result = await audit(self._project, self._network.memory, None, patience_s=0.0)
        except (ConfigError, DependencyError) as error:  # a policy that nobody can put in force, a topic that is away
            return self._network.tell(f"no audit: {error}")
        witness.look()
        left = (gone & witness.unread()) - (
            witness.of_before() - before
        )  # a topic that went amid it: as before, or as now
        self._reached["audited amid losses"] += bool(left)
        said = witness.unnamed(result, left)
        if left and result.ok and not (result.written_off or result.written_off_rests):
            said.append("nothing is found and nothing written off")
        self._network.violations += [f"audit at {self._network.loop.time():.3f} s: {one}" for one in said]
        return None

    # -- what is gone is sent again --

    def send_missing(self) -> None:
        self._reached["missing asked"] += 1
        self._start()

    def copied(self, sources: Mapping[str, SourceSection]) -> Mapping[str, SourceSection]:
        """The same sources, from copies that lie elsewhere."""
        self._reached["missing from a copy"] += 1
        return {name: replace(one, path=self._copy(name)) for name, one in sources.items()}

    async def produce_missing(self, broker: Broker, sources: Mapping[str, SourceSection]) -> None:
        """One run."""
        try:
            counts = await produce(broker, self._project, sources, missing=True)
        except DataLossError as error:
            if error.code == "loss_not_accepted":
                self._reached["missing refused"] += 1
                self._accept(next(group for group in GROUPS if self._project.documents_topic(group) in str(error)))
            raise
        sent = sum(one.new + one.again for one in counts.values())
        self._network.tell(f"{sent} of what was missing are sent again")
        self._reached["missing sent again"] += sum(one.again for one in counts.values())
        self.sent += sent
        self.runs += 1

    def _copy(self, source: str) -> str:
        """All rows that are documents: of the others each file says so anew."""
        lines = self._project.path(f"{source}.jsonl").read_bytes().splitlines(keepends=True)
        name = f"{source}.copy.jsonl"
        self._project.path(name).write_bytes(b"".join(line for line in lines if _is_row(line)))
        return name


def _is_row(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True
