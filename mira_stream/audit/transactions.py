"""Open transactions: a reader of what is committed never gets past the first record of one."""

import asyncio
from collections.abc import Mapping
from typing import Final

from mira_stream.audit.result import Findings
from mira_stream.config import Project
from mira_stream.records import LogReader, TopicPartition
from mira_stream.streaming.topics import topic_specs

LOOK_S: Final = 0.2


async def watermarks(project: Project, reader: LogReader) -> Mapping[TopicPartition, int]:
    """High watermarks of all the project's topics that are there."""
    partitions = [p for spec in topic_specs(project) for p in await reader.partitions(spec.name)]
    return await reader.high_watermarks(partitions) if partitions else {}


async def check_ended(
    reader: LogReader, high: Mapping[TopicPartition, int], findings: Findings, patience_s: float
) -> None:
    """Wait until last stable offsets have reached these high watermarks: a running stream moves on, and the broker
    ends the transactions of the dead. What has not within `patience_s` is a finding."""
    left = dict(high)
    looks = int(patience_s / LOOK_S) + 1
    for look in range(looks):
        stable = await reader.bounds(list(left)) if left else {}
        left = {partition: end for partition, end in left.items() if stable[partition][1] < end}
        if not left:
            return
        if look < looks - 1:
            await asyncio.sleep(LOOK_S)
    for partition, end in sorted(left.items()):
        where = f"{partition.topic}/{partition.partition}@{stable[partition][1]}"
        detail = f"last stable offset {stable[partition][1]}, high watermark {end} for {patience_s:g} s and more"
        findings.add("transaction_open", where, detail)
