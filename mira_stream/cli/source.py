"""`mira-stream source add`: a new source, without a restart of anything."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mira_stream.cli.options import BootstrapOption, JsonOption, ProjectOption

if TYPE_CHECKING:
    from mira_stream.config import Project
    from mira_stream.messages import Mask, Policy
    from mira_stream.selecting.adding import Addition
    from mira_stream.selecting.policies import PolicyLog
    from mira_stream.streaming.ports import Broker

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True, help="Sources of a running stream."
)


@app.callback()
def _root() -> None:
    """Sources of a running stream."""


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="The new source.")],
    like: Annotated[
        str | None,
        typer.Option(
            "--like", help="Begin as this source: its group, masks, prior, columns and all that is asked of it."
        ),
    ] = None,
    group: Annotated[str | None, typer.Option("--group", help="Begin as this group is as a whole.")] = None,
    path: Annotated[str, typer.Option("--path", help="Its files, for `produce files`.")] = "",
    retention: Annotated[float | None, typer.Option("--retention", min=0, max=1, help="Share to keep.")] = None,
    project: ProjectOption = Path(),
    bootstrap_servers: BootstrapOption = None,
    json: JsonOption = False,
) -> None:
    """Add a source to the running stream and to mira.toml: scorer, aggregator and exporter take it up as they are.

    It is judged by what was measured on the source or group it begins as, until it is measured itself.
    """
    from mira_stream.cli.connect import with_broker
    from mira_stream.cli.output import emit
    from mira_stream.errors import UsageError
    from mira_stream.selecting.adding import asked_of, check_name

    check_name(name)
    if (like is None) == (group is None):
        raise UsageError("source_place", "give --like SOURCE or --group GROUP", "one of the two, not both")

    async def work(loaded: "Project", broker: "Broker") -> "Addition":
        return await add_source(loaded, broker, name, like=like, group=group, path=path, retention=retention)

    made = with_broker(project, bootstrap_servers, work)
    asked = asked_of(made.policy)
    if json:
        emit({"source": name, "group": made.group, "written": len(made.records), "asked": asked})
        return
    own = ", ".join(f"{field} {value}" for field, value in asked.items())
    typer.echo(f"{name} is in group {made.group}; {own or 'nothing of its own'} is asked of it")
    if made.policy.by == "command":
        typer.echo(
            "mira.toml cannot say all of that: it stands as set by command, and `policy apply` would take it back"
        )
    typer.echo(_how_to_feed(name, project, bootstrap_servers))


def _how_to_feed(name: str, root: Path, bootstrap_servers: str | None) -> str:
    """The command as it is to be typed where this one was, and what has to be done before."""
    from shlex import quote

    from mira_stream.config import load_project

    where = "" if root == Path() else f" --project {quote(str(root))}"
    where += "" if bootstrap_servers is None else f" --bootstrap-servers {quote(bootstrap_servers)}"
    feed = f"mira-stream produce files {name}{where}"
    if load_project(root).settings.sources[name].path:
        return f"feed it: {feed}"
    return (
        f'it has no files yet: add path = "FILES" to [sources.{name}] in mira.toml, then {feed};'
        f" or post documents of it: mira-stream produce http{where}"
    )


async def add_source(
    project: "Project",
    broker: "Broker",
    name: str,
    *,
    like: str | None,
    group: str | None,
    path: str,
    retention: float | None,
) -> "Addition":
    """Register first, then write mira.toml: nothing can be produced before the stream knows the source. Asked again for
    the same, it goes on where it was cut off; for anything else it is refused (source_exists)."""
    from mira_stream.config import FILE_NAME, read_settings
    from mira_stream.discovery.placing import with_source
    from mira_stream.errors import UsageError
    from mira_stream.parquet import read_columns
    from mira_stream.scoring.lineage import lineage
    from mira_stream.selecting.adding import Addition, addition
    from mira_stream.selecting.publish import commit_policy
    from mira_stream.selecting.wanted import mask_under
    from mira_stream.whole_file import replace_file

    toml = project.root / FILE_NAME
    before = toml.read_text(encoding="utf-8")
    section = read_settings(before.encode(), toml).sources.get(name)
    if section is not None and section.group is None:
        raise UsageError(
            "source_unplaced", f"mira.toml has {name!r}, in no group yet", f"mira-stream rubric place {name}"
        )
    if section is not None and path not in ("", section.path):
        raise UsageError(
            "source_exists",
            f"mira.toml has [sources.{name}] already, with path {section.path!r}; nothing was written",
            "change that line there; --path is for a new source",
        )
    mask_for = mask_under(project, lineage, read_columns)
    made: list[Addition] = []

    def in_toml() -> str:
        return with_source(before, name, made[0].group, like, path, made[0].retention)

    def decide(log: "PolicyLog") -> "list[tuple[str, Policy | Mask]]":
        made.append(addition(log, name, group, like, retention, mask_for, section))
        read_settings(in_toml().encode(), toml)  # what could not be read afterwards is refused before a record is
        return made[0].records

    await commit_policy(broker, project, decide)
    after = in_toml()
    if after != before:
        replace_file(toml, after.encode())
    return made[0]
