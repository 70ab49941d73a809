"""Teacher labels: which views of which documents are judged, and the rows a teacher's replies become. Pure.

A held-out document has one view, the one its student will be asked about. A document to train on has that view and,
if asked for, windows that begin further on, each also at shorter cuts: a teacher that costs nothing can judge as many
as training can use.
"""

import random
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

from msgspec import Struct

from mira_stream.chance import is_heldout, u
from mira_stream.errors import ConfigError, DocumentError
from mira_stream.messages import SLOTS, Mode, Verdict
from mira_stream.render import Tokenize, cut
from mira_stream.scorecard import Reading
from mira_stream.sections import GroupSection

Split = Literal["distill", "heldout"]
MEASURED_SHARE: Final = 0.5
"""Held-out documents with u("audit", id) below this share are for measuring reliability, the others for streaming."""
SHORTEST_TOKENS: Final = 48


class Label(Struct, frozen=True, kw_only=True):
    """One view and what the teacher says of it. `window` 0 at `cut` 0 is the view that a student is asked about.

    `justifications`, `domain_tag` and `brief` are those of mode `rationale`.
    """

    id: str
    source: str
    split: Split
    cluster: str = ""
    window: int
    cut: int
    view: str
    scores: list[float]
    overall: float
    recommendation: Verdict
    justifications: list[str] | None = None
    domain_tag: str | None = None
    brief: str | None = None


class Chosen(NamedTuple):
    """A document to be labelled: its rendered text, its near-duplicate cluster, and the split that follows from it."""

    id: str
    source: str
    text: str
    cluster: str
    split: Split

    def __repr__(self) -> str:
        return f"<Chosen {self.source}/{self.id} {self.split}>"


class Wanted(NamedTuple):
    """A view that a teacher is to judge."""

    id: str
    source: str
    split: Split
    cluster: str
    window: int
    cut: int
    view: str

    @property
    def key(self) -> str:
        return view_key(self.source, self.id, self.window, self.cut)


def view_key(source: str, document_id: str, window: int = 0, number: int = 0) -> str:
    """What a view is known by in its group; without a window the one that the student is asked about."""
    return f"{source}/{document_id}/{window}.{number}"


class Augmentation(NamedTuple):
    """Windows a training document gives, and views a window gives (1, 1: the student's own view alone)."""

    windows: int = 1
    cuts: int = 1


SCHEMA: Final[dict[str, Literal["string", "int64", "float64", "floats", "strings"]]] = {
    "id": "string",
    "source": "string",
    "split": "string",
    "cluster": "string",
    "window": "int64",
    "cut": "int64",
    "view": "string",
    "scores": "floats",
    "overall": "float64",
    "recommendation": "string",
    "justifications": "strings",
    "domain_tag": "string",
    "brief": "string",
}
"""Columns of a file of labels; its metadata are those of `about`."""


def is_measured(document_id: str) -> bool:
    """Whether reliability is measured on this document (then a demonstration should rather stream others)."""
    return is_heldout(document_id) and u("audit", document_id) < MEASURED_SHARE


def split_of(document_id: str, cluster: str) -> Split | None:
    """On which side a document stands; None: on neither.

    Its near-duplicate cluster decides, so that copies are never on both sides. A document that is held out by itself
    is never trained on, whatever its cluster: others rely on `is_heldout(id)`.
    """
    if is_heldout(cluster):
        return "heldout"
    return None if is_heldout(document_id) else "distill"


def views(
    document: Chosen, settings: GroupSection, cutoff_tokens: int, tokenize: Tokenize, more: Augmentation
) -> Iterator[Wanted]:
    """The views of one document that a teacher is to judge; no window twice. Raises DocumentError like `cut`."""
    text, budget = document.text, settings.document_tokens_max

    def wanted(window: int, number: int, view: str) -> Wanted:
        return Wanted(document.id, document.source, document.split, document.cluster, window, number, view)

    own = cut(text, tokenize, cutoff_tokens, budget, settings.too_long).text
    yield wanted(0, 0, own)
    if document.split == "heldout":
        return
    chance = random.Random(u("seed", document.id))
    seen = {own}
    for window in range(more.windows):
        if window == 0:
            whole = own
        else:
            start = _line_start(text, chance.randrange(max(1, len(text) - budget)))
            whole = cut(text[start:], tokenize, cutoff_tokens, budget, "head").text
            if not whole.strip() or whole in seen:
                continue
            yield wanted(window, 0, whole)
            seen.add(whole)
        if more.cuts == 1:
            continue
        offsets = tokenize(whole)
        for number in range(1, more.cuts):
            # Cut lengths are spread over the window, a little by chance.
            tokens = round(len(offsets) * (number + chance.uniform(-0.3, 0.3)) / more.cuts)
            if SHORTEST_TOKENS <= tokens < len(offsets) and (part := whole[: offsets[tokens - 1][1]]).strip():
                yield wanted(window, number, part)


