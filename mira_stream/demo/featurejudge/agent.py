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
        density(PLAN),
        (0.0, 1.37, 1.55, 2.18, 2.87, 3.64, 4.45, 5.58, 7.26),
        True,
        "no steps named",
        "steps named throughout",
    ),
    Feature(
        density(HEDGES),
        (0.0, 0.786, 1.45, 1.96, 2.34, 2.95, 3.68, 4.52, 5.84),
        False,
        "guesses everywhere",
        "plain statements",
    ),
    Feature(
        density(PASSES),
        (0.0, 0.706, 0.758, 1.41, 2.1, 2.93, 3.53, 3.74, 4.17),
        True,
        "no passing test shown",
        "many tests seen to pass",
    ),
    Feature(
        prose,
        (148.0, 210.0, 257.0, 303.0, 350.0, 394.0, 445.0, 502.0, 572.0),
        True,
        "acts without a word",
        "thinks aloud",
    ),
    Feature(
        density(VERIFY),
        (0.0, 1.38, 1.58, 2.22, 2.87, 3.57, 4.44, 5.51, 7.16),
        True,
        "nothing is verified",
        "verified case by case",
    ),
    Feature(
        density(RECALL),
        (0.0, 0.888, 1.61, 2.33, 3.07, 3.99, 5.01, 6.19, 7.97),
        True,
        "turns stand alone",
        "refers back often",
    ),
    Feature(
        density(FAILURES),
        (0.768, 1.37, 1.49, 1.98, 2.19, 2.71, 3.09, 3.96, 5.28),
        False,
        "failures all over",
        "hardly anything goes wrong",
    ),
    Feature(
        density(ARGUMENTS),
        (2.17, 2.97, 3.56, 4.17, 4.71, 5.38, 6.14, 7.09, 8.48),
        True,
        "bare or unreadable calls",
        "arguments spelled out",
    ),
    Feature(
        turns,
        (3.42, 3.97, 4.29, 4.65, 5.01, 5.39, 5.78, 6.3, 7.13),
        False,
        "many small turns",
        "few full turns",
    ),
    Feature(
        density(INTENT),
        (1.5, 2.18, 2.82, 3.33, 4.0, 4.62, 5.44, 6.38, 7.78),
        True,
        "the request is forgotten",
        "the request is kept in mind",
    ),
    Feature(
        density(CREEP),
        (0.0, 1.45, 1.67, 2.43, 3.07, 3.84, 4.77, 5.88, 7.62),
        False,
        "wanders off",
        "stays in scope",
    ),
    Feature(
        observed,
        (76.0, 129.0, 162.0, 192.0, 226.0, 262.0, 304.0, 358.0, 434.0),
        True,
        "little is observed",
        "much is observed",
    ),
    Feature(
        edits,
        (0.0, 70.6, 107.0, 143.0, 177.0, 211.0, 246.0, 288.0, 365.0),
        False,
        "much is rewritten",
        "small edits",
    ),
    Feature(
        density(NUMBERED_LINES),
        (0.0, 2.57, 2.98, 3.48, 4.25, 5.07, 5.71, 6.51, 7.74),
        True,
        "the code is not viewed",
        "the code is viewed at length",
    ),
    Feature(
        density(TICKS),
        (0.0, 0.742, 1.35, 1.55, 2.14, 2.63, 3.13, 3.8, 4.86),
        True,
        "names left bare",
        "names set in ticks",
    ),
)
"""In slot order, A1 first."""
