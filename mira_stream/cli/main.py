"""The `mira-stream` command: which commands there are, and how errors end the process.

Exit codes: 0 done, 1 a check found something, 2 usage, 3 configuration, 4 a dependency is down,
5 data loss refused, 70 bug, 130 interrupted.
"""

import asyncio
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any, Final, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from mira_stream import __version__
from mira_stream.cli.interrupts import sigterm_as_ctrl_c
from mira_stream.errors import MiraError

EXIT_BUG: Final = 70
EXIT_INTERRUPTED: Final = 130
BUG_FIX: Final = {True: "report what is above", False: "run it again with MIRA_DEBUG=1 and report what it prints"}


class Entry(NamedTuple):
    """Where a command lives: its module is imported only when the command is used."""

    module: str
    attribute: str
    panel: str
    summary: str


COMMANDS: Final = {
    "demo": Entry("demo", "demo", "Start here", "Stream 1,200 documents of this machine; show what is kept."),
    "up": Entry("up", "up", "Start here", "Run scorer, aggregator and exporter of a project until told to stop."),
    "prepare": Entry("prepare", "prepare", "Services", "Topics and policy, before services that run one by one."),
    "broker": Entry("broker", "app", "Services", "Start, stop and inspect the embedded Kafka."),
    "produce": Entry("produce", "app", "Services", "Bring files, folders and HTTP into the stream."),
    "score": Entry("services", "score", "Services", "Run the scorer: documents in, score cards out."),
    "aggregate": Entry("services", "aggregate", "Services", "Run the aggregator: score cards in, decisions out."),
    "export": Entry("services", "export", "Services", "Run the exporter: decisions in, Parquet out."),
    "dashboard": Entry("dashboard", "dashboard", "Services", "Show in a browser where the stream is full, and why."),
    "status": Entry("status", "status", "Checks", "Show in the terminal where the stream is full, and why."),
    "doctor": Entry("doctor", "doctor", "Checks", "Check machine, project and broker; say what to do."),
    "bench": Entry("bench", "app", "Checks", "Measure the stream, its engine, or Kafka alone; compare runs."),
    "plan": Entry("plan", "plan", "Checks", "Engines, partitions, GPUs and hours that a corpus takes."),
    "audit": Entry("audit", "audit", "Checks", "Count every document and recompute every decision."),
    "transactions": Entry("transactions", "transactions", "Checks", "Show open transactions; end those that hang."),
    "offsets": Entry("offsets", "offsets", "Checks", "Show where services stand; set moved offsets back."),
    "policy": Entry("policy", "app", "Services", "What decides: show, change while it runs, history."),
    "source": Entry("source", "app", "Services", "Add a source to the running stream."),
    "explain": Entry("explain", "explain", "Checks", "Show one document's whole story."),
    "dlq": Entry("dlq", "app", "Checks", "List, show and replay dead letters."),
    "compare": Entry("compare", "compare", "Checks", "Show what a shadow would decide otherwise."),
    "init": Entry("init", "init", "Start here", "Write a project directory: your files', or a released student's."),
    "pipeline": Entry("pipeline", "pipeline", "Method", "All stages in order: groups, rubrics, students, tables."),
    "rubric": Entry("rubric", "app", "Method", "Stage 1: group sources, discover and compare rubrics, import."),
    "label": Entry("label", "label", "Method", "Let the teacher judge documents."),
    "distill": Entry("distill", "distill", "Method", "Train a group's student on the teacher's labels."),
    "reliability": Entry("reliability", "app", "Method", "Student against teacher: the table behind the mask; watch."),
    "select": Entry("select", "select", "Method", "Stage 4: keep documents under a token budget, exactly; baselines."),
    "catalog": Entry("catalog", "catalog", "Method", "The released MIRA scorers."),
    "prompt": Entry("prompt", "app", "Method", "Import a student's own prompt templates."),
    "schemas": Entry("schemas", "app", "Checks", "Write or check the JSON Schemas of all messages."),
    "version": Entry("version", "version", "Checks", "Print the versions of everything that takes part."),
}  # fmt: skip


class LazyCommand(TyperCommand):
    """Stands for a command in the list; becomes it when it is used."""

    def __init__(self, name: str, entry: Entry) -> None:
        super().__init__(name, help=entry.summary, rich_help_panel=entry.panel)
        self.entry = entry

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        module = importlib.import_module(f"mira_stream.cli.{self.entry.module}")
        found = getattr(module, self.entry.attribute)
        if not isinstance(found, typer.Typer):
            app = _typer()
            app.command(self.name)(found)
            found = app
        context = typer.main.get_command(found).make_context(info_name, args, parent=parent, **extra)
        _log_to_stderr()
        return context


class LazyGroup(TyperGroup):
    """All commands of COMMANDS, none of them imported."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: LazyCommand(name, entry) for name, entry in COMMANDS.items()}


def _log_to_stderr() -> None:
    """Whatever the command, its log is talk. Not before the command is known to run: help needs no logger."""
    from mira_stream.streaming.service import log_to_stderr

    log_to_stderr()


def _typer() -> typer.Typer:
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")


app = typer.Typer(
    name="mira-stream",
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"mira-stream {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="This program's version, and end.")
    ] = False,
) -> None:
    """Judges LLM mid-training documents while they arrive, and says which are worth training on.

    Every command has --json (data on standard output, talk on standard error).
    Exit codes: 0 done, 1 a check found something, 2 usage, 3 configuration, 4 a dependency is down,
    5 data loss refused, 70 bug, 130 interrupted.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the process's exit code. Never a traceback, unless MIRA_DEBUG=1: then before the same words
    and with the same code."""
    sigterm_as_ctrl_c()
    try:
        typer.main.get_command(app)(
            args=list(sys.argv[1:] if arguments is None else arguments), prog_name="mira-stream"
        )
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return EXIT_INTERRUPTED
    except Exception as error:
        return _report(error)
    return 0


def _report(error: Exception) -> int:
    """Say what happened on standard error; the exit code it stands for."""
    from mira_stream.cli.output import complain, talk

    debugs = os.environ.get("MIRA_DEBUG") == "1"
    if debugs:
        traceback.print_exception(error)
    found = _mira_error(error)
    if found is not None:
        complain(found)
        return found.exit_code
    talk.print(f"bug: {type(error).__name__}: {error}", style="red", markup=False, soft_wrap=True)
    talk.print(f"  do: {BUG_FIX[debugs]}", markup=False)
    return EXIT_BUG


def _mira_error(error: BaseException) -> MiraError | None:
    """The first MiraError in an error or in a group of errors."""
    if isinstance(error, MiraError):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next((found for part in error.exceptions if (found := _mira_error(part))), None)
    return None


if __name__ == "__main__":
    sys.exit(main())
