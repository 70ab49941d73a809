"""The reliability table of a source group, reliability/<group>.json: how well its student agrees with the teacher.

One cell is a (source, dimension). `rho` is null where it is undefined (constant scores on one side).
"""

from hashlib import sha256
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec import Struct

from mira_stream.config import MaskLimits
from mira_stream.errors import ConfigError
from mira_stream.messages import SLOTS, Fifteen, Mode, Wire

WHOLE_GROUP: Final = "*"
"""The key in `sources` whose cells are measured over all sources of the group together."""

CellVerdict = Literal["reliable", "unreliable", "no_variance"]
"""What the mask reads. A cell that its own documents left undecided bears its group's verdict (`shrunk`)."""


class Cell(Struct, frozen=True, kw_only=True):
    """Teacher against student in one (source, dimension); scores on the 1-10 scale.

    `mae_hi` and `rho_lo` are one-sided 90 % bounds; `skill` = 1 - MAE / MAE of the source's constant teacher
    median; `bias` = mean(student - teacher). `shrunk` says that the group's cell gave the verdict.
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


class Aggregate(Struct, frozen=True, kw_only=True):
    """Agreement of qualities over the reliable dimensions: cells may all pass while the kept set is wrong.

    `rho` of the qualities; `overlap` = share of the teacher's kept half that the student keeps too; `gain` = mean
    teacher quality of the student's kept half over that of all documents, as a share of what the teacher's own
    kept half gains (1 = as good as the teacher, 0 = random).
    """

    rho: float | None
    overlap: float | None
    gain: float | None


class SourceReliability(Struct, frozen=True, kw_only=True):
    n: int
    aggregate: Aggregate
    dimensions: dict[str, Cell]

    @property
    def reliable(self) -> tuple[str, ...]:
        """The slots that count, in slot order."""
        return tuple(slot for slot in SLOTS if self.dimensions[slot].verdict == "reliable")


class ModeReliability(Struct, frozen=True, kw_only=True):
    """`means`: group means of the student's scores per dimension, in slot order (what scores are centred by)."""

    lineage: str
    means: Fifteen
    sources: dict[str, SourceReliability]

    def of(self, source: str) -> SourceReliability:
        """The source's own cells, else those of the whole group."""
        return self.sources.get(source) or self.sources[WHOLE_GROUP]


class Table(Wire, frozen=True, kw_only=True, tag="reliability.v1"):
    """All of reliability/<group>.json. `rubric` is the rubric's version."""

    group: str
    rubric: str
    labels_sha256: str
    split: str
    limits: MaskLimits
    modes: dict[Mode, ModeReliability]

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
    """Write the table, two spaces an indentation, through a temporary file in the same folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_bytes(msgspec.json.format(_encoder.encode(table), indent=2) + b"\n")
    draft.replace(path)
