"""The scoring modes of one group side by side: what each costs, in turns over the same documents."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

import msgspec
from msgspec import Struct

from mira_stream.benching.alternating import Alternating, NotRun, order
from mira_stream.benching.result import Header, Turn
from mira_stream.config import Project
from mira_stream.errors import CheckFailed, ConfigError
from mira_stream.messages import Mode
from mira_stream.reliability.table import WHOLE_GROUP, Table
from mira_stream.rubric.anchors import load_rubric
from mira_stream.scoring.origin import check_origin, check_there

SCHEMA: Final = "bench-modes.v1"
MODES: Final[tuple[Mode, ...]] = ("rationale", "scores", "expected", "head")
"""Slowest first. A cascade is two of them: what it sends on decides its speed, which documents alone cannot tell."""


class ModeRow(Struct, frozen=True, kw_only=True):
    """One mode. `ratio`: its documents/s over those of the first mode that runs, turn by turn: median and least (null
    of a single turn, which says nothing of how far off the next one is). Tokens a document. `gain`, `overlap` of the
    `heldout` documents of the reliability table, null if it was not measured."""

    mode: Mode
    documents_per_s: float
    ratio: float
    ratio_least: float | None
    prompt_tokens: float
    reply_tokens: float
    dead_letters: int
    gain: float | None
    overlap: float | None
    heldout: int | None


class ModesRun(Header, frozen=True, kw_only=True):
    """A saved comparison. `left_out`: modes that this student does not run in, and why."""

    group: str
    documents: int
    repetitions: int
    rows: list[ModeRow]
    left_out: dict[str, str]


async def measure_modes(
    project: Project, group: str, modes: Sequence[Mode], repetitions: int, engines: Alternating
) -> tuple[dict[Mode, list[Turn]], dict[str, str]]:
    """Turns by mode, each mode now first, now last, behind each other one in turn, and what was left out. Raises
    CheckFailed(modes_none)."""
    turns: dict[Mode, list[Turn]] = {}
    left_out: dict[str, str] = {}
    causes: list[str] = []
    fixes: dict[str, None] = {}
    for number in range(repetitions):
        for mode in order(modes, number):
            if mode in left_out:
                continue
            try:
                asked = in_mode(project, group, mode)
                turns.setdefault(mode, []).append(await engines.turn(mode, asked))
            except (ConfigError, NotRun) as error:
                cause, fix = str(error), "look at it with: mira-stream doctor"
                if isinstance(error, ConfigError):
                    cause, fix = error.cause, error.fix
                left_out[mode] = f"{cause}; do: {fix}"
                causes.append(f"{mode}: {cause}")
                fixes[fix] = None
                turns.pop(mode, None)
    if not turns:
        raise CheckFailed("modes_none", f"no mode runs: {'; '.join(causes)}", "; or ".join(fixes))
    return {mode: turns[mode] for mode in modes if mode in turns}, left_out


def in_mode(project: Project, group: str, mode: Mode) -> Project:
    """The project with its group in this mode, accepted or not. Raises ConfigError if its student was not taught it,
    or there is none, before anything is started."""
    settings = msgspec.structs.replace(project.settings.groups[group], mode=mode, mode_pinned=True)
    asked = project.judged_as(group, settings)
    check_there(asked, group)
    check_origin(asked, group, load_rubric(project.rubric_path(group)))
    return asked


def rows_of(turns: Mapping[Mode, Sequence[Turn]], table: Table | None) -> list[ModeRow]:
    """Pure. The first mode is what the others' ratios are over."""
    first = next(iter(turns.values()))
    return [_row(mode, own, first, table) for mode, own in turns.items()]


def _row(mode: Mode, own: Sequence[Turn], first: Sequence[Turn], table: Table | None) -> ModeRow:
    ratios = [one.documents_per_s / base.documents_per_s for one, base in zip(own, first, strict=True)]
    scored = sum(turn.scored for turn in own)
    measured = table.modes.get(mode) if table is not None else None
    whole = measured.sources[WHOLE_GROUP] if measured is not None else None
    return ModeRow(
        mode=mode,
        documents_per_s=median(one.documents_per_s for one in own),
        ratio=median(ratios),
        ratio_least=min(ratios) if len(ratios) > 1 else None,
        prompt_tokens=sum(turn.prompt_tokens for turn in own) / scored,
        reply_tokens=sum(turn.generation_tokens for turn in own) / scored,
        dead_letters=sum(turn.dead_letters for turn in own),
        gain=whole.aggregate.gain if whole else None,
        overlap=whole.aggregate.overlap if whole else None,
        heldout=whole.n if whole else None,
    )
