"""What `mira.policy` says about a source, at its end or at any earlier version (a version is an offset)."""

from collections.abc import Mapping
from typing import Final, NamedTuple, TypeVar

import msgspec

from mira_stream.config import RetentionSection
from mira_stream.errors import ConfigError
from mira_stream.messages import Mask, Policy, Unit
from mira_stream.quality import Lens, lens
from mira_stream.records import LogReader, Record, TopicPartition

_decoder: Final = msgspec.json.Decoder(Policy | Mask)
M = TypeVar("M")
_DEFAULT: Final = RetentionSection()
_UNSUPPORTED: Final = ("mask_add", "mask_remove", "group", "like", "mode")


class Rules(NamedTuple):
    """All that decides about a source's cards of one lineage. `version`: the newest offset it was read from."""

    version: int
    target: float
    unit: Unit
    band: float
    horizon: int
    floors: Mapping[str, float]
    mask: Mask
    lens: Lens


class PolicyLog:
    """The records of the policy topic in order. The only owner of what was read of it."""

    def __init__(self) -> None:
        self.next_offset = 0
        self._policies: dict[str, list[tuple[int, Policy]]] = {}
        self._masks: dict[tuple[str, str, str], list[tuple[int, Mask]]] = {}
        self._newest: dict[tuple[str, str, str], Rules | None] = {}

    @property
    def is_empty(self) -> bool:
        return not self._masks

    def add(self, record: Record) -> None:
        """Take in the next record. Raises ConfigError(policy_invalid | policy_unsupported)."""
        where = f"{record.topic}/{record.partition}@{record.offset}"
        try:
            message = _decoder.decode(record.value or b"")
        except msgspec.DecodeError as error:
            raise ConfigError("policy_invalid", f"{where}: {error}", "only `mira-stream` writes this topic") from None
        if isinstance(message, Mask):
            key = (message.group, message.source, message.lineage)
            self._masks.setdefault(key, []).append((record.offset, message))
        else:
            _refuse_unsupported(message, where)
            self._policies.setdefault((record.key or b"").decode(), []).append((record.offset, message))
        self.next_offset = record.offset + 1
        self._newest.clear()

    def knows(self, group: str, source: str) -> bool:
        """Whether the source has a mask of any lineage."""
        return any(key[0] == group and key[1] in (source, "*") for key in self._masks)

    def rules(self, group: str, source: str, lineage: str, at: int | None = None) -> Rules | None:
        """The rules in force after all that was read, or as they were at version `at`; None without a mask."""
        key = (group, source, lineage)
        if at is not None:
            return self._resolve(group, source, lineage, at)
        if key not in self._newest:
            self._newest[key] = self._resolve(group, source, lineage, self.next_offset)
        return self._newest[key]

    def newest_policy(self, key: str) -> Policy | None:
        """The last policy under a key (`*`, `group:g`, `source:s`)."""
        versions = self._policies.get(key)
        return versions[-1][1] if versions else None

    def newest_mask(self, group: str, source: str, lineage: str) -> Mask | None:
        """The last mask of exactly this source (`*`: the whole group) and lineage."""
        versions = self._masks.get((group, source, lineage))
        return versions[-1][1] if versions else None

    def _resolve(self, group: str, source: str, lineage: str, at: int) -> Rules | None:
        found = _latest(self._masks.get((group, source, lineage)), at)
        found = found or _latest(self._masks.get((group, "*", lineage)), at)
        if found is None:
            return None
        version, mask = found
        target, unit, band, horizon = _DEFAULT.target, _DEFAULT.unit, _DEFAULT.band, _DEFAULT.horizon_documents
        floors: Mapping[str, float] = {}
        for name in ("*", f"group:{group}", f"source:{source}"):
            latest = _latest(self._policies.get(name), at)
            if latest is None:
                continue
            version, policy = max(version, latest[0]), latest[1]
            target = target if policy.retention is None else policy.retention
            unit = policy.unit or unit
            band = band if policy.band is None else policy.band
            horizon = policy.horizon_documents or horizon
            floors = floors if policy.floors is None else policy.floors
        return Rules(version, target, unit, band, horizon, floors, mask, lens(mask))


class PolicyFollower:
    """Keeps a PolicyLog up with its topic."""

    def __init__(self, topic: str, reader: LogReader) -> None:
        self.log = PolicyLog()
        self._partition = TopicPartition(topic, 0)
        self._reader = reader

    async def refresh(self) -> None:
        """Read all that was committed since the last call."""
        first, end = (await self._reader.bounds([self._partition]))[self._partition]
        if end > self.log.next_offset:
            async for record in self._reader.read(self._partition, max(first, self.log.next_offset), end):
                self.log.add(record)
            self.log.next_offset = end

    async def start(self) -> None:
        """Read the topic to its end. Raises ConfigError(policy_missing) if no mask was ever published."""
        await self.refresh()
        if self.log.is_empty:
            raise ConfigError(
                "policy_missing",
                f"{self._partition.topic} holds no mask, so no card can be judged",
                "publish the project's policy first (`mira-stream up` and `demo` do it at their start)",
            )


def _latest(versions: list[tuple[int, M]] | None, at: int) -> tuple[int, M] | None:
    if versions is None:
        return None
    return next((version for version in reversed(versions) if version[0] <= at), None)


def _refuse_unsupported(policy: Policy, where: str) -> None:
    asked = [name for name in _UNSUPPORTED if getattr(policy, name) is not None]
    if policy.threshold_scope not in (None, "source"):
        asked.append("threshold_scope")
    if asked:
        raise ConfigError(
            "policy_unsupported",
            f"{where} asks for {', '.join(asked)}, which this version does not apply",
            "run the version that wrote it, or delete that record from the topic",
        )
