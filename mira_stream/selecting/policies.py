"""What `mira.policy` says about a source, at its end or at any earlier version (a version is an offset)."""

import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Final, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from mira_stream.errors import ConfigError, DataLossError
from mira_stream.messages import Mask, Policy, Unit
from mira_stream.quality import Lens, lens
from mira_stream.records import Record
from mira_stream.sections import RetentionSection
from mira_stream.selecting.scopes import Scope, ScopeKind, own_scope, shared_scope
from mira_stream.selecting.sense import SKIP_KEY, nonsense

_decoder: Final = msgspec.json.Decoder(Policy | Mask)
M = TypeVar("M")
_DEFAULT: Final = RetentionSection()
_UNSUPPORTED: Final = ("mode",)


class Rules(NamedTuple):
    """All that decides about a source's cards of one lineage. `version`: the newest offset that it was read from; read
    up to there, or up to any later offset before the next version, the log gives the same rules. `shares`: whether
    anybody's thresholds were shared at that version or before."""

    version: int
    target: float
    unit: Unit
    band: float
    horizon: int
    floors: Mapping[str, float]
    mask: Mask
    lens: Lens
    scope: Scope
    shares: bool


class PolicyLog:
    """The records of the policy topic in order. The only owner of what was read of it. `scores_key`: of [topics]."""

    def __init__(self, scores_key: str = "all") -> None:
        self._scores_key = scores_key
        self.next_offset = 0
        self.newest: Record | None = None
        """The last record that was taken in."""
        self.skipped: set[int] = set()
        """Offsets of records that a person told to pass over."""
        self._policies: dict[str, list[tuple[int, Policy]]] = {}
        self._masks: dict[tuple[str, str, str], list[tuple[int, Mask]]] = {}
        self._offsets: list[int] = []
        self._times_ms: list[int] = []
        """Of each version: the latest time that it or any before it bears."""
        self._first_shared: int | None = None
        self._resolved: dict[tuple[str, str, str, int], Rules | None] = {}
        self._scopes: dict[tuple[ScopeKind, str, int], tuple[int, Scope]] = {}

    @property
    def is_empty(self) -> bool:
        return not self._masks

    def extend(self, records: Sequence[Record]) -> None:
        """Take in the next records: first which of them are to be skipped. Raises as `add` does."""
        self.skipped |= skipped(records)
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        """Take in the next record: the one gate for all who read the topic. What says nonsense never comes into force,
        and is passed over only if it is among the skipped. Raises ConfigError(policy_invalid | policy_unsupported)."""
        try:
            message = read_policy(record, self._scores_key)
        except ConfigError:
            if record.offset not in self.skipped:
                raise
        else:
            self._put(record, message)
        self.next_offset = record.offset + 1
        self.newest = record

    def _put(self, record: Record, message: Policy | Mask) -> None:
        if isinstance(message, Mask):
            key = (message.group, message.source, message.lineage)
            self._masks.setdefault(key, []).append((record.offset, message))
        elif message.skips is None:
            if self._first_shared is None and message.threshold_scope not in (None, "source"):
                self._first_shared = record.offset
            self._policies.setdefault((record.key or b"").decode(), []).append((record.offset, message))
        self._offsets.append(record.offset)
        self._times_ms.append(max([record.timestamp_ms, *self._times_ms[-1:]]))
        self._resolved.clear()
        self._scopes.clear()

    @property
    def version(self) -> int:
        """The newest version; -1 if there is none."""
        return self._offsets[-1] if self._offsets else -1

    def has(self, version: int) -> bool:
        """Whether there is a record at that offset."""
        at = bisect_left(self._offsets, version)
        return self._offsets[at : at + 1] == [version]

    def version_at(self, time_ms: int) -> int:
        """The newest version that had been written by then; -1 if there was none."""
        written = bisect_right(self._times_ms, time_ms)
        return self._offsets[written - 1] if written else -1

    @property
    def keys(self) -> list[str]:
        """All keys that any policy stands under, ascending."""
        return sorted(self._policies)

    def knows(self, group: str, source: str) -> bool:
        """Whether the source has a mask of any lineage."""
        return any(key[0] == group and key[1] in (source, "*") for key in self._masks)

    def rules(self, group: str, source: str, lineage: str, at: int | None = None) -> Rules | None:
        """The rules in force after all that was read, or as they were at version `at`; None without a mask."""
        key = (group, source, lineage, self.next_offset if at is None else at)
        if key not in self._resolved:
            self._resolved[key] = self._resolve(*key)
        return self._resolved[key]

    def newest_policy(self, key: str) -> Policy | None:
        """The last policy under a key (`*`, `group:g`, `source:s`)."""
        versions = self._policies.get(key)
        return versions[-1][1] if versions else None

    def newest_mask(self, group: str, source: str, lineage: str, *, by: str | None = None) -> Mask | None:
        """The last mask of exactly this source (`*`: the whole group) and lineage; `by`: of those said by it."""
        versions = self._masks.get((group, source, lineage), [])
        return next((mask for _, mask in reversed(versions) if by in (None, mask.by)), None)

    def masks_of(self, group: str, source: str) -> list[Mask]:
        """The last mask of each of a source's lineages, the one in force last."""
        found = [versions[-1] for key, versions in self._masks.items() if key[:2] == (group, source)]
        return [mask for _, mask in sorted(found, key=itemgetter(0))]

    def is_newest(self, mask: Mask) -> bool:
        """Whether its source's newest mask is of this lineage: of an older one nothing more is asked."""
        return any((mask.group, mask.source, mask.lineage) == (m.group, m.source, m.lineage) for m in self.masks())

    def masks(self, at: int | None = None) -> list[Mask]:
        """The newest mask of every source and of every group's `*`, ascending; of an older lineage none."""
        newest: dict[tuple[str, str], tuple[int, Mask]] = {}
        for (group, source, _), versions in self._masks.items():
            found = _latest(versions, self.next_offset if at is None else at)
            if found is not None and found[0] > newest.get((group, source), (-1, None))[0]:
                newest[group, source] = found
        return [newest[key][1] for key in sorted(newest)]

    def said(self, at: int | None = None, *, group: str, source: str) -> Iterator[tuple[str, int, Policy]]:
        """(key, version, policy) of what holds for a source, the weakest first."""
        for key in keys_of(group, source):
            latest = _latest(self._policies.get(key), self.next_offset if at is None else at)
            if latest is not None:
                yield key, *latest

    def _resolve(self, group: str, source: str, lineage: str, at: int) -> Rules | None:
        found = _latest(self._masks.get((group, source, lineage)), at)
        found = found or _latest(self._masks.get((group, "*", lineage)), at)
        if found is None:
            return None
        version, mask = found
        said = list(self.said(at, group=group, source=source))
        version = max(version, *(offset for _, offset, _ in said), -1)
        kind, scope = self._kind(group, source, at), own_scope(source, mask)
        if kind != "source":
            version, shared = self._shared(kind, group, at)
            if shared.holds(mask):  # a card of an older lineage falls under its source's own thresholds
                scope, said = shared, [one for one in said if one[0] in shared_keys(kind, group)]
        target, unit, band, horizon = _DEFAULT.target, _DEFAULT.unit, _DEFAULT.band, _DEFAULT.horizon_documents
        for _, _, policy in said:
            target = target if policy.retention is None else policy.retention
            unit = policy.unit or unit
            band = band if policy.band is None else policy.band
            horizon = policy.horizon_documents or horizon
        own = floors_of((key, policy) for key, _, policy in self.said(at, group=group, source=source))
        floors = {slot: floor for slot, (floor, _) in own.items()}
        shares = self._first_shared is not None and self._first_shared <= version
        return Rules(version, target, unit, band, horizon, floors, mask, lens(mask), scope, shares)

    def _kind(self, group: str, source: str, at: int) -> ScopeKind:
        kind: ScopeKind = "source"
        for _, _, policy in self.said(at, group=group, source=source):
            kind = policy.threshold_scope or kind
        return kind

    def _shared(self, kind: ScopeKind, group: str, at: int) -> tuple[int, Scope]:
        """(version, scope). Every record about a possible member is one about the scope: who leaves it changes it."""
        key = (kind, group if kind == "group" else "*", at)
        if key not in self._scopes:
            near = [mask for mask in self.masks(at) if kind == "global" or mask.group == group]
            members = [mask for mask in near if self._kind(mask.group, mask.source, at) == kind]
            version = self._newest_about(group, near, at) if kind == "group" else self._newest_of_all(at)
            self._scopes[key] = version, shared_scope(kind, group, members)
        return self._scopes[key]

    def _newest_about(self, group: str, masks: list[Mask], at: int) -> int:
        keys = {"*", f"group:{group}", *(f"source:{mask.source}" for mask in masks)}
        latest = [_latest(self._policies.get(key), at) for key in sorted(keys)]
        latest_masks = [_latest(versions, at) for key, versions in self._masks.items() if key[0] == group]
        return max(found[0] for found in (*latest, *latest_masks) if found is not None)

    def _newest_of_all(self, at: int) -> int:
        return next(offset for offset in reversed(self._offsets) if offset <= at)


