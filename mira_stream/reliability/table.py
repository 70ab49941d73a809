"""The reliability table of a source group, reliability/<group>.json: how well its student agrees with the teacher.

One cell is a (source, dimension). `rho` is null where it is undefined (constant scores on one side).
"""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from mira_stream.errors import ConfigError
from mira_stream.messages import SLOTS, Fifteen, Mode, Wire
from mira_stream.sections import MaskLimits
from mira_stream.whole_file import replace_file

WHOLE_GROUP: Final = "*"
"""The key in `sources` whose cells are measured over all sources of the group together."""

CellVerdict = Literal["reliable", "unreliable", "undecided", "no_variance"]
"""What the mask reads: only `reliable` dimensions count."""


class Cell(Struct, frozen=True, kw_only=True):
    """Teacher against student in one (source, dimension); scores on the 1-10 scale.

    `_lo` and `_hi` are one-sided 90 % bounds; `skill` = 1 - MAE / MAE of the source's constant teacher median;
    `bias` = mean(student - teacher). `own` is what the cell's documents say, `verdict` what counts: an `undecided`
    cell is judged by its values shrunk to the group (`shrunk`, `mae_shrunk`, `rho_shrunk`), and stays undecided only
    if the whole group has too few documents. Fields with a default are null in tables of earlier versions.
    """

    n: int
    mae: float
    rho: float | None
    mae_hi: float
    rho_lo: float | None
    skill: float
    bias: float
    verdict: CellVerdict
    shrunk: bool = False
    own: CellVerdict | None = None
    mae_lo: float | None = None
    rho_hi: float | None = None
    skill_lo: float | None = None
    skill_hi: float | None = None
    bias_lo: float | None = None
    bias_hi: float | None = None
    mae_shrunk: float | None = None
    rho_shrunk: float | None = None


class Aggregate(Struct, frozen=True, kw_only=True):
    """Agreement of qualities over the reliable dimensions (`kept.py` has the formulas): cells may all pass while the
    kept set is wrong.

    `rho` of the qualities; at the retention `target`, counted in documents: `overlap` of the kept sets, which by
    chance would be `overlap_chance`, and its `kappa`; `gain` over random as a share of the teacher's own (1 = as good
    as the teacher, 0 = random). `shared_error`: enough cells pass, and the lower bound of the gain does not.
    """

    rho: float | None
    overlap: float | None
    gain: float | None
    target: float | None = None
    overlap_chance: float | None = None
    kappa: float | None = None
    rho_lo: float | None = None
    overlap_lo: float | None = None
    kappa_lo: float | None = None
    gain_lo: float | None = None
    gain_hi: float | None = None
    shared_error: bool = False


class Acceptance(Struct, frozen=True, kw_only=True):
    """A mode beside the slowest one, `against`, on `n` documents that the slower one read whole, `unread` of which
    this one did not: its selection gain less the slower one's, with its lower bound; null where undefined
    (`acceptance.py` has the rule)."""

    against: Mode
    n: int
    unread: int = 0
    difference: float | None = None
    difference_lo: float | None = None
    accepted: bool = False


class SourceReliability(Struct, frozen=True, kw_only=True):
    """`clusters`: documents that are no near-duplicates of one another. `warnings` begin with a word and a colon."""

    n: int
    aggregate: Aggregate
    dimensions: dict[str, Cell]
    clusters: int | None = None
    warnings: list[str] = []
    acceptance: Acceptance | None = None

    @property
    def reliable(self) -> tuple[str, ...]:
        """The slots that count, in slot order."""
        return tuple(slot for slot in SLOTS if self.dimensions[slot].verdict == "reliable")


class ModeReliability(Struct, frozen=True, kw_only=True):
    """`means`: group means of the student's scores per dimension, in slot order (what scores are centred by).
    `labels_sha256`: the file its student's scores stood in, if another mode was measured since; else the table's.
    `scores_column`: where in that file they stand."""

    lineage: str
    means: Fifteen
    sources: dict[str, SourceReliability]
    labels_sha256: str = ""
    scores_column: str = "student_scores"

    def of(self, source: str) -> SourceReliability:
        """The source's own cells, else those of the whole group."""
        return self.sources.get(source) or self.sources[WHOLE_GROUP]


