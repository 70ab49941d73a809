"""What two sides are asked otherwise: differences that are no student's. Pure."""

from collections.abc import Mapping

from mira_stream.messages import SLOTS, Decision
from mira_stream.selecting.policies import PolicyLog, Rules


def rules_for(log: PolicyLog, newest: Decision) -> Rules | None:
    """What holds now for the source and lineage of a decision."""
    return log.rules(newest.group, newest.source, newest.lineage)


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
