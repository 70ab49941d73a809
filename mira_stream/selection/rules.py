"""Which documents are kept under a budget: one threshold for all, one a group, or one a source.

    global   the best documents of all sources, until the budget is full
    group    every group fills its own part of the budget, in proportion to the tokens it has
    source   every source likewise

Minimum and maximum shares pin a source: it fills its bound under a threshold of its own, and the others share the rest.
Which sources are pinned is found as flexible boxes are laid out: pin those under their minimum if they lack more than
the others have too much, else those over their maximum, and share again, until none is out of bounds.

Budgets and maximum shares are never passed. A minimum share is met, unless its last document would pass the maximum or
the budget: then it is met to less than that document.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mira_stream.chance import u
from mira_stream.errors import ConfigError
from mira_stream.selection.ranking import Chunk, Cut, Flags, Ranking, orders, ties

Variant = Literal["global", "group", "source"]
VARIANTS: Final[tuple[Variant, ...]] = ("global", "group", "source")


class Shares(NamedTuple):
    """Bounds on a source's part of the selected tokens, by source, each in [0, 1]."""

    minimum: Mapping[str, float] = {}
    maximum: Mapping[str, float] = {}


class Order(NamedTuple):
    """What is asked for: a budget in tokens, or the share of its own documents or tokens that every source keeps."""

    variant: Variant = "global"
    budget_tokens: int | None = None
    retention: Mapping[str, float] = {}
    unit: Literal["documents", "tokens"] = "tokens"
    shares: Shares = Shares()


def choose(
    scores: NDArray[np.float64],
    tokens: NDArray[np.int64],
    sources: Sequence[str] | Sequence[int] | NDArray[np.int64],
    ids: Sequence[str],
    *,
    variant: Variant,
    budget_tokens: int | None,
    groups: Mapping[str, str] | None = None,
    retention: Mapping[str, float] | None = None,
    unit: Literal["documents", "tokens"] = "tokens",
    shares: Shares = Shares(),  # noqa: B008  an immutable value
) -> Flags:
    """bool[n]: the documents that are kept; higher scores are better, chance u("tie", id) splits equal ones.

    `groups` maps a source's name to its group's (needed by variant `group`). Without a budget, `retention` says what
    share of its documents or tokens (`unit`) each source keeps, whatever the variant.
    Raises ConfigError as `thresholds` does, ValueError for a score that is not a number or columns of unequal length.
    """
    labels = [str(source) for source in sources]
    names = sorted(set(labels))
    code = {name: number for number, name in enumerate(names)}
    if not len(scores) == len(tokens) == len(labels) == len(ids):
        raise ValueError("scores, tokens, sources and ids differ in length")
    chunk = Chunk(
        orders(np.asarray(scores, dtype=np.float64)),
        ties(np.array([u("tie", str(document)) for document in ids], dtype=np.float64)),
        np.asarray(tokens, dtype=np.int64),
        np.array([code[label] for label in labels], dtype=np.int32),
    )
    if len(ids) == 0:
        return np.zeros(0, dtype=np.bool_)
    ranking = Ranking(_again(chunk), len(names))
    order = Order(variant, budget_tokens, retention or {}, unit, shares)
    return next(ranking.kept(thresholds(ranking, names, groups or {}, order)))


def thresholds(ranking: Ranking, names: Sequence[str], groups: Mapping[str, str], order: Order) -> list[Cut | None]:
    """The cut of every source, by code; None keeps nothing. `names` are the sources by code, ascending.

    Raises ConfigError: budget_too_large, share_unreachable, shares_infeasible, retention_missing, group_missing.
    """
    if order.budget_tokens is None:
        return _by_retention(ranking, names, order)
    scopes = _scopes(names, groups, order.variant)
    bounds = _bounds(ranking, names, order.shares, order.budget_tokens)
    free = np.ones(len(names), dtype=np.bool_)
    cuts: list[Cut | None] = [None] * len(names)
    reached: dict[int, int] = {}
    rest = order.budget_tokens
    while free.any():
        shared, taken = _share(ranking, scopes, free, max(0, rest))
        under = np.where(free, np.maximum(bounds.low - taken, 0), 0)
        over = np.where(free, np.maximum(taken - bounds.high, 0), 0)
        lack, excess = int(under.sum()), int(over.sum())
        if not lack and not excess:
            cuts = [shared[i] if free[i] else cuts[i] for i in range(len(names))]
            break
        for code in np.flatnonzero((under > 0) & (lack >= excess) | (over > 0) & (excess >= lack)).tolist():
            cuts[code], filled = _pin(ranking, code, bounds, low=bool(under[code]))
            free[code] = False
            rest -= filled
            if under[code] and filled > bounds.low[code]:
                reached[code] = filled
    _give_back(ranking, cuts, reached, bounds, -rest)
    return cuts


def _give_back(
    ranking: Ranking, cuts: list[Cut | None], reached: Mapping[int, int], bounds: "_Bounds", over: int
) -> None:
    """Sources pinned at their minimum pass it by their last document, together perhaps the budget, by `over` tokens:
    then those that pass it most give theirs back until it is met. `reached`: their tokens by source code."""
    for code in sorted(reached, key=lambda code: (int(bounds.low[code]) - reached[code], code)):
        if over <= 0:
            return
        members = _only(code, ranking.sources)
        cut = cuts[code] = ranking.cut(members, int(bounds.low[code]))
        over -= reached[code] - int(ranking.taken(members, cut).tokens[code])


