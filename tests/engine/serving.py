"""Starts an engine of the student named by the first argument and holds it; the tests end this process rudely."""

import asyncio
import os
import sys
from pathlib import Path

from mira_stream.sections import GroupSection
from mira_stream.streaming.service import run_service
from mira_stream.vllm_engine import VllmEngine
from mira_stream.vllm_engine.guardian import MARK, guard


async def main(stop: asyncio.Event) -> None:
    guard()
    print(os.environ[MARK], flush=True)
    engine = VllmEngine(Path(sys.argv[1]), GroupSection(family="text"))
    start = asyncio.create_task(engine.start())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({start, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if start.done():
        print("ready", flush=True)
        await stopping
    start.cancel()
    await asyncio.wait({start})
    await engine.stop()


if __name__ == "__main__":
    run_service(main)
