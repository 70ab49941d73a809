"""From a reliability table to masks and priors."""

import pytest

from mira_stream.errors import ConfigError
from mira_stream.messages import SLOTS
from mira_stream.reliability.table import Aggregate, Cell, CellVerdict, ModeReliability, SourceReliability
from mira_stream.sections import MaskSection
from mira_stream.selecting.masks import HeldOut, Measured, Scores, mask_hash, mask_of

RELIABLE = ("A1", "A2", "A5", "A9")


def reliability(reliable: tuple[str, ...], n: int = 200) -> SourceReliability:
    def cell(verdict: CellVerdict) -> Cell:
        return Cell(n=n, mae=0.5, rho=0.8, mae_hi=0.6, rho_lo=0.7, skill=0.4, bias=0.0, verdict=verdict)

    cells = {slot: cell("reliable" if slot in reliable else "unreliable") for slot in SLOTS}
    return SourceReliability(n=n, aggregate=Aggregate(rho=0.8, overlap=0.8, gain=0.8), dimensions=cells)


def measured(rows: dict[str, list[Scores]], **sources: tuple[str, ...]) -> Measured:
    cells = {"*": reliability(RELIABLE), **{name: reliability(slots) for name, slots in sources.items()}}
    return Measured(ModeReliability(lineage="l", means=[6.0] * 15, sources=cells), "f" * 64, HeldOut(rows))


def test_the_mask_is_what_the_table_calls_reliable() -> None:
    mask = mask_of("books", "text", "l", measured({}, books=("A1", "A3", "A15")), MaskSection())
    assert (mask.dimensions, mask.means, mask.trim) == (["A1", "A3", "A15"], [6.0] * 15, 0.1)
    assert (mask.reliability_sha256, mask.dimensions_min, mask.prior) == ("f" * 64, 3, None)


def test_a_source_not_measured_has_its_groups_verdicts() -> None:
    assert mask_of("new", "text", "l", measured({}, books=("A1", "A3", "A15")), MaskSection()).dimensions == list(
        RELIABLE
    )


def test_without_a_table_all_dimensions_count_uncentred() -> None:
    mask = mask_of("books", "text", "l", None, MaskSection())
    assert (mask.dimensions, mask.means, mask.prior) == (list(SLOTS), [0.0] * 15, None)


def test_a_source_left_with_too_few_dimensions_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'books'.*A1, A2.*at least 3") as refusal:
        mask_of("books", "text", "l", measured({}, books=("A1", "A2")), MaskSection())
    assert refusal.value.code == "too_few_dimensions"


def test_the_prior_is_the_sources_own_if_it_has_enough_cards_else_its_groups() -> None:
    rows: dict[str, list[Scores]] = {"books": [[5.0] * 15] * 25, "wiki": [[8.0] * 15] * 24, "odd": [[None] * 15] * 30}
    given = measured(rows)
    books, wiki = (mask_of(source, "text", "l", given, MaskSection()).prior for source in ("books", "wiki"))
    assert books is not None
    assert wiki is not None
    assert books.cells == {"500": 25.0}
    assert (wiki.cells, wiki.documents) == ({"500": 25.0, "800": 24.0}, 49)
    assert mask_of("odd", "text", "l", given, MaskSection()).prior is None


def test_a_masks_name_follows_what_it_means() -> None:
    names = {
        mask_hash(["A1", "A2"], [6.0] * 15, 0.1),
        mask_hash(["A1", "A3"], [6.0] * 15, 0.1),
        mask_hash(["A1", "A2"], [6.5] * 15, 0.1),
        mask_hash(["A1", "A2"], [6.0] * 15, 0.2),
    }
    assert len(names) == 4
    assert mask_hash(("A1", "A2"), [6.0] * 15, 0.1) in names


def test_a_person_may_take_dimensions_out_and_let_others_count() -> None:
    given = measured({}, books=("A1", "A3", "A15"))
    mask = mask_of("books", "text", "l", given, MaskSection(), add=["A2", "A1"], remove=["A3"])
    assert mask.dimensions == ["A1", "A2", "A15"]
    assert mask.mask != mask_of("books", "text", "l", given, MaskSection()).mask
    with pytest.raises(ConfigError):
        mask_of("books", "text", "l", given, MaskSection(), remove=["A3"])
