"""Reads the scores out of a scorer's reply. Pure.

Layouts (MIRA, "wire format"; MIRA's release uses the second):
  scores_first   `[A1] 7/10` x 15, `overall: 64`, `training_recommendation: keep`, then at will
                 `domain_tag: x`, `brief: ...` and `[A1] justification` x 15
  interleaved    `[A1] name: 7/10 — justification` x 15, then the four fields; without justifications
                 (modes `scores` and `expected`) each line ends behind its score

A score is read only from its own line, and only where it must stand: right after the slot (and the name). What
cannot be read is null, never a default, and every liberty taken has a name in `repairs` (`name` or `name:slot`).
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from mira_stream.messages import DIMENSIONS, SLOTS, Layout, Verdict
from mira_stream.scorecard.block import (
    OVERALL,
    RUBRICS_KEPT,
    SCORE,
    Block,
    Run,
    is_plain,
    read_block,
    read_fields,
    read_run,
)
from mira_stream.scorecard.line import MARKUP_AROUND, NUMBER, Names, read_score

CHARACTERS_MAX: Final = {"domain_tag": 64, "brief": 500}
VERDICTS: Final[tuple[Verdict, ...]] = ("keep", "downsample", "drop")
READ_MIN: Final = 8
"""So many of the fifteen must be read for a card, when a second attempt is no better."""

_MARKUP: Final = "*_`#>~•- \t"
_SLOT: Final = re.compile(r"(?:[0-9]{1,2}[.)]\s+)?(\[?)\s*A([0-9]{1,3})\s*(\]|(?![0-9A-Za-z]))", re.IGNORECASE)
_FIELD: Final = re.compile(
    r"(overall|training[_ ]recommendation|domain[_ ]tag|brief)[*_`]*\s*[:=](?!=)\s*(.*)", re.IGNORECASE
)
_THINKING: Final = re.compile(r"^[ \t]*<think>.*?(?:</think>|\Z)", re.DOTALL | re.MULTILINE)
_THINKING_BEFORE: Final = re.compile(r"\A.*?</think>[ \t]*$", re.DOTALL | re.MULTILINE)
"""The template may have opened the thinking, so that the reply only closes it."""
_JUSTIFICATIONS: Final = re.compile(r"(?:^\[A[0-9]{1,3}\] .*+(?:\n|\Z))++", re.MULTILINE)
"""As taught, behind a block of scores that came first: nothing is read from them."""
_OVERALL: Final = re.compile(OVERALL)
_NO_REASONS: Final = [f"reason:{slot}" for slot in SLOTS]
_ALL_REASONS: Final = frozenset(_NO_REASONS)
_TAUGHT: Final[dict[Layout, re.Pattern[str]]] = {
    "scores_first": re.compile(SCORE),
    "interleaved": re.compile(rf"{SCORE}( — \S.*)?"),
}
"""What stands behind the slot (and the name) of a line as taught."""


class Reading(NamedTuple):
    """What a reply says. `scores` has 15 entries in slot order, each 0.0-10.0 or None."""

    scores: list[float | None]
    overall: float | None
    recommendation: Verdict | None
    domain_tag: str | None
    brief: str | None
    repairs: list[str]

    @property
    def read(self) -> int:
        """How many of the fifteen scores were read."""
        return sum(score is not None for score in self.scores)

    @property
    def complete(self) -> bool:
        return self.read == DIMENSIONS


def parse(reply: str, layout: Layout, names: Sequence[str]) -> Reading:
    """Read a reply; never raises. `names` are the rubric's fifteen, in slot order."""
    parser = _Parser(layout, names)
    spoken = without_thinking(reply)
    if spoken != reply:
        parser.repairs.append("thinking")
    if "\r" in spoken:
        spoken = spoken.replace("\r\n", "\n").replace("\r", "\n")
    block = read_block(spoken, layout, names)
    at = parser.until_all(spoken) if block is None else parser.block(block)
    spoken = spoken[parser.both_fields(spoken, at) :]
    if layout == "scores_first":
        spoken = parser.until_ended(spoken)
        if parser.ended:
            spoken = _JUSTIFICATIONS.sub("", spoken)  # faster than line by line, and never differently
    *lines, unfinished = spoken.split("\n")
    parser.lines(lines)
    if unfinished.strip():
        parser.line(unfinished, ended=False)
    return parser.reading()


def without_thinking(reply: str) -> str:
    """What a reply says aloud."""
    if "think>" not in reply:
        return reply
    return _THINKING_BEFORE.sub("", _THINKING.sub("", reply), count=1)


@lru_cache(RUBRICS_KEPT)
def _names_of(names: tuple[str, ...]) -> list[Names]:
    folded = [" ".join(name.casefold().split()) for name in names]
    return [Names(name, frozenset(folded) - {own}) for name, own in zip(names, folded, strict=True)]


