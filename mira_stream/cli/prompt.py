"""`mira-stream prompt import | show`: a student's own prompt templates, and what the student is sent."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mira_stream.cli.options import JsonOption, ProjectOption

if TYPE_CHECKING:
    from mira_stream.config import Project
    from mira_stream.messages import Document

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Import a student's own prompt templates; show what a student is sent.",
)
GroupOption = Annotated[str, typer.Option("--group", "-g", help="The source group.")]


@app.callback()
def _group() -> None:
    """A group's prompt templates."""


@app.command("import")
def import_(
    group: GroupOption,
    system: Annotated[Path | None, typer.Option("--system", help="The system message's template.")] = None,
    user: Annotated[Path | None, typer.Option("--user", help="The user message's template.")] = None,
    template: Annotated[
        Path | None, typer.Option("--template", help="One template for a prompt of one user message, no system part.")
    ] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map", help="NAME=calibration|dimensions|document|literal: what a placeholder means. Again for more."
        ),
    ] = None,
    style: Annotated[
        str | None,
        typer.Option("--style", help="dollar ${name}, python {name} or jinja {{ name }}; default: told by the names."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace templates that were in use.")] = False,
    project: ProjectOption = Path(),
    json: JsonOption = False,
) -> None:
    """Make templates in their authors' words into prompts/<group>/system.txt and user.txt.

    Placeholders become ${calibration}, ${dimensions} and ${document}; the mapping is shown.
    One that is unknown or ambiguous is refused. All other text stays as it is.
    """
    from mira_stream.catalog.templates import import_templates
    from mira_stream.cli.importing import hinted, read_text, replaceable, said_mapping
    from mira_stream.cli.output import emit, talk
    from mira_stream.prompt import NOT_IMPORTED, check_templates
    from mira_stream.whole_file import replace_file

    loaded = loaded_with(project, group)
    folder = loaded.prompts_path(group)
    with hinted("mira-stream", "prompt", "import", "--group", group, "--project", str(project)):
        parts = _parts(system, user, template)
    given = {"--system": system, "--user": user, "--template": template, "--style": style}
    words = [word for flag, one in given.items() if one for word in (flag, str(one))]
    words += [word for one in map_ or [] for word in ("--map", one)]
    with hinted("mira-stream", "prompt", "import", "--group", group, "--project", str(project), *words):
        in_system, in_user = (read_text(part) if part else "" for part in parts)
        found = import_templates(in_system, in_user, said_mapping(map_), _style(style))
        files = {folder / "system.txt": found.system, folder / "user.txt": found.user}
        for path in files:
            replaceable(path, force, lambda text: text.startswith(NOT_IMPORTED))
    check_templates(found.system, found.user, folder, None)
    for path, text in files.items():
        replace_file(path, text.encode())
    mapped = ", ".join(f"{a} -> {b}" for a, b in found.mapping.items())
    talk.print(f"style {found.style}; {mapped}", markup=False, soft_wrap=True)
    for ours, what in (("calibration", "the rubric's examples"), ("dimensions", "the rubric's names")):
        if ours not in found.mapping.values():
            talk.print(f"warning: no placeholder is {ours}: a student is shown nothing of {what}", markup=False)
    if found.halved:
        talk.print("doubled braces became single ones, as str.format makes them")
    see = f"mira-stream prompt show --group {group} --project {project}"
    talk.print(f"written: {folder}. See it: {see}", markup=False, soft_wrap=True)
    if json:
        emit(
            {
                "group": group,
                "style": found.style,
                "mapping": found.mapping,
                "halved": found.halved,
                "folder": str(folder),
            }
        )


@app.command()
def show(
    group: GroupOption,
    document: Annotated[
        str | None, typer.Option("--document", help="A file, or the id of a document in the group's sources.")
    ] = None,
    project: ProjectOption = Path(),
    json: JsonOption = False,
) -> None:
    """Print the chat messages a student is sent; without --document, with ${document} where it goes."""
    from mira_stream.cli.output import emit, talk
    from mira_stream.prompt import load_prompt
    from mira_stream.rubric.anchors import load_rubric

    loaded = loaded_with(project, group)
    prompt = load_prompt(loaded.prompts_path(group), load_rubric(loaded.rubric_path(group)))
    view, cut = ("${document}", None) if document is None else _view(loaded, group, document)
    messages = prompt.messages(view)
    if json:
        emit({"group": group, "messages": messages, "prompt": prompt.files_sha256, "view": cut})
        return
    for message in messages:
        talk.print(f"--- {message['role']}", markup=False)
        typer.echo(message["content"])
    if cut is not None:
        talk.print(f"--- view: {cut}", markup=False)


def _parts(system: Path | None, user: Path | None, template: Path | None) -> tuple[Path | None, Path]:
    from mira_stream.errors import UsageError

    if template is not None and system is None and user is None:
        return None, template
    if template is None and user is not None:
        return system, user
    raise UsageError(
        "prompt_files", "which file is which?", "say it: --system FILE --user FILE (or --template FILE alone)"
    )


def _style(style: str | None) -> Any:
    from mira_stream.catalog.templates import PATTERNS
    from mira_stream.errors import UsageError

    if style is not None and style not in PATTERNS:
        raise UsageError("prompt_style", f"--style {style}", f"one of {', '.join(PATTERNS)}")
    return style


def loaded_with(project: Path, group: str) -> "Project":
    """The project, if it has that group. Raises UsageError(group_unknown)."""
    from mira_stream.config import load_project
    from mira_stream.errors import UsageError

    loaded = load_project(project)
    if group not in loaded.settings.groups:
        known = ", ".join(sorted(loaded.settings.groups)) or "none"
        raise UsageError("group_unknown", f"the project has no group {group!r}", f"use one of {known}")
    return loaded


def _view(project: "Project", group: str, named: str) -> tuple[str, str]:
    """What the student sees of the document, and how it was cut. Without its tokenizer it is shown whole."""
    from mira_stream.errors import DocumentError, UsageError
    from mira_stream.render import render
    from mira_stream.scoring.tokenizer import StudentTokenizer
    from mira_stream.scoring.views import view_of

    settings = project.settings.groups[group]
    document = _document(project, group, named)
    folder = project.served_path(group)
    try:
        if not (folder / "tokenizer.json").is_file():
            return render(document, settings.family), "whole: the student's tokenizer is not here to cut it"
        tokenizer = StudentTokenizer(folder)
        cutoff = project.settings.tokens.train_cutoff_tokens
        view = view_of(document, settings, cutoff, tokenizer.tokenize, tokenizer.special_tokens)
    except DocumentError as error:
        raise UsageError("document_unfit", f"{named}: {error}", "name another; the scorer refuses it, too") from None
    return view.text, f"{view.view} ({view.tokens} tokens before the cut to the student's budget)"


def _document(project: "Project", group: str, named: str) -> "Document":
    """The first document of a file, or the one with this id. Raises UsageError(document_unknown)."""
    from mira_stream.errors import UsageError
    from mira_stream.ingest import RowMapping, find_corpus, read_file
    from mira_stream.messages import Document, decoder
    from mira_stream.parquet import READERS
    from mira_stream.sections import SourceSection

    settings = project.settings
    family, most = settings.groups[group].family, settings.ingest.inline_bytes_max
    is_file = Path(named).is_file()
    sources = {name: settings.sources[name] for name in settings.sources_of(group)}
    mapped = next(iter(sources.values()), SourceSection(group=group))
    places = (
        [("shown", mapped, Path(named))]
        if is_file
        else [
            (name, one, project.path(one.path))
            for name, one in sources.items()
            if one.path and project.path(one.path).exists()
        ]
    )
    read = decoder(Document)
    for name, section, path in places:
        for file in find_corpus(path).files:
            for reading in read_file(file, "", RowMapping(name, section, family, most), 0, READERS):
                if not reading.rejected and (is_file or reading.id == named):
                    return read.decode(reading.value)
    looked = ", ".join(str(path) for _, _, path in places) or "no source with files"
    raise UsageError(
        "document_unknown", f"no document {named!r} in {looked}", "name a file, or an id of the group's sources"
    )
