"""The files of score cards, and what of them is to be selected from."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import file_digest
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mira_stream.errors import ConfigError
from mira_stream.selection.ports import Batch, Table

SUFFIXES: Final = (".parquet", ".csv", ".csv.gz")
FLOOR: Final = "floor:"
SCORES: Final = ("quality", "score")
"""What ranks if no column is named: that of an export, else that of anybody's file."""
WHOLE_MAX: Final = 2**53
"""Larger whole numbers are not exact as float64."""


class Columns(NamedTuple):
    """Which columns of the files are what. `score` empty: quality, or score in files that have no quality."""

    id: str = "id"
    source: str = "source"
    score: str = ""
    tokens: str = "tokens"


class InputFile(NamedTuple):
    """One file: where it is, its name in the manifest, its bytes' hash, and how it looked then."""

    path: Path
    name: str
    sha256: str
    stamp: tuple[int, int]


class Cards(NamedTuple):
    """Some score cards that may be selected; all columns of one length. `rows` are flags of the batch's rows: these."""

    ids: list[str]
    sources: list[str]
    scores: NDArray[np.float64]
    tokens: NDArray[np.int64]
    rows: NDArray[np.bool_]


ScoreOf = Callable[[list[str], list[str]], NDArray[np.float64]]
"""(sources, ids) -> a score a row, NaN where there is none."""


class Filters(NamedTuple):
    """What is left out, and counted: cards of other lineages than `lineage` (if given), cards without a score (if
    `skip_missing`, else they are refused), cards whose decision fell under a floor. `own_for`: the method that takes
    cards of the project's own lineages only; empty if a person named them."""

    lineage: frozenset[str] = frozenset()
    skip_missing: bool = False
    own_for: str = ""


class Reader:
    """Turns batches into Cards; counts what is left out and what belongs together. Start a new one for each pass."""

    def __init__(
        self, columns: Columns, filters: Filters, score_of: ScoreOf | None = None, *, by_chance: bool = False
    ) -> None:
        """Scores are the column, unless `score_of` says them; `by_chance`: files need none."""
        self._columns = columns
        self._by_chance = by_chance
        self._score_of = score_of
        self._filters = filters
        self.left_out: dict[str, Counter[str]] = {}
        self.groups: dict[str, str] = {}
        self._meaning: dict[str, list[str]] = {}
        self.score = columns.score

    def needed(self, table: Table, where: str) -> list[str]:
        """The columns that `cards` reads of a table; `where`: its file. Raises ConfigError(lineage_missing)."""
        names = [self._columns.id, self._columns.source, self._columns.tokens]
        score = self._score_column(table)
        if self._score_of is None and not (self._by_chance and score not in table.names):
            names.append(score)
        optional = [name for name in ("group", "lineage", "mask", "reason") if name in table.names]
        if self._filters.lineage and "lineage" not in optional:
            raise _lineage_missing(self._filters, where)
        return list(dict.fromkeys([*names, *optional]))

    def _score_column(self, table: Table) -> str:
        """The first table says it for all: scores of two kinds are not comparable."""
        if not self.score:
            self.score = next((name for name in SCORES if name in table.names), SCORES[0])
        return self.score

    def cards(self, batch: Batch, names: Sequence[str], where: str) -> Cards:
        """Raises ConfigError: id_missing, tokens_invalid, score_missing, lineage_mixed, group_mixed."""
        ids, sources = _texts(batch, self._columns.id, where), _texts(batch, self._columns.source, where)
        keep = np.ones(batch.rows, dtype=np.bool_)
        if "lineage" in names and self._filters.lineage:
            lineages = batch.strings("lineage")
            self._leave(keep, np.array([name in self._filters.lineage for name in lineages]), sources, "other_lineage")
        if "reason" in names:
            floored = [(reason or "").startswith(FLOOR) for reason in batch.strings("reason")]
            self._leave(keep, ~np.array(floored), sources, "floor")
        of = self._score_of
        if of is not None:
            scores = of(sources, ids)
        else:
            scores = batch.numbers(self.score) if self.score in names else np.zeros(batch.rows)
        self._check_scores(keep, np.isfinite(scores), sources, ids, where)
        tokens = self._tokens(batch, keep, ids, where)
        self._check_meaning(batch, names, keep, sources)
        rows = np.flatnonzero(keep).tolist()
        return Cards([ids[i] for i in rows], [sources[i] for i in rows], scores[keep], tokens[keep], keep)

    def nothing(self, where: Path) -> ConfigError:
        """Why no card is left to select from, once all of `where` are read."""
        left = sum(self.left_out.values(), Counter[str]())
        said = ", ".join(f"{count:,} {reason}" for reason, count in sorted(left.items()))
        fix = "score documents"
        if left["other_lineage"]:
            asked, by = ", ".join(sorted(self._filters.lineage)), self._filters.own_for
            whose = (
                f"{by} takes cards of this project's own lineage, {asked}"
                if by
                else f"the lineage asked for is {asked}"
            )
            fix = f"{whose}: see which one the cards have, in column lineage"
        cause = f"{where} has no card that may be selected" + (f"; left out: {said}" if said else "")
        return ConfigError("nothing_to_select", cause, fix)

    def _leave(self, keep: NDArray[np.bool_], good: NDArray[np.bool_], sources: list[str], reason: str) -> None:
        for i in np.flatnonzero(keep & ~good).tolist():
            self.left_out.setdefault(sources[i], Counter())[reason] += 1
        keep &= good

    def _check_scores(
        self, keep: NDArray[np.bool_], finite: NDArray[np.bool_], sources: list[str], ids: list[str], where: str
    ) -> None:
        missing = np.flatnonzero(keep & ~finite)
        if len(missing) and not self._filters.skip_missing:
            raise ConfigError(
                "score_missing",
                f"{where}: {len(missing)} of {len(keep)} rows have no score, first {ids[int(missing[0])]!r}",
                "score them, or leave them out, counted, with --skip-missing",
            )
        self._leave(keep, finite, sources, "no_score")

    def _tokens(self, batch: Batch, keep: NDArray[np.bool_], ids: list[str], where: str) -> NDArray[np.int64]:
        tokens = batch.numbers(self._columns.tokens)
        good = (tokens >= 0) & (tokens <= WHOLE_MAX) & (tokens == np.floor(tokens))
        bad = np.flatnonzero(keep & ~good)
        if len(bad):
            raise ConfigError(
                "tokens_invalid",
                f"{where}: {len(bad)} rows have no whole number of tokens, first {ids[int(bad[0])]!r}",
                "count the tokens of every document; none is guessed",
            )
        return np.where(good, tokens, 0).astype(np.int64)

    def _check_meaning(self, batch: Batch, names: Sequence[str], keep: NDArray[np.bool_], sources: list[str]) -> None:
        """One source has one group, one lineage and one mask: else its qualities cannot be compared."""
        held: list[list[str]] = [
            [text or "" for text in batch.strings(name)] if name in names else [""] * batch.rows
            for name in ("group", "lineage", "mask")
        ]
        rows = np.flatnonzero(keep).tolist()
        for source, group, *meaning in sorted({(sources[i], *(column[i] for column in held)) for i in rows}):
            if group and self.groups.setdefault(source, group) != group:
                raise ConfigError(
                    "group_mixed",
                    f"{source} has cards of groups {self.groups[source]} and {group}",
                    "select from the cards of one of them",
                )
            before = self._meaning.setdefault(source, meaning)
            if before != meaning:
                raise ConfigError(
                    "lineage_mixed",
                    f"{source} has cards of lineage/mask {'/'.join(before)} and {'/'.join(meaning)}:"
                    " their qualities cannot be compared",
                    "name the lineage with --lineage; cards under another mask have to be exported apart",
                )


