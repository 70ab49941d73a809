"""`mira-stream dlq list | show | replay`: documents that could not be judged, why, and once more."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mira_stream.cli.connect import with_broker
from mira_stream.cli.options import BootstrapOption, JsonOption, ProjectOption

if TYPE_CHECKING:
    from mira_stream.audit.letters import Found, Wanted
    from mira_stream.config import Project
    from mira_stream.messages import Ref
    from mira_stream.producers.replay import Replayed
    from mira_stream.streaming.ports import Broker

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Dead letters: documents that could not be judged, why, and once more.",
)
StageOption = Annotated[list[str] | None, typer.Option("--stage", help="produce, score or aggregate. Again for more.")]
ReasonOption = Annotated[list[str] | None, typer.Option("--reason", help="For example too_long. Again for more.")]
SourceOption = Annotated[list[str] | None, typer.Option("--source", help="Again for more.")]
NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="PLACE|ID", help="A letter's place (partition@offset) or a document's id."),
]
ERROR_CHARACTERS = 100


@app.command("list")
def list_(
    stage: StageOption = None,
    reason: ReasonOption = None,
    source: SourceOption = None,
    newest: Annotated[int, typer.Option("--newest", min=0, help="Show so many, the newest; all are counted.")] = 20,
    project: ProjectOption = Path(),
    bootstrap_servers: BootstrapOption = None,
    json: JsonOption = False,
) -> None:
    """Count dead letters by stage, source and reason, and show the newest."""
    from mira_stream.cli.output import emit

    found = with_broker(project, bootstrap_servers, _all(_wanted(None, stage, reason, source)))
    counts: Counter[tuple[str, str, str]] = Counter(
        (one.letter.stage, one.letter.source or "-", one.letter.reason) for one in found
    )
    shown = sorted(found, key=lambda one: (one.timestamp_ms, one.place))[max(0, len(found) - newest) :]
    if json:
        tally = [{"stage": a, "source": b, "reason": c, "letters": n} for (a, b, c), n in sorted(counts.items())]
        emit({"letters": len(found), "counts": tally, "newest": [_plain(one) for one in shown]})
        return
    _counts_table(counts)
    for one in shown:
        error = one.letter.error[:ERROR_CHARACTERS]
        named = one.letter.id or (one.letter.ref and _where(one.letter.ref)) or "-"
        _say(f"{one.place!s:>10}  {one.letter.stage:9} {one.letter.reason:18} {named}  {error}")
    if len(found) > len(shown):
        _say(f"and {len(found) - len(shown)} older ones: --newest shows more")


@app.command()
def show(
    names: NamesArgument = None,
    project: ProjectOption = Path(),
    bootstrap_servers: BootstrapOption = None,
    json: JsonOption = False,
) -> None:
    """Show letters in full: where the document stands, what was wrong, and its first bytes."""
    from mira_stream.cli.output import emit
    from mira_stream.errors import UsageError

    if not names:
        raise UsageError("letter_missing", "which letter?", "name a place or an id: mira-stream dlq list shows them")
    found = with_broker(project, bootstrap_servers, _all(_wanted(names, None, None, None), heads=True))
    if json:
        emit({"letters": [_plain(one) | {"head": one.letter.head} for one in found]})
        return
    for one in found:
        _tell(one)


@app.command()
def replay(
    names: NamesArgument = None,
    stage: StageOption = None,
    reason: ReasonOption = None,
    source: SourceOption = None,
    everything: Annotated[bool, typer.Option("--all", help="All letters there are.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also those that were replayed before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be replayed; write no document.")] = False,
    most: Annotated[
        int | None,
        typer.Option(
            "--most",
            min=1,
            help="So many at most of those that died of what stops a stage (reply_unreadable, engine_refused, "
            "unknown_source). Default: half of what stops it in a row.",
        ),
    ] = None,
    project: ProjectOption = Path(),
    bootstrap_servers: BootstrapOption = None,
    json: JsonOption = False,
) -> None:
    """Put the documents of dead letters into the stream once more, after their cause was mended.

    Each becomes a new record with an outcome of its own; the letter stays. A letter of stage produce is read from its
    file again, by the mapping that mira.toml has now. No letter is replayed twice, unless --again says so; a document
    that dies again has a new letter. Of what stops a stage when there is too much of it in a row, only a part is
    replayed at a time: see how it fares, then run it again.
    Exit code 1 if a document could not be had.
    """
    from mira_stream.cli.output import emit
    from mira_stream.errors import UsageError

    if everything == bool(names or stage or reason or source):
        raise UsageError("replay_what", "which letters?", "name some, or --stage, --reason, --source; or --all of them")
    wanted = _wanted(names, stage, reason, source)
    done = with_broker(project, bootstrap_servers, _replayed(wanted, again, dry_run, most))
    counts = Counter(one.outcome for one in done)
    if json:
        rows = [{"place": str(one.place), "id": one.id, "outcome": one.outcome, "why": one.why} for one in done]
        emit({"counts": dict(sorted(counts.items())), "letters": rows})
    else:
        for one in done:
            if one.outcome == "gone":
                _say(f"{one.place!s:>10}  {one.id or '-'}: {one.why}")
        _say(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(counts.items())) or "no letters")
        if counts["left"]:
            _say("left: if these end well, run it again; or --most N")
    raise typer.Exit(1 if counts["gone"] else 0)


def _where(ref: "Ref") -> str:
    """The file and the place in it."""
    at = [f"{name} {number}" for name, number in (("row", ref.row), ("byte", ref.byte)) if number is not None]
    return " ".join([ref.uri, *at])


def _wanted(
    names: list[str] | None, stage: list[str] | None, reason: list[str] | None, source: list[str] | None
) -> "Wanted":
    from mira_stream.audit.letters import Wanted, wanted_by_name

    places, ids = wanted_by_name(names or ())
    return Wanted(frozenset(stage or ()), frozenset(reason or ()), frozenset(source or ()), ids, places)


def _all(wanted: "Wanted", heads: bool = False) -> "Callable[[Project, Broker], Coroutine[Any, Any, list[Found]]]":
    async def work(project: "Project", broker: "Broker") -> "list[Found]":
        from mira_stream.audit.letters import find_letters

        reader = await broker.reader()
        try:
            return [one async for one in find_letters(reader, project.topic("dead-letters"), wanted, heads=heads)]
        finally:
            await reader.close()

    return work


def _replayed(
    wanted: "Wanted", again: bool, dry_run: bool, most: int | None
) -> "Callable[[Project, Broker], Coroutine[Any, Any, list[Replayed]]]":
    async def work(project: "Project", broker: "Broker") -> "list[Replayed]":
        from mira_stream.producers.replay import replay as run

        found = await _all(wanted)(
            project, broker
        )  # whatever is asked for and not there is said before anything is done

        in_a_row = project.settings.limits.dead_letters_in_a_row
        at_once = max(1, in_a_row // 2) if most is None else most
        _warn(found, at_once, in_a_row)

        async def letters() -> "AsyncIterator[Found]":
            for one in found:
                yield one

        done: list[Replayed] = await run(broker, project, letters(), again=again, dry_run=dry_run, most=at_once)
        return done

    return work


def _warn(found: "list[Found]", most: int, in_a_row: int) -> None:
    """Of a stage that would stop."""
    from mira_stream.cli.output import say
    from mira_stream.producers.replay import STOPPING

    number = min(most, sum(one.letter.reason in STOPPING for one in found))
    if number >= in_a_row:
        say(
            f"warning: up to {number} at once died of what stops a stage at {in_a_row} in a row "
            "(limits.dead_letters_in_a_row): unless the cause is mended it stops; a smaller --most lets you look first"
        )


def _plain(one: "Found") -> dict[str, Any]:
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(one.letter)
    return {"place": str(one.place), "timestamp_ms": one.timestamp_ms, **found, "head": None}


def _counts_table(counts: "Counter[tuple[str, str, str]]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from mira_stream.cli.explain import printable

    table = Table(title=f"{counts.total()} dead letters", title_justify="left")
    for name in ("stage", "source", "reason"):
        table.add_column(name)
    table.add_column("letters", justify="right")
    for names, count in sorted(counts.items()):
        table.add_row(*(Text(printable(name)) for name in names), str(count))
    Console(emoji=False, highlight=False).print(table)


def _tell(one: "Found") -> None:
    from base64 import b64decode
    from datetime import UTC, datetime

    letter = one.letter
    when = datetime.fromtimestamp(one.timestamp_ms / 1000, UTC).isoformat(timespec="seconds")
    _say(f"\n── {one.place}  {when} ──")
    _say(f"stage   {letter.stage}\nreason  {letter.reason}\nerror   {letter.error}\nid      {letter.id or '-'}")
    _say(f"source  {letter.source or '-'}\nbytes   {letter.bytes}, sha256 {letter.sha256}")
    if letter.origin is not None:
        _say(f"origin  {letter.origin.topic}/{letter.origin.partition}@{letter.origin.offset}")
    if letter.ref is not None:
        _say(f"ref     {_where(letter.ref)}")
    _say(b64decode(letter.head).decode(errors="replace"))


def _say(text: str) -> None:
    from mira_stream.cli.explain import printable

    typer.echo(printable(text))
