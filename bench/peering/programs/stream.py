"""mira-stream's own scorer: the runner, exactly once, with the engine in this process or a `vllm serve`.

In the run that is timed it ends by itself after the last commit; otherwise a SIGTERM ends it.
"""

import asyncio
import signal
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import uvloop
from mira_stream.consumers.scorer import build_engine, scorer_settings, tokens_of
from msgspec.structs import replace

from bench.stream_vs_engine import Stopwatch
from mira_stream.benching.observing import ObservedBroker
from mira_stream.config import Project, load_project
from mira_stream.kafka import KafkaBroker
from mira_stream.scoring.handler import ScoringFactory
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.runner import Runner
from mira_stream.streaming.service import log_to_stderr


def project_of(job: dict[str, Any]) -> Project:
    """The project under the job's topic prefix; with its own engine, or the server's."""
    settings, group = (project := load_project(Path(job["project"]), environment={})).settings, job["group"]
    section = settings.groups[group]
    if job["served"]:
        section = replace(section, engine="openai", base_urls=[job["base_url"]], model=job["model"])
    settings = replace(
        settings,
        project=replace(settings.project, prefix=job["prefix"]),
        groups={**settings.groups, group: section},
        limits=replace(settings.limits, in_flight_documents=job["in_flight"]),
    )
    return Project(project.root, settings)


async def main(folder: Path) -> None:
    job = orjson.loads((folder / "job.json").read_bytes())
    project, group, stop = project_of(job), job["group"], asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    broker, engine, metrics = (
        KafkaBroker(project.settings.broker, job["bootstrap"]),
        build_engine(project, group),
        Metrics(),
    )
    await engine.start()
    try:
        factory = ScoringFactory(project, group, engine, metrics)
        watch, context = Stopwatch(factory, job["documents"], stop), project.settings.groups[group].context_tokens_max
        settings = scorer_settings(project, group)
        observed = ObservedBroker(broker, watch.committed)
        await Runner(observed, settings, watch, metrics, tokens_of=lambda record: tokens_of(record, context)).run(stop)
        if watch.last:
            now, wall = time.perf_counter(), time.time()
            (folder / "started").write_text(str(wall - (now - watch.first)))
            (folder / "ended").write_text(str(wall - (now - watch.last)))
    finally:
        await engine.stop()
        await broker.close()


if __name__ == "__main__":
    log_to_stderr()
    uvloop.run(main(Path(sys.argv[1])))
