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
MARKS: Final[dict[str, tuple[str, str, int]]] = {
    ", one repair": ("overall:", "**overall:**", 1),
    ", a mark in a score's line": ("[A7]", "**[A7]**", 1),
    ", two blanks in a score's line": ("[A7] ", "[A7]  ", 0),
    ", another newline": ("\n", "\r\n", 0),
}
"""What real students write at times: instead of what was taught, and how many repairs it needs. Of `[A7]` the first."""
KINDS: Final = (*TAUGHT, *(kind + mark for mark in MARKS for kind in TAUGHT))


def replies_a_second(kind: str, count: int) -> float:
    """By CPU time. Raises AssertionError if one is not read whole, or needs more repairs than it should."""
    taught = next(name for name in TAUGHT if kind in (name, *(name + mark for mark in MARKS)))
    layout, justified = TAUGHT[taught]
    names = load_rubric(DEMO_PROJECT / "rubrics" / f"{GROUP}.jsonl").names
    texts, repairs = replies(layout, justified=justified), 0
    if kind != taught:
        old, new, repairs = MARKS[kind.removeprefix(taught)]
        texts = [text.replace(old, new, 1 if "[" in old else -1) for text in texts]
    for reading in [parse(text, layout, names) for text in texts]:
        assert reading.complete
        assert len(reading.repairs) == repairs
    started = time.process_time()
    for number in range(count):
        parse(texts[number % DISTINCT], layout, names)
    return count / (time.process_time() - started)
