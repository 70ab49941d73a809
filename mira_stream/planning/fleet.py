"""From one engine's rate to engines, partitions, GPUs and hours. Pure."""

from math import ceil
from typing import Final

from msgspec import Struct

from mira_stream.errors import UsageError

PARTITIONS_AN_ENGINE: Final = 4
"""A partition has one owner at a time, so fewer partitions than engines leave some without work. With four each, the
loss of one of eight engines makes the busiest of the others take five instead of four; with one each, two."""
GPUS_A_MACHINE: Final = 8


class Fleet(Struct, frozen=True, kw_only=True):
    """`gpus_an_engine` is 0 where a rate was measured without a GPU."""

    engines: int
    gpus_an_engine: int
    gpus: int
    partitions: int
    documents_per_s: float
    hours: float

    @property
    def gpu_hours(self) -> float:
        return self.gpus * self.hours


class Wanted(Struct, frozen=True, kw_only=True):
    """At most one of them; none: a machine of GPUS_A_MACHINE GPUs, or the machine that was measured."""

    engines: int | None = None
    gpus: int | None = None
    hours: float | None = None


def fleet(documents: int, documents_per_s: float, gpus_an_engine: int, engines: int) -> Fleet:
    """`documents_per_s` of each engine."""
    return Fleet(
        engines=engines,
        gpus_an_engine=gpus_an_engine,
        gpus=engines * gpus_an_engine,
        partitions=PARTITIONS_AN_ENGINE * engines,
        documents_per_s=engines * documents_per_s,
        hours=documents / (engines * documents_per_s) / 3600,
    )


def engines_for(wanted: Wanted, documents: int, documents_per_s: float, gpus_an_engine: int) -> int:
    """As many as are wanted, are done in time, or fit; no more than documents, which would leave some without any.
    Raises UsageError(plan_wanted, gpus_few)."""
    if sum(one is not None for one in (wanted.engines, wanted.gpus, wanted.hours)) > 1:
        raise UsageError("plan_wanted", "engines, GPUs and hours follow from one another", "give one of the three")
    if wanted.engines is not None:
        if wanted.engines > documents:
            raise _idle(documents, wanted.engines, f"give --engines {documents} or fewer")
        return wanted.engines
    if wanted.hours is not None:
        count = max(1, ceil(documents / documents_per_s / 3600 / wanted.hours))
        if count > documents:
            raise _idle(documents, count, "give more --hours: a document is not split over engines")
        return count
    if gpus_an_engine == 0:
        if wanted.gpus is not None:
            raise UsageError("plan_wanted", "the run was taken without a GPU", "give --engines or --hours")
        return 1
    gpus = GPUS_A_MACHINE if wanted.gpus is None else wanted.gpus
    if gpus < gpus_an_engine:
        raise UsageError("gpus_few", f"an engine takes {gpus_an_engine} GPUs, there are {gpus}", "give more --gpus")
    count = gpus // gpus_an_engine
    if wanted.gpus is not None and count > documents:
        raise _idle(documents, count, f"give --gpus {documents * gpus_an_engine} or fewer")
    return min(count, documents)


def _idle(documents: int, engines: int, fix: str) -> UsageError:
    return UsageError("plan_wanted", f"{documents:,} documents leave some of {engines:,} engines without any", fix)
