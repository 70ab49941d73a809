"""`mira-stream select`: score cards in, a manifest and Parquet shards of what is kept out.

1. Every input file is hashed and read: what ranking needs of a card goes into a spool on disk.
2. The cuts are found on the spool, exactly (ranking.py, rules.py).
3. The files are read again, and the rows up to their source's cut written as they are, all columns, in their order.
4. If content is wanted it is read once, and the rows of selected documents are written beside them.
5. The manifest is written, and the folder renamed into place.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from mira_stream import __version__
from mira_stream.chance import Purpose, u
from mira_stream.errors import ConfigError, UsageError
from mira_stream.messages import SOURCE_PATTERN
from mira_stream.selection.book import Book
from mira_stream.selection.folder import MANIFEST, SCHEMA, Shards, staged
from mira_stream.selection.inputs import (
    Cards,
    Columns,
    Filters,
    InputFile,
    Reader,
    ScoreOf,
    check_unchanged,
    find_inputs,
)
from mira_stream.selection.ports import Batch, Tables
from mira_stream.selection.ranking import EVERYTHING, Cut, Flags, Ranking, Taken, orders, ties
from mira_stream.selection.rules import Order, thresholds
from mira_stream.selection.spool import Spool

SHARD_ROWS: Final = 1_000_000

ReadContent = Callable[[], Iterator[Batch]]
"""Rows of documents with `id` and `source`, and whatever is to be kept of them."""
Progress = Callable[[str, int, int], None]
"""(what is done, files done, files in all)."""


class Request(NamedTuple):
    """What is selected from what, and how. `by_chance`: ranked by u("random", id), scores play no part.

    `score_of`: scores that are not a column. `retention_else`: of sources that order.retention does not
    name; `*` for all others. `groups`: of sources whose cards do not say it.
    """

    scores: Path
    out: Path
    order: Order
    method: str = "mira"
    columns: Columns = Columns()
    filters: Filters = Filters()
    groups: Mapping[str, str] = {}
    retention_else: Mapping[str, float] = {}
    by_chance: bool = False
    score_of: ScoreOf | None = None
    content: ReadContent | None = None
    force: bool = False

    @property
    def tie(self) -> Purpose:
        """Whose chance orders equal scores."""
        return "random" if self.by_chance else "tie"


def select(request: Request, tables: Tables, progress: Progress = lambda what, done, total: None) -> dict[str, Any]:
    """Write the selection; its manifest.

    Raises ConfigError for inputs that cannot be selected from as asked, UsageError and DependencyError for the folder.
    """
    files = find_inputs(request.scores)
    inside = next((file.path for file in files if file.path.resolve().is_relative_to(request.out.resolve())), None)
    if inside is not None:
        raise UsageError("out_holds_input", f"{inside} lies in --out, which is replaced", "choose another --out")
    with staged(request.out, force=request.force) as folder:
        spool = Spool(folder / ".spool")
        reader = _spool(request, files, tables, spool, progress)
        request = request._replace(columns=request.columns._replace(score=reader.score))
        ranking = Ranking(spool.chunks, len(spool.names))
        groups = {**request.groups, **reader.groups}
        order = _completed(request, spool.names)
        progress("ranked", 0, 1)
        cuts = thresholds(ranking, spool.names, groups, order)
        progress("ranked", 1, 1)
        book = Book(folder / ".selected") if request.content else None
        shards, taken = _write(request, files, tables, ranking.kept(cuts), spool.names, folder, book, progress)
        check_unchanged(files)
        manifest: dict[str, Any] = {
            **_said(request, order),
            "inputs": [{"path": file.name, "sha256": file.sha256} for file in files],
            "sources": _sources(spool.names, groups, ranking.available, taken, cuts, reader, order),
            **_totals(ranking.available, taken),
            "repeated_ids": spool.repeated(),
            "shards": shards,
        }
        if request.content and book is not None:
            manifest["content"] = _write_content(request.content(), book, tables, folder)
        _clear(folder)
        (folder / MANIFEST).write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return manifest


def _spool(request: Request, files: Sequence[InputFile], tables: Tables, spool: Spool, progress: Progress) -> Reader:
    reader = Reader(request.columns, request.filters, request.score_of, by_chance=request.by_chance)
    for _, cards in _cards(request, files, tables, reader, whole=False, progress=progress, what="read"):
        chances = np.array([u(request.tie, document) for document in cards.ids], dtype=np.float64)
        scores = np.zeros(len(cards.ids)) if request.by_chance else cards.scores
        spool.add(orders(scores), ties(chances), cards.tokens, cards.sources)
    spool.seal()
    if not spool.cards:
        raise reader.nothing(request.scores)
    bad = [name for name in spool.names if not re.fullmatch(SOURCE_PATTERN, name) or ".." in name]
    if bad:
        raise ConfigError(
            "source_invalid", f"source {bad[0]!r} cannot name a folder", f"sources match {SOURCE_PATTERN}"
        )
    return reader


def _cards(
    request: Request,
    files: Sequence[InputFile],
    tables: Tables,
    reader: Reader,
    *,
    whole: bool,
    progress: Progress,
    what: str,
) -> Iterator[tuple[Batch, Cards]]:
    """Every batch of the inputs with its cards; all columns if `whole`."""
    for number, file in enumerate(files):
        progress(what, number, len(files))
        table = tables.open_source(file.path)
        needed = reader.needed(table, file.name)
        for batch in table.batches(None if whole else needed):
            yield batch, reader.cards(batch, needed, file.name)
    progress(what, len(files), len(files))


def _completed(request: Request, names: Sequence[str]) -> Order:
    """The order with a retention for every source, if it has no budget."""
    order = request.order
    if order.budget_tokens is not None:
        return order
    unknown = sorted(set(order.retention) - set(names))
    if unknown:
        raise ConfigError(
            "source_unknown",
            f"a retention is given for {', '.join(unknown)}; the sources are {', '.join(names)}",
            "correct --retention",
        )
    found = {name: order.retention.get(name, request.retention_else.get(name)) for name in names}
    everywhere = request.retention_else.get("*")
    known = {name: everywhere if share is None else share for name, share in found.items()}
    return order._replace(retention={name: share for name, share in known.items() if share is not None})


def _write(
    request: Request,
    files: Sequence[InputFile],
    tables: Tables,
    kept: Iterator[Flags],
    names: Sequence[str],
    folder: Path,
    book: Book | None,
    progress: Progress,
) -> tuple[list[dict[str, object]], Taken]:
    """Write the kept rows; the shards, and documents and tokens by source."""
    shards = Shards(folder, "kept", tables, SHARD_ROWS)
    flags = _FlagStream(kept)
    taken = Taken(np.zeros(len(names), dtype=np.int64), np.zeros(len(names), dtype=np.int64))
    code = {name: number for number, name in enumerate(names)}
    reader = Reader(request.columns, request.filters, request.score_of, by_chance=request.by_chance)
    for batch, cards in _cards(request, files, tables, reader, whole=True, progress=progress, what="written"):
        mine = flags.take(len(cards.ids))
        codes = np.array([code.get(source, -1) for source in cards.sources], dtype=np.int64)
        rows = np.flatnonzero(cards.rows)
        for number in np.unique(codes[mine]).tolist():
            chosen = mine & (codes == number)
            where = np.zeros(batch.rows, dtype=np.bool_)
            where[rows[chosen]] = True
            shards.write(names[number], batch.where(where))
            taken.documents[number] += int(chosen.sum())
            taken.tokens[number] += int(cards.tokens[chosen].sum())
        if book is not None:
            picked = np.flatnonzero(mine).tolist()
            book.put((cards.sources[i], cards.ids[i], 0.0) for i in picked)
    return shards.close(), taken


class _FlagStream:
    """Flags that come in chunks, handed out in batches."""

    def __init__(self, chunks: Iterator[Flags]) -> None:
        self._chunks = chunks
        self._held = np.zeros(0, dtype=np.bool_)

    def take(self, count: int) -> Flags:
        """The next `count`. Raises ConfigError(input_changed) if there are fewer."""
        parts = [self._held]
        have = len(self._held)
        while have < count:
            part = next(self._chunks, None)
            if part is None:
                raise ConfigError(
                    "input_changed", "the files have more rows than before", "select again when nobody writes to them"
                )
            parts.append(part)
            have += len(part)
        held = np.concatenate(parts)
        self._held = held[count:]
        return held[:count]


def _write_content(batches: Iterator[Batch], book: Book, tables: Tables, folder: Path) -> dict[str, object]:
    """Write the content of every selected document, from its first occurrence. Raises ConfigError(content_missing)."""
    shards = Shards(folder, "content", tables, SHARD_ROWS)
    documents = 0
    for batch in batches:
        sources = [text or "" for text in batch.strings("source")]
        ids = [text or "" for text in batch.strings("id")]
        found = book.find(sources, ids)
        documents += int(found.sum())
        names = np.array(sources, dtype=object)
        for name in sorted({sources[i] for i in np.flatnonzero(found).tolist()}):
            shards.write(name, batch.where(found & (names == name)))
    missing, first = book.missing()
    if missing:
        raise ConfigError(
            "content_missing",
            f"{missing} of {missing + documents} selected documents have no content there, first {first}",
            "name files that hold them all with --content, or select without it",
        )
    book.close()
    return {"documents": documents, "shards": shards.close()}


def _said(request: Request, order: Order) -> dict[str, Any]:
    by_budget = order.budget_tokens is not None
    return {
        "schema": SCHEMA,
        "version": __version__,
        "method": request.method,
        "score": _score_said(request),
        "tie": request.tie,
        "rule": "budget" if by_budget else "retention",
        "variant": order.variant if by_budget else "source",
        "budget_tokens": order.budget_tokens,
        "unit": "tokens" if by_budget else order.unit,
        "min_shares": dict(sorted(order.shares.minimum.items())),
        "max_shares": dict(sorted(order.shares.maximum.items())),
        "lineages": sorted(request.filters.lineage),
    }


def _score_said(request: Request) -> str | None:
    """What was ranked by: a column, or what the method computed."""
    if request.by_chance:
        return None
    return request.columns.score if request.score_of is None else request.method.partition(":")[0]


def _sources(
    names: Sequence[str],
    groups: Mapping[str, str],
    available: Taken,
    taken: Taken,
    cuts: Sequence[Cut | None],
    reader: Reader,
    order: Order,
) -> dict[str, Any]:
    """What became of each source. `threshold.keeps`: all, none, or above its score (epochs.is_above says how)."""
    said: dict[str, Any] = {}
    for code, name in enumerate(names):
        said[name] = {
            "group": groups.get(name),
            "available": _amount(available, code),
            "kept": _amount(taken, code),
            "retention": order.retention.get(name) if order.budget_tokens is None else None,
            "threshold": _threshold(cuts[code]),
            "left_out": dict(sorted(reader.left_out.get(name, {}).items())),
        }
    for name in sorted(set(reader.left_out) - set(names)):
        said[name] = {"kept": {"documents": 0, "tokens": 0}, "left_out": dict(sorted(reader.left_out[name].items()))}
    return said


def _threshold(cut: Cut | None) -> dict[str, object]:
    if cut is None:
        return {"keeps": "none"}
    if cut == EVERYTHING:
        return {"keeps": "all"}
    return {"keeps": "above", "score": cut.score, "tie_fraction": cut.tie_fraction}


def _amount(amounts: Taken, code: int) -> dict[str, int]:
    return {"documents": int(amounts.documents[code]), "tokens": int(amounts.tokens[code])}


def _totals(available: Taken, taken: Taken) -> dict[str, Any]:
    return {
        "available": {"documents": int(available.documents.sum()), "tokens": int(available.tokens.sum())},
        "kept": {"documents": int(taken.documents.sum()), "tokens": int(taken.tokens.sum())},
    }


def _clear(folder: Path) -> None:
    """Delete what was only needed on the way."""
    for path in [*sorted(folder.glob(".spool/*")), folder / ".selected"]:
        path.unlink(missing_ok=True)
    (folder / ".spool").rmdir()
