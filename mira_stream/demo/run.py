"""One demo run, from an empty folder to a report.

1. claim the folder, copy the project, start the broker, create topics, publish policy and masks
2. stream (demo/stream.py) until every document has ended and is exported
3. stop the services, audit
4. stop the broker, write report.html
"""

import os
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console

from mira_stream import broker_local
from mira_stream.audit.run import audit
from mira_stream.config import Project, load_project
from mira_stream.demo import material, place
from mira_stream.demo.conclude import conclude, reliabilities
from mira_stream.demo.outcome import Agreement, Audited, Evidence, Outcome
from mira_stream.demo.prepare import prepare
from mira_stream.demo.progress import Progress
from mira_stream.demo.report import write_report
from mira_stream.demo.stream import Moments, Stage, Stream, Wish
from mira_stream.demo.tally import Tally
from mira_stream.demo.teacher import DOCUMENTS, Teacher
from mira_stream.errors import UsageError
from mira_stream.kafka import KafkaBroker
from mira_stream.supervision.supervisor import Supervisor

SHIPPED: Final = Path(__file__).parent / "project"
"""The demo project of the package."""


class OwnCorpus(NamedTuple):
    """`--corpus NAME=PATH --group G`: one more source, with the field mapping of mira.toml if it has one."""

    name: str
    path: Path
    group: str


class Options(NamedTuple):
    documents: int
    out: Path
    project: Path
    own: Sequence[OwnCorpus]
    chaos: bool
    teacher: Teacher | None


async def run_demo(options: Options, talk: Console, supervisor: Supervisor) -> Outcome:
    """May be cancelled at any time; no process outlives it. Raises MiraError."""
    with place.claim(options.out):
        project = _lay_out(options)
        async with AsyncExitStack() as stack:
            progress = Progress(talk)
            data_dir = project.path(project.settings.broker.data_dir)
            progress.say("starting Kafka, then three services; engines take about a minute to load on two cores")
            servers = await stack.enter_async_context(broker_local.embedded(data_dir, talk=progress.say))
            broker = KafkaBroker(project.settings.broker, servers)
            stack.push_async_callback(broker.close)
            stage = Stage(project, broker, servers, options.out)
            for warning in await prepare(broker, project):
                progress.say(f"warning: {warning}")
            reader = await broker.reader()
            stack.push_async_callback(reader.close)
            tally = Tally(project, reader)
            stream = Stream(
                stage, Wish(options.documents, [corpus.name for corpus in options.own], options.chaos), supervisor,
                progress, tally,
            )  # fmt: skip
            async with supervisor:
                with progress:
                    await stream.run(process_age_s)
                progress.say("every document has ended; stopping the services")
                await supervisor.stop(*supervisor.children)
            agreements: list[Agreement] = []
            if options.teacher is not None:
                progress.say(f"{options.teacher.model} judges {DOCUMENTS} documents beside the students")
                agreements = await options.teacher.beside(project, reader, tally.decisions)
            progress.say("auditing: every document counted, every decision recomputed")
            audited = await audit(project, broker, options.out)
        audit_lines = [audited.line()]
        if stream.killed_at is not None:
            audit_lines.append(f"killed at {stream.killed_at}; {audited.lost} lost, {audited.doubled} doubled")
        return _finish(options, project, tally, stream.moments, Audited(audited.ok, audit_lines), agreements)


def _lay_out(options: Options) -> Project:
    """Step 1 on disk: an empty folder with the project's copy in it."""
    _check(options)
    copy = options.out / "project"
    if (copy / "mira.toml").exists():
        # Somebody may look around in the last run with its broker: its data is about to go.
        broker_local.stop(copy / "broker")
    place.clear(options.out)
    own = {corpus.name: {"group": corpus.group, "path": str(corpus.path.resolve())} for corpus in options.own}
    place.copy_project(options.project, copy, own, [name for name in material.MADE if name not in own])
    return load_project(copy)


def _check(options: Options) -> None:
    """Before anything of an older run is deleted. Raises ConfigError or UsageError."""
    out = options.out.resolve()
    for path in (options.project, *(corpus.path for corpus in options.own)):
        if path.resolve().is_relative_to(out):
            raise UsageError("input_in_out", f"{path} lies in {out}, which a new run clears", "name another --out")
    groups = load_project(options.project).settings.groups
    for corpus in options.own:
        if corpus.group not in groups:
            known = ", ".join(sorted(groups))
            raise UsageError("group_unknown", f"the project has no group {corpus.group!r}", f"use one of {known}")


def _finish(
    options: Options,
    project: Project,
    tally: Tally,
    moments: Moments,
    audited: Audited,
    agreements: Sequence[Agreement],
) -> Outcome:
    """Step 4: the outcome, and the page that shows it."""
    out = str(options.out)
    outcome = conclude(project, tally, moments, process_age_s(), audited, agreements, out)
    write_report(options.out / "report.html", outcome, Evidence(tally.decisions, tally.epochs), reliabilities(project))
    return outcome._replace(seconds=outcome.seconds._replace(total=process_age_s()))


def process_age_s() -> float:
    """Seconds since this process was started, its imports included."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_s
