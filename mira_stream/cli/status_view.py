"""A Snapshot as rich sees it. Names and errors of records are plain text, never markup."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from textwrap import shorten
from typing import Final

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mira_stream.observing.snapshot import KeptRow, Snapshot, SourceRow, Stage, State

STYLES: Final[dict[State, str]] = {
    "free": "green", "busy": "yellow", "full": "bold red", "down": "bold magenta", "unknown": "dim",
}  # fmt: skip
WORDS: Final[dict[State, str]] = {
    "free": "flows", "busy": "busy", "full": "full", "down": "down", "unknown": "not seen",
}  # fmt: skip
LETTERS: Final = 5
ERROR_CHARACTERS: Final = 80
STALE_MS: Final = 3_000
"""A Snapshot that is older says so."""


@contextmanager
def show_live() -> Iterator[Callable[[Snapshot, int], None]]:
    """A function that replaces what is on the terminal; it is told what time it is, in ms."""
    from mira_stream.cli.output import shown

    with Live(console=shown, auto_refresh=False, transient=False) as live:
        yield lambda snapshot, now_ms: live.update(view(snapshot, now_ms), refresh=True)


def view(snapshot: Snapshot, now_ms: int) -> RenderableType:
    """`now_ms`: the time at which it is looked at; ages count on until then."""
    parts: list[RenderableType] = [
        *_aged(snapshot, now_ms),
        *(_away(snapshot, now_ms) or [_headline(snapshot, now_ms)]),
    ]
    parts += [_stages(snapshot, now_ms), *_reasons(snapshot)]
    if snapshot.sources:
        parts.append(_sources(snapshot))
    parts += [Text(line) for line in _letters(snapshot)]
    silent = [one for one in snapshot.services if not one.answers]
    parts += [Text(f"{one.name} does not answer at {one.url}: {one.error}", style="magenta") for one in silent]
    parts += [Text(line, style="magenta") for one in snapshot.kept if one.news for line in _died(one)]
    parts += [Text(note, style="yellow") for note in snapshot.notes]
    return Group(*parts)


def _aged(snapshot: Snapshot, now_ms: int) -> list[Text]:
    """How old it is, if it is not of now: whoever looks may wait for an answer, or stand still itself."""
    age_ms = now_ms - snapshot.at_ms
    return [Text(f"as of {age_ms / 1000:.0f} s ago", style="yellow")] if age_ms > STALE_MS else []


def _away(snapshot: Snapshot, now_ms: int) -> list[Text]:
    """The broker, if it is away: nothing goes on without it."""
    broker = snapshot.broker
    if broker.answers is not False or broker.since_ms is None or broker.error is None:
        return []
    begun = f"since before {clock(broker.since_ms)}"
    if broker.since_ms > snapshot.looking_since_ms:
        begun = f"since {clock(broker.since_ms)} ({(now_ms - broker.since_ms) / 1000:.0f} s)"
    return [
        Text(f"the broker is away, {begun}: {broker.error.cause}", style=STYLES["down"]),
        Text(f"  do: {broker.error.fix}"),
    ]


def _headline(snapshot: Snapshot, now_ms: int) -> Text:
    stage = next((one for one in snapshot.stages if one.bottleneck), None)
    if stage is None:
        if snapshot.held:
            return Text(snapshot.held[0], style=STYLES["full"])
        unseen = [one.name for one in snapshot.stages if one.state == "unknown"]
        if not unseen:
            return Text("everything flows", style="bold")
        some = len(unseen) < len(snapshot.stages)
        return Text(f"not seen: {', '.join(unseen)}" if some else "nothing to see yet", style="bold")
    words = "is down" if stage.state == "down" else "is full"
    return Text(f"{stage.name} {words}, {_since(stage, snapshot, now_ms)}: {stage.cause}", style=STYLES[stage.state])


def _stages(snapshot: Snapshot, now_ms: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("stage", "state", "in/s", "out/s", "fill", "wait", "since"):
        table.add_column(name, justify="right" if name in ("in/s", "out/s", "fill", "wait") else "left")
    for stage in snapshot.stages:
        table.add_row(
            Text(("> " if stage.bottleneck else "  ") + stage.name),
            Text(WORDS[stage.state], style=STYLES[stage.state]),
            _number(stage.rate_in),
            _number(stage.rate_out),
            "-" if stage.fill is None else f"{stage.fill:.0%}",
            _backlog(stage),
            _since(stage, snapshot, now_ms) if stage.state in ("full", "down") else "",
        )
    return table


def _reasons(snapshot: Snapshot) -> list[Table]:
    """Why a stage is as it is: below the rows, whole lines wide, for in a last column sentences break into words. The
    bottleneck's stands in the headline."""
    told = [stage for stage in snapshot.stages if stage.cause and not stage.bottleneck]
    if not told:
        return []
    table = Table.grid(padding=(0, 2), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for stage in told:
        table.add_row(Text(f"  {stage.name}", style=STYLES[stage.state]), Text(stage.cause))
    return [table]


def _sources(snapshot: Snapshot) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("source", "group", "decided", "kept", "target", "above", "epoch", "drift (KS)"):
        left = name in ("source", "group", "drift (KS)")
        table.add_column(name, justify="left" if left else "right", no_wrap=name != "source", overflow="fold")
    for one in snapshot.sources:
        mark = one.thresholds[-1].keep if one.thresholds else None
        drift = "-" if one.drift is None or one.drift.ks_d is None else f"{one.drift.ks_d:.2f}"
        table.add_row(
            Text(one.name), Text(one.group), _decided(one), _percent(one.kept), _percent(one.target),
            _number(mark), "-" if one.epoch is None else str(one.epoch),
            Text(f"{drift} drifted" if one.drift is not None and one.drift.drifted else drift),
        )  # fmt: skip
    if snapshot.sources_left_out:
        table.caption = f"{snapshot.sources_left_out} quieter sources are not shown"
    return table


def _decided(one: SourceRow) -> str:
    return str(one.documents) if one.as_of_epoch is None else f"{one.documents} at epoch {one.as_of_epoch}"


def _letters(snapshot: Snapshot) -> list[str]:
    if not snapshot.dead_counts:
        return [] if snapshot.dead_read else ["dead letters: not read"]
    of = " (of the newest; all: mira-stream dlq list)" if snapshot.dead_earlier else ""
    lines = [f"dead letters{of}: " + ", ".join(f"{one.letters} {one.reason}" for one in snapshot.dead_counts)]
    return lines + [
        f"  {clock(one.at_ms)} {one.place:>8} {one.reason} {one.source} {one.id}: {_short(one.error)}"
        for one in snapshot.dead_newest[:LETTERS]
    ]


def _short(error: str) -> str:
    """Its first words; of a single long one as much of it."""
    words = shorten(error, ERROR_CHARACTERS, placeholder=" ...")
    return words if words.strip(" .") else error[:ERROR_CHARACTERS]


def _died(one: KeptRow) -> list[str]:
    if one.died_ms is None:
        return []
    now = {"runs": "runs again", "waits": "waits to be started again", "given_up": "is given up"}[one.state]
    return [f"{one.name} {now}; started again {times(one.restarts)}, died last at {clock(one.died_ms)}: {one.why}"]


def _since(stage: Stage, snapshot: Snapshot, now_ms: int) -> str:
    if stage.since_ms is None:
        return ""
    if stage.since_ms <= snapshot.looking_since_ms:
        return f"since before {clock(stage.since_ms)}"
    return f"since {clock(stage.since_ms)} ({(now_ms - stage.since_ms) / 1000:.0f} s)"


def _backlog(stage: Stage) -> str:
    if stage.backlog is None:
        return "-"
    return f"{stage.backlog}, {stage.backlog_s:.0f} s" if stage.backlog and stage.backlog_s is not None else "0"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def clock(at_ms: int) -> str:
    """Local time of day."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone().strftime("%H:%M:%S")
