"""The processes of one simulated stream, and what happens to them: started, killed, stopped, thrown out, replaced.

Processes run the real code: `produce`, the Runner with the scoring handler, `aggregate`. The world is outside of all
of them, as an operator with bad luck would be.
"""

import asyncio
import random
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, cast

import orjson

from consumers.aggregator import aggregate
from consumers.scorer import scorer_settings, tokens_of
from mira_stream.config import Project
from mira_stream.errors import ConfigError, DataLossError, DependencyError
from mira_stream.scoring.handler import ScoringFactory
from mira_stream.sections import SourceSection
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.runner import Runner
from mira_stream.testing.log import PartitionLog
from mira_stream.testing.loop import Process, VirtualLoop
from producers.files import produce
from tests.simulation.engine import SimulatedEngine
from tests.simulation.network import START_MS, Network, SimulatedBroker
from tests.simulation.operator import EXPECTED, Operator
from tests.simulation.oracles import Witness
from tests.simulation.owner import Owner
from tests.simulation.plan import PAUSES_S, SESSION_S, Plan
from tests.simulation.project import ADDED, GROUPS

STAGES: Final = (*(f"score.{group}" for group in GROUPS), "aggregate")
PRODUCER: Final = "produce"
MISSING: Final = "produce --missing"
MEMBERS_MAX: Final = 3
EVERY_S: Final = 1.0
"""So often the producer looks for new rows."""


class _Unmeasured:
    """Takes every measurement and keeps none: nobody looks, and counting takes a tenth of a seed."""

    def __getattr__(self, name: str) -> "_Unmeasured":
        return self

    def __call__(self, *_: object, **__: object) -> "_Unmeasured":
        return self

    def __enter__(self) -> "_Unmeasured":
        return self

    def __exit__(self, *_: object) -> None: ...


METRICS: Final = cast(Metrics, _Unmeasured())


class Member:
    """One process of a stage, and its handles in the broker."""

    def __init__(self, stage: str, process: Process, broker: SimulatedBroker) -> None:
        self.stage = stage
        self.process = process
        self.broker = broker
        self.stop = asyncio.Event()
        self.leaving = False
        self.main: asyncio.Task[None]

    @property
    def is_here(self) -> bool:
        return not self.process.dead and not self.leaving and not self.main.done()


