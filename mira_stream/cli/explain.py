"""`mira-stream explain ID`: one document's whole story."""

import asyncio
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from mira_stream.audit.story import Story
from mira_stream.cli.options import BootstrapOption, JsonOption, ProjectOption
from mira_stream.messages import Epoch


def explain(
    document_id: Annotated[str, typer.Argument(metavar="ID", help="The document's id.")],
    project: ProjectOption = Path(),
    bootstrap_servers: BootstrapOption = None,
    json: JsonOption = False,
) -> None:
    """Show one document's whole story: content, prompt, raw reply, scores, mask, quality, epoch, decision."""
    from mira_stream.cli.output import emit

    stories = asyncio.run(_stories(document_id, project, bootstrap_servers))
    if json:
        emit({"id": document_id, "documents": [msgspec.to_builtins(story) for story in stories]})
        return
    for number, story in enumerate(stories, start=1):
        if len(stories) > 1:
            _rule(f"document {number} of {len(stories)} with the id {document_id}")
        _tell(story)


async def _stories(document_id: str, root: Path, bootstrap_servers: str | None) -> list[Story]:
    from mira_stream.audit.story import story
    from mira_stream.audit.trail import find_trails
    from mira_stream.cli.connect import connect
    from mira_stream.config import load_project
    from mira_stream.errors import UsageError

    project = load_project(root)
    broker = connect(project, bootstrap_servers)
    try:
        reader = await broker.reader()
        try:
            trails = await find_trails(reader, project, document_id)
        finally:
            await reader.close()
    finally:
        await broker.close()
    if not trails:
        raise UsageError(
            "document_unknown",
            f"no topic of {project.root} holds the id {document_id!r}",
            "take an id from kept/, scores/ or a dead letter; topics keep records for a limited time",
        )
    return [story(project, trail) for trail in trails]


def printable(text: str) -> str:
    """A document's text without what could steer a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)


def _tell(story: Story) -> None:
    _rule("document")
    _say(f"id      {story.id}\nsource  {story.source}\ngroup   {story.group}")
    if story.origin is not None:
        _say(f"origin  {story.origin.topic}/{story.origin.partition}@{story.origin.offset}")
    if story.meta:
        _say(f"meta    {msgspec.json.encode(story.meta).decode()}")
    for title, text in (("content", story.head), ("view", story.view)):
        if text is not None:
            _rule(title)
            _say(text)
    if story.prompt is not None:
        for message in story.prompt:
            _rule(f"prompt: {message['role']}")
            _say(message["content"])
    if story.card is not None:
        _rule(f"reply (attempt {story.card.attempts}, {story.card.finish_reason})")
        _say(story.card.reply or "(not kept)")
        _scores(story)
    _outcome(story)
    for note in story.notes:
        _say(f"note: {note}")


def _scores(story: Story) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title="scores", title_justify="left")
    for name in ("slot", "dimension", "score", "mean", "difference", "counts"):
        table.add_column(name, justify="right" if name in ("score", "mean", "difference") else "left")
    for found in story.dimensions:
        counts = "yes" if found.used else "no score" if found.score is None else "masked"
        numbers = [_number(found.score), _number(found.mean), _number(found.difference)]
        table.add_row(found.slot, Text(printable(found.name or "")), *numbers, counts)
    Console(emoji=False, highlight=False).print(table)


def _outcome(story: Story) -> None:
    _rule("outcome")
    decision, letter, epoch = story.decision, story.dead_letter, story.epoch
    if letter is not None:
        _say(f"dead letter of stage {letter.stage}: {letter.reason}\n{letter.error}")
    elif decision is None:
        _say("not decided yet" if story.card is not None else "not scored yet")
    else:
        _say(
            f"quality {decision.quality} over {len(decision.dimensions_used)} dimensions (mask {decision.mask},"
            f" lineage {decision.lineage})"
        )
        if epoch is not None:
            _say(_epoch_line(epoch))
        chosen = "selected" if decision.selected else "not selected"
        _say(f"{decision.decision}: {decision.reason}, {chosen} (policy {decision.policy}, epoch {decision.epoch})")


def _epoch_line(epoch: Epoch) -> str:
    marks = [
        f"{name} above {mark.value} (ties: {mark.tie_fraction:.3f})"
        for name, mark in (("keep", epoch.keep), ("drop unless", epoch.drop))
        if mark is not None
    ]
    return (
        f"epoch {epoch.epoch} of {epoch.epoch_of} from card {epoch.first_offset} on ({epoch.cause}, by {epoch.basis}):"
        f" target {epoch.target:.3f}, corrected {epoch.target_corrected:.3f}; {'; '.join(marks) or 'by chance'}"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _say(text: str) -> None:
    typer.echo(printable(text))


def _rule(title: str) -> None:
    typer.echo(f"\n── {printable(title)} ──")
