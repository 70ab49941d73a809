"""What `select` is asked for, made ready: flags read, texts scored for the baselines that need them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal, NamedTuple, cast, get_args

from mira_stream.cli.select import METHODS
from mira_stream.config import FILE_NAME, Project, load_project
from mira_stream.errors import ConfigError, UsageError
from mira_stream.selection.inputs import Columns, Filters
from mira_stream.selection.ports import Tables
from mira_stream.selection.rules import VARIANTS, Order, Shares, Variant
from mira_stream.selection.select import Request

Unit = Literal["documents", "tokens"]
OF_CHANCE: Final[dict[str, Variant]] = {"random": "global", "random-per-source": "source"}
SUFFIXES: Final = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
_AMOUNT: Final = re.compile(r"([0-9][0-9_,]*(?:\.[0-9]+)?)\s*([kmbt]?)", re.IGNORECASE)


class Asked(NamedTuple):
    """The command line."""

    scores: Path
    out: Path
    project: Path
    tokens: str | None
    retention: Sequence[str]
    unit: str | None
    variant: str | None
    min_share: Sequence[str]
    max_share: Sequence[str]
    method: str
    content: str | None
    target: Path | None
    model: Path | None
    top_k: bool
    score_column: str | None
    lineage: Sequence[str]
    skip_missing: bool
    force: bool


def asked_for(asked: Asked) -> Request:
    """The command line as a Request, without what a method computes. Raises UsageError, ConfigError."""
    if asked.method not in METHODS and not asked.method.startswith("scores:"):
        raise UsageError("method_unknown", f"--method {asked.method}", f"use {', '.join(METHODS)}, or scores:FILE")
    if asked.variant not in (None, *VARIANTS):
        raise UsageError("variant_unknown", f"--variant {asked.variant}", f"use one of {', '.join(VARIANTS)}")
    if asked.tokens is not None and asked.retention:
        raise UsageError("rule_ambiguous", "--tokens and --retention are both given", "give one of them")
    _check_flags(asked)
    project = load_project(asked.project) if _has_project(asked) else None
    shares = Shares(_pairs(asked.min_share, "--min-share"), _pairs(asked.max_share, "--max-share"))
    budget = None if asked.tokens is None else amount(asked.tokens)
    if budget == 0:
        raise UsageError(
            "tokens_invalid", f"--tokens {asked.tokens} keeps nothing", "give a budget of at least 1 token"
        )
    named, everywhere = _retention(asked, project)
    if budget is None and not named and not everywhere:
        raise UsageError("rule_missing", "neither --tokens nor --retention is given", "give one, or name a --project")
    if budget is None and (shares.minimum or shares.maximum):
        raise UsageError("rule_ambiguous", "shares are of a budget, and none is given", "give --tokens, too")
    return Request(
        scores=asked.scores,
        out=asked.out,
        order=Order(_variant(asked), budget, named, _unit(asked, project), shares),
        method=asked.method,
        columns=Columns(score=asked.score_column or _score_column(asked)),
        filters=Filters(frozenset(asked.lineage), asked.skip_missing),
        groups=_groups(project),
        retention_else=everywhere,
        by_chance=asked.method.startswith("random"),
        force=asked.force,
    )


def _has_project(asked: Asked) -> bool:
    """Cards alone will do, unless a project is named: then it must be there."""
    return (asked.project / FILE_NAME).is_file() or asked.project != Path()


def _check_flags(asked: Asked) -> None:
    """Nothing that is said is left out silently. Raises UsageError(flag_unfit)."""
    dsir, ppl, chance = asked.method == "dsir", asked.method == "ppl", asked.method in OF_CHANCE
    variant = asked.variant is not None
    unfit = [
        (f"--target with --method {asked.method}", asked.target is not None and not dsir, "--target is of dsir"),
        (f"--top-k with --method {asked.method}", asked.top_k and not dsir, "--top-k is of dsir"),
        (f"--model with --method {asked.method}", asked.model is not None and not ppl, "--model is of ppl"),
        ("--unit with --tokens", asked.unit is not None and asked.tokens is not None, "--unit is of --retention"),
        (f"--variant with --method {asked.method}", variant and chance, "chance has a scope of its own"),
        ("--variant without --tokens", variant and asked.tokens is None, "with --retention each source has its own"),
    ]
    for cause, wrong, fix in unfit:
        if wrong:
            raise UsageError("flag_unfit", cause, f"leave it out: {fix}")


@contextmanager
def prepared(request: Request, asked: Asked, tables: Tables) -> Iterator[Request]:
    """The request with what its method and --content need; scores computed for it live as long as the block."""
    from mira_stream.cli.selecting_scores import content_reader, fill_scores
    from mira_stream.selection.book import Book

    if asked.method == "fixed-rubric-14":
        request = _of_fixed_rubric(request, load_project(asked.project))
    if asked.content is not None:
        request = request._replace(content=content_reader(asked, tables))
    if asked.method in ("dsir", "ppl") or (asked.method.startswith("scores:") and asked.scores != _scores_file(asked)):
        with TemporaryDirectory(prefix="mira-select-") as folder:
            book = Book(Path(folder) / "scores")
            try:
                fill_scores(book, asked, tables)
                yield request._replace(score_of=book.values)
            finally:
                book.close()
        return
    yield request


def write_fixed_rubric(root: Path, group: str, method: str) -> Path:
    """Write the fixed rubric as a group's; its path. Raises UsageError, ConfigError(rubric_exists)."""
    from mira_stream.selection.fixed_rubric import METHOD, fixed_rubric

    if method != METHOD:
        raise UsageError("method_unfit", f"--write-rubric with --method {method}", f"give --method {METHOD}, too")
    project = load_project(root)
    if group not in project.settings.groups:
        known = ", ".join(sorted(project.settings.groups)) or "none"
        raise UsageError("group_unknown", f"the project has no group {group!r}", f"use one of {known}")
    path, data = project.rubric_path(group), fixed_rubric(group)
    if path.exists() and path.read_bytes() != data:
        raise ConfigError(
            "rubric_exists",
            f"{path} is another rubric",
            "take a project of its own for the baseline, or remove the file",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def amount(text: str) -> int:
    """`25B`, `1.5M`, `800k`, `12,000` as a whole number. Raises UsageError."""
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        raise UsageError("tokens_invalid", f"--tokens {text}", "write 25B, 1.5M, 800k or a whole number")
    digits, factor = match[1].replace("_", "").replace(",", ""), SUFFIXES[match[2].lower()]
    whole, _, part = digits.partition(".")
    return int(whole) * factor + (int(part) * factor // 10 ** len(part) if part else 0)


def _pairs(texts: Sequence[str], flag: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in texts:
        source, _, share = text.rpartition("=")
        if not source or source in found:
            raise UsageError("share_invalid", f"{flag} {text}", f"write {flag} SOURCE=SHARE, each source once")
        found[source] = _share(share, flag, text)
    return found


def _share(text: str, flag: str, said: str = "") -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise UsageError("share_invalid", f"{flag} {said or text}", "a share is a number from 0 to 1")
    return share


def _retention(asked: Asked, project: Project | None) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """Retention of sources that must be there, and of others; `*` for all that are not named."""
    if asked.tokens is not None:
        return {}, {}
    if asked.retention:
        plain = [text for text in asked.retention if "=" not in text]
        if len(plain) > 1:
            raise UsageError("share_invalid", f"--retention {' '.join(plain)}", "give one share for all other sources")
        named = _pairs([text for text in asked.retention if "=" in text], "--retention")
        return named, {"*": _share(plain[0], "--retention")} if plain else {}
    if project is None:
        return {}, {}
    own = {name: source.retention for name, source in project.settings.sources.items() if source.retention is not None}
    return {}, {**own, "*": project.settings.retention.target}


def _groups(project: Project | None) -> dict[str, str]:
    if project is None:
        return {}
    return {name: source.group for name, source in project.settings.sources.items() if source.group is not None}


def _unit(asked: Asked, project: Project | None) -> Unit:
    if asked.unit is not None and asked.unit not in get_args(Unit):
        raise UsageError("unit_unknown", f"--unit {asked.unit}", "use documents or tokens")
    if asked.unit is not None:
        return cast(Unit, asked.unit)
    return "documents" if project is None else project.settings.retention.unit


def _variant(asked: Asked) -> Variant:
    """Chance has its own: over all, or in each source."""
    return OF_CHANCE.get(asked.method, cast(Variant, asked.variant or "group"))


def _score_column(asked: Asked) -> str:
    return "score" if asked.method.startswith("scores:") else ""


def _scores_file(asked: Asked) -> Path:
    return Path(asked.method.removeprefix("scores:"))


def _of_fixed_rubric(request: Request, project: Project) -> Request:
    """Only cards that this project's students gave under the fixed rubric, unless --lineage says which. Raises
    ConfigError: rubric_mismatch, filler_counts, and what `lineage` raises."""
    from mira_stream.scoring.lineage import lineage
    from mira_stream.selection.fixed_rubric import check_fixed

    check_fixed(project)
    if request.filters.lineage:
        return request
    own = frozenset(lineage(project, group) for group in project.settings.groups)
    return request._replace(filters=request.filters._replace(lineage=own, own_for=f"--method {request.method}"))
