"""One seed, from an empty broker to the verdict."""

import asyncio
import gc
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any, Final, cast
from unittest.mock import patch

import structlog

from mira_stream.ingest.batches import batches, batches_again
from mira_stream.streaming.topics import topic_specs
from mira_stream.testing.loop import Stalled, VirtualLoop
from tests.simulation.network import Network
from tests.simulation.oracles import Offsets, Witness, audited, decided
from tests.simulation.plan import Plan, plan_of
from tests.simulation.policies import policies_held
from tests.simulation.project import GROUPS, policy_records, simulated_project, windowed
from tests.simulation.windows import windows_bounded, windows_counted
from tests.simulation.world import MISSING, PRODUCER, STAGES, World
from tests.states import differing_states

LOOK_S: Final = 0.25
DEADLINE_S: Final = 300.0
"""Virtual seconds from the last fault until all is decided and all processes have ended."""
PRODUCER_ROWS: Final = 5
"""Rows of a producer's transaction: 2,000 in the product would be all there is."""
AGAIN_ROWS: Final = 2

IDLE_POLL_S: Final = 1.0
"""An idle runner turns every 0.2 s in the product; here that would be most of the work."""

Mutation = Callable[[Network], AbstractContextManager[object]]
"""Takes a guard out while the seed runs; what it does at the ports it does through the network."""


@dataclass
class Outcome:
    """What became of a seed. `digest` is equal for equal runs."""

    seed: int
    violations: list[str]
    reached: Counter[str]
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    turns: int = 0
    documents: int = 0
    digest: str = ""
    trace: list[str] = field(default_factory=list)


def run_seed(seed: int, mutation: Mutation | None = None, *, trace: bool = False) -> Outcome:
    """Run a seed; the same seed gives the same run."""
    started = time.process_time()
    rng = random.Random(f"simulation {seed}")
    loop = VirtualLoop(random.Random(f"order {seed}"))
    outcome = Outcome(seed, [], Counter())

    def tell(text: str) -> None:
        if trace:
            outcome.trace.append(f"{loop.time():9.4f}  {text}")

    loop.set_exception_handler(lambda _, context: outcome.violations.append(f"loop: {context}"))
    plan = plan_of(rng)
    network = Network(loop, plan, rng, outcome.reached, tell)
    outcome.violations = network.violations
    run = _Run(loop, plan, rng, network)
    small = patch("mira_stream.ingest.source.batches", partial(batches, rows_max=PRODUCER_ROWS))
    smaller = patch("mira_stream.ingest.source.batches_again", partial(batches_again, rows_max=AGAIN_ROWS))
    seldom = patch("mira_stream.streaming.runner.POLL_S", IDLE_POLL_S)
    with (
        small,
        smaller,
        seldom,
        _log(tell if trace else None),
        nullcontext() if mutation is None else mutation(network),
    ):
        try:
            loop.run_until_complete(run.main())
        except Stalled as stalled:
            outcome.violations.append(f"stalled: {stalled}")
        except Exception as error:  # an oracle that cannot even read what was written
            outcome.violations.append(f"the oracles raised {error!r}")
        outcome.documents, outcome.digest = len(run.witness.documents), run.digest()
        outcome.virtual_s, outcome.turns = loop.time(), loop.turns
        run.bury()
        loop.close()
    outcome.cpu_s = time.process_time() - started
    return outcome


