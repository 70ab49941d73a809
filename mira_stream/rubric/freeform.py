"""Free-form judging (MIRA, stage 1): a teacher names fifteen dimensions of its own for one document. Pure.

The prompt, and the strict reading of the reply: one JSON object `{"dimensions": [{"name", "score", "reason"} x 15]}`.
A code fence around it is allowed, nothing else.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct, structs

from mira_stream.errors import DocumentError
from mira_stream.messages import DIMENSIONS
from mira_stream.sections import Family

KINDS: Final[Mapping[Family, str]] = {
    "text": "a text or code document",
    "qa": "a question with its answer, perhaps with the thinking between them",
    "agent": "a trajectory: what an agent was asked, said, did with tools, and was answered",
}
NAME_CHARACTERS_MAX: Final = 80
REASON_CHARACTERS_MAX: Final = 400
"""A name or reason that is longer is cut: the question names no length, and the answer is paid for."""
ELLIPSIS: Final = " …"
_SYSTEM: Final = (
    "You judge documents that may be used to train a language model in mid-training.\n"
    "The document is {kind}.\n"
    "Name the fifteen dimensions of quality that matter most for a document like this one, in your own words, and"
    " judge it on each: a score from 1 (worst) to 10 (best) and the reason in one short sentence.\n"
    "Answer with one JSON object and nothing else:"
    ' {{"dimensions": [{{"name": "...", "score": 7, "reason": "..."}}, ...]}}'
    " with exactly fifteen entries whose names differ."
)
_BEFORE: Final = "Document:\n\n"
_FENCE: Final = re.compile(r"\A\s*```(?:json)?\s*\n(.*)\n\s*```\s*\Z", re.DOTALL)


class FreeDimension(Struct, frozen=True, kw_only=True):
    """One dimension as the teacher named and judged it."""

    name: Annotated[str, Meta(min_length=1)]
    score: Annotated[float, Meta(ge=1, le=10)]
    reason: Annotated[str, Meta(min_length=1)]


class _Answer(Struct, frozen=True, forbid_unknown_fields=True):
    dimensions: Annotated[list[FreeDimension], Meta(min_length=DIMENSIONS, max_length=DIMENSIONS)]


_decoder: Final = msgspec.json.Decoder(_Answer)
_encoder: Final = msgspec.json.Encoder()


def freeform_messages(view: str, family: Family) -> list[dict[str, str]]:
    """Chat messages that ask for fifteen dimensions of a rendered view."""
    return [{"role": "system", "content": freeform_system(family)}, {"role": "user", "content": _BEFORE + view}]


def freeform_system(family: Family) -> str:
    """The system message of `freeform_messages`: the same for all documents of a family."""
    return _SYSTEM.format(kind=KINDS[family])


def freeform_view(user: str) -> str:
    """The view inside a user message made by `freeform_messages`."""
    return user.removeprefix(_BEFORE)


def write_freeform(dimensions: Sequence[FreeDimension]) -> str:
    """The reply as it is asked for."""
    return _encoder.encode(_Answer(list(dimensions))).decode()


def parse_freeform(reply: str) -> list[FreeDimension]:
    """The fifteen dimensions of a reply. Raises DocumentError(reply_unreadable) for anything else."""
    fenced = _FENCE.match(reply)
    try:
        found = _decoder.decode(fenced[1] if fenced else reply).dimensions
    except (msgspec.DecodeError, RecursionError) as error:
        raise DocumentError("reply_unreadable", f"{error}; the reply begins {reply[:200]!r}") from None
    # Names and reasons become lines of prompts and replies: a line break in one would end it there.
    plain = [
        structs.replace(
            one, name=_one_line(one.name, NAME_CHARACTERS_MAX), reason=_one_line(one.reason, REASON_CHARACTERS_MAX)
        )
        for one in found
    ]
    names = [one.name for one in plain]
    if not all(one.name and one.reason for one in plain):
        raise DocumentError("reply_unreadable", "a dimension has no name or no reason")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DocumentError("reply_unreadable", f"the dimension {twice!r} is named twice")
    return plain


def _one_line(text: str, characters_max: int) -> str:
    """White space as single blanks; what is too long ends behind a whole word, with an ellipsis."""
    line = " ".join(text.split())
    if len(line) <= characters_max:
        return line
    room = characters_max - len(ELLIPSIS)
    return (line[: room + 1].rpartition(" ")[0] or line[:room]) + ELLIPSIS