def label(wanted: Wanted, reading: Reading, justifications: Sequence[str | None] | None = None) -> Label:
    """A row of the label file; with `justifications` (mode `rationale`) their fifteen, tag and brief must be there.

    Raises DocumentError(reply_unreadable) unless all of the reply was read.
    """
    scores = [score for score in reading.scores if score is not None]
    if len(scores) != len(SLOTS) or reading.overall is None or reading.recommendation is None:
        raise DocumentError("reply_unreadable", f"the teacher's reply lacks scores: {', '.join(reading.repairs)}")
    reasons = None
    if justifications is not None:
        reasons = [reason for reason in justifications if reason]
        if len(reasons) != len(SLOTS) or not reading.domain_tag or not reading.brief:
            lacking = [slot for slot, reason in zip(SLOTS, justifications, strict=True) if not reason]
            lacking += [] if reading.domain_tag else ["domain_tag"]
            lacking += [] if reading.brief else ["brief"]
            raise DocumentError("reply_unreadable", f"the teacher's reply has no words for {', '.join(lacking)}")
    return Label(
        id=wanted.id,
        source=wanted.source,
        split=wanted.split,
        cluster=wanted.cluster,
        window=wanted.window,
        cut=wanted.cut,
        view=wanted.view,
        scores=scores,
        overall=reading.overall,
        recommendation=reading.recommendation,
        justifications=reasons,
        domain_tag=reading.domain_tag,
        brief=reading.brief,
    )


def about(rubric: str, teacher: str, prompt_sha256: str, mode: Mode, temperature: float) -> dict[str, str]:
    """The metadata of a file of labels. `temperature`: at which the teacher was asked."""
    return {
        "rubric": rubric,
        "teacher": teacher,
        "prompt": prompt_sha256,
        "mode": mode,
        "temperature": f"{temperature:g}",
    }


def label_command(project: Path, group: str, labels: Path | None = None) -> str:
    """The command that labels a group; `labels`: its file, unless that is where the project keeps them."""
    elsewhere = [] if labels is None else ["--labels", str(labels)]
    return shlex.join(["mira-stream", "label", "--group", group, "--project", str(project), *elsewhere])


def check_rubric(path: Path, metadata: Mapping[str, str], rubric: str, command: str) -> None:
    """Every stage behind labelling refuses labels of another rubric. `command`: what labels the group.

    Raises ConfigError(rubric_mismatch).
    """
    found = metadata.get("rubric")
    if found is not None and found != rubric:
        raise ConfigError(
            "rubric_mismatch",
            f"{path} holds labels of rubric {found}, the group's rubric is {rubric} now",
            f"put the rubric back, or label anew: {command} --anew",
        )


def check_prompt(path: Path, metadata: Mapping[str, str], prompt_sha256: str, command: str) -> None:
    """A prompt that was changed after labelling is refused as a changed rubric is: the teacher was asked otherwise.

    `prompt_sha256`: Prompt.files_sha256 of the group's templates now; labels without any are of earlier versions.

    Raises ConfigError(prompt_mismatch).
    """
    found = metadata.get("prompt")
    if found is not None and found != prompt_sha256:
        raise ConfigError(
            "prompt_mismatch",
            f"{path} holds labels of prompt {found[:12]}, the group's templates are {prompt_sha256[:12]} now",
            f"put system.txt and user.txt back as they were, or label anew: {command} --anew",
        )


def columns(labels: Sequence[Label]) -> dict[str, list[object]]:
    """The columns of SCHEMA."""
    return {name: [getattr(row, name) for row in labels] for name in SCHEMA}


def rows(table: dict[str, list[object]], build: Callable[[dict[str, object]], Label]) -> list[Label]:
    """Labels of a file's columns; `build` turns a row into a Label (msgspec.convert)."""
    return [build(dict(zip(table, values, strict=True))) for values in zip(*table.values(), strict=True)]


def _line_start(text: str, position: int) -> int:
    return text.rfind("\n", 0, position) + 1
