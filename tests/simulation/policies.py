"""What decisions are under, against the records of `mira.policy` read by hand.

The audit recomputes decisions from the same records by the product's own code: a mask that a command has forgotten, or
a record that should never have come into force, is to the audit what was asked for.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Final

import msgspec

from mira_stream.config import Project
from mira_stream.messages import SLOTS, Decision, Mask, Policy
from mira_stream.testing.broker import MemoryBroker

_decoder: Final = msgspec.json.Decoder(Policy | Mask)


def policies_held(
    project: Project, broker: MemoryBroker, decisions: Sequence[Decision], broken: Collection[int]
) -> Iterator[str]:
    """Each decision has the dimensions that were asked for at its version, in whatever lineage: all of them (nothing of
    the project was measured) but those that the narrowest key took out. None is under a version of `broken`."""
    asked = _Asked(project, broker, broken)
    for decision in decisions:
        named = f"decision of {decision.id} under {decision.policy}"
        if decision.policy in broken:
            yield f"{named}, which nobody can put in force"
        used, wanted = asked.dimensions[decision.mask], asked.at(decision.policy, decision.group, decision.source)
        if used != wanted:
            yield f"{named} in lineage {decision.lineage}: {sorted(used ^ wanted)} should be the other way round"


class _Asked:
    """The slots out by command, version by version."""

    def __init__(self, project: Project, broker: MemoryBroker, broken: Collection[int]) -> None:
        self.dimensions: dict[str, frozenset[str]] = {}
        """By the hash of a mask."""
        self._out: dict[str, list[tuple[int, dict[str, bool]]]] = {}
        self._found: dict[tuple[int, str, str], frozenset[str]] = {}
        for record in broker.records(project.topic("policy")):
            if record.offset in broken:
                continue
            message = _decoder.decode(record.value or b"")
            if isinstance(message, Mask):
                self.dimensions[message.mask] = frozenset(message.dimensions)
            else:
                out = dict.fromkeys(message.mask_add or (), False) | dict.fromkeys(message.mask_remove or (), True)
                self._out.setdefault((record.key or b"").decode(), []).append((record.offset, out))

    def at(self, version: int, group: str, source: str) -> frozenset[str]:
        key = (version, group, source)
        if key not in self._found:
            out: dict[str, bool] = {}
            for name in ("*", f"group:{group}", f"source:{source}"):
                said = [found for offset, found in self._out.get(name, ()) if offset <= version]
                out |= said[-1] if said else {}
            self._found[key] = frozenset(slot for slot in SLOTS if not out.get(slot))
        return self._found[key]
