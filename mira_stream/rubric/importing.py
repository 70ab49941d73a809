"""An anchor file of somebody else, made into a rubric: which of its fields is which, shown, and refused in doubt. Pure.

The released students' anchor files (`group_<X>_dim_anchors.jsonl`) are not public as this is written, so their field
names are not known: they are told from their names, and `given` overrides what the names suggest.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar, get_args

import msgspec

from mira_stream.errors import ConfigError, UsageError
from mira_stream.messages import DIMENSIONS, SLOTS
from mira_stream.rubric.anchors import Anchor, Example, Part, RubricHeader, check_parts, write_rubric

ANCHOR_FIELDS: Final[dict[str, frozenset[str]]] = {
    "slot": frozenset({"slot", "slot_id", "anchor_id", "dim_id", "index", "rank"}),
    "name": frozenset({"name", "dimension", "dimension_name", "anchor_name", "dim", "dim_name", "title"}),
    "description": frozenset({"description", "desc", "definition"}),
    "examples": frozenset({"examples", "canonical_examples", "exemplars", "canonical_example", "example"}),
    "cluster_size": frozenset({"cluster_size", "size", "n_points", "cluster_count", "count"}),
    "runner_up_names": frozenset({"runner_up_names", "runner_ups", "alternative_names", "aliases"}),
}
EXAMPLE_FIELDS: Final[dict[str, frozenset[str]]] = {
    "score": frozenset({"score", "rating"}),
    "reason": frozenset({"reason", "justification", "rationale", "explanation"}),
    "document_id": frozenset({"document_id", "doc_id", "record_id", "id"}),
}
PARTS: Final = get_args(Part)
REQUIRED: Final = frozenset({"name", "examples", "score", "reason"})
T = TypeVar("T")
_row: Final = msgspec.json.Decoder(dict[str, Any])


class ImportedRubric(NamedTuple):
    """`data` is the rubric file's content. `mapping`: ours -> theirs, `examples.score` and so on for examples."""

    data: bytes
    mapping: dict[str, str]
    left_out: list[str]
    order: str


def import_rubric(
    data: bytes, group: str, given: Mapping[str, str], *, teacher: str, created_by: str
) -> ImportedRubric:
    """Fifteen JSON objects, one a line, as a rubric file. `given`: {ours: theirs}, ours as in `mapping`.

    Raises UsageError(rubric_fields) with the mapping for a field that is missing or could be two, ConfigError
    (rubric_invalid) naming the line for a value that is none.
    """
    _check_given(given)
    rows = _with_examples(_rows(data), given)
    mapping = _fields(rows, {**ANCHOR_FIELDS, "part": _part_fields(rows)}, given, "")
    examples = [_examples(row.get(mapping["examples"]), number) for number, row in enumerate(rows, start=1)]
    inner = _fields([one for some in examples for one in some], EXAMPLE_FIELDS, given, "examples.")
    slots, order = _order(rows, mapping)
    anchors = [
        _anchor(rows[place], slot, mapping, [_example(one, inner, place + 1) for one in examples[place]], place + 1)
        for slot, place in zip(SLOTS, slots, strict=True)
    ]
    names = [anchor.name for anchor in anchors]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            "rubric_invalid", f"the name {twice[0]!r} stands twice", "every anchor needs a name of its own"
        )
    check_parts(anchors, "the file")
    header = RubricHeader(group=group, teacher=teacher, created_by=created_by)
    whole = mapping | {f"examples.{ours}": theirs for ours, theirs in inner.items()}
    left_out = sorted({key for row in rows for key in row} - set(mapping.values()))
    return ImportedRubric(write_rubric(header, anchors), whole, left_out, order)


def anchor_names(data: bytes) -> list[str]:
    """The names in a rubric file made by `write_rubric`, in slot order."""
    return [msgspec.json.decode(line, type=Anchor).name for line in data.splitlines()[1:]]


def _rows(data: bytes) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        if not line.strip():
            continue
        row = _converted(partial(_row.decode, line), number)
        if row.get("schema") != "rubric.v1":
            rows.append({key: value for key, value in row.items() if key != "schema"})
    if len(rows) != DIMENSIONS:
        raise ConfigError(
            "rubric_invalid",
            f"{len(rows)} anchors",
            f"a rubric has {DIMENSIONS}: one JSON object a line, each an anchor",
        )
    return rows


def _with_examples(rows: list[dict[str, Any]], given: Mapping[str, str]) -> list[dict[str, Any]]:
    """An anchor that is its own example, score and reason beside its name (the point nearest the centroid), has these
    as `examples` afterwards; others stay as they are."""
    keys = {key for row in rows for key in row}
    if "examples" in given or any(key.lower() in ANCHOR_FIELDS["examples"] for key in keys):
        return rows
    said = {ours: {given[name]} for ours in EXAMPLE_FIELDS if (name := f"examples.{ours}") in given}
    told = {ours: {key for key in keys if key.lower() in words} for ours, words in EXAMPLE_FIELDS.items()}
    inner = {**told, "document_id": {key for key in told["document_id"] if key.lower() != "id"}, **said}
    if not inner["score"] or not inner["reason"]:
        return rows
    moved = set().union(*inner.values())
    return [
        {key: value for key, value in row.items() if key not in moved}
        | {"examples": [{key: value for key, value in row.items() if key in moved}]}
        for row in rows
    ]


def _check_given(given: Mapping[str, str]) -> None:
    known = [*ANCHOR_FIELDS, "part", *(f"examples.{name}" for name in EXAMPLE_FIELDS)]
    for name in given:
        if name not in known:
            raise UsageError("rubric_map", f"--map {name}=...", f"name one of {', '.join(known)}")