class Ceiling(Struct, frozen=True, kw_only=True):
    """The teacher against itself in one dimension: no student can be expected to agree better. Bounds as of a Cell;
    those with a default are null in tables of earlier versions."""

    mae: float
    mae_hi: float
    rho: float | None
    rho_lo: float | None
    mae_lo: float | None = None
    rho_hi: float | None = None


class Retest(Struct, frozen=True, kw_only=True):
    """`n` held-out views of the group, judged by the teacher a second time at `temperature` (null in tables of earlier
    versions) with the templates of sha256 `prompt`. `note`: why the ceiling says nothing, where it does not."""

    teacher: str
    n: int
    unanswered: int
    dimensions: dict[str, Ceiling]
    temperature: float | None = None
    prompt: str = ""
    note: str = ""


class Table(Wire, frozen=True, kw_only=True, tag="reliability.v1"):
    """All of reliability/<group>.json. `rubric` is the rubric's version; `retest` is null if it was not measured."""

    group: str
    rubric: str
    labels_sha256: str
    split: str
    limits: MaskLimits
    modes: dict[Mode, ModeReliability]
    retest: Retest | None = None

    def __post_init__(self) -> None:
        for mode, reliability in self.modes.items():
            if WHOLE_GROUP not in reliability.sources:
                raise ValueError(f"modes.{mode}.sources lacks {WHOLE_GROUP!r}, the whole group")
            for name, source in reliability.sources.items():
                if tuple(source.dimensions) != SLOTS:
                    raise ValueError(f"modes.{mode}.sources.{name}.dimensions must be A1..A15 in order")


class LoadedTable(NamedTuple):
    """A table and the sha256 of its file (what a Mask records as `reliability_sha256`)."""

    table: Table
    sha256: str


_encoder: Final = msgspec.json.Encoder()


def load_table(path: Path) -> Table:
    """Read a reliability file. Raises ConfigError if it is missing or not of this form."""
    return load_table_with_hash(path).table


def load_table_with_hash(path: Path) -> LoadedTable:
    """Like `load_table`, with the hash of the bytes that were read."""
    try:
        data = path.read_bytes()
        table = msgspec.json.decode(data, type=Table)
    except FileNotFoundError:
        raise ConfigError(
            "reliability_missing", f"{path} does not exist", "measure the student: mira-stream reliability --group G"
        ) from None
    except msgspec.DecodeError as error:
        raise ConfigError(
            "reliability_invalid", f"{path}: {error}", "measure it anew: mira-stream reliability"
        ) from None
    return LoadedTable(table, sha256(data).hexdigest())


def save_table(path: Path, table: Table) -> None:
    """Write the table, two spaces an indentation, whole or not at all."""
    replace_file(path, msgspec.json.format(_encoder.encode(table), indent=2) + b"\n")


class Kept(NamedTuple):
    """A table that took over what still holds of the one before it, and the modes that it had to drop."""

    table: Table
    dropped: tuple[str, ...]


def keep_modes(table: Table, before: Table | None, lineages: Mapping[Mode, str]) -> Kept:
    """Other modes of the table before stay while rubric, limits and their lineage hold. `lineages`: what each mode's
    is now (a mode that cannot be run any more has none)."""
    if before is None:
        return Kept(table, ())
    others = {mode: part for mode, part in before.modes.items() if mode not in table.modes}
    same = before.rubric == table.rubric and before.limits == table.limits
    held = {
        mode: replace(part, labels_sha256=part.labels_sha256 or before.labels_sha256)
        for mode, part in others.items()
        if same and lineages.get(mode) == part.lineage
    }
    modes = dict(sorted({**table.modes, **held}.items()))
    return Kept(replace(table, modes=modes), tuple(sorted(set(others) - set(held))))
