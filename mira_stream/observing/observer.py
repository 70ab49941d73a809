"""The core: looks and records in, one Snapshot out. No clock and no I/O: every look says when it was."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from mira_stream.observing.backlog import Ages
from mira_stream.observing.facts import Look, Shape
from mira_stream.observing.flow import Flow
from mira_stream.observing.held import notes as held_up
from mira_stream.observing.held import reasons
from mira_stream.observing.history import Ring
from mira_stream.observing.letters import Letters
from mira_stream.observing.readings import Seen, readings
from mira_stream.observing.scraped import select
from mira_stream.observing.snapshot import STAGES, BrokerRow, HeatRow, KeptRow, ServiceRow, Snapshot, Stage, StageName
from mira_stream.observing.sources import Sources, Total
from mira_stream.observing.stages import Reading, Standing, bottleneck, stand

NOT_ASKED: Final = BrokerRow()
STARTS_AGAIN: Final = "wait: mira-stream up starts the broker again, within a minute or two; its log says more"
NEWS_MS: Final = 300_000
"""A death is told for so long after the service runs again; how often it died, a metric says as long as `up` runs."""


class Observer:
    """Feed `sources` and `letters` what the log says, then `look` in order of time."""

    def __init__(self, shape: Shape) -> None:
        self.sources = Sources()
        self.letters = Letters()
        self._shape = shape
        self._flow = Flow()
        self._ages = Ages()
        self._ring = Ring()
        self._standing: dict[StageName, Standing] = {}
        self._first_ms: int | None = None

    def look(
        self,
        look: Look,
        heat: Sequence[HeatRow] = (),
        notes: Sequence[str] = (),
        kept: Sequence[KeptRow] = (),
        broker: BrokerRow = NOT_ASKED,
    ) -> Snapshot:
        if self._first_ms is None:
            self._first_ms = look.at_ms
        self._flow.take(look)
        for positions in (look.documents, look.scores, look.decisions):
            self._ages.take(look.at_ms, positions)
        seen = Seen(look, self._flow, self._ages, self._shape)
        stages = self._stages(look, seen, broker_away=broker.answers is False)
        self._ring.take(look.at_ms, stages)
        sources, left_out = self.sources.rows(self._decided(), _totals(look))
        return Snapshot(
            at_ms=look.at_ms,
            looking_since_ms=self._first_ms,
            project=self._shape.project,
            broker=_told(broker, kept),
            stages=stages,
            bottleneck=next((stage.name for stage in stages if stage.bottleneck), None),
            sources=sources,
            sources_left_out=left_out,
            reliability=list(heat),
            dead_counts=self.letters.counts(),
            dead_newest=self.letters.newest(),
            dead_read=self.letters.read,
            dead_earlier=self.letters.earlier,
            services=[
                ServiceRow(name=name, url=answer.url, answers=answer.scrape is not None, error=answer.error)
                for name, answer in sorted(look.answers.items())
            ],
            kept=[replace(one, news=_is_news(one, look.at_ms)) for one in kept],
            history=self._ring.history(),
            held=reasons(seen.held()),
            notes=[*notes, *held_up(seen.held())],
        )

    def _stages(self, look: Look, seen: Seen, *, broker_away: bool) -> list[Stage]:
        found = readings(seen)
        for name in STAGES:
            before = self._standing.get(name)
            self._standing[name] = stand(found[name], before, look.at_ms, broker_away=broker_away)
        narrow = None if broker_away else bottleneck([(name, self._standing[name].state) for name in STAGES])
        return [_stage(name, found[name], self._standing[name], name == narrow) for name in STAGES]

    def _decided(self) -> Mapping[str, float]:
        """Decisions a second of each source."""
        sums: dict[str, float] = defaultdict(float)
        for series, rate in self._flow.rates("mira_decisions_total").items():
            sums[series.label("source")] += rate
        return sums


def _is_news(one: KeptRow, now_ms: int) -> bool:
    return one.died_ms is not None and (one.state != "runs" or now_ms - one.died_ms < NEWS_MS)


def _told(broker: BrokerRow, kept: Sequence[KeptRow]) -> BrokerRow:
    """Where `up` starts it again, that is the way out."""
    waits = any(one.name == "broker" and one.state == "waits" for one in kept)
    if broker.answers is not False or broker.error is None or not waits:
        return broker
    return replace(broker, error=replace(broker.error, fix=STARTS_AGAIN))


def _totals(look: Look) -> dict[str, Total]:
    """Of each source the largest: who has handed its partition over goes on showing what it knew."""
    totals: dict[str, Total] = {}
    for answer in look.answers.values():
        if answer.scrape is None:
            continue
        kept = {series.label("source"): value for series, value in select(answer.scrape, "mira_kept_ratio")}
        for series, value in select(answer.scrape, "mira_decided_documents"):
            name = series.label("source")
            total = Total(int(value), kept.get(name, 0.0))
            totals[name] = max(total, totals.get(name, total))
    return totals


def _stage(name: StageName, reading: Reading, standing: Standing, narrow: bool) -> Stage:
    return Stage(
        name=name,
        state=standing.state,
        cause=standing.cause,
        since_ms=standing.since_ms,
        rate_in=reading.rate_in,
        rate_out=reading.rate_out,
        fill=reading.fill,
        waiting=reading.waiting,
        backlog=reading.backlog,
        backlog_s=reading.backlog_s,
        bottleneck=narrow,
    )
