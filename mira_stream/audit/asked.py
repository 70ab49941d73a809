"""What two sides were asked otherwise: differences that are no student's. Pure."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from mira_stream.messages import SLOTS, Decision
from mira_stream.selecting.policies import PolicyLog, Rules


class Said(NamedTuple):
    """By what a decision was made."""

    group: str
    source: str
    lineage: str
    policy: int


def said_of(decision: Decision) -> Said:
    return Said(decision.group, decision.source, decision.lineage, decision.policy)


def asked_of_all(pairs: Counter[tuple[Said, Said]], live: PolicyLog, tried: PolicyLog) -> list[str]:
    """What was asked otherwise of pairs of decisions, most of them first; with how many where it is not of all."""
    found: Counter[str] = Counter()
    for (one, other), documents in pairs.items():
        for line in asked_otherwise(_rules(live, one), _rules(tried, other)):
            found[line] += documents
    every = pairs.total()
    return [line if many == every else f"{line} ({many} of {every} documents)" for line, many in found.most_common()]


def _rules(log: PolicyLog, said: Said) -> Rules | None:
    return log.rules(said.group, said.source, said.lineage, said.policy)


def asked_otherwise(live: Rules | None, tried: Rules | None) -> list[str]:
    """One entry a difference, the live side first; empty where both are asked the same."""
    if live is None or tried is None:
        return [f"{side} has no mask in force" for side, rules in (("live", live), ("shadow", tried)) if rules is None]
    said = {
        "target": (f"{live.target:g}", f"{tried.target:g}"),
        "unit": (live.unit, tried.unit),
        "band": (f"{live.band:g}", f"{tried.band:g}"),
        "horizon": (f"{live.horizon}", f"{tried.horizon}"),
        "scope": (live.scope.kind, tried.scope.kind),
        "floors": (_floors(live.floors), _floors(tried.floors)),
        "masked": (_masked(live), _masked(tried)),
    }
    return [f"{name} {ours} -> {theirs}" for name, (ours, theirs) in said.items() if ours != theirs]


def _floors(floors: Mapping[str, float]) -> str:
    return ", ".join(f"{slot}>={floors[slot]:g}" for slot in SLOTS if slot in floors) or "none"


def _masked(rules: Rules) -> str:
    return ", ".join(slot for slot in SLOTS if slot not in rules.mask.dimensions) or "none"
