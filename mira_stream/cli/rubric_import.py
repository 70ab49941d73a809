"""`mira-stream rubric import`: an anchor file of somebody else as a group's rubric."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mira_stream.cli.options import JsonOption, ProjectOption

IMPORTED: Final = "rubric import"
"""No file's name: the same anchors are the same version, whatever their file is called."""

if TYPE_CHECKING:
    from mira_stream.rubric.anchors import Rubric


def import_(
    file: Annotated[Path, typer.Argument(help="JSON Lines: one anchor a line.")],
    group: Annotated[str, typer.Option("--group", "-g", help="The source group.")],
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", help="OURS=THEIRS: which field is name, examples, examples.score, ... Again for more."),
    ] = None,
    teacher: Annotated[str, typer.Option("--teacher", help="Whose anchors they are.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace a rubric that was in use.")] = False,
    project: ProjectOption = Path(),
    json: JsonOption = False,
) -> None:
    """Make an anchor file with other field names into rubrics/<group>.jsonl; its content hash is the version.

    The mapping of fields is shown; one that is missing or could be two is refused until --map says which it is.
    """
    from mira_stream.catalog.scaffold import CREATED_BY
    from mira_stream.cli.importing import hinted, read_text, replaceable, said_mapping
    from mira_stream.cli.output import emit, talk
    from mira_stream.cli.prompt import loaded_with
    from mira_stream.discovery.discover import save_rubric
    from mira_stream.rubric.importing import import_rubric

    loaded = loaded_with(project, group)
    path = loaded.rubric_path(group)
    before = _replaced(path)
    data = read_text(file).encode()
    maps = [word for one in map_ or [] for word in ("--map", one)]
    with hinted("mira-stream", "rubric", "import", str(file), "--group", group, "--project", str(project), *maps):
        found = import_rubric(
            data,
            group,
            said_mapping(map_),
            teacher=teacher or (before.header.teacher if before else "unknown"),
            created_by=IMPORTED,
        )
        _check_names(before, found.data, force)
        replaceable(path, force, lambda text: CREATED_BY in text.partition("\n")[0])
    version = save_rubric(loaded, group, found.data).version
    talk.print(", ".join(f"{ours} = {theirs}" for ours, theirs in found.mapping.items()), markup=False, soft_wrap=True)
    if found.left_out:
        talk.print(f"left out: {', '.join(found.left_out)}", markup=False, soft_wrap=True)
    talk.print(f"slots {found.order}; {path}: version {version}", markup=False, soft_wrap=True)
    if json:
        emit(
            {
                "group": group,
                "rubric": version,
                "mapping": found.mapping,
                "left_out": found.left_out,
                "order": found.order,
            }
        )


def _replaced(path: Path) -> "Rubric | None":
    """The rubric that will be replaced, if there is a readable one."""
    from mira_stream.errors import ConfigError
    from mira_stream.rubric.anchors import load_rubric

    try:
        return load_rubric(path)
    except ConfigError:
        return None


def _check_names(card: "Rubric | None", data: bytes, force: bool) -> None:
    """What `init --catalog` wrote has the card's names: anchors with others are of another group."""
    from mira_stream.catalog.scaffold import CREATED_BY
    from mira_stream.errors import UsageError
    from mira_stream.rubric.importing import anchor_names

    if card is None or card.header.created_by != CREATED_BY or force:
        return
    pairs = [(one.slot, one.name, name) for one, name in zip(card.anchors, anchor_names(data), strict=True)]
    other = [pair for pair in pairs if pair[1] != pair[2]]
    if other:
        slot, known, name = other[0]
        raise UsageError(
            "rubric_of_another",
            f"{len(other)} of {len(pairs)} names are not the card's, the first is {slot}: {name!r} for {known!r}",
            "import the anchor file of this group; if you know that the card errs: --force",
        )
