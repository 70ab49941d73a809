"""`mira-stream rubric group | place | discover | show | diff | import`: stage 1 of MIRA."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mira_stream.cli.options import (
    AskAgainOption,
    ConcurrencyOption,
    JsonOption,
    MaxCostOption,
    MaxTokensOption,
    ProjectOption,
    RetryUnreadOption,
)
from mira_stream.cli.rubric_import import import_

if TYPE_CHECKING:
    from mira_stream.config import Project
    from mira_stream.rubric.anchors import Rubric
    from mira_stream.rubric.diff import Match

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Group sources, discover their rubrics, show, compare and import them.",
)
app.command("import")(import_)

KOption = Annotated[
    list[str] | None,
    typer.Option("--k", help="N groups in every family, or FAMILY=N, again for more. 0: chosen by silhouette."),
]


@app.callback()
def _group() -> None:
    """Groups of sources and their rubrics."""


@app.command()
def group(
    k: KOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the groups, write nothing.")] = False,
    project: ProjectOption = Path(),
    json: JsonOption = False,
) -> None:
    """Put sources into groups by what their documents say; write mira.toml and reports/grouping.html."""
    from mira_stream.cli.grouping import group_project, numbers_of_groups
    from mira_stream.cli.output import emit, talk
    from mira_stream.config import load_project

    loaded = load_project(project)
    report = group_project(loaded, numbers_of_groups(loaded, k), dry_run=dry_run)
    for found in report["groups"]:
        within = "one source" if found["within_cosine"] is None else f"cosine inside {found['within_cosine']:.3f}"
        talk.print(f"{found['group']}: {', '.join(found['sources'])} ({within})", markup=False, soft_wrap=True)
    for a, b, cosine in report["between_cosine"]:
        talk.print(f"between {a} and {b}: cosine {cosine:.3f}", markup=False)
    for line in _grouping_warnings(report):
        talk.print(f"warning: {line}", markup=False, soft_wrap=True)
    written = "nothing written (--dry-run)" if dry_run else str(loaded.root / "reports" / "grouping.html")
    talk.print(written, markup=False, soft_wrap=True)
    if json:
        emit({**report, "written": not dry_run})


@app.command()
def place(
    source: Annotated[str, typer.Argument(help="A source of mira.toml.")],
    project: ProjectOption = Path(),
    json: JsonOption = False,
) -> None:
    """Put a new source into the nearest group of its family; one that is near none is novel: exit code 1."""
    from mira_stream.cli.grouping import place_project
    from mira_stream.cli.output import emit, talk
    from mira_stream.config import load_project
    from mira_stream.errors import CheckFailed

    loaded = load_project(project)
    if not any(section.group for section in loaded.settings.sources.values()):
        raise CheckFailed(
            "groups_missing",
            "no source is in a group yet: there is none to place it in",
            f"put all sources into groups: mira-stream rubric group --project {project}",
        )
    placement, novel = place_project(loaded, source)
    before = loaded.settings.sources[source].group
    below = loaded.settings.grouping.novel_below
    if json:
        emit(
            {
                "source": source,
                "group": None if novel else placement.group,
                "nearest": placement.group,
                "cosine": placement.cosine,
                "novel": novel,
                "novel_below": below,
                "cosines": placement.cosines,
            }
        )
    if not novel:
        moved = f" (it was in {before})" if before not in (None, placement.group) else ""
        talk.print(f"{source}: group {placement.group}, cosine {placement.cosine:.3f}; written{moved}", markup=False)
        return
    far = "its family has no group with documents"
    if placement.group is not None:
        far = f"the nearest group is {placement.group}, cosine {placement.cosine:.3f}, under novel_below = {below:g}"
    raise CheckFailed(
        "source_novel",
        f"{source!r} is novel: {far}; nothing was written",
        f"mira-stream rubric group --dry-run --project {project} shows all sources grouped anew; or give {source} a"
        " [groups.G] of its own"
        " and run mira-stream rubric discover --group G; or set its group yourself",
    )


@app.command()
def discover(
    groups: Annotated[list[str] | None, typer.Option("--group", "-g", help="A source group. Again for more.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All groups that have sources.")] = False,
    documents: Annotated[
        int | None,
        typer.Option(
            "--documents",
            min=1,
            help="Documents judged, of a group; all, if it has fewer (default: \\[discovery] documents, 30,000 unless"
            " mira.toml says otherwise).",
        ),
    ] = None,
    max_cost: MaxCostOption = None,
    max_tokens: MaxTokensOption = None,
    concurrency: ConcurrencyOption = None,
    retry_unread: RetryUnreadOption = False,
    yes: AskAgainOption = False,
    project: ProjectOption = Path(),
    json: JsonOption = False,
) -> None:
    """Let the teacher name what matters in a group's documents; make rubrics/<group>.jsonl of it.

    Answers are kept in work/discover-<group>.journal: after any end the same command goes on, and none is paid for
    twice. --max-cost and --max-tokens count a group's journal, each group by itself. Documents without a judgement are
    listed in work/discover-<group>.unanswered.jsonl. With the feature judge as teacher, discovery shows the plumbing,
    not the insight.
    """
    from mira_stream.cli.discovering import Order, discover_group
    from mira_stream.cli.output import emit, talk
    from mira_stream.config import load_project

    loaded = load_project(project)
    order = Order(documents, max_cost, max_tokens, concurrency, retry_unread, yes)
    found = []
    for one in _chosen(loaded, groups or [], all_):
        made = discover_group(loaded, one, order)
        talk.print(f"{made['path']}: version {made['rubric']}", markup=False, soft_wrap=True)
        found.append(made)
        order = order._replace(introduced=True)
    if json:
        emit({"groups": found})


@app.command()
def show(
    group: Annotated[str, typer.Argument(help="The source group.")],
    project: ProjectOption = Path(),
    json: JsonOption = False,
) -> None:
    """Show a group's rubric: its slots, cluster sizes, descriptions and examples."""
    from mira_stream.cli.output import emit, talk
    from mira_stream.config import load_project
    from mira_stream.rubric.anchors import load_rubric

    rubric = load_rubric(_rubric_of(load_project(project), group))
    header = rubric.header
    made = ", ".join(f"{name} {value}" for name, value in _made_of(rubric).items() if value is not None)
    talk.print(f"{header.group}: version {rubric.version}, {made}", markup=False, soft_wrap=True)
    for anchor in rubric.anchors:
        size = "" if anchor.cluster_size is None else f" ({anchor.cluster_size:,})"
        talk.print(f"{anchor.slot:4}{anchor.name}{size}", style="bold", markup=False)
        if anchor.description:
            talk.print(f"    {anchor.description}", markup=False)
        for example in anchor.examples:
            talk.print(f"    {example.score:g}: {example.reason}", markup=False)
        if anchor.runner_up_names:
            talk.print(f"    also: {'; '.join(anchor.runner_up_names)}", markup=False)
    if json:
        import msgspec

        emit({"version": rubric.version, **msgspec.to_builtins(header), "anchors": msgspec.to_builtins(rubric.anchors)})


