"""mira-stream's own scorer: the runner, exactly once, with the engine in this process or a `vllm serve`.

It ends by itself after the last outcome's commit, unless it is a second start, which a SIGTERM ends. Its own engine
tells nobody the tokens of replies under way, so in a run that is killed as many of them as it has places are counted
as long as the longest reply so far: a kill seems to cost a little more than it does.
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

from bench.busy.stopwatch import Stopwatch
from mira_stream.benching.observing import ObservedBroker, ObservedEngine
from mira_stream.config import Project, load_project
from mira_stream.kafka import KafkaBroker
from mira_stream.scoring.engine import Completion, Engine, Request
from mira_stream.scoring.handler import ScoringFactory
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.runner import Runner
from mira_stream.streaming.service import log_to_stderr
from mira_stream.whole_file import replace_file


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


class Counting(ObservedEngine):
    """Writes into `path` what has been generated so far, at most."""

    def __init__(self, engine: Engine, places: int, path: Path) -> None:
        super().__init__(engine)
        self._places = places
        self._path = path
        self._under_way = self._longest = 0

    async def generate(self, request: Request) -> Completion:
        self._under_way += 1
        try:
            completion = await super().generate(request)
            self._longest = max(self._longest, completion.generation_tokens)
            return completion
        finally:
            self._under_way -= 1
            written = min(self._under_way, self._places) * self._longest
            replace_file(self._path, b"%d" % (self.used().generation_tokens + written))


async def main(folder: Path) -> None:
    job = orjson.loads((folder / "job.json").read_bytes())
    project, group, stop = project_of(job), job["group"], asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    (folder / "listens").touch()  # to signals: before, one ends it where it stands
    broker, engine, metrics = (
        KafkaBroker(project.settings.broker, job["bootstrap"]),
        build_engine(project, group),
        Metrics(),
    )
    await engine.start()
    try:
        places = project.settings.groups[group].max_num_seqs
        counts = job["counts"] and not job["served"]  # a server counts by itself
        judging = Counting(engine, places, folder / "tokens") if counts else ObservedEngine(engine)
        factory = ScoringFactory(project, group, judging, metrics)
        watch, context = Stopwatch(factory, job["documents"], stop), project.settings.groups[group].context_tokens_max
        settings = scorer_settings(project, group)
        observed = ObservedBroker(broker, watch.committed)
        await Runner(observed, settings, watch, metrics, tokens_of=lambda record: tokens_of(record, context)).run(stop)
        if watch.last:
            now, wall = time.perf_counter(), time.time()
            (folder / "started").write_text(str(wall - (now - watch.first)))
            (folder / "ended").write_text(str(wall - (now - watch.last)))
        if not job["served"]:
            replace_file(folder / "tokens", b"%d" % judging.used().generation_tokens)
    finally:
        await engine.stop()
        await broker.close()


if __name__ == "__main__":
    log_to_stderr()
    uvloop.run(main(Path(sys.argv[1])))