def keys_of(group: str, source: str) -> tuple[str, str, str]:
    """The keys whose policies hold for a source, the weakest first."""
    return "*", f"group:{group}", f"source:{source}"


def floors_of(said: Iterable[tuple[str, Policy]]) -> dict[str, tuple[float, str]]:
    """{slot: (floor, the key that says so)}, ascending, of (key, policy), the weakest first: of each slot the narrowest
    key that speaks of it counts, as everywhere; so a source's floor on one slot leaves its group's on the others."""
    found: dict[str, tuple[float, str]] = {}
    for key, policy in said:
        if policy.floors is not None:
            found = found if policy.floors_by_slot else {}
            found = found | {slot: (floor, key) for slot, floor in policy.floors.items()}
    return {slot: found[slot] for slot in sorted(found, key=lambda slot: (len(slot), slot))}


def shared_keys(kind: ScopeKind, group: str) -> tuple[str, ...]:
    """The keys that say what a shared pair of thresholds aims at: nobody under it has a target of its own."""
    return ("*",) if kind == "global" else ("*", f"group:{group}")


def policy_lost(cause: str) -> DataLossError:
    return DataLossError(
        "policy_lost",
        cause,
        "restore mira.policy from a backup, each record at its offset, and keep it for ever (retention.ms = -1, not"
        " compacted); without a backup begin anew under another [project] prefix",
    )