@app.command()
def diff(
    before: Annotated[str, typer.Argument(help="A group, or a rubric file.")],
    after: Annotated[str, typer.Argument(help="A group, or a rubric file.")],
    project: ProjectOption = Path(),
    json: JsonOption = False,
) -> None:
    """Compare two rubrics: slots matched by name, the others by what they mean. Exit code 1 if they differ."""
    from mira_stream.cli.output import emit, talk
    from mira_stream.rubric.anchors import load_rubric
    from mira_stream.rubric.diff import compare

    rubrics = [load_rubric(_rubric_file(name, project)) for name in (before, after)]
    matches = compare(rubrics[0], rubrics[1], *_anchor_vectors(rubrics, project))
    moved = [_match(match) for match in matches]
    same = rubrics[0].version == rubrics[1].version
    for line in moved:
        _say_match(line)
    by_name = sum(match.how == "same" for match in matches)
    versions = [f"{name} is version {rubric.version}" for name, rubric in zip((before, after), rubrics, strict=True)]
    said = "the same rubric" if same else f"{by_name} of {len(rubrics[0].anchors)} slots have the same name"
    talk.print(f"{', '.join(versions)}: {said}", markup=False, soft_wrap=True)
    if json:
        emit({"before": rubrics[0].version, "after": rubrics[1].version, "same": same, "slots": moved})
    raise typer.Exit(0 if same else 1)


