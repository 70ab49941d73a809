"""mira-stream's runner with a handler that passes its document on, exactly once: out of order as the scorer where it
waits, in order and with as much admitted as in the aggregator where there is no work."""

import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import orjson
import uvloop
from mira_stream.consumers.aggregator import IN_FLIGHT

from bench.flowing.stateless import Stateless
from mira_stream.kafka import KafkaBroker
from mira_stream.records import LogReader, Outgoing, Record, TopicPartition
from mira_stream.sections import BrokerSection
from mira_stream.streaming.admission import Amount
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.runner import Runner
from mira_stream.streaming.service import log_to_stderr
from mira_stream.streaming.settings import RunnerSettings


class Passing(Stateless):
    """Waits, passes on; as many at once as the runner admits."""

    def __init__(self, partition: int, output: str, document_s: float, started: Path) -> None:
        self._partition, self._output, self._document_s, self._started = partition, output, document_s, started
        self._begun = False

    async def handle(self, record: Record) -> Sequence[Outgoing]:
        if not self._begun:  # no look at a file for each record: it would be timed
            self._begun = True
            if not self._started.exists():
                self._started.write_text(str(time.time()))
        if self._document_s:
            await asyncio.sleep(self._document_s)
        return (Outgoing(self._output, record.key, record.value or b"", self._partition),)


async def main(folder: Path) -> None:
    job, stop = orjson.loads((folder / "job.json").read_bytes()), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = RunnerSettings(
        stage="bench", consumer_group=job["group"], topics=(job["input"],), concurrent=bool(job["document_s"]),
        limit=Amount(job["in_flight"], 10**12, 10**12) if job["document_s"] else IN_FLIGHT,
        partition_span=10**6, transaction_records=2_000,
        transaction_linger_s=job["commit_s"], drain_s=30.0, progress=job["progress"] if job["document_s"] else "",
        start="earliest",
    )  # fmt: skip

    def factory(partition: TopicPartition, reader: LogReader) -> Passing:
        return Passing(partition.partition, job["output"], job["document_s"], folder / "started")

    broker = KafkaBroker(BrokerSection(), job["bootstrap"])
    try:
        await Runner(broker, settings, factory, Metrics()).run(stop)
    finally:
        await broker.close()


if __name__ == "__main__":
    log_to_stderr()
    uvloop.run(main(Path(sys.argv[1])))
