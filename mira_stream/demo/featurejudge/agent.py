"""The feature judge of the agent group: fifteen shares and densities, read from the rendered, cut view alone.

A view is blocks under `### <role>` headers; in assistant blocks, lines that begin with `-> ` are tool calls.
Cut points are deciles over training views of both sources together; where many views have none of a thing, having
none is the first level.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from mira_stream.demo.featurejudge.scale import Feature


class Blocks(NamedTuple):
    """Characters of a view by what they are; `edits` also counts the diffs that were shown. `turns`: headers."""

    prose: int
    edits: int
    observed: int
    turns: int


@lru_cache(maxsize=16)
def blocks(view: str) -> Blocks:
    """Count the characters of each kind; what stands before the first header is the user's."""
    prose = edits = observed = turns = 0
    title: list[str] = ["user"]
    for line in view.splitlines(keepends=True):
        if line.startswith("### "):
            title = line[4:].split() or ["user"]
            turns += 1
        elif title[0] == "assistant" and not line.startswith("-> "):
            prose += len(line)
        elif title[0] == "assistant":
            edits += len(line) if line.startswith(("-> str_replace", "-> write_file")) else 0
        elif title[0] == "tool":
            observed += len(line)
            edits += len(line) if title[-1] == "show_diff" else 0
    return Blocks(prose, edits, observed, turns)


def prose(view: str) -> float:
    """The agent's own sentences, in thousandths of the view's characters."""
    return 1000 * blocks(view).prose / max(1, len(view))


def edits(view: str) -> float:
    """Calls that change files and diffs that were shown, in thousandths of the view's characters."""
    return 1000 * blocks(view).edits / max(1, len(view))


def observed(view: str) -> float:
    """What tools answered, in thousandths of the view's characters."""
    return 1000 * blocks(view).observed / max(1, len(view))


def turns(view: str) -> float:
    """Messages for each 1,000 characters."""
    return 1000 * blocks(view).turns / max(1, len(view))


def density(pattern: str) -> Callable[[str], float]:
    """How many places of a view match, for each 1,000 characters."""
    find = re.compile(pattern).findall
    return lambda view: 1000 * len(find(view)) / max(1, len(view))


def _words(words: str) -> str:
    return rf"\b(?i:{'|'.join(words.split())})\b"


PLAN: Final = _words("first next then after begins? steps? plan planned following finally goal")
HEDGES: Final = _words(
    "maybe probably perhaps guess hopefully somehow possibly suppose presumably might apparently sure"
)
RECALL: Final = _words("again before earlier previous above already still seen same once")
INTENT: Final = _words(
    "user issue request(?:ed)? require[sd]? requirement asked report demands needs? wants please should"
)
CREEP: Final = _words(
    "also too everywhere whole extra everything unrelated rest refactor rename[sd]? cleanup restyle rewrite polish tidy"
    " nearby"
)
VERIFY: Final = _words("verify verified check(?:ed)? confirms? validate suite cases? double")
FAILURES: Final = (
    _words("fail error got crashed wrong bad bug fault mistake broke misbehaves refused malformed") + r"|[a-z]Error\b"
)
PASSES: Final = r"\bPASS\b|\b[1-9] passed\b"
ARGUMENTS: Final = r'"[a-z_]+": '
NUMBERED_LINES: Final = r"(?m)^ *\d+\| "
TICKS: Final = r"`[^`\n]+`"