def _chosen(project: "Project", groups: list[str], everything: bool) -> list[str]:
    from mira_stream.cli.services import chosen_groups
    from mira_stream.errors import UsageError

    if bool(groups) == everything:
        raise UsageError("group_missing", "name groups with -g, or all with --all", "one of both")
    if not everything:
        return chosen_groups(project, groups)
    return [group for group in chosen_groups(project, None) if project.settings.sources_of(group)]


def _grouping_warnings(report: dict[str, Any]) -> list[str]:
    lines = [f"{name} has few documents: its place is uncertain" for name in report["few_documents"]]
    lines += [
        f"the sources of {name} are less alike than novel_below: a larger --k FAMILY=N parts them"
        for name in report["unlike"]
    ]
    lines += [f"rubrics/{name}.jsonl was made for other sources: discover it anew" for name in report["moved"]]
    lines += [
        f"group {name} has no source: remove it, or services will run for nothing" for name in report["without_sources"]
    ]
    return lines


def _made_of(rubric: "Rubric") -> dict[str, Any]:
    header = rubric.header
    return {
        "teacher": header.teacher,
        "by": header.created_by,
        "documents": (header.sample or {}).get("documents"),
        "embedding": header.embedding,
        "name rule": header.name_rule,
        "seed": header.seed,
    }


def _rubric_file(name: str, project: Path) -> Path:
    """A file if there is one of that name, else the rubric of a group."""
    from mira_stream.config import load_project

    return Path(name) if Path(name).is_file() else _rubric_of(load_project(project), name)


def _rubric_of(project: "Project", group: str) -> Path:
    """Where it stands. Raises UsageError(group_unknown) if there is neither such a file nor such a group."""
    from mira_stream.cli.services import chosen_groups

    path = project.rubric_path(group)
    return path if path.is_file() else project.rubric_path(*chosen_groups(project, [group]))


def _anchor_vectors(rubrics: "list[Rubric]", project: Path) -> list[Any]:
    """Embedded by the project's model; without a project, by the packaged one."""
    from mira_stream.cli.grouping import embedding_of
    from mira_stream.config import FILE_NAME, load_project
    from mira_stream.embedding import PACKAGED, Embedder
    from mira_stream.rubric.diff import anchor_text

    name = embedding_of(load_project(project)) if (project / FILE_NAME).is_file() else PACKAGED
    embedder = Embedder(name)
    return [embedder.embed([anchor_text(anchor) for anchor in rubric.anchors]) for rubric in rubrics]


def _match(match: "Match") -> dict[str, Any]:
    before, after = match.before, match.after
    return {
        "how": match.how,
        "before": None if before is None else {"slot": before.slot, "name": before.name},
        "after": None if after is None else {"slot": after.slot, "name": after.name},
        "cosine": None if match.cosine is None else round(match.cosine, 4),
    }


def _say_match(line: dict[str, Any]) -> None:
    from mira_stream.cli.output import talk

    sides = ["-" if side is None else f"{side['slot']} {side['name']}" for side in (line["before"], line["after"])]
    alike = "" if line["cosine"] is None else f" (cosine {line['cosine']:.2f})"
    talk.print(f"{line['how']:8} {sides[0]} -> {sides[1]}{alike}", markup=False, soft_wrap=True)
