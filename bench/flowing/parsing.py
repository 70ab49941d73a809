"""How many replies a second the parser reads on one core, by their kind."""

import time
from typing import Final

from bench.command import DEMO_PROJECT
from bench.flowing.job import GROUP
from mira_stream.messages import DIMENSIONS, Layout
from mira_stream.rubric.anchors import load_rubric
from mira_stream.scorecard import Reply, parse, write
from mira_stream.testing.engine import scores_of, verdict_of

DISTINCT: Final = 500
REASON: Final = "The text says what it is about, and where the reader finds the rest of it."


def replies(layout: Layout, *, justified: bool) -> list[str]:
    """Replies as students give them, each another one."""
    names = load_rubric(DEMO_PROJECT / "rubrics" / f"{GROUP}.jsonl").names
    reasons = [REASON] * DIMENSIONS if justified else []
    found = []
    for number in range(DISTINCT):
        scores = scores_of(str(number))
        overall = round(sum(scores) * 10 / DIMENSIONS)
        reply = Reply(scores, overall, verdict_of(overall), "documentation", "What it is.", reasons)
        found.append(write(reply, layout, "rationale" if justified else "scores", names))
    return found


TAUGHT: Final[dict[str, tuple[Layout, bool]]] = {
    "scores": ("scores_first", False),
    "rationale, scores first": ("scores_first", True),
    "rationale, interleaved": ("interleaved", True),
}
ONE_REPAIR: Final = ", one repair"
KINDS: Final = (*TAUGHT, *(f"{kind}{ONE_REPAIR}" for kind in TAUGHT))
"""As taught, and with one mark that was not taught, as real students write at times."""


def replies_a_second(kind: str, count: int) -> float:
    """By CPU time. Raises AssertionError if one is not read whole, or needs more repairs than it should."""
    layout, justified = TAUGHT[kind.removesuffix(ONE_REPAIR)]
    names = load_rubric(DEMO_PROJECT / "rubrics" / f"{GROUP}.jsonl").names
    texts, repairs = replies(layout, justified=justified), 0
    if kind.endswith(ONE_REPAIR):
        texts, repairs = [text.replace("overall:", "**overall:**") for text in texts], 1
    for reading in [parse(text, layout, names) for text in texts]:
        assert reading.complete
        assert len(reading.repairs) == repairs
    started = time.process_time()
    for number in range(count):
        parse(texts[number % DISTINCT], layout, names)
    return count / (time.process_time() - started)
