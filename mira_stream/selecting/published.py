"""Which thresholds are in force for a source, as one who stands outside the aggregator can know them.

Read from `mira.policy` and the end of `mira.epochs`. What is not certain is not known: no epoch of the source's present
mask among the newest, thresholds that are not there yet (`cold_hash`), or a look that failed for too long.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from mira_stream.cascade import Calibration, InForce, Pair
from mira_stream.clock import Monotonic, monotonic
from mira_stream.messages import Epoch, decoder
from mira_stream.records import LogReader
from mira_stream.selecting.following import PolicyFollower
from mira_stream.selecting.policies import Rules

TAIL: Final = 5_000
"""Epochs of a partition that are read at the start: a source without one among them waits for its next border."""
STALE_S: Final = 60.0

_decoder: Final = decoder(Epoch)


class PublishedThresholds:
    """Of one group's cards. `pairs`: by source, held-out documents that both stages judged, one a near-duplicate
    cluster. The only owner of what was read here; `refresh` is called by one task."""

    def __init__(
        self,
        topics: tuple[str, str],
        group: str,
        lineage: str,
        loss: float,
        pairs: Mapping[str, Sequence[Pair]],
        reader: LogReader,
        now: Monotonic = monotonic,
        scores_key: str = "all",
    ) -> None:
        """`topics`: the policy's and the epochs'. `scores_key`: of [topics]."""
        policy, self._topic = topics
        self._group = group
        self._lineage = lineage
        self._loss = loss
        self._pairs = pairs
        self._reader = reader
        self._now = now
        self._follower = PolicyFollower(policy, reader, scores_key)
        self._read_to: dict[int, int] = {}
        self._newest: dict[tuple[str, str], Epoch] = {}
        self._calibrations: dict[str, Calibration] = {}
        self._known: dict[str, tuple[Epoch, InForce]] = {}
        self._looked_at = -STALE_S

    async def refresh(self) -> None:
        """Read what was committed since the last call. Raises what reading raises; what was known stays."""
        version = self._follower.log.next_offset
        await self._follower.refresh()
        if self._follower.log.next_offset != version:
            self._calibrations.clear()
            self._known.clear()
        for partition, (first, end) in (await self._reader.bounds(await self._reader.partitions(self._topic))).items():
            start = max(first, self._read_to.get(partition.partition, end - TAIL))
            if start < end:
                async for record in self._reader.read(partition, start, end):
                    self._take(record.value)
            self._read_to[partition.partition] = end
        self._looked_at = self._now()

    def in_force(self, source: str) -> InForce | None:
        """None: unknown, so nothing about the source's documents is certain."""
        if self._now() - self._looked_at > STALE_S:
            return None
        rules = self._follower.log.rules(self._group, source, self._lineage)
        if rules is None:
            return None
        epoch = self._newest.get((rules.scope.of, rules.scope.lineage))
        if epoch is None or epoch.keep is None or epoch.drop is None or epoch.mask != rules.scope.only_mask:
            return None
        known = self._known.get(source)
        if known is None or known[0] is not epoch:
            width = self._calibration(source, rules).half_width(epoch.keep, epoch.drop, self._loss)
            known = epoch, InForce(epoch.epoch_of, epoch.epoch, epoch.keep, epoch.drop, rules.lens, width)
            self._known[source] = known
        return known[1]

    def _calibration(self, source: str, rules: Rules) -> Calibration:
        found = self._calibrations.get(source)
        if found is None:
            found = Calibration(self._pairs.get(source, ()), rules.lens, rules.floors)
            self._calibrations[source] = found
        return found

    def _take(self, value: bytes | None) -> None:
        try:
            epoch = _decoder.decode(value or b"")
        except msgspec.DecodeError:
            return  # of a later version: what it says is not known here
        self._newest[epoch.epoch_of, epoch.lineage] = epoch
