"""The Kafka of a bench's own: there for the bench alone, and looked at, so that its end is no silence."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mira_stream.benching.own_folder import own_folder, remove_left
from mira_stream.config import Project
from mira_stream.errors import DependencyError
from mira_stream.streaming.ports import Broker

if TYPE_CHECKING:
    from mira_stream.broker_local import EmbeddedBroker, Runtime


class OwnBroker(NamedTuple):
    """`died` ends with DependencyError(bench_broker), should the broker do so before the bench."""

    broker: Broker
    pid: int
    died: "asyncio.Future[None]"


@asynccontextmanager
async def own_broker(project: Project, prefix: str, talk: Callable[[str], None]) -> AsyncIterator[OwnBroker]:
    """An embedded Kafka in a temporary folder, gone afterwards. Of one that did not start, or that died, the logs stay:
    the error names them."""
    from mira_stream.broker_local import living
    from mira_stream.broker_local.data_dir import DataDir
    from mira_stream.kafka import KafkaBroker

    remove_left(prefix, talk)
    with own_folder(prefix) as folder:
        data, died, kept = DataDir(folder), None, False
        try:
            async with living(folder, talk=talk) as (runtime, kafka):
                died = asyncio.create_task(_died(kafka, runtime))
                broker = KafkaBroker(project.settings.broker, runtime.bootstrap_servers)
                try:
                    yield OwnBroker(broker, runtime.pid, died)
                finally:
                    died.cancel()
                    await broker.close()
        except Exception as error:
            if died is None:
                kept = isinstance(error, DependencyError)
            elif died.done() and not died.cancelled():
                kept = True
                died.result()  # what else failed did so for want of it
            raise
        finally:
            kept = kept and data.logs.is_dir()
            _remove(folder, data.logs if kept else None)
            if kept:
                talk(f"its logs are kept in {data.logs}")


async def _died(kafka: "EmbeddedBroker", runtime: "Runtime") -> None:
    raise DependencyError(
        "bench_broker",
        f"the bench's own Kafka, pid {runtime.pid}, ended with {await kafka.ended()}",
        f"run it again; if nobody ended it, see whether memory and disk suffice, and read {runtime.log}",
    )


def _remove(folder: Path, kept: Path | None) -> None:
    for part in folder.iterdir() if kept else [folder]:
        if part != kept:
            shutil.rmtree(part) if part.is_dir() else part.unlink()
