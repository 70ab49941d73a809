"""The limit: aiokafka alone reads, writes and commits in transactions, batch by batch, and nothing else."""

import asyncio
import json
import sys
import time
from pathlib import Path

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer


async def main(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text())
    consumer = AIOKafkaConsumer(
        job["input"], bootstrap_servers=job["bootstrap"], group_id=job["group"], enable_auto_commit=False,
        auto_offset_reset="earliest", isolation_level="read_committed", session_timeout_ms=6_000,
        fetch_max_bytes=8 << 20,
    )  # fmt: skip
    producer = AIOKafkaProducer(
        bootstrap_servers=job["bootstrap"], transactional_id=f"{job['group']}.limit", max_batch_size=1 << 18
    )
    await producer.start()
    await consumer.start()
    while True:
        batches = await consumer.getmany(timeout_ms=1_000, max_records=5_000)
        if not batches:
            continue
        if not (folder / "started").exists():
            (folder / "started").write_text(str(time.time()))
        await asyncio.sleep(job["document_s"])
        async with producer.transaction():
            sends = [
                await producer.send(job["output"], record.value, key=record.key, partition=partition.partition)
                for partition, records in batches.items()
                for record in records
            ]
            offsets = {partition: records[-1].offset + 1 for partition, records in batches.items()}
            await producer.send_offsets_to_transaction(offsets, job["group"])
            await asyncio.gather(*sends)


uvloop.run(main(Path(sys.argv[1])))