class _Run:
    def __init__(self, loop: VirtualLoop, plan: Plan, rng: random.Random, network: Network) -> None:
        self.loop = loop
        self.plan = plan
        self.rng = rng
        self.network = network
        self.project = windowed(simulated_project(plan.size), plan.windows)
        for spec in topic_specs(self.project):
            is_progress = spec.name == self.project.topic("progress")
            network.cluster.create(spec._replace(partitions=plan.places) if is_progress else spec)
        self.witness = Witness(network.cluster, self.project)
        self.world = World(loop, plan, rng, self.project, network, self.witness)
        self.consumer_groups = [f"scorer.{group}" for group in GROUPS] + ["aggregator"]
        for name in self.consumer_groups:
            full = self.project.consumer_group(name)
            network.cluster.group(full).offsets = Offsets(full, network.violations)

    async def main(self) -> None:
        world, plan, violations = self.world, self.plan, self.network.violations
        world.owner.put_in_force(policy_records(plan.size))
        world.empty_files()
        world.feed(plan.documents // 3)
        for stage in STAGES:
            for _ in range(plan.members):
                world.start(stage)
        world.start(PRODUCER)
        await self._faults()
        self.network.tell("faults end")
        self.network.heal()
        done = await self._until(self._is_done) and (not plan.loses or await self._sent_again())
        if not done and not violations:
            violations.append(f"not done {DEADLINE_S:.0f} s after the last fault: {self._left()}")
        if violations:
            return  # what was left undone after that is no news
        await self._stop_all()
        self.witness.look()
        violations += self.witness.counts(world.rejected, loses=plan.loses)
        violations += self.witness.changed()
        violations += [f"transaction open: {name}" for name in self.network.memory.open_transactions()]
        if not violations:
            violations += await self._judged()

    def _is_done(self) -> bool:
        world = self.world
        is_produced = world.produced == len(world.ids) + world.rejected
        is_still = is_produced and not (world.owner.is_in_the_way or world.operator.away or world.here(MISSING))
        # Of a topic that is made anew some may vanish unseen, and of two rows with one id one is sent with --missing.
        return is_still and self.witness.is_done(0 if self.plan.loses else len(world.ids), world.rejected)

    async def _sent_again(self) -> bool:
        """What is gone, and a second time nothing. The first run may be killed anywhere, and have another beside it."""
        operator, within_s = self.world.operator, 30 * self.plan.latency_s
        for turn in range(2):
            runs, sent = operator.runs, operator.sent
            self.world.send_missing(within_s if turn == 0 and self.rng.random() < 0.5 else None)
            if turn == 0 and self.rng.random() < 0.7:
                self.network.reached["missing asked twice"] += 1
                await asyncio.sleep(self.rng.random() * self.plan.latency_s)
                self.world.send_missing(None)
            if not await self._until(lambda: operator.runs > runs and self._is_done()):  # noqa: B023 - awaited here
                return False
            if turn and operator.sent > sent:
                self.network.violations.append(f"{operator.sent - sent} documents were missing a second time")
        return True

    async def _judged(self) -> list[str]:
        owner, broker = self.world.owner, self.network.memory
        project = windowed(self.project, owner.windows)
        decisions = decided(project, broker)
        said = await audited(project, broker, self.witness, resized=owner.resized)
        said += await differing_states(project, broker, resized=owner.resized)
        said += policies_held(project, broker, decisions, owner.broken)
        if owner.resized:
            return [*said, *windows_bounded(project, broker, decisions, (self.plan.windows, owner.windows))]
        return [*said, *windows_counted(project, broker, decisions, self.network.reached)]

    async def _faults(self) -> None:
        rounds = 0
        while self.loop.time() < self.plan.faults_s and not self.network.violations:
            await asyncio.sleep(self.rng.expovariate(1 / self.plan.act_every_s))
            self.witness.look()  # before anything is deleted
            self.world.act()
            rounds += 1
            if rounds <= 2:
                self.world.feed(self.plan.documents // 6)

    async def _stop_all(self) -> None:
        """Everybody leaves; nobody leaves anything behind."""
        self.world.over = True
        for member in self.world.members:
            member.stop.set()
        if not await self._until(
            lambda: all(m.process.dead or (m.process.runs and m.main.done()) for m in self.world.members)
        ):
            running = [str(m.process) for m in self.world.members if not m.process.dead and not m.main.done()]
            self.network.violations.append(f"not stopped: {running}")
        await self._until(lambda: not self.network.memory.open_transactions())  # those of the dead time out
        for member in self.world.members:
            if not member.process.dead and (left := member.process.left()):
                self.network.violations.append(f"{member.process} leaks {left}")

    async def _until(self, reached: Callable[[], bool]) -> bool:
        deadline = self.loop.time() + DEADLINE_S
        while self.loop.time() < deadline and not self.network.violations:
            self.witness.look()
            if reached():
                return True
            await asyncio.sleep(LOOK_S)
        return False

    def _left(self) -> str:
        missing = [place for place in self.witness.documents if place not in self.witness.outcomes]
        return f"{len(missing)} documents undecided, the first {missing[:3]}; {len(self.witness.documents)} produced"

    def digest(self) -> str:
        """Of all that was written, but for what is drawn by the operating system (trace ids, a producer's token)."""
        total = sha256(f"{self.loop.time()} {self.loop.turns}".encode())
        for spec in topic_specs(self.project):
            if spec.name != self.project.topic("ingest"):
                for record in self.network.memory.records(spec.name):
                    total.update(f"{record.topic} {record.partition} {record.offset}".encode())
                    total.update(record.value or b"")
        return total.hexdigest()[:16]

    def bury(self) -> None:
        self.loop.set_exception_handler(lambda _, context: None)
        for member in self.world.members:
            if not member.process.dead:
                member.process.kill()
            member.process.bury()
        for task in asyncio.all_tasks(self.loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            task.get_coro().close()


class _log:
    """The product's log goes into the trace, or nowhere."""

    def __init__(self, tell: Callable[[str], None] | None) -> None:
        self._tell = tell

    def __enter__(self) -> None:
        self._before = structlog.get_config()
        if self._tell is None:
            structlog.configure(wrapper_class=cast(Any, _Silent), cache_logger_on_first_use=False)
        else:
            structlog.configure(processors=[self._render], logger_factory=_Nowhere, cache_logger_on_first_use=False)

    def __exit__(self, *_: object) -> None:
        structlog.configure(**self._before)

    def _render(self, logger: object, method: str, event: Any) -> Any:
        assert self._tell is not None
        said = " ".join(f"{key}={value}" for key, value in event.items() if key != "event")
        self._tell(f"  log: {event['event']} {said}")
        raise structlog.DropEvent


class _Silent:
    def __init__(self, *_: object, **__: object) -> None: ...

    def info(self, event: str, **_: object) -> None: ...

    warning = error = debug = exception = info


class _Nowhere:
    def __init__(self, *_: object) -> None: ...

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def collected_rarely() -> None:
    """A seed makes many objects that live as long as it does: look for garbage seldom."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