class World:
    """All there is; `act` makes one thing happen that the plan allows."""

    def __init__(
        self,
        loop: VirtualLoop,
        plan: Plan,
        rng: random.Random,
        project: Project,
        network: Network,
        witness: Witness,
    ) -> None:
        self.loop = loop
        self.plan = plan
        self.rng = rng
        self.project = project
        self.network = network
        self.witness = witness
        self.reached: Counter[str] = network.reached
        self.members: list[Member] = []
        self.started = 0
        self.over = False
        self.ids: list[str] = []
        self.rejected = 0
        self.produced = 0
        """Rows of the source files that the producer has been through."""
        self.owner = Owner(loop, plan, rng, project, network)
        self.operator = Operator(project, network, witness, lambda: self.start(MISSING), self._accept, self._later)
        network.kill = self._killed
        network.stop = self._stopped
        self._acts: dict[str, Callable[[], None]] = {
            "kill": self._kill,
            "leave": self._leave,
            "join": self._join,
            "stop": self._stop,
            "throw_out": self._throw_out,
            "pause_broker": self._pause_broker,
            "delete": self._delete,
            "policy": self.owner.policy,
            "mask": self.owner.mask,
            "scope": self.owner.scope,
            "lineage": self._lineage,
            "break_policy": self.owner.break_policy,
            "add_source": self._add_source,
            "resize": self._resize,
            "kill_producer": self._kill_producer,
            "forget": self._forget,
            "widen": self._widen,
            "remake": self.operator.remake,
            "missing": self._send_missing,
        }

    # -- processes --

    def start(self, stage: str) -> None:
        self.started += 1
        process = Process(self.loop, f"{stage}#{self.started}")
        instance = self._instance(stage) if self.plan.static else ""
        member = Member(stage, process, SimulatedBroker(self.network, process, instance))
        self.network.tell(f"{process} starts {instance}")
        member.main = process.spawn(self._main(member))
        member.main.add_done_callback(lambda task: self._ended(member), context=self.loop.outside)
        self.members.append(member)

    def _instance(self, stage: str) -> str:
        """A name that no process bears, so mostly that of the last one killed; now and then one that is taken."""
        names = [f"i{number}" for number in range(MEMBERS_MAX)]
        taken = {member.broker.instance for member in self.here(stage)}
        free = [name for name in names if name not in taken]
        return free[0] if free and (not self.network.faulty or self.rng.random() < 0.95) else self.rng.choice(names)

    def here(self, *stages: str) -> list[Member]:
        return [member for member in self.members if member.is_here and member.stage in (stages or STAGES)]

    def _main(self, member: Member) -> Coroutine[Any, Any, None]:
        if member.stage == PRODUCER:
            return self._produce(member)
        if member.stage == MISSING:
            sources: Mapping[str, SourceSection] = self.owner.project.settings.sources
            if self.produced == len(self.ids) + self.rejected and self.rng.random() < 0.4:
                sources = self.operator.copied(sources)  # of what is produced: from there each file is sent by itself
            return self.operator.produce_missing(member.broker, sources)
        if member.stage == "aggregate":
            return aggregate(
                self.owner.project,
                member.broker,
                METRICS,
                member.stop,
                now=self.now_ms,
                tick_s=self.rng.choice((0.7, 5.0)),
                instance=member.broker.instance,
            )
        return self._score(member, member.stage.removeprefix("score."))

    async def _score(self, member: Member, group: str) -> None:
        engine = SimulatedEngine(self.plan, self.rng, self.reached)
        factory = ScoringFactory(self.owner.project, group, engine, METRICS, pauses_s=PAUSES_S, now=self.loop.time)
        settings = scorer_settings(self.project, group, accept_loss=self.plan.loses, instance=member.broker.instance)
        tokens = lambda record: tokens_of(record, 1024)  # noqa: E731
        await Runner(member.broker, settings, factory, METRICS, tokens, self.loop.time).run(member.stop)

    async def _produce(self, member: Member) -> None:
        produced = -1
        while not member.stop.is_set():
            if produced != (rows := len(self.ids) + self.rejected):
                await produce(member.broker, self.project, self.owner.project.settings.sources)
                produced = self.produced = rows
            try:
                await asyncio.wait_for(member.stop.wait(), EVERY_S)
            except TimeoutError:
                continue

    def _ended(self, member: Member) -> None:
        if member.main.cancelled():
            self.network.violations.append(f"{member.process} was cancelled by nobody")
            return
        error = member.main.exception()
        if error is None:
            self.network.tell(f"{member.process} ends")
        elif self._is_expected(member.stage, error):
            self.reached["process gave up"] += 1
            self.network.tell(f"{member.process} gives up: {error}")
        else:
            said = "".join(traceback.format_exception(error))
            self.network.violations.append(f"{member.process} stopped: {said}")
        for consumer in member.broker.members:
            consumer.session_ends()
        if member.stage != MISSING or error is not None:
            self._replace(member.stage)

    def _is_expected(self, stage: str, error: BaseException) -> bool:
        """Of a loss a running member is told once, and the next start goes on, and then what is missing may be sent; in
        a policy nobody can put in force all starts end until a person has it passed over."""
        is_loss = isinstance(error, DataLossError) and (
            error.code == "loss_not_accepted" if stage == MISSING else error.code in EXPECTED
        )
        is_policy = isinstance(error, ConfigError) and error.code == "policy_invalid"
        return (
            isinstance(error, DependencyError) or (self.plan.loses and is_loss) or (is_policy and self.owner.was_broken)
        )

    def _replace(self, stage: str) -> None:
        """Some time later there is at least one again."""
        self.loop.call_later(
            self.rng.uniform(0.05, 2.0), self._start_if_none, stage, self.rng.random() < 0.6, context=self.loop.outside
        )

    def _start_if_none(self, stage: str, another: bool) -> None:
        another = another and (stage != MISSING or self.network.faulty)
        if not self.over and (another or not self.here(stage)) and len(self.here(stage)) < MEMBERS_MAX:
            self.start(stage)

    def _killed(self, process: Process) -> None:
        process.kill()
        member = next(member for member in self.members if member.process is process)
        for consumer in member.broker.members:
            consumer.session_ends()
        self._replace(member.stage)

    def _stopped(self, process: Process) -> None:
        member = next(member for member in self.members if member.process is process)
        process.pause()
        until = self.rng.choice((self.rng.uniform(0.05, 0.9 * SESSION_S), SESSION_S + self.rng.uniform(0.1, 6.0)))
        self.network.tell(f"{process} sleeps for {until:.2f} s")
        if until > SESSION_S:
            self._later(SESSION_S, self._session_over, member)
        self._later(until, self._wake, member, until > SESSION_S)

    def _session_over(self, member: Member) -> None:
        if not member.process.runs and not member.process.dead:
            for consumer in member.broker.members:
                consumer.throw_out()

    def _wake(self, member: Member, thrown_out: bool) -> None:
        if member.process.dead:
            return
        self.reached["stopped, thrown out" if thrown_out else "stopped, back in time"] += 1
        self.network.tell(f"{member.process} wakes up")
        member.process.resume()
        for consumer in member.broker.members:
            self._later(self.rng.uniform(0.0, 1.5), consumer.come_back)

    def _later(self, seconds: float, do: Callable[..., object], *arguments: Any) -> None:
        self.loop.call_later(seconds, do, *arguments, context=self.loop.outside)

    # -- what may happen --

    def act(self) -> None:
        if self.plan.acts:
            try:
                self._acts[self.rng.choice(self.plan.acts)]()
            except ConfigError as refusal:  # a command that cannot read what is in force
                self.network.tell(f"refused: {refusal}")

    def _any(self, *stages: str) -> Member | None:
        running = [member for member in self.here(*stages) if member.process.runs]
        return self.rng.choice(running) if running else None

    def _kill(self) -> None:
        if (member := self._any()) is not None:
            self.reached["killed anywhere"] += 1
            self.network.tell(f"{member.process} killed")
            self._killed(member.process)

    def _kill_producer(self) -> None:
        if (member := self._any(PRODUCER)) is not None:
            self.reached["producer killed"] += 1
            self.network.tell(f"{member.process} killed")
            self._killed(member.process)

    def _leave(self) -> None:
        self._ask_to_stop(self._any())

    def _ask_to_stop(self, member: Member | None) -> None:
        if member is not None:
            self.reached["member left"] += 1
            self.network.tell(f"{member.process} is asked to stop")
            member.leaving = True
            member.stop.set()

    def _join(self) -> None:
        stage = self.rng.choice(STAGES)
        if len(self.here(stage)) < MEMBERS_MAX:
            self.reached["member joined"] += 1
            self.start(stage)

    def _stop(self) -> None:
        if (member := self._any(*STAGES, PRODUCER)) is not None:
            self._stopped(member.process)

    def _throw_out(self) -> None:
        member = self._any()
        if member is not None:
            for consumer in member.broker.members:
                if consumer.throw_out():
                    self.reached["thrown out, awake"] += 1
                    self._later(self.rng.uniform(0.1, 5.0), consumer.come_back)

    def _pause_broker(self) -> None:
        self.reached["broker paused"] += 1
        seconds = self.rng.uniform(0.1, 4.0)
        self.network.tell(f"the broker sleeps for {seconds:.2f} s")
        self.network.up_at = self.loop.time() + seconds

    def _forget(self) -> None:
        """A stage is away for longer than the broker keeps its offsets. Scorers go on where their Progress says if that
        is accepted, the aggregator always."""
        stage = self.rng.choice(STAGES if self.plan.loses else ("aggregate",))
        self._kill_all(stage)
        name = self.project.consumer_group("aggregator" if stage == "aggregate" else stage.replace("score", "scorer"))
        offsets = self.network.cluster.group(name).offsets
        if offsets:
            self.reached["offsets forgotten"] += 1
            self.network.tell(f"the broker forgets the offsets of {name}")
            offsets.clear()

    def _kill_all(self, stage: str) -> None:
        for member in self.members:
            if member.stage == stage and not member.process.dead and not member.main.done():
                self._killed(member.process)

    def _resize(self) -> None:
        """Other windows: the aggregators are killed, and begin anew with them. Once at most and seldom: after it
        windows are compared less strictly."""
        if not self.owner.resized and self.rng.random() < 0.4:
            self._kill_all("aggregate")
            self.owner.resize()

    def _lineage(self) -> None:
        """Other students, one scorer that begins anew with them, and something for it to do."""
        self.owner.lineage()
        self._ask_to_stop(self._any(*STAGES[:-1]))
        self.feed(self.plan.documents // 12)

    def _add_source(self) -> None:
        if self.owner.add_source():
            self.feed(self.plan.documents // 6)

    def _widen(self) -> None:
        """More partitions for Progress: of half of what it holds, the place is another one from here on."""
        topic = self.project.topic("progress")
        if len(self.network.cluster.partitions(topic)) == 1:
            self.reached["progress moved"] += 1
            self.network.tell(f"{topic} has two partitions from here on")
            self.network.memory.widen(topic, 2)

    def _delete(self) -> None:
        cluster = self.network.cluster
        for group in GROUPS:
            offsets = cluster.group(self.project.consumer_group(f"scorer.{group}")).offsets
            for partition, offset in offsets.items():
                if partition not in cluster.partitions(partition.topic):
                    continue  # its topic is away
                unread = self.plan.loses and self.rng.random() < 0.5
                log = cluster.log(partition)
                before = self._before(log, offset, unread=unread)
                if before > log.first and self.rng.random() < 0.7:
                    self.reached["documents deleted unread" if before > offset else "documents deleted"] += 1
                    self.network.tell(f"{partition.topic}/{partition.partition} begins at {before}")
                    self.network.memory.delete_before(partition, before)
                    self.witness.deleted(partition, before)
                    if before > offset:
                        self.operator.audit()

    def _before(self, log: PartitionLog, offset: int, *, unread: bool) -> int:
        """Where to delete up to. An offset that was committed in a topic before this one may lie behind the end."""
        end = log.last_stable_offset
        return self.rng.randint(min(offset, end), end) if unread else self.rng.randint(0, min(offset, end))

    def _send_missing(self) -> None:
        """And it may be killed in the midst of it."""
        self.send_missing(2.0 if self.rng.random() < 0.5 else None)

    def send_missing(self, killed_within_s: float | None) -> None:
        self.operator.send_missing()
        if killed_within_s is not None:
            self._later(self.rng.uniform(0.0, killed_within_s), self._kill_missing, self.members[-1])

    def _accept(self, group: str) -> None:
        """The way out of a refusal: its scorers begin anew, and go on without what is deleted."""
        for member in self.here(f"score.{group}"):
            self._ask_to_stop(member)

    def _kill_missing(self, member: Member) -> None:
        if member.is_here and member.process.runs:
            self.reached["missing killed"] += 1
            self.network.tell(f"{member.process} killed")
            self._killed(member.process)

    # -- documents --

    def now_ms(self) -> int:
        return START_MS + int(self.loop.time() * 1000)

    def feed(self, count: int) -> None:
        """More rows in the source files; some are no documents, some bear an id that was there before."""
        rng, plan = self.rng, self.plan
        for source in self.owner.project.settings.sources:
            path = self.project.path(f"{source}.jsonl")
            with path.open("ab") as stream:
                for _ in range(count if rng.random() < 0.9 else 0):
                    stream.write(self._row(source, rng, plan))

    def empty_files(self) -> None:
        for source in (*self.project.settings.sources, ADDED):
            self.project.path(f"{source}.jsonl").write_bytes(b"")

    def _row(self, source: str, rng: random.Random, plan: Plan) -> bytes:
        if rng.random() < plan.broken / 2:
            self.rejected += 1
            self.reached["document broken"] += 1
            return b'{"id": "broken", "text": \n'
        name = f"{source}-{len(self.ids)}"
        mine = [one for one in self.ids if one.startswith(source)]
        if mine and rng.random() < plan.twice:
            self.reached["id twice"] += 1
            name = rng.choice(mine)
        self.ids.append(name)
        self.witness.rows[name] += 1
        row = {"id": name, "text": f"Text {len(self.ids)} of {source}, {rng.random()}", "n": len(self.ids)}
        if rng.random() < plan.dated:
            row["happened"] = self._happened(rng, plan)
        return orjson.dumps(row) + b"\n"

    def _happened(self, rng: random.Random, plan: Plan) -> float:
        """A time in seconds, often just where a window ends; some are too far ahead to be believed."""
        seconds = self.now_ms() / 1000 + rng.uniform(-plan.apart_s, plan.apart_s)
        return round(seconds) if rng.random() < 0.5 else round(seconds, 3)
