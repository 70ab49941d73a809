"""`mira-stream bench tune`: the engine's settings that are fastest on this machine, into mira.toml."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mira_stream.cli.options import JsonOption, ProjectOption, RunsOption

if TYPE_CHECKING:
    from mira_stream.config import Project
    from mira_stream.tuning.result import TuneRun
    from mira_stream.tuning.search import Tuned
    from mira_stream.tuning.space import Knob


def tune(
    project: ProjectOption = Path(),
    group: Annotated[str | None, typer.Option("--group", "-g", help="The source group whose engine it is.")] = None,
    knob: Annotated[
        list[str] | None,
        typer.Option("--knob", help="Search this setting only; again for more. Default: all."),
    ] = None,
    documents: Annotated[
        int, typer.Option("--documents", min=1, help="Documents a repetition: at least \\[limits] in_flight_documents.")
    ] = 96,
    repeat: Annotated[int, typer.Option("--repeat", min=3, help="Pairs of repetitions a comparison.")] = 6,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what is faster; leave mira.toml alone.")] = False,
    out: RunsOption = None,
    json: JsonOption = False,
) -> None:
    """Search max_num_seqs, max_num_batched_tokens, prefix_caching, chunked_prefill and engine_threads on this machine.

    One after the other, each value against the best so far, in alternating repetitions over the same documents; what
    is in force takes part. A value wins when the whole interval of its gain does, and must win once more at the end
    before mira.toml gets it. Stopped before the end, nothing is written.
    """
    from mira_stream.benching.header import header
    from mira_stream.benching.saving import FOLDER, check_out, save_as, stamp
    from mira_stream.cli.bench_tables import print_tune, show_saved
    from mira_stream.cli.output import said_if_stopped, say
    from mira_stream.clock import now_ms
    from mira_stream.config import FILE_NAME, load_project
    from mira_stream.reliability.acceptance import served_modes
    from mira_stream.scoring.origin import check_there
    from mira_stream.streaming.service import run_service, until_stopped
    from mira_stream.tuning.result import SCHEMA
    from mira_stream.tuning.space import check_documents

    loaded = load_project(project)
    chosen = one_group(loaded, group)
    check_there(served_modes(loaded, chosen).project, chosen)
    before = (loaded.root / FILE_NAME).read_bytes().decode()
    folder = out or loaded.path(FOLDER)
    check_out(folder)
    begun = header(loaded, [chosen], SCHEMA, stamp(now_ms()))
    on_gpu = bool(begun["machine"]["gpus"])
    notes = check_documents(documents, loaded.settings.limits)
    knobs = _knobs(loaded, chosen, knob, begun["machine"]["cores"], documents, on_gpu=on_gpu)
    for note in notes:
        say(note)
    with said_if_stopped("stopped: nothing is saved, mira.toml is as it was"):
        tuned = run_service(
            lambda stop: until_stopped(_search(loaded, chosen, knobs, documents, repeat, 1 if on_gpu else 2), stop)
        )
    written = bool(tuned.changes) and not dry_run
    if written:
        _write(loaded, chosen, before, tuned)
    run = _run(begun, loaded, chosen, knobs, documents, repeat, tuned, written, notes)
    path = save_as(run, folder / f"{run.taken_at}-tune.json")
    show_saved(run, path, print_tune, json=json)


def one_group(project: "Project", asked: str | None) -> str:
    """The group named, or the only one. Raises UsageError(bench_group, bench_engine)."""
    from mira_stream.cli.services import chosen_groups
    from mira_stream.errors import UsageError

    groups = chosen_groups(project, [asked] if asked else None)
    if len(groups) > 1:
        raise UsageError("bench_group", f"the project has groups {', '.join(groups)}", "name one with --group")
    if project.settings.groups[groups[0]].engine != "vllm":
        raise UsageError(
            "bench_engine", f"group {groups[0]!r} has an engine elsewhere", "measure it there: it is not this machine's"
        )
    return groups[0]


def _knobs(
    project: "Project", group: str, names: list[str] | None, cores: int, documents: int, *, on_gpu: bool
) -> "list[Knob]":
    """Those with a value to try, before anything is started. Raises UsageError(tune_nothing, tune_threads,
    knob_unknown)."""
    from mira_stream.cli.output import say
    from mira_stream.errors import UsageError
    from mira_stream.tuning.space import chosen, knobs

    section, limits = project.settings.groups[group], project.settings.limits
    engines = [name for name, other in project.settings.groups.items() if other.engine == "vllm"]
    shared = "" if on_gpu or len(engines) == 1 else f"the engines of {', '.join(engines)} share the cores"
    found = chosen(knobs(section, limits, cores, documents, threads=not on_gpu and not shared), names)
    if shared and "engine_threads" in (names or ()):
        raise UsageError(
            "tune_threads",
            f"{shared}: what one alone does says nothing of their threads",
            "leave --knob engine_threads out, or tune a project that has this group only",
        )
    if shared and not names:
        say(f"engine_threads is left out: {shared}, and one alone says nothing of that")
    if not found:
        raise UsageError(
            "tune_nothing",
            f"no value of {', '.join(names or ())} is another choice here than the one in force",
            "name another --knob, or none: all are searched then",
        )
    return found


async def _search(
    project: "Project", group: str, knobs: "list[Knob]", documents: int, pairs: int, alive: int
) -> "Tuned":
    from mira_stream.benching.alternating import Alternating
    from mira_stream.benching.load import Load
    from mira_stream.cli.bench import given_documents
    from mira_stream.cli.output import say
    from mira_stream.consumers.scorer import build_engine
    from mira_stream.tuning.running import run_search

    given = given_documents(project, [group], documents)
    load = Load(documents=documents, outstanding=min(documents, project.settings.limits.in_flight_documents))
    engines = Alternating(group, given, build_engine, load, say, alive)
    try:
        return await run_search(project, group, knobs, pairs, engines, say)
    finally:
        await engines.close()


def _write(project: "Project", group: str, before: str, tuned: "Tuned") -> None:
    """Raises ConfigError(toml_changed) if somebody else has written mira.toml meanwhile."""
    from mira_stream.config import FILE_NAME, read_settings
    from mira_stream.errors import ConfigError
    from mira_stream.tuning.written import with_settings
    from mira_stream.whole_file import replace_file

    path = project.root / FILE_NAME
    after = with_settings(before, group, tuned.changes)
    read_settings(after.encode(), path)
    if path.read_bytes().decode() != before:
        said = ", ".join(f"{name} = {value}" for name, value in tuned.changes.items())
        raise ConfigError("toml_changed", f"{path} was changed meanwhile", f"write into it yourself: {said}")
    replace_file(path, after.encode())


def _run(
    begun: dict[str, Any],
    project: "Project",
    group: str,
    knobs: "list[Knob]",
    documents: int,
    pairs: int,
    tuned: "Tuned",
    written: bool,
    notes: list[str],
) -> "TuneRun":
    from mira_stream.tuning.result import TuneRun

    return TuneRun(
        **begun,
        group=group,
        documents=documents,
        outstanding=min(documents, project.settings.limits.in_flight_documents),
        pairs=pairs,
        start={knob.name: knob.now for knob in knobs},
        changes=tuned.changes,
        written=written,
        notes=notes,
        duels=tuned.duels,
    )