def _latest(versions: list[tuple[int, M]] | None, at: int) -> tuple[int, M] | None:
    if versions is None:
        return None
    return next((version for version in reversed(versions) if version[0] <= at), None)


def skipped(records: Iterable[Record]) -> set[int]:
    """The offsets that these records say to pass over; a record speaks of what stands before it."""
    found: set[int] = set()
    for record in records:
        if record.key == SKIP_KEY:
            try:
                message = read_policy(record, "all")
            except ConfigError:
                continue
            assert isinstance(message, Policy)
            found.update(offset for offset in message.skips or () if offset < record.offset)
    return found


def read_policy(record: Record, scores_key: str) -> Policy | Mask:
    """What a record of the policy topic says. Raises ConfigError(policy_invalid | policy_unsupported)."""
    where = f"{record.topic}/{record.partition}@{record.offset}"
    wayout = f"mira-stream policy skip {record.offset} --note WHY"
    try:
        message: Policy | Mask = _decoder.decode(record.value or b"")
    except msgspec.DecodeError as error:
        wrong: str | None = str(error)
    else:
        wrong = nonsense(record.key, message, scores_key)
    if wrong is not None:
        raise ConfigError(
            "policy_invalid",
            f"{where}: {wrong}",
            f"only `mira-stream` should write this topic: see who else has the right to, then pass it over: {wayout}",
        )
    asked = [name for name in _UNSUPPORTED if getattr(message, name, None) is not None]
    if asked:
        raise ConfigError(
            "policy_unsupported",
            f"{where} asks for {', '.join(asked)}, which this version does not apply",
            f"run the version that wrote it, or pass it over: {wayout}",
        )
    return _sharing(message)


def _sharing(message: Policy | Mask) -> Policy | Mask:
    """The same; of a prior, cells (1,001 there are at most) and counts are those of all other priors: a source has
    some 200 of them, which would be 8 KiB."""
    if not isinstance(message, Mask) or message.prior is None:
        return message
    cells = {sys.intern(cell): _shared(count) for cell, count in message.prior.cells.items()}
    return replace(message, prior=replace(message.prior, cells=cells))


@lru_cache(1_024)
def _shared(count: float) -> float:
    return count
