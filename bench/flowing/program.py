"""One side as a process of its own: `python program.py FOLDER` does FOLDER/job.json, then writes FOLDER/turn.json."""

import asyncio
import cProfile
import gc
import signal
import sys
from pathlib import Path

import msgspec
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file

from bench.flowing.job import GROUP, Job
from bench.flowing.meter import Meter
from bench.flowing.sides import SIDES
from mira_stream.streaming.service import GARBAGE, log_to_stderr, until_stopped


async def main(folder: Path) -> None:
    job, stop = msgspec.json.decode((folder / "job.json").read_bytes(), type=Job), asyncio.Event()
    profile = cProfile.Profile()
    if job.profile:
        profile.enable()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    project = job.project()
    of = project.documents_topic(GROUP) if job.path else project.topic("scores")
    meter = Meter(job.documents, [of])
    meter.count_bytes_in()
    side = asyncio.create_task(SIDES[job.name](job, meter, stop))
    enough = asyncio.create_task(until_stopped(meter.enough.wait(), stop))
    await asyncio.wait({side, enough}, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    await side
    if job.profile:
        profile.disable()
        profile.dump_stats(job.profile)
    (folder / "turn.json").write_bytes(msgspec.json.encode(meter.turn()))


if __name__ == "__main__":
    log_to_stderr()
    gc.set_threshold(*GARBAGE)  # as a service does
    uvloop.run(main(Path(sys.argv[1])))
