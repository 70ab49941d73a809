"""The score on one line of a reply: read only where it must stand, right after the slot and its name. Pure."""

import re
from typing import Final, NamedTuple

from mira_stream.messages import Layout

MARKUP_AROUND: Final = "*_` \t"
NUMBER: Final = re.compile(
    r"([+−-]?)([0-9]{1,4})(?:\.([0-9]{1,4}))?(?![0-9.,]{0,9}[0-9])"  # sign, whole, decimals; no more digits
    r"\s*(?:/\s*([0-9]{1,4})(?![0-9.,]{0,9}[0-9]))?"  # denominator
)
"""Sign, whole, decimals, denominator."""
_BARE_NUMBER_ENDS: Final = re.compile(r"[*_`.\s]*(?:$|[—–-]\s+(?![0-9])|\()")
_SCORE_LIKE: Final = re.compile(r"[0-9]\s*/\s*[0-9]| [—–] ")
_SECOND_NUMBER: Final = re.compile(r"[*_`]*\s*(?:-|–|—|,|or|to)?\s*[0-9.]+\s*/\s*10")


class Names(NamedTuple):
    """The rubric's dimensions: `of_slot` is the one the line speaks of, `others` all that are not (casefolded)."""

    of_slot: str
    others: frozenset[str] = frozenset()


def read_score(rest: str, layout: Layout, names: Names, ended: bool) -> tuple[float | None, list[str]]:
    """The score that stands right after a slot (and its name), and what was repaired to read it.

    A line that bears another slot's name is nobody's: which of the two is wrong cannot be told.
    """
    repairs: list[str] = []
    text = rest.strip().lstrip(MARKUP_AROUND)
    end = _name_end(text, names.of_slot)
    if end is not None:
        named, text = True, text[end:]
        if layout == "scores_first":
            repairs.append("name")
    elif _starts_with_score(text.lstrip(MARKUP_AROUND + ":")):
        named = False
        if layout == "interleaved":
            repairs.append("name")
    else:
        before, colon, after = text.partition(":")
        if _plain(before) in names.others or _plain(_SCORE_LIKE.split(before)[0]) in names.others:
            return None, [*repairs, "name_of_another"]
        repairs.append("name")
        if not colon or _SCORE_LIKE.search(before) or not _bare(after):
            return None, [*repairs, "not_a_number"]
        named, text = True, f":{after}"
    text, separator = _after_separator(text)
    if separator != (":" if named else ""):
        repairs.append("separator")
    return _read_number(text, layout, repairs, ended)


def _name_end(text: str, name: str) -> int | None:
    """Where the slot's own name ends, if the text begins with it and a separator or a score comes next."""
    if not name or text[: len(name)].casefold() != name.casefold():
        return None
    after = text[len(name) :]
    if re.match(r"[*_`\s]*[:=—–-]", after) or re.match(r"[*_`]*\s[*_`\s]*[0-9]{1,2}(?:\.[0-9])?\s*/", after):
        return len(name)
    return None


def _plain(name: str) -> str:
    return " ".join(name.strip(f"{MARKUP_AROUND}—–-").casefold().split())


def _bare(after: str) -> bool:
    """Whether behind a name that is not the rubric's nothing but a score stands before the justification."""
    number = NUMBER.match(_after_separator(after)[0])
    return number is None or _BARE_NUMBER_ENDS.match(_after_separator(after)[0], number.end()) is not None


def _starts_with_score(text: str) -> bool:
    number = NUMBER.match(text)
    return number is not None and (number[4] is not None or _BARE_NUMBER_ENDS.match(text, number.end()) is not None)


def _after_separator(text: str) -> tuple[str, str]:
    """Text without the marks between name and score, and those marks without white space and markup.
    A minus right before a digit belongs to the number."""
    match = re.match(r"[*_`\s:=—–]*(?:-(?![0-9])[*_`\s:=—–]*)*", text)
    end = match.end() if match else 0
    return text[end:], re.sub(r"[*_`\s]", "", text[:end])


def _read_number(text: str, layout: Layout, repairs: list[str], ended: bool) -> tuple[float | None, list[str]]:
    number = NUMBER.match(text)
    if number is None or number[1] == "+":
        return None, [*repairs, "not_a_number"]
    sign, whole, decimals, denominator = number.groups()
    if denominator is None:
        if not ended:
            return None, [*repairs, "cut_off"]
        if _BARE_NUMBER_ENDS.match(text, number.end()) is None:
            return None, [*repairs, "not_a_number"]
        repairs.append("denominator")
    elif denominator != "10":
        return None, [*repairs, "out_of_range"]
    if len(decimals or "") > 1:
        return None, [*repairs, "too_precise"]
    value = float(f"{whole}.{decimals or 0}")
    if sign or value > 10 or len(whole) > 2:
        return None, [*repairs, "out_of_range"]
    if len(whole) > len(str(int(whole))):
        repairs.append("leading_zero")
    after = text[number.end() :]
    if layout == "scores_first" and after.strip():
        repairs.append("text")
    if layout == "interleaved" and not after.strip():
        repairs.append("reason")
    elif layout == "interleaved" and not after.startswith(" — "):
        repairs.append("dash")
    if repairs and _SECOND_NUMBER.match(after):
        return None, [*repairs, "not_a_number"]
    return value, repairs
