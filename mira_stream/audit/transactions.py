"""Open transactions: a reader of what is committed never gets past the first record of one."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from mira_stream.audit.result import Findings
from mira_stream.config import Project
from mira_stream.records import LogReader, TopicPartition
from mira_stream.streaming.limits import OPEN_TRANSACTION_FIX
from mira_stream.streaming.topics import topic_specs

LOOK_S: Final = 0.2
SAY_S: Final = 3.0
"""So long nobody is told: a stream that runs has transactions all the time."""
SAY_EVERY_S: Final = 10.0

Say = Callable[[str], None]


async def watermarks(project: Project, reader: LogReader) -> Mapping[TopicPartition, int]:
    """High watermarks of all the project's topics that are there."""
    partitions = [p for spec in topic_specs(project) for p in await reader.partitions(spec.name)]
    return await reader.high_watermarks(partitions) if partitions else {}


async def check_ended(
    reader: LogReader,
    high: Mapping[TopicPartition, int],
    findings: Findings,
    patience_s: float,
    say: Say,
    over: asyncio.Event,
) -> None:
    """Wait until last stable offsets have reached these high watermarks: a running stream moves on, and the broker
    ends the transactions of the dead. What has not within `patience_s`, nor until the rest of the audit is `over`, is a
    finding; before, `say` is told which partitions are waited for, and how long."""
    now = asyncio.get_running_loop().time
    begun_s, say_s, left = now(), SAY_S, dict(high)
    while True:
        stable = await reader.bounds(list(left)) if left else {}
        left = {partition: end for partition, end in left.items() if stable[partition][1] < end}
        waited_s = now() - begun_s
        if not left or (waited_s >= patience_s and over.is_set()):
            break
        if waited_s >= say_s:
            say_s = waited_s + SAY_EVERY_S
            say(_waiting(left, waited_s, patience_s))
        if waited_s >= patience_s:
            await over.wait()
        else:
            await asyncio.sleep(min(LOOK_S, patience_s - waited_s))
    for partition, end in sorted(left.items()):
        where = f"{partition.topic}/{partition.partition}@{stable[partition][1]}"
        held = f"last stable offset {stable[partition][1]}, high watermark {end} for {patience_s:g} s and more"
        findings.add("transaction_open", where, f"{held}; do: {OPEN_TRANSACTION_FIX}")


def _waiting(left: Mapping[TopicPartition, int], waited_s: float, patience_s: float) -> str:
    names = ", ".join(f"{one.topic}/{one.partition}" for one in sorted(left))
    return (
        f"{names}: a transaction has been open for {waited_s:.0f} s and more; the broker should end it by itself "
        f"within {patience_s:.0f} s, for which this waits; else {OPEN_TRANSACTION_FIX}"
    )
