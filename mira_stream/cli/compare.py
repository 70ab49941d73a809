"""`mira-stream compare`: what a shadow would change, source by source, with both sets of score lines of the flips."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mira_stream.cli.connect import with_broker
from mira_stream.cli.options import BootstrapOption, JsonOption, ProjectOption

if TYPE_CHECKING:
    from mira_stream.audit.compare import Comparison, Flip, Share, SourceComparison
    from mira_stream.config import Project
    from mira_stream.messages import Decision
    from mira_stream.streaming.ports import Broker


def compare(
    shadow: Annotated[str, typer.Argument(metavar="NAME", help="The shadow: `mira-stream score --shadow NAME`.")],
    project: ProjectOption = Path(),
    newest: Annotated[
        int, typer.Option("--newest", min=1, help="Look at so many of the shadow's newest decisions a partition.")
    ] = 100_000,
    flips: Annotated[int, typer.Option("--flips", min=0, help="Documents to show that would change sides.")] = 3,
    bootstrap_servers: BootstrapOption = None,
    json: JsonOption = False,
) -> None:
    """Show what a shadow decides otherwise than the live stream: overlap, flips, tokens and shares by source.

    Both sides decided on the same documents, each at the thresholds of its own: a shadow that has just begun stands at
    its prior, and is not asked what was set by command since it was started; where the two were asked otherwise when
    they decided, that is said. The overlap of the best is without thresholds: as many by quality as the live one keeps.

    To put the changed project in force, publish its policy and start the services with it.
    """
    from mira_stream.cli.output import emit
    from mira_stream.cli.services import shadow_of
    from mira_stream.config import load_project
    from mira_stream.errors import UsageError

    tried = shadow_of(load_project(project), shadow)
    sources = with_broker(project, bootstrap_servers, _paired(tried, newest), shadow=shadow).sources()
    if not sources:
        raise UsageError(
            "shadow_empty",
            f"{tried.topic('decisions')} holds no decision",
            f"run the changed project first: mira-stream score --shadow {shadow}",
        )
    if json:
        emit({"shadow": shadow, "sources": {one.source: _plain(one, flips) for one in sources}})
        return
    _table(sources)
    for one in sources:
        for line in one.asked:
            typer.echo(f"{one.source} was asked otherwise, live -> shadow: {line}")
    for one in sources:
        for flip in one.flips[:flips]:
            _tell(flip)


def _paired(tried: "Project", newest: int) -> "Callable[[Project, Broker], Coroutine[Any, Any, Comparison]]":
    async def work(live: "Project", broker: "Broker") -> "Comparison":
        from mira_stream.audit.compare import Side
        from mira_stream.audit.compare import compare as pair

        sides = [Side(one.topic("decisions"), one.topic("dead-letters"), one.topic("policy")) for one in (live, tried)]
        reader = await broker.reader()
        try:
            return await pair(reader, sides[0], sides[1], newest, tried.settings.topics.scores_key)
        finally:
            await reader.close()

    return work


def _table(sources: "list[SourceComparison]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="live -> shadow, of the documents both have decided on", title_justify="left")
    table.add_column("source")
    for name in (
        "documents",
        "dead",
        "kept",
        "tokens kept",
        "overlap (of the best, by chance)",
        "rho",
        "kept anew",
        "dropped anew",
    ):
        table.add_column(name, justify="right")
    for one in sources:
        waits = f" (+{one.tried_only} not decided live)" if one.tried_only else ""
        table.add_row(
            one.source, f"{one.both.documents}{waits}", f"{one.live_dead} -> {one.tried_dead}",
            f"{_share(one.live.documents, one.both.documents)} -> {_share(one.tried.documents, one.both.documents)}",
            f"{_share(one.live.tokens, one.both.tokens)} -> {_share(one.tried.tokens, one.both.tokens)}",
            f"{_number(one.overlap)} ({_number(one.overlap_ranked)}, {_number(one.overlap_by_chance)})",
            _number(one.rho),
            _counted(one.kept_anew), _counted(one.dropped_anew),
        )  # fmt: skip
    Console(emoji=False, highlight=False).print(table)


def _tell(flip: "Flip") -> None:
    from mira_stream.cli.explain import printable

    would = "would be kept" if flip.tried.selected else "would be dropped"
    typer.echo(printable(f"\n{flip.live.source}  {flip.live.id}  {would}"))
    for name, side in (("live", flip.live), ("shadow", flip.tried)):
        typer.echo(
            printable(
                f"  {name:7} {side.decision:10} {side.reason:12} quality {side.quality:5.1f}  {_lines(side)}"
                + (f"  {side.brief}" if side.brief else "")
            )
        )


def _lines(side: "Decision") -> str:
    """Fifteen scores in slot order; in brackets those that do not count."""
    from mira_stream.messages import SLOTS

    used = frozenset(side.dimensions_used)
    shown = ("-" if score is None else f"{score:g}" for score in side.scores)
    return " ".join(one if slot in used else f"[{one}]" for slot, one in zip(SLOTS, shown, strict=True))


def _plain(one: "SourceComparison", flips: int) -> dict[str, Any]:
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(one)
    found["flips"] = [
        {"id": flip.live.id, "live": _side(flip.live), "tried": _side(flip.tried)} for flip in one.flips[:flips]
    ]
    for name in ("both", "live", "tried", "kept_anew", "dropped_anew"):
        found[name] = getattr(one, name)._asdict()
    return found


def _side(side: "Decision") -> dict[str, Any]:
    return {
        "lineage": side.lineage,
        "decision": side.decision,
        "selected": side.selected,
        "reason": side.reason,
        "quality": side.quality,
        "scores": side.scores,
        "dimensions_used": side.dimensions_used,
    }


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _counted(share: "Share") -> str:
    return f"{share.documents} ({share.tokens:,} tokens)"
