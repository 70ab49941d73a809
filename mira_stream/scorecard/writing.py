"""Writes the reply a rubric asks for, and the grammar that allows nothing else. Pure."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mira_stream.errors import ConfigError
from mira_stream.messages import DIMENSIONS, SLOTS, Layout, Mode, Verdict


class Reply(NamedTuple):
    """What is to be said in a reply; the rest of the fields make the `rationale` mode."""

    scores: Sequence[float]
    overall: float
    recommendation: Verdict
    domain_tag: str = ""
    brief: str = ""
    justifications: Sequence[str] = ()


def write(reply: Reply, layout: Layout, mode: Mode, names: Sequence[str]) -> str:
    """The reply as a student is taught to give it. Raises ConfigError for a pair that does not exist."""
    return "\n".join(_lines(reply, layout, mode, names))


def _lines(reply: Reply, layout: Layout, mode: Mode, names: Sequence[str]) -> Iterator[str]:
    check_spoken(layout, mode)
    reasons = [_one_line(text) for text in reply.justifications] or [""] * DIMENSIONS
    for slot, name, score, reason in zip(SLOTS, names, reply.scores, reasons, strict=True):
        yield f"[{slot}] {score:g}/10" if layout == "scores_first" else f"[{slot}] {name}: {score:g}/10 — {reason}"
    yield f"overall: {reply.overall:g}"
    yield f"training_recommendation: {reply.recommendation}"
    if mode == "rationale":
        yield f"domain_tag: {_one_line(reply.domain_tag)}"
        yield f"brief: {_one_line(reply.brief)}"
        if layout == "scores_first":
            yield from (f"[{slot}] {reason}" for slot, reason in zip(SLOTS, reasons, strict=True))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def reply_regex(layout: Layout, mode: Mode, names: Sequence[str]) -> str:
    """What constrained decoding lets a scorer say: every match is a complete Reading without repairs.

    Scores of `scores_first` are whole, 0..10, in every mode: so the modes read the same score block. Those of
    `interleaved` may have one decimal. Raises ConfigError like `check_spoken`.
    """
    check_spoken(layout, mode)
    score = "(10|[0-9])/10" if layout == "scores_first" else r"(10|[0-9](\.[0-9])?)/10"
    text = r"[^\n\r]+"
    if layout == "scores_first":
        lines = [rf"\[{slot}\] {score}" for slot in SLOTS]
    else:
        lines = [rf"\[{slot}\] {_escape(name)}: {score} — {text}" for slot, name in zip(SLOTS, names, strict=True)]
    lines += ["overall: (100|[1-9]?[0-9])", "training_recommendation: (keep|downsample|drop)"]
    if mode == "rationale":
        lines += [f"domain_tag: {text}", f"brief: {text}"]
        lines += [rf"\[{slot}\] {text}" for slot in SLOTS] if layout == "scores_first" else []
    return r"\n".join(lines)


def check_mode(layout: Layout, mode: Mode) -> None:
    """Raises ConfigError for a mode that this layout cannot serve. A head gives no reply and has no layout."""
    if mode in ("scores", "expected") and layout == "interleaved":
        raise ConfigError(
            "mode_invalid", "layout interleaved has no score block to stop after", 'use mode "rationale" with it'
        )


def check_spoken(layout: Layout, mode: Mode) -> None:
    """Raises ConfigError like `check_mode`, and for mode `head`, which has no words."""
    check_mode(layout, mode)
    if mode == "head":
        raise ConfigError("mode_invalid", "a head gives numbers and no reply", 'use mode "scores" or "rationale"')


def _escape(text: str) -> str:
    return re.sub(r"([\\.^$*+?()\[\]{}|/])", r"\\\1", text)
