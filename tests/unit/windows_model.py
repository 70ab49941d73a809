"""Decisions with event times, an aggregator of windows that may be killed at any time, and the naive truth."""

from collections import defaultdict
from typing import Any, NamedTuple

from mira_stream.messages import CardPosition, Decision, Origin, decoder, encode
from mira_stream.sections import WindowsSection
from mira_stream.selecting.windowing import Windowing
from mira_stream.window_messages import WindowsState, WindowSummary
from mira_stream.windows import Added

SIZE_S = 100
GRACE_S = 30
T0 = 1_700_000_000_000
"""A whole number of windows."""
SECTION = WindowsSection(size_s=SIZE_S, grace_s=GRACE_S)
VERDICTS = ("keep", "downsample", "drop")


def decision(offset: int, second: int, source: str = "books", **more: Any) -> Decision:
    """Decided at `offset`, happened `second` after T0, ingested long after that."""
    verdict = more.pop("decision", VERDICTS[offset % 3])
    return Decision(
        id=f"doc-{offset}",
        source=source,
        group=more.pop("group", "text"),
        origin=Origin(topic="d", partition=0, offset=offset, timestamp_ms=more.pop("ingested_ms", T0 + 10**9)),
        card=CardPosition(partition=0, offset=offset),
        lineage=more.pop("lineage", "l1"),
        mask=more.pop("mask", "m1"),
        epoch_of=source,
        epoch=1,
        policy=0,
        decision=verdict,
        selected=more.pop("selected", verdict == "keep" or offset % 2 == 0),
        reason="above",
        quality=more.pop("quality", offset * 37 % 1001 / 10),
        dimensions_used=["A1"],
        scores=more.pop("scores", [None if (offset + at) % 7 == 0 else float(offset % 11) for at in range(15)]),
        recommendation=more.pop("recommendation", VERDICTS[offset // 2 % 3]),
        tokens=more.pop("tokens", offset % 50),
        event_time_ms=more.pop("event_time_ms", T0 + second * 1_000),
        **more,
    )


class Totals(NamedTuple):
    documents: int
    tokens: int
    keep: int
    downsample: int
    drop: int
    selected_documents: int
    selected_tokens: int
    null_counts: tuple[int, ...]
    mean_quality: float


def truth(decisions: list[Decision]) -> dict[tuple[str, str, int], Totals]:
    """{(source, lineage, start in ms): what its window must say}, counted from scratch."""
    found: dict[tuple[str, str, int], list[Decision]] = defaultdict(list)
    for one in decisions:
        start = one.event_time_ms - one.event_time_ms % (SIZE_S * 1_000)
        found[one.source, one.lineage, start].append(one)
    return {
        key: Totals(
            len(inside),
            sum(d.tokens for d in inside),
            sum(d.decision == "keep" for d in inside),
            sum(d.decision == "downsample" for d in inside),
            sum(d.decision == "drop" for d in inside),
            sum(d.selected for d in inside),
            sum(d.tokens for d in inside if d.selected),
            tuple(sum(d.scores[at] is None for d in inside) for at in range(15)),
            round(sum(round(d.quality * 10) for d in inside) / len(inside) / 10, 4),
        )
        for key, inside in found.items()
    }


def totals(summary: WindowSummary) -> Totals:
    return Totals(
        summary.documents,
        summary.tokens,
        summary.keep,
        summary.downsample,
        summary.drop,
        summary.selected_documents,
        summary.selected_tokens,
        tuple(summary.null_counts),
        summary.quality.mean,
    )


class Unheard:
    """Metrics that nobody looks at."""

    def windowed(self, source: str, added: Added) -> None: ...

    def summed_up(self, summary: WindowSummary) -> None: ...


class Aggregator:
    """Windowing with what a log would keep of it: committed summaries and newest states."""

    def __init__(self, log: list[Decision], now_ms: int = T0) -> None:
        self.log = log
        self.now_ms = now_ms
        self.committed = 0
        self.summaries: list[WindowSummary] = []
        self.states: dict[str, bytes] = {}
        self.start()

    def start(self) -> None:
        """From what was committed: newest states, then every card before the committed offset."""
        self.windowing = Windowing(SECTION, lambda *_: None)
        self.windowing.restore([decoder(WindowsState).decode(state) for state in self.states.values()])
        for one in self.log[: self.committed]:
            self.windowing.replay(one)
        self.windowing.begin(self.now_ms, self.committed)

    def transaction(self, cards: int, *, checkpoint: bool = False, killed: bool = False) -> int:
        """The next `cards` cards (0: a tick); killed: all but the commit happens. The number of states written."""
        end = min(len(self.log), self.committed + cards)
        states: list[WindowsState] = []
        for one in self.log[self.committed : end]:
            if checkpoint:
                states += self.windowing.checkpoint(one.card.offset)
            self.windowing.add(one)
        sealed = self.windowing.seal(end, self.now_ms)
        if killed:
            self.start()
            return 0
        for state in (*states, *sealed.states):
            self.states[state.source] = encode(state)
        self.windowing.committed(Unheard())
        self.summaries += sealed.summaries
        self.committed = end
        return len(states) + len(sealed.states)

    def newest(self) -> dict[tuple[str, str, int], WindowSummary]:
        """The highest revision of each window; revisions count up from 1, each once."""
        found: dict[tuple[str, str, int], WindowSummary] = {}
        for summary in self.summaries:
            key = (summary.source, summary.lineage, summary.start_ms)
            assert summary.revision == (found[key].revision + 1 if key in found else 1)
            found[key] = summary
        return found