def _fields(
    rows: Sequence[Mapping[str, Any]], known: Mapping[str, frozenset[str]], given: Mapping[str, str], prefix: str
) -> dict[str, str]:
    """Which key is which of `known`: an exact name first, then one that means it; two of them are refused."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    mapping: dict[str, str] = {}
    trouble: list[str] = []
    say: list[str] = []
    for ours, words in known.items():
        theirs = given.get(f"{prefix}{ours}")
        found = [key for key in keys if key.lower() in words] if theirs is None else [theirs]
        if theirs is not None and theirs not in keys:
            trouble.append(f"there is no field {theirs!r}")
            say.append(f"--map {prefix}{ours}=FIELD")
        elif len(found) > 1:
            trouble.append(f"{prefix}{ours} could be {' or '.join(found)}")
            say.append(f"--map {prefix}{ours}={found[0]}")
        elif found:
            mapping[ours] = found[0]
        elif ours in REQUIRED:
            trouble.append(f"no field for {prefix}{ours}")
            say.append(f"--map {prefix}{ours}=FIELD")
    trouble += [f"{theirs} cannot be two fields" for theirs in _repeated(list(mapping.values()))]
    if trouble:
        shown = ", ".join(f"{prefix}{ours} = {theirs}" for ours, theirs in mapping.items()) or "nothing"
        cause = f"{'; '.join(trouble)}. Mapping so far: {shown}; fields there are: {', '.join(keys) or 'none'}"
        raise UsageError(
            "rubric_fields", cause, f"say which it is (ours=theirs): {' '.join(say) or f'--map {prefix}name=FIELD'}"
        )
    return mapping


def _part_fields(rows: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Lower-case names of fields that may be the part: `part`, and those of which every value is one."""
    keys = {key for row in rows for key in row}
    return frozenset({"part"} | {key.lower() for key in keys if all(row.get(key) in PARTS for row in rows)})


def _repeated(values: list[str]) -> list[str]:
    return sorted({value for value in values if values.count(value) > 1})


def _order(rows: Sequence[Mapping[str, Any]], mapping: Mapping[str, str]) -> tuple[list[int], str]:
    """Places of the rows in slot order: as their slots say, else by cluster size, else as they stand."""
    if "slot" in mapping:
        numbers = [_slot(row.get(mapping["slot"]), number) for number, row in enumerate(rows, start=1)]
        first = min(numbers)
        if first not in (0, 1) or sorted(numbers) != list(range(first, first + DIMENSIONS)):
            raise ConfigError("rubric_invalid", f"slots are {sorted(numbers)}", "one anchor a slot, A1 to A15")
        return sorted(range(DIMENSIONS), key=lambda place: numbers[place]), "as their slots say"
    if "cluster_size" in mapping:
        sizes = [
            _converted(partial(msgspec.convert, row.get(mapping["cluster_size"]), int), number)
            for number, row in enumerate(rows, start=1)
        ]
        return sorted(range(DIMENSIONS), key=lambda place: -sizes[place]), "by cluster size"
    return list(range(DIMENSIONS)), "as they stand"


def _slot(value: object, number: int) -> int:
    match = re.fullmatch(r"[Aa]?([0-9]{1,2})", str(value).strip().strip("[]"))
    if match is None or isinstance(value, bool):
        raise _wrong(number, f"the slot is {value!r}")
    return int(match[1])


def _examples(value: object, number: int) -> list[dict[str, Any]]:
    """One example or several, as objects."""
    listed: list[Any] = value if isinstance(value, list) else [value]
    found = [one for one in listed if isinstance(one, dict)]
    if not listed or len(found) < len(listed):
        raise _wrong(number, "examples must be objects with a score and a reason, at least one")
    return found


def _example(value: Mapping[str, Any], inner: Mapping[str, str], number: int) -> Example:
    given = {ours: value.get(theirs) for ours, theirs in inner.items()}
    if given.get("document_id") is not None:
        given["document_id"] = str(given["document_id"])
    example = _converted(lambda: msgspec.convert(given, Example), number)
    if not 0 <= example.score <= 10 or not example.reason.strip():
        raise _wrong(number, f"an example has the score {example.score:g} and the reason {example.reason!r}")
    return msgspec.structs.replace(example, reason=" ".join(example.reason.split()))


def _anchor(
    row: Mapping[str, Any], slot: str, mapping: Mapping[str, str], examples: list[Example], number: int
) -> Anchor:
    rest = {ours: row[theirs] for ours, theirs in mapping.items() if row.get(theirs) is not None}
    rest |= {"schema": "anchor.v1", "slot": slot, "examples": examples}
    rest.setdefault("description", "")
    anchor = _converted(lambda: msgspec.convert(msgspec.to_builtins(rest), Anchor), number)
    name = " ".join(anchor.name.split())
    if not name:
        raise _wrong(number, "the name is empty")
    if anchor.cluster_size is not None and anchor.cluster_size < 0:
        raise _wrong(number, f"the cluster size is {anchor.cluster_size}")
    return msgspec.structs.replace(anchor, name=name)


def _converted(make: Callable[[], T], number: int) -> T:
    try:
        return make()
    except msgspec.DecodeError as error:  # ValidationError is one
        raise _wrong(number, str(error)) from None


def _wrong(number: int, what: str) -> ConfigError:
    return ConfigError(
        "rubric_invalid", f"anchor {number}: {what}", "correct that line, or name its field: --map OURS=THEIRS"
    )
