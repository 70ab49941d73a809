"""A student's own prompt template, in whatever style its authors wrote it, made into ours. Pure.

Styles: `dollar` ${name}, `python` {name} as str.format has it, `jinja` {{ name }}. Only placeholders are replaced;
every other brace stays as it is, except that a `python` template which str.format would accept has its doubled braces
halved, as str.format does. Jinja's statements ({% for ... %}) are refused: they would have to be run.
"""

import re
from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Final, Literal, NamedTuple

from mira_stream.errors import UsageError

Style = Literal["dollar", "python", "jinja"]
Ours = Literal["calibration", "dimensions", "document"]
LITERAL: Final = "literal"
"""A placeholder mapped to this is no placeholder: its text stays."""
MEANINGS: Final[dict[Ours, frozenset[str]]] = {
    "calibration": frozenset({"calibration", "calibration_examples", "anchor_examples", "examples", "few_shot"}),
    "dimensions": frozenset({"dimensions", "dims", "dimension_list", "dimension_names", "anchors", "rubric"}),
    "document": frozenset({"document", "doc", "record", "text", "content", "trajectory", "conversation", "sample"}),
}
PATTERNS: Final[dict[Style, re.Pattern[str]]] = {
    "dollar": re.compile(r"\$\{([A-Za-z_]\w*)\}"),
    "python": re.compile(r"(?<![{$])\{([A-Za-z_]\w*)\}(?!\})"),
    "jinja": re.compile(r"\{\{-?\s*([A-Za-z_]\w*)\s*-?\}\}"),
}


class Imported(NamedTuple):
    """Our two templates, and how they came about. `mapping`: placeholder -> ours or `literal`."""

    system: str
    user: str
    style: Style
    mapping: dict[str, str]
    halved: bool


def import_templates(system: str, user: str, given: Mapping[str, str], style: Style | None = None) -> Imported:
    """Raises UsageError: prompt_style, prompt_placeholder or prompt_document, with the mapping as far as it is known.

    `given` overrides what the names suggest: {placeholder: calibration | dimensions | document | literal}.
    """
    chosen = style or _style((system, user), given)
    if chosen == "jinja" and "{%" in system + user:
        raise UsageError("prompt_style", "the template has jinja statements", "write out what they would print")
    names = [name for text in (system, user) for name in PATTERNS[chosen].findall(text)]
    mapping = _mapping(list(dict.fromkeys(names)), given)
    _check(names, mapping, PATTERNS[chosen].findall(system))
    halved = chosen == "python" and all(map(_is_format, (system, user))) and any(map(_doubled, (system, user)))
    parts = [_rewrite(text, chosen, mapping, halved) for text in (system, user)]
    for name in MEANINGS:
        wanted = sum(meaning == name for meaning in mapping.values())
        if sum(part.count(f"${{{name}}}") for part in parts) != wanted:
            raise _refused(
                "prompt_placeholder", f"the literal text holds ${{{name}}}, which would be replaced", mapping
            )
    return Imported(parts[0], parts[1], chosen, mapping, halved)


def _style(texts: Sequence[str], given: Mapping[str, str]) -> Style:
    """The one style whose placeholders have a meaning."""
    known = frozenset().union(*MEANINGS.values()) | given.keys()
    found: list[Style] = [
        style for style, pattern in PATTERNS.items() if any(known.intersection(pattern.findall(text)) for text in texts)
    ]
    if len(found) == 1:
        return found[0]
    seen = {style: sorted({name for text in texts for name in PATTERNS[style].findall(text)}) for style in PATTERNS}
    shown = "; ".join(f"{style}: {', '.join(names) or 'none'}" for style, names in seen.items())
    cause = "no placeholder with a meaning was found" if not found else f"placeholders of styles {' and '.join(found)}"
    raise UsageError(
        "prompt_style", f"{cause} ({shown})", f"name one: --style {found[0] if found else 'python'} --map NAME=document"
    )


def _mapping(names: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    allowed = (*MEANINGS, LITERAL)
    for name, meaning in given.items():
        if meaning not in allowed:
            raise UsageError(
                "prompt_map", f"--map {name}={meaning}", f"a placeholder means one of {', '.join(allowed)}"
            )
        if name not in names:
            raise UsageError(
                "prompt_map", f"--map {name}={meaning}: no such placeholder", f"there are: {', '.join(names) or 'none'}"
            )
    guessed = {name: next((ours for ours, words in MEANINGS.items() if name.lower() in words), "?") for name in names}
    return guessed | dict(given)


def _check(names: Sequence[str], mapping: dict[str, str], in_system: Sequence[str]) -> None:
    unknown = [name for name, meaning in mapping.items() if meaning == "?"]
    if unknown:
        raise _refused("prompt_placeholder", f"unknown placeholders: {', '.join(unknown)}", mapping)
    for ours in MEANINGS:
        places = [name for name in names if mapping[name] == ours]
        if len(set(places)) > 1:
            said = f"{' and '.join(dict.fromkeys(places))} could all be {ours}"
            raise _refused("prompt_placeholder", said, mapping, f"say which is not: --map {places[-1]}={LITERAL}")
        if len(places) > 1:
            said = f"{places[0]} ({ours}) stands {len(places)} times; once is filled"
            raise _refused("prompt_placeholder", said, mapping, f"leave one {places[0]} in the template")
    if "document" not in mapping.values():
        raise _refused("prompt_document", "no placeholder is the document", mapping)
    if any(mapping[name] == "document" for name in in_system):
        said = "the document stands in the system part: it must be in the user part"
        raise _refused("prompt_document", said, mapping, "see which file is which")


def _refused(code: str, cause: str, mapping: Mapping[str, str], fix: str = "") -> UsageError:
    shown = ", ".join(f"{name} -> {meaning}" for name, meaning in mapping.items()) or "no placeholders"
    doubtful = next((name for name, meaning in mapping.items() if meaning == "?"), "NAME")
    free = LITERAL if "document" in mapping.values() else "document"
    return UsageError(
        code,
        f"{cause}. Mapping: {shown}; a placeholder means one of {', '.join((*MEANINGS, LITERAL))}",
        fix or f"say what it means: --map {doubtful}={free}",
    )


def _is_format(text: str) -> bool:
    """Whether str.format would take it: then its authors doubled the braces that they mean."""
    try:
        fields = [field for _, field, _, _ in Formatter().parse(text) if field is not None]
    except ValueError:
        return False
    return all(re.fullmatch(r"[A-Za-z_]\w*", field) for field in fields)


def _doubled(text: str) -> bool:
    return "{{" in text or "}}" in text


def _rewrite(text: str, style: Style, mapping: Mapping[str, str], halved: bool) -> str:
    pieces, end = [], 0
    for match in PATTERNS[style].finditer(text):
        meaning = mapping[match[1]]
        pieces.append(_literal(text[end : match.start()], halved))
        pieces.append(match[0] if meaning == LITERAL else f"${{{meaning}}}")
        end = match.end()
    return "".join([*pieces, _literal(text[end:], halved)])


def _literal(text: str, halved: bool) -> str:
    return text.replace("{{", "{").replace("}}", "}") if halved else text
