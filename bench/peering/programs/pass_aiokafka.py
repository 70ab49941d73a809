"""The limit: aiokafka alone reads, writes and commits, and nothing else."""

import asyncio
import json
import sys
import time
from pathlib import Path

import uvloop

from bench.flowing.alone import copy

RECORDS = 2_000


async def main(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text())

    def begun() -> None:
        (folder / "started").write_text(str(time.time()))

    def copied(records: int) -> None: ...

    await copy(job["bootstrap"], job["input"], job["output"], job["group"], RECORDS, begun, copied, asyncio.Event())


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1])))
