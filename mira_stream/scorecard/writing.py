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
    """The reply as a student gives it: of layout `interleaved` in a mode without justifications, as the grammar makes
    it. Raises ConfigError like `reply_regex`."""
    return "\n".join(_lines(reply, layout, mode, names))


def _lines(reply: Reply, layout: Layout, mode: Mode, names: Sequence[str]) -> Iterator[str]:
    _check_words(mode)
    reasons = [_one_line(text) for text in reply.justifications] or [""] * DIMENSIONS
    for slot, name, score, reason in zip(SLOTS, names, reply.scores, reasons, strict=True):
        named = "" if layout == "scores_first" else f"{name}: "
        because = f" — {reason}" if layout == "interleaved" and mode == "rationale" else ""
        yield f"[{slot}] {named}{score:g}/10{because}"
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
    `interleaved` may have one decimal; without justifications its lines end behind the score. Raises ConfigError
    (mode_invalid) for mode `head`, which has no words.
    """
    _check_words(mode)
    score = "(10|[0-9])/10" if layout == "scores_first" else r"(10|[0-9](\.[0-9])?)/10"
    text = r"[^\n\r]+"
    if layout == "scores_first":
        lines = [rf"\[{slot}\] {score}" for slot in SLOTS]
    else:
        because = f" — {text}" if mode == "rationale" else ""
        lines = [rf"\[{slot}\] {_escape(name)}: {score}{because}" for slot, name in zip(SLOTS, names, strict=True)]
    lines += ["overall: (100|[1-9]?[0-9])", "training_recommendation: (keep|downsample|drop)"]
    if mode == "rationale":
        lines += [f"domain_tag: {text}", f"brief: {text}"]
        lines += [rf"\[{slot}\] {text}" for slot in SLOTS] if layout == "scores_first" else []
    return r"\n".join(lines)


def check_mode(layout: Layout, mode: Mode, *, constrained: bool) -> None:
    """Raises ConfigError for a mode that a student of this layout cannot serve. Left free, one of `interleaved` gives a
    reason for each score: only the grammar makes it leave them out. A head gives no reply and has no layout."""
    if mode in ("scores", "expected") and layout == "interleaved" and not constrained:
        raise ConfigError(
            "mode_invalid",
            f"mode {mode} of layout interleaved is made by the grammar, and constrained is false",
            'set constrained = true for the group, or mode = "rationale"',
        )


def check_taught(layout: Layout, mode: Mode) -> None:
    """Raises ConfigError for a reply that nobody is taught: `interleaved` has its reasons within the lines of its
    scores, and a head has no words."""
    _check_words(mode)
    if mode in ("scores", "expected") and layout == "interleaved":
        raise ConfigError(
            "mode_invalid",
            "layout interleaved is taught with its justifications, there is no score block to stop after",
            'use mode "rationale" with it; what it has learned can be served in mode "scores"',
        )


def _check_words(mode: Mode) -> None:
    if mode == "head":
        raise ConfigError("mode_invalid", "a head gives numbers and no reply", 'use mode "scores" or "rationale"')


def _escape(text: str) -> str:
    return re.sub(r"([\\.^$*+?()\[\]{}|/])", r"\\\1", text)
