"""Memory and cost over the course of many documents: whether they stay what they are."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.flowing.job import Sample, Turn

SETTLED_DOCUMENTS: Final = 10_000
"""Memory is compared with what it is then; of fewer documents with what it is behind the first tenth."""
PIECES: Final = 20
COLOURS: Final = {"flow": "#33507a", "scored": "#2f9e78", "scored-http": "#b0652a"}


class Piece(NamedTuple):
    """A stretch of a turn, by its last sample: memory in MiB, CPU in µs a document."""

    documents: int
    rss_mib: float
    cpu_us: float


class Course(NamedTuple):
    """`settled`: from where on it should be flat. `peak_mib`: the most memory from there on, between pieces, too."""

    settled: Sample
    pieces: list[Piece]
    peak_mib: float

    @property
    def memory(self) -> float:
        """The most memory over that of the settled process."""
        return self.peak_mib / self.settled.rss_mib

    @property
    def cost(self) -> float:
        """CPU a document in the last half of the pieces over that in the first half."""
        costs = [piece.cpu_us for piece in self.pieces]
        half = len(costs) // 2
        return (sum(costs[half:]) / (len(costs) - half)) / (sum(costs[:half]) / half)

    def said(self) -> str:
        return (
            f"{self.settled.rss_mib:.0f} MiB after {self.settled.documents:,}, at most {self.memory:.3f} times as much"
            f" until {self.pieces[-1].documents:,}; cost of the second half {self.cost:.3f} of the first"
        )

    def figures(self) -> dict[str, Any]:
        return {
            "settled_mib": round(self.settled.rss_mib, 1),
            "memory_ratio": round(self.memory, 4),
            "cost_ratio": round(self.cost, 4),
            "documents": self.pieces[-1].documents,
            "cpu_us": [round(piece.cpu_us, 1) for piece in self.pieces],
            "rss_mib": [round(piece.rss_mib, 1) for piece in self.pieces],
        }


def course_of(turn: Turn) -> Course:
    """Of what comes behind the settled sample, in up to PIECES pieces of about the same size: each weighs the same, so
    a small rest belongs to the piece before it."""
    at = min(SETTLED_DOCUMENTS, turn.documents // 10)
    samples = [one for one in turn.samples if one.documents >= at]
    step = max(1, (samples[-1].documents - samples[0].documents) // PIECES)
    ends = samples[:1]
    for one in samples[1:]:
        if one.documents - ends[-1].documents >= step:
            ends.append(one)
    if samples[-1].documents - ends[-1].documents < step / 2 and len(ends) > 2:
        ends.pop()
    if ends[-1] is not samples[-1]:
        ends.append(samples[-1])
    pieces = [
        Piece(one.documents, one.rss_mib, (one.cpu_s - last.cpu_s) / (one.documents - last.documents) * 1e6)
        for last, one in pairwise(ends)
    ]
    return Course(samples[0], pieces, max(one.rss_mib for one in samples))


def plot(courses: Mapping[str, Course], path: Path) -> None:
    """Writes `path` (SVG)."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "flow", "font.size": 9}):
        figure = Figure(figsize=(9.0, 5.6), layout="constrained")
        memory, costs = figure.subplots(2, 1, sharex=True)
        for side, course in courses.items():
            documents = [piece.documents for piece in course.pieces]
            memory.plot(documents, [piece.rss_mib for piece in course.pieces], ".-", color=COLOURS[side], label=side)
            costs.plot(documents, [piece.cpu_us for piece in course.pieces], ".-", color=COLOURS[side], label=side)
        for axes, label in ((memory, "resident memory, MiB"), (costs, "CPU a document, µs")):
            axes.set_ylabel(label)
            axes.set_ylim(bottom=0)
            axes.legend(frameon=False)
        costs.set_xlabel("documents")
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
