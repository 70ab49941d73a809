"""`mira-stream init`: a MIRA project directory from a user's files, for released students, or the demo's."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mira_stream.cli.options import JsonOption

if TYPE_CHECKING:
    from mira_stream.cli.scaffold import OwnSource

NO_TEACHER: Final = (
    "teacher: featurejudge, a stand-in that measures features and understands nothing; name a model of yours in"
    " [teacher] of mira.toml before anything is judged in earnest"
)


def init(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The directory to write; nothing in it is replaced.")
    ],
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=]PATH", help="Files or folders, each a source.")
    ] = None,
    catalog: Annotated[
        list[str] | None, typer.Option("--catalog", help="A released student, for example agent-4. Again for more.")
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="The demo's own sources.")] = False,
    family: Annotated[
        list[str] | None, typer.Option("--family", help="[NAME=]text|qa|agent, where the rows leave it open.")
    ] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", help="[NAME:]KEY=COLUMN, for example x:text=body: which column is what."),
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Let a released student run code of its own.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write a project directory with commented settings, and say which commands come next.

    The first rows of your files tell their family and columns; what they leave in doubt is asked for.
    """
    from mira_stream.cli.output import emit, talk

    if sum((bool(paths), bool(catalog), demo)) != 1:
        from mira_stream.errors import UsageError

        raise UsageError("init_what", "a project of what?", "name one of these: files, --catalog NAME, --demo")
    sources: list[OwnSource] = []
    if catalog:
        files, commands = _catalogued(directory, catalog, trust_remote_code)
    elif demo:
        from mira_stream.cli.scaffold import demo_settings, next_commands

        files, commands = {"mira.toml": demo_settings().encode()}, next_commands(str(directory))
    else:
        files, commands, sources = _own(directory, paths or [], family or [], map_ or [])
    _write(directory, files)
    for source in sources:
        talk.print(_said(source), markup=False, soft_wrap=True)
    if sources:
        talk.print(NO_TEACHER, markup=False, soft_wrap=True)
    talk.print(f"written: {', '.join(sorted(files))} in {directory}. Next:", markup=False, soft_wrap=True)
    for command in commands:
        talk.print(f"  {command}", markup=False, soft_wrap=True)
    if json:
        found = {one.name: {"family": one.inferred.family, "columns": one.inferred.columns} for one in sources}
        emit({"project": str(directory), "files": sorted(files), "sources": found, "next": commands})


def _catalogued(directory: Path, names: list[str], trust_remote_code: bool) -> tuple[dict[str, bytes], list[str]]:
    from mira_stream.catalog import find, load_catalog
    from mira_stream.catalog.scaffold import next_commands, project_files

    found = load_catalog()
    students = list({name.lower(): find(found, name) for name in names}.values())
    files = project_files(students, found, trust_remote_code=trust_remote_code)
    return files, next_commands(students, str(directory))


def _own(
    directory: Path, paths: list[str], families: list[str], maps: list[str]
) -> tuple[dict[str, bytes], list[str], "list[OwnSource]"]:
    from mira_stream.cli.scaffold import next_commands, own_settings, own_sources
    from mira_stream.parquet import READERS

    sources = own_sources(directory, paths, families, maps, READERS)
    return {"mira.toml": own_settings(sources).encode()}, next_commands(str(directory)), sources


def _write(directory: Path, files: dict[str, bytes]) -> None:
    """All of the files, or none if one of them is there."""
    from mira_stream.errors import UsageError

    there = sorted(name for name in files if (directory / name).exists())
    if there:
        raise UsageError("project_exists", f"{directory} has {', '.join(there)}", "name another directory")
    try:
        for name, data in files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(data)
    except OSError as error:
        raise UsageError(
            "project_unwritable", f"{directory}: {error.strerror}", "name a directory you may write"
        ) from None


def _said(source: "OwnSource") -> str:
    found = source.inferred
    columns = ", ".join(f"{key} = {column}" for key, column in found.columns.items()) or "columns as they are called"
    text = (
        f"{source.name}: {found.family}, {columns}; {found.readable} of {found.rows} rows of {source.looked} files read"
    )
    left = source.files - source.looked
    more = f"; {left} more files not looked into" if left else ""
    return f"{text}{more}" + (f"; the first that is not: {found.example}" if found.example else "")