def _lineage_missing(filters: Filters, where: str) -> ConfigError:
    """Whose scores a file holds, nobody can tell."""
    named, method = ", ".join(sorted(filters.lineage)), filters.own_for
    if method:
        return ConfigError(
            "lineage_missing",
            f"{where} has no column lineage, and {method} takes cards of this project's own lineage only: {named}",
            "name the scores/ folder that this project exports; scores from elsewhere are a baseline of their own:"
            " --method scores:FILE",
        )
    return ConfigError(
        "lineage_missing",
        f"{where} has no column lineage, and cards of lineage {named} are asked for",
        "name the scores/ folder of an export; if you know whose scores these are, leave out --lineage, and give them"
        " as --method scores:FILE",
    )


def find_inputs(root: Path) -> list[InputFile]:
    """The files at `root`, a file or a folder looked through, by name; hidden ones are no inputs.

    Raises ConfigError: input_missing, input_empty, input_unreadable.
    """
    if root.is_file():
        return [_input(root, root.name)]
    if not root.is_dir():
        raise ConfigError("input_missing", f"{root} does not exist", "name the scores/ folder of an export, or a file")
    named = (path for path in root.rglob("*") if path.name.endswith(SUFFIXES) and not _hidden(path, root))
    paths = sorted(path for path in named if not path.is_dir())  # a folder of parts may bear such a name, too
    if not paths:
        raise ConfigError("input_empty", f"{root} holds no Parquet or CSV file", "name the scores/ folder of an export")
    return [_input(path, path.relative_to(root).as_posix()) for path in paths]


def check_unchanged(files: Sequence[InputFile]) -> None:
    """Raises ConfigError(input_changed) if a file is no longer what it was."""
    for file in files:
        if not file.path.exists() or _stamp(file.path) != file.stamp:
            raise ConfigError(
                "input_changed", f"{file.path} changed while it was read", "select again when nobody writes to it"
            )


def _input(path: Path, name: str) -> InputFile:
    try:
        stamp = _stamp(path)
        with path.open("rb") as file:
            return InputFile(path, name, file_digest(file, "sha256").hexdigest(), stamp)
    except OSError as error:
        raise ConfigError(
            "input_unreadable", f"{path}: {error.strerror}", "take away links that lead nowhere, let this user read it"
        ) from None


def _stamp(path: Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _texts(batch: Batch, name: str, where: str) -> list[str]:
    found = batch.strings(name)
    texts = [text for text in found if text]
    if len(texts) != len(found):
        raise ConfigError(
            "id_missing", f"{where}: {len(found) - len(texts)} rows have no {name}", f"give every row its {name}"
        )
    return texts
