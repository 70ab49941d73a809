"""One document's whole story: content, view, prompt, reply, scores, mask, quality, epoch, decision. Pure."""

from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Struct

from mira_stream.audit.trail import Trail
from mira_stream.config import Project
from mira_stream.errors import ConfigError, DocumentError
from mira_stream.messages import SLOTS, DeadLetter, Decision, Document, Epoch, Mask, Origin, ScoreCard
from mira_stream.prompt import Prompt, load_prompt
from mira_stream.reliability.acceptance import served_modes
from mira_stream.render import Rendered, Tokenize, cut, neutralise, render
from mira_stream.rubric.anchors import Rubric, load_rubric
from mira_stream.scoring.lineage import lineage_of
from mira_stream.scoring.tokenizer import StudentTokenizer, tokenize_bytes

HEAD_CHARACTERS: Final = 1_200
Ended = Literal["decision", "dead_letter", "not_yet"]


class Dimension(Struct, frozen=True, kw_only=True):
    """One slot of the card: `used` in the quality, or masked; `difference` = score - mean."""

    slot: str
    name: str | None
    score: float | None
    used: bool
    mean: float | None
    difference: float | None


class Story(Struct, frozen=True, kw_only=True):
    """What is null is no longer in the log, or did not happen. `notes` say what could not be shown, and why."""

    id: str
    ended: Ended
    source: str | None
    group: str | None
    origin: Origin | None
    head: str | None
    meta: dict[str, Any] | None
    view: str | None
    prompt: list[dict[str, str]] | None
    card: ScoreCard | None
    dimensions: list[Dimension]
    quality: float | None
    mask: Mask | None
    epoch: Epoch | None
    decision: Decision | None
    dead_letter: DeadLetter | None
    notes: list[str]


class Bench(NamedTuple):
    """A group as the project has it now: what makes a document's view and prompt."""

    rubric: Rubric
    prompt: Prompt
    lineages: list[str]
    tokenize: Tokenize
    special_tokens: tuple[str, ...]


def bench_of(project: Project, group: str) -> Bench:
    """Raises ConfigError if rubric, prompts or student are not there."""
    rubric = load_rubric(project.rubric_path(group))
    prompt = load_prompt(project.prompts_path(group), rubric)
    judgings = served_modes(project, group).projects
    lineages = sorted(lineage_of(judging, group, rubric, prompt) for judging in judgings)
    folder = project.served_path(group)
    if not (folder / "tokenizer.json").is_file():
        return Bench(rubric, prompt, lineages, tokenize_bytes, ())
    tokenizer = StudentTokenizer(folder)
    return Bench(rubric, prompt, lineages, tokenizer.tokenize, tokenizer.special_tokens)


def story(project: Project, trail: Trail) -> Story:
    """Put a trail's records together with what the project's files say about them."""
    document = trail.document
    group = group_of(project, trail, document)
    notes: list[str] = []
    bench = _bench(project, group, notes)
    rendered = _rendered(project, group, document, bench, notes)
    if trail.record is None and trail.origin is not None:
        notes.append("the document itself is no longer in the log")
    if bench is not None and trail.card is not None and trail.card.lineage not in bench.lineages:
        notes.append(
            f"the card's lineage is {trail.card.lineage}, the project is now at {' or '.join(bench.lineages)}:"
            " view, prompt and names are those of now, not those that were scored"
        )
    letter = trail.dead_letter
    source = document.source if document is not None else trail.card.source if trail.card is not None else None
    return Story(
        id=trail.id,
        ended="decision" if trail.decision is not None else "dead_letter" if letter is not None else "not_yet",
        source=source or (letter.source if letter is not None else None),
        group=group,
        origin=trail.origin,
        head=None if trail.record is None else content_head(document, trail.record.value or b""),
        meta=None if document is None else document.meta,
        view=None if rendered is None else rendered.text,
        prompt=None if rendered is None or bench is None else bench.prompt.messages(rendered.text),
        card=trail.card,
        dimensions=[] if trail.card is None else _dimensions(trail.card, trail.decision, trail.mask, bench),
        quality=None if trail.decision is None else trail.decision.quality,
        mask=trail.mask,
        epoch=trail.epoch,
        decision=trail.decision,
        dead_letter=letter,
        notes=notes,
    )


def group_of(project: Project, trail: Trail, document: Document | None) -> str | None:
    """The source group, from the card, the topic, or the project's source."""
    if trail.card is not None:
        return trail.card.group
    if trail.origin is not None:
        prefix = project.documents_topic("")
        return trail.origin.topic.removeprefix(prefix)
    source = project.settings.sources.get(document.source) if document is not None else None
    return None if source is None else source.group


def content_head(document: Document | None, value: bytes) -> str:
    """The first characters of what was streamed."""
    if document is None:
        text = value[: 4 * HEAD_CHARACTERS].decode(errors="replace")
    elif document.text is not None:
        text = document.text
    elif document.parts is not None:
        text = msgspec.json.encode(document.parts).decode()
    else:
        text = msgspec.json.encode(document.messages).decode()
    return text[:HEAD_CHARACTERS]


def _bench(project: Project, group: str | None, notes: list[str]) -> Bench | None:
    if group is None:
        return None  # it never reached a group
    if group not in project.settings.groups:
        notes.append(f"the project has no group {group!r}")
        return None
    try:
        return bench_of(project, group)
    except ConfigError as error:
        notes.append(f"no view and prompt: {error.cause}")
        return None


def _rendered(
    project: Project, group: str | None, document: Document | None, bench: Bench | None, notes: list[str]
) -> Rendered | None:
    if document is None or bench is None or group is None:
        return None
    settings = project.settings.groups[group]
    cutoff = project.settings.tokens.train_cutoff_tokens
    try:
        text = neutralise(render(document, settings.family), bench.special_tokens)
        return cut(text, bench.tokenize, cutoff, settings.document_tokens_max, settings.too_long)
    except DocumentError as error:
        notes.append(f"no view: {error.reason}: {error.error}")
        return None


def _dimensions(card: ScoreCard, decision: Decision | None, mask: Mask | None, bench: Bench | None) -> list[Dimension]:
    used = frozenset(decision.dimensions_used if decision is not None else ())
    names = bench.rubric.names if bench is not None else (None,) * len(SLOTS)
    means = mask.means if mask is not None else (None,) * len(SLOTS)
    return [
        Dimension(
            slot=slot,
            name=name,
            score=score,
            used=slot in used,
            mean=mean,
            difference=None if score is None or mean is None else score - mean,
        )
        for slot, name, score, mean in zip(SLOTS, names, card.scores, means, strict=True)
    ]
