"""What a seed does to the stream: which kinds of faults, and how often. Drawn once, from the seed alone."""

import random
from typing import Final, NamedTuple

from mira_stream.sections import WINDOWS_MAX, WindowsSection

KINDS: Final = (
    "audited amid losses",
    "broker paused",
    "call failed, not done",
    "call failed, done",
    "commit refused",
    "commit unknown, committed",
    "commit unknown, left open",
    "document broken",
    "document dated",
    "document slow",
    "document too late",
    "documents deleted",
    "documents deleted unread",
    "engine failed",
    "engine failed to the end",
    "engine refused",
    "fenced",
    "id twice",
    "instance taken over",
    "killed after commit",
    "killed anywhere",
    "killed in transaction",
    "lineage changed",
    "lineage came back",
    "mask changed",
    "mask changed, two lineages",
    "member joined",
    "member left",
    "missing asked",
    "missing asked twice",
    "missing from a copy",
    "missing killed",
    "missing refused",
    "missing sent again",
    "offsets forgotten",
    "policy broken",
    "policy changed",
    "policy skipped",
    "process gave up",
    "producer killed",
    "progress moved",
    "reply garbled for ever",
    "reply garbled once",
    "scope changed",
    "source added",
    "stopped in transaction",
    "stopped, back in time",
    "stopped, thrown out",
    "thrown out, awake",
    "topic away",
    "topic made anew",
    "transaction timed out",
    "window corrected",
    "window of one document",
    "windows resized",
)
"""Every kind that a run of many seeds must have reached."""
SESSION_S: Final = 3.0
TRANSACTION_S: Final = 7.0
PAUSES_S: Final = (0.2, 0.5)
"""Before a failed request is sent again; the product is more patient, and would seldom come to its end here."""


class Plan(NamedTuple):
    """Shares are of calls, commits or documents; rates are a second. `faults_s`: faults end, and the stream must.
    `static`: processes bear names (`--instance`). `loses`: documents are deleted unread, their topics made anew, and
    scorers may go on without them (`--accept-loss`). `dated`: a document says when it happened, `apart_s` before or
    after now at most. `places`: partitions of the topic of Progress, at first."""

    documents: int
    size: int
    faults_s: float
    members: int
    latency_s: float
    refused: float
    unknown_committed: float
    unknown_open: float
    killed_in_transaction: float
    killed_after_commit: float
    stopped_in_transaction: float
    call_failed: float
    slow: float
    broken: float
    twice: float
    engine_failed: float
    engine_refused: float
    garbled_once: float
    garbled: float
    engine_s: float
    act_every_s: float
    static: bool
    loses: bool
    acts: tuple[str, ...]
    windows: WindowsSection
    dated: float
    apart_s: float
    places: int


ACTS: Final = (
    *("kill", "leave", "join", "stop", "throw_out", "pause_broker", "delete", "kill_producer"),
    *("policy", "mask", "scope", "lineage", "add_source", "forget", "widen", "break_policy", "resize"),
)
LOSSES: Final = ("delete", "remake", "missing")


def plan_of(rng: random.Random) -> Plan:
    """Most kinds are absent from a seed, so that those that are there get far."""

    def some(most: float, chance: float = 0.4) -> float:
        return rng.random() * most if rng.random() < chance else 0.0

    loses = rng.random() < 0.25
    return Plan(
        documents=rng.choice((6, 12, 20, 30)),
        size=rng.randrange(3),
        faults_s=rng.uniform(4.0, 14.0),
        members=rng.randint(1, 2),
        latency_s=rng.choice((0.002, 0.02, 0.15)),
        refused=some(0.3),
        unknown_committed=some(0.4),
        unknown_open=some(0.4),
        killed_in_transaction=some(0.15),
        killed_after_commit=some(0.15),
        stopped_in_transaction=some(0.2),
        call_failed=some(0.05),
        slow=some(0.2),
        broken=some(0.2),
        twice=some(0.3),
        engine_failed=some(0.5),
        engine_refused=some(0.1),
        garbled_once=some(0.2),
        garbled=some(0.1),
        engine_s=rng.choice((0.05, 0.5, 2.0)),
        act_every_s=rng.choice((0.5, 1.5, 4.0)),
        static=rng.random() < 0.4,
        loses=loses,
        acts=(*(act for act in ACTS if rng.random() < 0.5), *(2 * LOSSES if loses else ())),
        windows=windows_of(rng),
        dated=some(1.0, 0.7),
        apart_s=rng.choice((2.0, 30.0, 600.0)),
        places=rng.choice((1, 2)),
    )


def windows_of(rng: random.Random) -> WindowsSection:
    """From windows that hold a document or two, closed at once, to one that holds all; grace up to what is allowed."""
    size_s = rng.choice((1, 2, 5, 20, 3_600))
    return WindowsSection(size_s=size_s, grace_s=rng.choice((0, 1, 2, (WINDOWS_MAX - 2) * size_s)))
