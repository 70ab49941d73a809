"""`mira-stream bench modes`: what each scoring mode costs on this machine, and what it keeps."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mira_stream.benching.load import DOCUMENTS_MAX
from mira_stream.cli.options import JsonOption, ProjectOption, RunsOption

if TYPE_CHECKING:
    from mira_stream.benching.result import Turn
    from mira_stream.config import Project
    from mira_stream.messages import Mode
    from mira_stream.reliability.table import Table


def modes(
    project: ProjectOption = Path(),
    group: Annotated[str | None, typer.Option("--group", "-g", help="The source group whose student it is.")] = None,
    mode: Annotated[list[str] | None, typer.Option("--mode", help="A mode; again for more. Default: all.")] = None,
    documents: Annotated[
        int, typer.Option("--documents", min=1, max=DOCUMENTS_MAX, help="Documents a repetition.")
    ] = 96,
    repeat: Annotated[int, typer.Option("--repeat", min=1, help="Repetitions of each mode, in turn.")] = 5,
    out: RunsOption = None,
    json: JsonOption = False,
) -> None:
    """The scoring modes of a group in turn over the same documents: documents/s, tokens, and what the reliability table
    says they keep. A mode that the student was not taught is left out and named.

    It asks what the modes of this project cost as they are served, an engine each. What a mode can save at all, at
    prompts and replies of any length, asks bench/modes.py of the sources, whose columns of the same name are the same.
    """
    from mira_stream.benching.header import header
    from mira_stream.benching.modes import SCHEMA, ModesRun, rows_of
    from mira_stream.benching.saving import FOLDER, check_out, save_as, stamp
    from mira_stream.cli.bench_tables import print_modes, show_saved
    from mira_stream.cli.bench_tune import one_group
    from mira_stream.cli.output import said_if_stopped
    from mira_stream.clock import now_ms
    from mira_stream.config import load_project
    from mira_stream.streaming.service import run_service, until_stopped

    loaded = load_project(project)
    chosen = one_group(loaded, group)
    folder = out or loaded.path(FOLDER)
    check_out(folder)
    begun = header(loaded, [chosen], SCHEMA, stamp(now_ms()))
    asked, alive = _asked(mode), 1 if begun["machine"]["gpus"] else 2
    with said_if_stopped("stopped: nothing of this run is saved"):
        turns, left_out = run_service(
            lambda stop: until_stopped(_measure(loaded, chosen, asked, documents, repeat, alive), stop)
        )
    run = ModesRun(
        **begun,
        group=chosen,
        documents=documents,
        repetitions=repeat,
        rows=rows_of(turns, _table(loaded, chosen)),
        left_out=left_out,
    )
    path = save_as(run, folder / f"{run.taken_at}-modes.json")
    show_saved(run, path, print_modes, json=json)


def _asked(names: list[str] | None) -> "list[Mode]":
    from mira_stream.benching.modes import MODES
    from mira_stream.errors import UsageError

    for name in names or ():
        if name not in MODES:
            raise UsageError("mode_unknown", f"no mode {name!r} is measured", f"use one of {', '.join(MODES)}")
    return [mode for mode in MODES if not names or mode in names]


async def _measure(
    project: "Project", group: str, asked: "list[Mode]", documents: int, repeat: int, alive: int
) -> "tuple[dict[Mode, list[Turn]], dict[str, str]]":
    from mira_stream.benching.alternating import Alternating
    from mira_stream.benching.load import Load
    from mira_stream.benching.modes import measure_modes
    from mira_stream.cli.bench import given_documents
    from mira_stream.cli.output import say
    from mira_stream.consumers.scorer import build_engine

    load = Load(documents=documents, outstanding=project.settings.limits.in_flight_documents)
    engines = Alternating(group, given_documents(project, [group], documents), build_engine, load, say, alive)
    try:
        return await measure_modes(project, group, asked, repeat, engines)
    finally:
        await engines.close()


def _table(project: "Project", group: str) -> "Table | None":
    from mira_stream.reliability.table import load_table

    path = project.reliability_path(group)
    return load_table(path) if path.is_file() else None
