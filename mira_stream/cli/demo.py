"""`mira-stream demo`: the whole stream on this machine, from real documents to a report."""

import asyncio
import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mira_stream.cli.options import JsonOption
from mira_stream.errors import DependencyError, UsageError
from mira_stream.messages import GROUP_PATTERN, SOURCE_PATTERN

if TYPE_CHECKING:
    from mira_stream.demo.outcome import Outcome
    from mira_stream.demo.run import Options, OwnCorpus

INTERRUPTED = 130
DOCUMENTS = typer.Option("--documents", "-n", help="How many documents of this machine.", min=1)
OUT = typer.Option("--out", help="The demo's own folder; an older demo in it is deleted.")
PROJECT = typer.Option("--project", help="A MIRA project instead of the shipped one.")
CORPUS = typer.Option(
    "--corpus",
    help="NAME=PATH: your own documents as one more source (JSONL, .gz, .zst, Parquet, a folder of text files).",
)
GROUP = typer.Option("--group", help="The source group of each --corpus, in their order; one for all.")
CHAOS = typer.Option("--chaos", help="Kill the scorer with SIGKILL half-way and go on.")
TEACHER = typer.Option(
    "--teacher", help="An OpenAI-compatible endpoint (URL) that judges 20 documents of each group beside the student."
)
MODEL = typer.Option("--model", help="The teacher's model name.")


def demo(
    documents: Annotated[int, DOCUMENTS] = 1200,
    out: Annotated[Path, OUT] = Path("mira-demo"),
    project: Annotated[Path | None, PROJECT] = None,
    corpus: Annotated[list[str] | None, CORPUS] = None,
    group: Annotated[list[str] | None, GROUP] = None,
    chaos: Annotated[bool, CHAOS] = False,
    teacher: Annotated[str | None, TEACHER] = None,
    model: Annotated[str | None, MODEL] = None,
    json: JsonOption = False,
) -> None:
    """Stream real documents of this machine through Kafka and vLLM, and show what is kept.

    Everything is written to --out: kept/ and scores/ (Parquet), report.html, logs/, and project/ (the project with
    its broker's data, to look around in afterwards). Ends by itself; Ctrl-C leaves nothing behind.
    """
    from mira_stream.cli.output import emit, talk
    from mira_stream.demo.outcome import as_json
    from mira_stream.demo.tables import show, show_audit

    options = _options(documents, out, project, own_corpora(corpus or [], group or []), chaos, teacher, model)
    outcome = _run(options)
    if json:
        show_audit(outcome, talk)
        emit(as_json(outcome))
    else:
        talk.print(f"kept documents: {out / 'kept'}   report: {out / 'report.html'}", markup=False, soft_wrap=True)
        show(outcome, talk)
    if not outcome.audited.ok:
        raise typer.Exit(1)


def own_corpora(corpora: list[str], groups: list[str]) -> "list[OwnCorpus]":
    """`--corpus NAME=PATH` paired with `--group`. Raises UsageError."""
    from mira_stream.demo.run import OwnCorpus

    if len(groups) == 1:
        groups = groups * len(corpora)
    if len(groups) != len(corpora):
        raise UsageError(
            "group_missing", f"{len(corpora)} --corpus, {len(groups)} --group", "give one --group for each --corpus"
        )
    found = []
    for text, group in zip(corpora, groups, strict=True):
        name, _, path = text.partition("=")
        if not path or not re.match(SOURCE_PATTERN, name) or not re.match(GROUP_PATTERN, group):
            raise UsageError(
                "corpus_invalid",
                f"--corpus {text!r} --group {group!r}",
                "write --corpus NAME=PATH --group GROUP; names have letters, digits, '.', '_' and '-'",
            )
        if not Path(path).exists():
            raise UsageError("corpus_missing", f"{path} does not exist", "correct the path behind --corpus NAME=")
        found.append(OwnCorpus(name, Path(path), group))
    return found


def _options(
    documents: int,
    out: Path,
    project: Path | None,
    own: "list[OwnCorpus]",
    chaos: bool,
    teacher: str | None,
    model: str | None,
) -> "Options":
    from mira_stream.demo.run import SHIPPED, Options
    from mira_stream.demo.teacher import Teacher

    if (teacher is None) != (model is None):
        raise UsageError("teacher_incomplete", "--teacher and --model go together", "give both, or none")
    judge = None if teacher is None or model is None else Teacher(teacher, model)
    return Options(documents, out, SHIPPED if project is None else project, own, chaos, judge)


def _run(options: "Options") -> "Outcome":
    """Run it with signals: the first one ends the run in order, the second one kills everything at once."""
    import uvloop

    from mira_stream.cli.output import talk
    from mira_stream.demo.run import run_demo
    from mira_stream.supervision.supervisor import Supervisor

    supervisor = Supervisor(options.out / "logs")

    async def main() -> "Outcome":
        task = asyncio.ensure_future(run_demo(options, talk, supervisor))
        loop = asyncio.get_running_loop()
        asked = False

        def on_signal() -> None:
            nonlocal asked
            asked = True
            if task.cancelling():
                supervisor.kill_all()
                os._exit(INTERRUPTED)
            talk.print("interrupted: stopping everything (again: at once)")
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, on_signal)
        try:
            return await task
        except asyncio.CancelledError:
            if asked:
                raise
            # Nobody pressed Ctrl-C: a Kafka client ended its own tasks, as it does when its broker is gone.
            raise DependencyError(
                "broker_gone", "a Kafka client gave up in the middle", f"read the logs in {options.out}, then run again"
            ) from None

    return uvloop.run(main())
