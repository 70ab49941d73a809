"""The streaming part of a demo run: services up, documents in, until every document has ended and is exported."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from mira_stream.config import Project
from mira_stream.demo.material import shares, write_source
from mira_stream.demo.progress import Progress, Rate, View, source_views
from mira_stream.demo.scrape import Gauges, scrape
from mira_stream.demo.tally import Tally
from mira_stream.errors import CheckFailed, DependencyError
from mira_stream.streaming.ports import Broker
from mira_stream.supervision.supervisor import Child, Supervisor, free_port

LOOK_EVERY_S: Final = 0.4
STALL_S: Final = 600.0
"""Longer than three engines take to load on two busy cores."""
AIM_EVERY_S: Final = 0.05
"""Looks while the half-way mark is awaited: a few hundred documents are judged in seconds."""


class Stage(NamedTuple):
    """What a run works on: the project's copy, its broker, the broker's address, and where files go."""

    project: Project
    broker: Broker
    bootstrap_servers: str
    out: Path


class Wish(NamedTuple):
    """What to stream: `documents` of the demo's own sources, and `own` sources of the user's. `chaos`: kill the
    scorer half-way."""

    documents: int
    own: Sequence[str]
    chaos: bool


class Moments(NamedTuple):
    """When things happened, in seconds since the process started."""

    first_engine_s: float | None = None
    first_decision_s: float | None = None
    last_settled_s: float | None = None


class Stream:
    """One stream from its first service to its last exported document."""

    def __init__(self, stage: Stage, wish: Wish, supervisor: Supervisor, progress: Progress, tally: Tally) -> None:
        self.moments = Moments()
        self.killed_at: int | None = None
        self._stage = stage
        self._wish = wish
        self._supervisor = supervisor
        self._progress = progress
        self._tally = tally
        self._rate = Rate()
        self._metrics_port = free_port()
        self._gauges = Gauges({}, 0)
        self._expected = 0
        self._reachable = 0
        """Documents of all sources but the last: so many are scored without it."""
        self._settled = 0
        self._moved = (0.0, (0, 0, 0, 0))
        self._exporting = False
        self._struck = asyncio.Event()
        if not wish.chaos:
            self._struck.set()

    async def run(self, age: Callable[[], float]) -> None:
        """Returns when all is exported. Raises MiraError as soon as a service has died."""
        await self._start_scorer()
        await self._start("aggregate", "aggregate")
        await self._start("export", "export", "--out", str(self._stage.out))
        production = asyncio.create_task(self._produce())
        try:
            await self._follow(production, age)
        finally:
            production.cancel()
            await asyncio.gather(production, return_exceptions=True)

    async def _start(self, name: str, *arguments: str, may_end: bool = False) -> Child:
        where = ["--project", str(self._stage.project.root), "--bootstrap-servers", self._stage.bootstrap_servers]
        return await self._supervisor.start(name, *arguments, *where, may_end=may_end)

    async def _start_scorer(self) -> None:
        await self._start("score", "score", "--metrics-port", str(self._metrics_port))

    async def _produce(self) -> None:
        """Stream own sources and the first made one at once, the others together when they are made.

        Few producers, because each start of a process takes from the engines that load meanwhile. With chaos the last
        source waits for the blow, so that there is work for the scorer that comes after.
        """
        wanted = shares(self._stage.project, self._wish.own, self._wish.documents)
        self._expected = self._reachable = sum(wanted.values())
        producers = [await self._start_producer("own", self._wish.own)] if self._wish.own else []
        made = await self._make(list(wanted)[:1], wanted)
        rest = list(wanted)[1:]
        if made:
            producers.append(await self._start_producer("first", made))
        late = rest[-1:] if self._wish.chaos else []
        made = await self._make(rest, wanted)
        if early := [name for name in made if name not in late]:
            producers.append(await self._start_producer("made", early))
        if late:
            await self._struck.wait()
            producers.append(await self._start_producer("late", late))
        # Not gather: cancelled, it would cancel what the supervisor waits for when it stops them.
        await asyncio.wait([producer.ended for producer in producers])

    async def _make(self, names: Sequence[str], wanted: Mapping[str, int]) -> list[str]:
        """Write the documents of these sources; their names."""
        for name in names:
            path = self._stage.project.path(self._stage.project.settings.sources[name].path)
            count = await asyncio.to_thread(write_source, path, name, wanted[name])
            if count < wanted[name]:
                self._progress.say(f"source {name}: this machine has {count} documents for it, not {wanted[name]}")
        return list(names)

    async def _start_producer(self, name: str, sources: Sequence[str]) -> Child:
        return await self._start(f"produce-{name}", "produce", "files", *sources, may_end=True)

    async def _follow(self, production: asyncio.Task[None], age: Callable[[], float]) -> None:
        while True:
            self._supervisor.check()
            produced = production.done()  # asked before the poll, which then sees all that was written
            if produced:
                production.result()
            await self._tally.poll()
            self._check_progress(age())
            self._note_moments(age())
            await self._show(age())
            if produced and await self._all_ended():
                return self._check_chaos()
            if not self._struck.is_set() and self._scored() >= self._half():
                await self._kill_scorer()
            await asyncio.sleep(LOOK_EVERY_S if self._struck.is_set() else AIM_EVERY_S)

    async def _all_ended(self) -> bool:
        self._expected = self._tally.produced
        if self._expected == 0:
            raise DependencyError("nothing_produced", "no source held a document", "name a corpus with --corpus")
        if self._tally.settled < self._expected:
            return False
        self._exporting = True
        ends = self._tally.decisions_end
        group = self._stage.project.consumer_group("exporter")
        committed = await self._stage.broker.committed(group, ends)
        return all(committed.get(partition, 0) >= end for partition, end in ends.items())

    def _scored(self) -> int:
        return self._tally.scored.total() + sum(letter.stage == "score" for letter in self._tally.dead)

    def _half(self) -> int:
        return max(1, min(max(self._expected, self._tally.produced) // 2, self._reachable))

    def _check_chaos(self) -> None:
        if not self._struck.is_set():
            raise CheckFailed(
                "chaos_missed",
                "all documents were scored before the scorer could be killed",
                "ask for more --documents",
            )

    def _check_progress(self, now: float) -> None:
        """Raises DependencyError when nothing at all has moved for `STALL_S`; an engine that comes up has."""
        engines = sum(self._gauges.engines.values())
        counts = (self._tally.produced, self._scored(), self._tally.settled, engines)
        if counts != self._moved[1]:
            self._moved = (now, counts)
        elif now - self._moved[0] > STALL_S:
            raise DependencyError(
                "demo_stalled",
                f"for {STALL_S:.0f} s nothing moved: {counts[0]} produced, {counts[1]} scored, {counts[2]} ended,"
                f" {engines} engines serve",
                f"look into the services' logs in {self._stage.out / 'logs'}",
            )

    async def _kill_scorer(self) -> None:
        self.killed_at = self._scored()
        await self._supervisor.kill("score")
        self._gauges = Gauges({}, 0)
        self._progress.say(
            f"chaos: the scorer was killed (SIGKILL) after {self.killed_at} documents; starting it again"
        )
        await self._start_scorer()
        self._struck.set()

    def _note_moments(self, now: float) -> None:
        first_engine_s, first_decision_s, last_settled_s = self.moments
        if first_engine_s is None and any(self._gauges.engines.values()):
            first_engine_s = now
        if first_decision_s is None and self._tally.decisions:
            first_decision_s = now
        if self._tally.settled > self._settled:
            self._settled, last_settled_s = self._tally.settled, now
        self.moments = Moments(first_engine_s, first_decision_s, last_settled_s)

    async def _show(self, now: float) -> None:
        self._gauges = await scrape(self._metrics_port) or self._gauges
        self._progress.show(
            View(
                elapsed_s=now,
                expected=self._expected,
                produced=self._tally.produced,
                scored=self._tally.scored.total(),
                decided=len(self._tally.decisions),
                dead=len(self._tally.dead),
                documents_per_s=self._rate.at(now, self._tally.settled),
                in_flight=self._gauges.in_flight,
                engines=self._gauges.engines or dict.fromkeys(sorted(self._stage.project.settings.groups), False),
                sources=source_views(self._tally),
                note=self._note(),
            )
        )

    def _note(self) -> str:
        if self._exporting:
            return "exporting"
        return "streaming" if any(self._gauges.engines.values()) else "engines load"
