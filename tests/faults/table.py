"""All faults by their ids, run one after the other on one Kafka, and what is printed of them."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from tests.faults import brokers, changes, engine_faults, inputs, kills, topic_faults
from tests.faults.kafka import Kafka
from tests.faults.lab import Case, Outcome, run_case

CASES: Final[dict[str, tuple[str, Case]]] = {
    "F01": ("scorer, aggregator killed in a transaction", kills.killed_in_a_transaction),
    "F03": ("scorer frozen, replaced, awake again", kills.frozen_and_replaced),
    "F04": ("members come and go", kills.members_come_and_go),
    "F05": ("broker stopped five times", brokers.stopped_again_and_again),
    "F06": ("broker killed five times, twice in a commit", brokers.killed_again_and_again),
    "F07": ("broker frozen 15 s", brokers.frozen),
    "F08": ("wire: dropped, late, cut, refused, slow", brokers.wire),
    "F11": ("second broker, stale runtime files", brokers.second_instance),
    "F13": ("engine killed", engine_faults.killed),
    "F14": ("engine hangs", engine_faults.hanging),
    "F15": ("engine answers garbage", engine_faults.garbage),
    "F16": ("endpoint busy, slow, silent", engine_faults.busy),
    "F17": ("documents that kill the engine", engine_faults.poison),
    "F18": ("broken records", inputs.fuzzed),
    "F19": ("giants in and out", inputs.giants),
    "F20": ("clocks", inputs.clocks),
    "F21": ("topics widened, narrowed, deleted, made anew", topic_faults.changed),
    "F22": ("records deleted before they were read", topic_faults.deleted_before_read),
    "F24": ("documents that imitate replies", inputs.injected),
    "F25": ("aggregator killed, state lost, state broken", topic_faults.state_lost),
    "F26": ("messages of other versions", inputs.versions),
    "F27": ("SIGTERM, SIGINT twice, SIGHUP, parent killed", kills.told_to_stop),
    "F31": ("broker frozen 40 s, then killed", brokers.frozen_and_killed),
    "F32": ("policies, a source, a shadow; aggregators killed", changes.changed_while_killed),
}


async def run_all(
    faults: Iterable[str], seeds: Sequence[int], root: Path, say: Callable[[str], object]
) -> list[Outcome]:
    """Each fault under each seed; a line as soon as one is done."""
    kafka = Kafka(root / "kafka")
    await kafka.start()
    outcomes: list[Outcome] = []
    try:
        for fault in faults:
            title, case = CASES[fault]
            for seed in seeds:
                outcomes.append(await run_case(case, kafka, root, fault, seed))
                say(line(outcomes[-1], title))
    finally:
        await kafka.stop()
    return outcomes


def line(outcome: Outcome, title: str) -> str:
    verdict = "passed" if outcome.passed else "FAILED"
    return (
        f"{outcome.fault} seed {outcome.seed} {verdict}  lost {outcome.lost}  duplicated {outcome.duplicated}"
        f"  gap {outcome.gap_s:.1f} s  took {outcome.seconds:.0f} s  {title}: {outcome.said or 'as it should'}"
    )


def grouped(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    found: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.fault, []).append(outcome)
    return found


def table(outcomes: Iterable[Outcome]) -> str:
    """fault x seeds x result x largest gap, as Markdown."""
    rows = ["| fault | what | seeds passed | lost | duplicated | gap, s |", "|---|---|---|---|---|---|"]
    for fault, found in grouped(outcomes).items():
        passed = sum(outcome.passed for outcome in found)
        sums = (sum(outcome.lost for outcome in found), sum(outcome.duplicated for outcome in found))
        gap = max(outcome.gap_s for outcome in found)
        rows.append(f"| {fault} | {CASES[fault][0]} | {passed}/{len(found)} | {sums[0]} | {sums[1]} | {gap:.1f} |")
    return "\n".join(rows)


def summary(outcomes: Iterable[Outcome]) -> str:
    """One JSON object: {"faults": {ID: {"seeds", "passed", "lost", "duplicated", "gap_s"}}}."""
    faults: dict[str, dict[str, Any]] = {}
    for fault, found in grouped(outcomes).items():
        faults[fault] = {
            "seeds": len(found),
            "passed": sum(outcome.passed for outcome in found),
            "lost": sum(outcome.lost for outcome in found),
            "duplicated": sum(outcome.duplicated for outcome in found),
            "gap_s": max(outcome.gap_s for outcome in found),
        }
    return orjson.dumps({"faults": faults}).decode()