class _Bounds(NamedTuple):
    """Tokens by source code."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]


def _by_retention(ranking: Ranking, names: Sequence[str], order: Order) -> list[Cut | None]:
    missing = [name for name in names if name not in order.retention]
    if missing:
        raise ConfigError(
            "retention_missing",
            f"neither a budget nor a retention is given for {', '.join(missing)}",
            "give --tokens, or --retention SHARE, or --retention SOURCE=SHARE for each of them",
        )
    documents = order.unit == "documents"
    have = ranking.available.documents if documents else ranking.available.tokens
    cuts: list[Cut | None] = []
    for code, name in enumerate(names):
        budget = _part(int(have[code]), order.retention[name])
        cuts.append(ranking.cut(_only(code, len(names)), budget, documents=documents) if budget else None)
    return cuts


def _share(
    ranking: Ranking, scopes: Sequence[int], free: Flags, rest: int
) -> tuple[list[Cut | None], NDArray[np.int64]]:
    """Cuts and tokens by source when the free ones share `rest`, each scope in proportion to the tokens it has.

    What a scope leaves, because its next document is too long, goes to the next scope: in all, less than one document
    is left.
    """
    have = ranking.available.tokens
    cuts: list[Cut | None] = [None] * len(scopes)
    taken = np.zeros(len(scopes), dtype=np.int64)
    total, passed, filled = int(have[free].sum()), 0, 0
    for scope in sorted(set(scopes)):
        members = free & (np.array(scopes) == scope)
        passed += int(have[members].sum())
        budget = (rest * passed // total if total else 0) - filled
        if budget <= 0 or not members.any():
            continue
        cut = ranking.cut(members, budget)
        part = ranking.taken(members, cut).tokens
        taken += part
        filled += int(part.sum())
        for code in np.flatnonzero(members).tolist():
            cuts[code] = cut
    return cuts, taken


def _pin(ranking: Ranking, code: int, bounds: _Bounds, *, low: bool) -> tuple[Cut | None, int]:
    """The cut at which one source meets its bound, and the tokens it then has: at least its minimum, unless that
    passes its maximum, at most its maximum."""
    members = _only(code, ranking.sources)
    if low:
        cut = ranking.cut(members, int(bounds.low[code]), reach=True)
        filled = int(ranking.taken(members, cut).tokens[code])
        if filled <= bounds.high[code]:
            return cut, filled
    if bounds.high[code] <= 0:
        return None, 0
    cut = ranking.cut(members, int(bounds.high[code]))
    return cut, int(ranking.taken(members, cut).tokens[code])


def _bounds(ranking: Ranking, names: Sequence[str], shares: Shares, budget: int) -> _Bounds:
    """The bounds in tokens, checked: some selection fills the budget within them."""
    have = ranking.available.tokens
    total = int(have.sum())
    if budget > total:
        raise ConfigError("budget_too_large", f"the budget is {budget:,} tokens, there are {total:,}", "lower --tokens")
    _check_names(names, shares)
    low = np.array([_part(budget, shares.minimum.get(name, 0.0)) for name in names], dtype=np.int64)
    high = np.array([_part(budget, shares.maximum.get(name, 1.0)) for name in names], dtype=np.int64)
    for name, least, most, held in zip(names, low.tolist(), high.tolist(), have.tolist(), strict=True):
        if least > most or least > held:
            raise ConfigError(
                "share_unreachable",
                f"{name} must have at least {least:,} of {budget:,} tokens, may have at most {most:,}, and has"
                f" {held:,}",
                "lower its --min-share, or the budget",
            )
    high = np.minimum(high, have)
    if int(low.sum()) > budget or int(high.sum()) < budget:
        raise ConfigError(
            "shares_infeasible",
            f"the minimum shares need {int(low.sum()):,} tokens, the maximum shares and what is there allow"
            f" {int(high.sum()):,}, the budget is {budget:,}",
            "lower --min-share, raise --max-share, or change --tokens",
        )
    return _Bounds(low, high)


def _check_names(names: Sequence[str], shares: Shares) -> None:
    unknown = sorted((set(shares.minimum) | set(shares.maximum)) - set(names))
    if unknown:
        raise ConfigError(
            "source_unknown",
            f"a share is given for {', '.join(unknown)}; the sources are {', '.join(names)}",
            "correct --min-share or --max-share",
        )


def _scopes(names: Sequence[str], groups: Mapping[str, str], variant: Variant) -> list[int]:
    """The scope of each source: sources of one scope have one threshold."""
    if variant == "global":
        return [0] * len(names)
    if variant == "source":
        return list(range(len(names)))
    missing = [name for name in names if name not in groups]
    if missing:
        raise ConfigError(
            "group_missing",
            f"variant group needs the group of {', '.join(missing)}: neither cards nor a project's mira.toml say it",
            "name a --project DIR whose mira.toml gives these sources a group; or --variant source (each by itself), or"
            " global (all as one)",
        )
    number = {group: i for i, group in enumerate(sorted({groups[name] for name in names}))}
    return [number[groups[name]] for name in names]


def _only(code: int, sources: int) -> Flags:
    flags = np.zeros(sources, dtype=np.bool_)
    flags[code] = True
    return flags


def _part(whole: int, share: float) -> int:
    """`share` of a whole number, rounded to the nearest whole one."""
    return round(whole * share)


def _again(chunk: Chunk) -> Callable[[], Iterator[Chunk]]:
    return lambda: iter([chunk])
