"""FastStream with faststream-concurrent-aiokafka: so many tasks at once, offsets committed behind them (at least once).
Its handler publishes each document as it is done."""

import asyncio
import json
import sys
import time
from pathlib import Path

from faststream import AckPolicy, ContextRepo, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage
from faststream_concurrent_aiokafka import (
    KafkaConcurrentProcessingMiddleware,
    initialize_concurrent_processing,
    stop_concurrent_processing,
)


def main(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text())
    broker = KafkaBroker(
        job["bootstrap"], middlewares=[KafkaConcurrentProcessingMiddleware], logger=None, apply_types=False
    )
    app = FastStream(broker)

    state = {"started": False}

    @app.on_startup  # type: ignore[untyped-decorator]
    async def begin(context: ContextRepo) -> None:
        await initialize_concurrent_processing(
            context=context, concurrency_limit=job["in_flight"], commit_batch_size=1_000,
            commit_batch_timeout_sec=job["commit_s"], max_uncommitted_tasks=None,
        )  # fmt: skip

    @app.on_shutdown  # type: ignore[untyped-decorator]
    async def end(context: ContextRepo) -> None:
        await stop_concurrent_processing(context)

    @broker.subscriber(  # type: ignore[untyped-decorator]
        job["input"], group_id=job["group"], ack_policy=AckPolicy.MANUAL, auto_offset_reset="earliest",
        isolation_level="read_committed", session_timeout_ms=6_000,
    )  # fmt: skip
    async def handle(body: bytes) -> None:
        if not state["started"]:
            state["started"] = True
            (folder / "started").write_text(str(time.time()))
        if job["document_s"]:
            await asyncio.sleep(job["document_s"])
        message: KafkaMessage = broker.context.get_local("message")
        await broker.publish(body, job["output"], key=message.raw_message.key)

    asyncio.run(app.run())


main(Path(sys.argv[1]))