@lru_cache(2 * RUBRICS_KEPT)
def _begins(layout: Layout, names: tuple[str, ...]) -> dict[str, tuple[int, str]]:
    """How a slot's line begins as taught -> its number, and what stands before the score."""
    own = [f"{name}: " for name in names] if layout == "interleaved" else [""] * DIMENSIONS
    known = [True] * DIMENSIONS if layout == "scores_first" else list(map(is_plain, names))
    return {
        f"[{slot}": (number, f"[{slot}] {one}")
        for number, (slot, one, plain) in enumerate(zip(SLOTS, own, known, strict=True), start=1)
        if plain
    }


class _Parser:
    """One reply, line by line."""

    def __init__(self, layout: Layout, names: Sequence[str]) -> None:
        self.layout = layout
        self.rubric = names
        self.names = _names_of(tuple(names))
        self.begins = _begins(layout, tuple(names))
        self.scores: dict[int, float | None] = {}
        self.last_slot = 0
        self.fields: dict[str, float | str | None] = {}
        self.disputed: set[str] = set()
        self.ended = False
        self.repairs: list[str] = []

    def block(self, block: Block) -> int:
        """What its fifteen lines would have said one by one; where they end."""
        self.scores = dict(enumerate(block.scores, start=1))
        self.last_slot = DIMENSIONS
        if self.layout == "interleaved" and not block.justified:
            self.repairs += _NO_REASONS
        return block.end

    def both_fields(self, text: str, at: int) -> int:
        """The same of the two fields, where they stand as taught at `at` and are the first ones."""
        found = read_fields(text, at) if self.scores and not self.fields else None
        if found is None:
            return at
        self.fields = {"overall": found.overall, "training_recommendation": found.recommendation}
        self.ended = True
        return found.end

    def until_all(self, text: str) -> int:
        """Reads whole lines, runs of those as taught in one go, up to the last slot or recommendation; where it is."""
        at = 0
        while self.last_slot < DIMENSIONS and not self.ended:
            if text.startswith("[A", at) and (run := read_run(text, at, self.layout, self.rubric, self.last_slot + 1)):
                self.run(run)
                at = run.end
                continue
            if (end := text.find("\n", at)) < 0:
                break
            self.lines([text[at:end]])
            at = end + 1
        return at

    def run(self, run: Run) -> None:
        """What its lines would have said one by one, behind those of slots before them."""
        first = self.last_slot + 1
        self.last_slot += len(run.scores)
        self.scores.update(enumerate(run.scores, start=first))
        if self.layout == "interleaved" and not all(run.justified):
            self.repairs += [_NO_REASONS[first - 1 + at] for at, has in enumerate(run.justified) if not has]

    def lines(self, lines: Sequence[str]) -> None:
        """Whole ones."""
        for line in lines:
            if line.strip():
                self.line(line, ended=True)

    def until_ended(self, text: str) -> str:
        """Reads whole lines up to the recommendation; what is left."""
        at = 0
        while not self.ended and (end := text.find("\n", at)) >= 0:
            line = text[at:end]
            if line.strip():
                self.line(line, ended=True)
            at = end + 1
        return text[at:]

    def line(self, line: str, *, ended: bool) -> None:
        """`ended` is false for a last line that may have been cut off: no bare number is read from it."""
        if self._scored_as_taught(line) if line.startswith("[A") else self._said_as_taught(line, ended):
            return
        text = line.strip().lstrip(_MARKUP)
        slot = _SLOT.match(text)
        if slot is not None and (slot[1] or slot[3] or self._looks_like_score(text[slot.end() :])):
            self._slot_line(line, text, slot, ended)
            return
        field = _FIELD.match(text)
        if field is not None:
            self._field_line(line, field, ended)
            return
        self._note("text_after" if self.ended else "text_between" if self.scores else "text_before")

    def _said_as_taught(self, line: str, ended: bool) -> bool:
        """Whether it is a first field's line that needs no repair; read faster, and never differently."""
        key, colon, value = line.partition(": ")
        if not colon or key in self.fields:
            return False
        if key == "overall":
            if not ended or _OVERALL.fullmatch(value) is None:
                return False
            self.fields[key] = float(value)
            return True
        if key == "training_recommendation":
            if value not in VERDICTS:
                return False
            self.fields[key] = value
            self.ended = bool(self.scores)
            return True
        if not 0 < len(value) <= CHARACTERS_MAX.get(key, 0):
            return False
        if value != value.strip() or value != value.strip(MARKUP_AROUND):
            return False
        self.fields[key] = value
        return True

    def _scored_as_taught(self, line: str) -> bool:
        """Whether it is a slot's line that needs no repair, or a justification; read faster, and never differently."""
        head, bracket, _ = line.partition("] ")
        number, begin = self.begins.get(head, (0, ""))
        if not bracket or not number or not line.startswith(begin):
            return False
        if self.layout == "scores_first" and self.ended:
            return True
        found = _TAUGHT[self.layout].fullmatch(line, len(begin))
        if found is None:
            return False
        self._scored(number, float(found[1]), self._without_reason(number, found))
        return True

    def _without_reason(self, number: int, found: re.Match[str]) -> list[str]:
        return [_NO_REASONS[number - 1]] if self.layout == "interleaved" and found[2] is None else []

    def _looks_like_score(self, rest: str) -> bool:
        return "/" in rest or bool(rest.strip(_MARKUP + ":=—–")[:1].isdigit())

    def _slot_line(self, line: str, text: str, slot: re.Match[str], ended: bool) -> None:
        if self.layout == "scores_first" and self.ended:
            return  # a justification
        number = int(slot[2])
        if not 1 <= number <= DIMENSIONS:
            self._note("slot_unknown")
            return
        name = f"A{number}"
        rest = text[slot.end() :]
        found = self._rest_as_taught(name, rest)
        if found is None:
            score, repairs = read_score(rest, self.layout, self.names[number - 1], ended)
            repairs = [f"{repair}:{name}" for repair in repairs]
        else:
            score, repairs = float(found[1]), self._without_reason(number, found)
        if line.rstrip() != text or not text.startswith(f"[{name}] "):
            repairs.insert(0, f"markup:{name}")
        self._scored(number, score, repairs)

    def _rest_as_taught(self, name: str, rest: str) -> re.Match[str] | None:
        """Whether what stands behind the slot needs no repair, only the slot itself; faster, and never differently."""
        number, begin = self.begins.get(f"[{name}", (0, ""))
        own, plain = begin.removeprefix(f"[{name}] "), rest.strip().lstrip(MARKUP_AROUND)
        return _TAUGHT[self.layout].fullmatch(plain, len(own)) if number and plain.startswith(own) else None

    def _scored(self, number: int, score: float | None, repairs: list[str]) -> None:
        if number in self.scores:
            self._again(number, score)
            return
        if number < self.last_slot:
            self._note("order")
        self.last_slot = max(number, self.last_slot)
        self.scores[number] = score
        self.repairs += repairs

    def _again(self, number: int, score: float | None) -> None:
        first = self.scores[number]
        if score is None or score == first:
            self._note(f"slot_repeated:A{number}")
            return
        self.scores[number] = None
        self._note(f"slot_twice:A{number}")

    def _field_line(self, line: str, field: re.Match[str], ended: bool) -> None:
        key = field[1].lower().replace(" ", "_")
        text = field[2].rstrip()
        plain = text.strip(MARKUP_AROUND)
        if plain != text or not line.startswith(f"{key}: "):
            self._note(f"markup:{key}")
        value = self._field_value(key, plain)
        if key == "overall" and not ended:
            self._note("cut_off:overall")
            value = None
        if self.fields.get(key, value) not in (value, None):
            self.disputed.add(key)
            self._note(f"field_twice:{key}")
        self.fields[key] = None if key in self.disputed else value
        if key == "training_recommendation" and self.scores:
            self.ended = True

    def _field_value(self, key: str, text: str) -> float | str | None:
        if key == "overall":
            return self._overall(text)
        if key == "training_recommendation":
            word = text.rstrip(".!").strip(MARKUP_AROUND).lower()
            if word not in VERDICTS:
                self._note("not_a_verdict")
                return None
            if word != text:
                self._note(f"markup:{key}")
            return word
        limit = CHARACTERS_MAX[key]
        if len(text) > limit:
            self._note(f"cut:{key}")
        return text[:limit] or None

    def _overall(self, text: str) -> float | None:
        number = NUMBER.match(text)
        if number is None or number[1] or len(number[3] or "") > 1:
            self._note("not_a_number:overall")
            return None
        if number[4] not in (None, "100") or not 0 <= (value := float(number[0].split("/")[0])) <= 100:
            self._note("out_of_range:overall")
            return None
        if number.end() != len(text) or number[4]:
            self._note("markup:overall")
        return value

    def _note(self, repair: str) -> None:
        if repair not in self.repairs:
            self.repairs.append(repair)

    def _forget_reasons(self) -> None:
        """A reply without any reasons is one of a mode that has none; where only some are missing, they are named."""
        noted = _ALL_REASONS.intersection(self.repairs)
        if not noted:
            return
        missing = {_NO_REASONS[number - 1] for number, score in self.scores.items() if score is not None}
        if missing <= noted:
            self.repairs = [repair for repair in self.repairs if repair not in missing]

    def reading(self) -> Reading:
        if self.layout == "interleaved" and self.repairs:
            self._forget_reasons()
        if len(self.scores) < DIMENSIONS:
            for number, slot in enumerate(SLOTS, start=1):
                if number not in self.scores:
                    self._note(f"slot_missing:{slot}")
        scores = list(map(self.scores.get, range(1, DIMENSIONS + 1)))
        overall = self.fields.get("overall")
        verdict = self.fields.get("training_recommendation")
        tag, brief = self.fields.get("domain_tag"), self.fields.get("brief")
        return Reading(
            scores,
            overall if isinstance(overall, float) else None,
            next((word for word in VERDICTS if word == verdict), None),
            tag if isinstance(tag, str) else None,
            brief if isinstance(brief, str) else None,
            self.repairs,
        )