FEATURES: Final[tuple[Feature, ...]] = (
    Feature(
        ("Plan Quality / Reasoning Transparency", "Planning of steps"),
        density(PLAN),
        (0.0, 1.28, 1.49, 2.12, 2.79, 3.54, 4.36, 5.43, 7.09),
        True,
        "no steps named",
        "steps named throughout",
    ),
    Feature(
        ("Output Style/Communication", "Plain Communication"),
        density(HEDGES),
        (0.0, 0.76, 1.37, 1.89, 2.31, 2.88, 3.6, 4.37, 5.75),
        False,
        "guesses everywhere",
        "plain statements",
    ),
    Feature(
        ("Goal Achievement", "Passing tests at the end"),
        density(PASSES),
        (0.0, 0.661, 0.724, 1.36, 2.09, 3.01, 3.34, 3.54, 4.13),
        True,
        "no passing test shown",
        "many tests seen to pass",
    ),
    Feature(
        ("Thinking Aloud", "Narration of thoughts"),
        prose,
        (146.0, 205.0, 252.0, 297.0, 343.0, 388.0, 436.0, 488.0, 563.0),
        True,
        "acts without a word",
        "thinks aloud",
    ),
    Feature(
        ("Test Coverage & Verification Rigor", "Verification"),
        density(VERIFY),
        (0.0, 1.29, 1.54, 2.13, 2.77, 3.45, 4.42, 5.41, 6.99),
        True,
        "nothing is verified",
        "verified case by case",
    ),
    Feature(
        ("Multi-turn Coherence", "References to earlier turns"),
        density(RECALL),
        (0.0, 1.15, 1.78, 2.39, 3.08, 3.91, 4.9, 6.11, 7.82),
        True,
        "turns stand alone",
        "refers back often",
    ),
    Feature(
        ("Error Recovery", "Absence of failures"),
        density(FAILURES),
        (0.752, 1.31, 1.45, 1.94, 2.16, 2.65, 3.21, 4.04, 5.49),
        False,
        "failures all over",
        "hardly anything goes wrong",
    ),
    Feature(
        ("Tool Argument Correctness", "Well-formed tool arguments"),
        density(ARGUMENTS),
        (2.46, 3.18, 3.76, 4.26, 4.82, 5.46, 6.22, 7.14, 8.62),
        True,
        "bare or unreadable calls",
        "arguments spelled out",
    ),
    Feature(
        ("Action Efficiency", "Fullness of turns"),
        turns,
        (3.42, 3.93, 4.3, 4.69, 5.04, 5.37, 5.75, 6.28, 7.13),
        False,
        "many small turns",
        "few full turns",
    ),
    Feature(
        ("User Intent Comprehension", "Attention to the request"),
        density(INTENT),
        (1.41, 2.07, 2.66, 3.18, 3.84, 4.44, 5.25, 6.15, 7.63),
        True,
        "the request is forgotten",
        "the request is kept in mind",
    ),
    Feature(
        ("Safety & scope", "Scope discipline"),
        density(CREEP),
        (0.0, 1.37, 1.79, 2.43, 3.04, 3.76, 4.66, 5.71, 7.41),
        False,
        "wanders off",
        "stays in scope",
    ),
    Feature(
        ("Observation handling", "Amount of observation"),
        observed,
        (86.9, 133.0, 165.0, 195.0, 226.0, 260.0, 301.0, 349.0, 423.0),
        True,
        "little is observed",
        "much is observed",
    ),
    Feature(
        ("Code Change Minimality", "Small edits"),
        edits,
        (0.0, 75.3, 113.0, 151.0, 182.0, 212.0, 247.0, 294.0, 361.0),
        False,
        "much is rewritten",
        "small edits",
    ),
    Feature(
        ("Tool Selection", "Viewing of code"),
        density(NUMBERED_LINES),
        (0.0, 2.4, 2.78, 3.26, 4.02, 4.82, 5.39, 6.21, 7.49),
        True,
        "the code is not viewed",
        "the code is viewed at length",
    ),
    Feature(
        ("Reference Precision", "Targets set in ticks"),
        density(TICKS),
        (0.0, 0.694, 1.27, 1.49, 2.03, 2.53, 3.05, 3.77, 4.76),
        True,
        "names left bare",
        "names set in ticks",
    ),
)
"""The judge's own list, in no order that matters: a rubric says by name which stands in which slot."""
