"""`mira-stream select`: keep documents under a token budget, exactly; baselines."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mira_stream.cli.options import JsonOption, ProjectOption
from mira_stream.cli.output import emit, talk

if TYPE_CHECKING:
    from mira_stream.selection.select import Request

ScoresArgument = Annotated[
    Path | None,
    typer.Argument(help="The scores/ folder of an export, or a Parquet or CSV file of id, source, score, tokens."),
]
OutOption = Annotated[Path | None, typer.Option("--out", help="The folder to write; it must not exist, or be empty.")]
TokensOption = Annotated[
    str | None, typer.Option("--tokens", help="The budget, at least 1: 25B, 1.5M, 800k, or plain tokens.")
]
RetentionOption = Annotated[
    list[str] | None,
    typer.Option("--retention", help="SHARE, or SOURCE=SHARE (repeat): what each source keeps (else: mira.toml)."),
]
UnitOption = Annotated[str | None, typer.Option("--unit", help="Of retention: documents or tokens.")]
VariantOption = Annotated[
    str | None,
    typer.Option(
        "--variant",
        help="Which sources share a threshold: global (all), group (the default), or source (none). `group` takes a"
        " source's group from the cards or from mira.toml of --project; a source that has none there is"
        " refused: group_missing.",
    ),
]
MinShareOption = Annotated[
    list[str] | None, typer.Option("--min-share", help="SOURCE=SHARE of the budget at least (repeat).")
]
MaxShareOption = Annotated[
    list[str] | None, typer.Option("--max-share", help="SOURCE=SHARE of the budget at most (repeat).")
]
MethodOption = Annotated[
    str,
    typer.Option(
        "--method",
        help="mira, random, random-per-source, dsir, ppl, fixed-rubric-14, or scores:FILE (id, source, score).",
    ),
]
ContentOption = Annotated[
    str | None,
    typer.Option("--content", help="Write the documents, too: a Parquet file or folder, or `project` for its sources."),
]
TargetOption = Annotated[
    Path | None,
    typer.Option("--target", help="dsir: what to look like, Parquet, CSV or JSON Lines with a text column."),
]
ModelOption = Annotated[
    Path | None, typer.Option("--model", help="ppl: the folder of a causal language model and its tokenizer.")
]
TopKOption = Annotated[bool, typer.Option("--top-k", help="dsir: the largest weights, without Gumbel noise.")]
ColumnOption = Annotated[
    str | None,
    typer.Option(
        "--score-column",
        help="The column that ranks, larger is better (default: quality, the masked mean of an export's scores/, or"
        " score where there is none; of --method scores:FILE its column score).",
    ),
]
LineageOption = Annotated[
    list[str] | None, typer.Option("--lineage", help="Only cards of this lineage (repeat); others are counted.")
]
SkipOption = Annotated[bool, typer.Option("--skip-missing", help="Leave out, counted, cards without a score.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace an older selection in --out.")]

WriteRubricOption = Annotated[
    str | None,
    typer.Option(
        "--write-rubric", help="fixed-rubric-14: write rubrics/GROUP.jsonl for label and distill; select nothing."
    ),
]

BUDGET_ROUNDING: Final = 0.001
"""A budget is met to this share, or to one document, whichever is larger."""
METHODS: Final = ("mira", "random", "random-per-source", "dsir", "ppl", "fixed-rubric-14")


def select(
    scores: ScoresArgument = None,
    out: OutOption = None,
    project: ProjectOption = Path(),
    tokens: TokensOption = None,
    retention: RetentionOption = None,
    unit: UnitOption = None,
    variant: VariantOption = None,
    min_share: MinShareOption = None,
    max_share: MaxShareOption = None,
    method: MethodOption = "mira",
    content: ContentOption = None,
    target: TargetOption = None,
    model: ModelOption = None,
    top_k: TopKOption = False,
    score_column: ColumnOption = None,
    lineage: LineageOption = None,
    skip_missing: SkipOption = False,
    force: ForceOption = False,
    write_rubric: WriteRubricOption = None,
    json: JsonOption = False,
) -> None:
    """Keep the best documents under a token budget, or a share of each source; exact, and the same bytes every time.

    Writes manifest.json and kept/<source>/*.parquet (with --content also content/<source>/*.parquet) to --out.
    """
    from mira_stream.cli.selecting import Asked, asked_for, prepared, write_fixed_rubric
    from mira_stream.errors import UsageError
    from mira_stream.parquet.batches import ArrowTables
    from mira_stream.selection.select import select as select_documents

    if write_rubric is not None:
        path = write_fixed_rubric(project, write_rubric, method)
        talk.print(f"written: {path}", markup=False, soft_wrap=True)
        if json:
            emit({"rubric": str(path)})
        return
    if scores is None or out is None:
        raise UsageError("argument_missing", "SCORES and --out are needed", "name the cards and a folder to write")
    asked = Asked(
        scores=scores,
        out=out,
        project=project,
        tokens=tokens,
        retention=retention or [],
        unit=unit,
        variant=variant,
        min_share=min_share or [],
        max_share=max_share or [],
        method=method,
        content=content,
        target=target,
        model=model,
        top_k=top_k,
        score_column=score_column,
        lineage=lineage or [],
        skip_missing=skip_missing,
        force=force,
    )
    tables = ArrowTables()
    with prepared(asked_for(asked), asked, tables) as request:
        manifest = select_documents(request, tables, _Talk())
    _show(request, manifest)
    if json:
        emit({"out": str(out), **{key: value for key, value in manifest.items() if key not in ("inputs", "shards")}})


class _Talk:
    """A line at every tenth of many files."""

    def __init__(self) -> None:
        self._said: tuple[str, int] = ("", 0)

    def __call__(self, what: str, done: int, total: int) -> None:
        tenth = 10 * done // total
        if total >= 20 and tenth and (what, tenth) != self._said:
            self._said = what, tenth
            talk.print(f"{what}: {done:,} of {total:,} files", markup=False)


def _show(request: "Request", manifest: dict[str, Any]) -> None:
    """The rule, then one line a source."""

    def say(line: str) -> None:
        talk.print(line, markup=False, soft_wrap=True)

    say(_rule(manifest))
    width = max(map(len, [*manifest["sources"], "in all"]))
    say(f"{'':{width}} {'documents':>20} {'tokens':>27}  {'kept':>6}  threshold")
    for name, source in manifest["sources"].items():
        if "available" in source:
            threshold = _threshold(source["threshold"], manifest["score"])
            say(f"{name:{width}} {_amounts(source)}  {threshold}{_left_out(source)}")
        else:
            say(f"{name:{width}} nothing to select from{_left_out(source)}")
    say(f"{'in all':{width}} {_amounts(manifest)}")
    if not manifest["kept"]["documents"]:
        say(f"warning: nothing is kept: {_why_nothing(manifest)}")
    elif missed := _missed(manifest):
        say(f"warning: {missed:,} tokens of the budget are left: one document more would pass a share or the budget")
    if manifest["repeated_ids"]:
        say(f"warning: {manifest['repeated_ids']:,} cards bear an id that their source had before; each counts")
    if "content" in manifest:
        say(f"content of {manifest['content']['documents']:,} documents")
    say(f"written: {request.out}")


def _rule(manifest: dict[str, Any]) -> str:
    ranked = "chance" if manifest["score"] is None else manifest["method"]
    if manifest["rule"] == "retention":
        return f"by {ranked}: every source keeps its share of its {manifest['unit']}"
    scope = {"global": "one threshold for all", "group": "one threshold a group", "source": "one threshold a source"}
    bounds = " within minimum and maximum shares" if manifest["min_shares"] or manifest["max_shares"] else ""
    return f"by {ranked}: {manifest['budget_tokens']:,} tokens, {scope[manifest['variant']]}{bounds}"


def _missed(manifest: dict[str, Any]) -> int:
    """Tokens under the budget where that is more than rounding; 0 without a budget."""
    missed = 0 if manifest["budget_tokens"] is None else int(manifest["budget_tokens"] - manifest["kept"]["tokens"])
    return missed if missed > BUDGET_ROUNDING * (manifest["budget_tokens"] or 0) else 0


def _why_nothing(manifest: dict[str, Any]) -> str:
    if manifest["rule"] == "retention":
        return "each source's share is less than one of its documents; raise --retention"
    return f"no document that comes first fits {manifest['budget_tokens']:,} tokens; raise --tokens"


def _amounts(said: dict[str, Any]) -> str:
    kept, there = said["kept"], said["available"]
    share = kept["tokens"] / there["tokens"] if there["tokens"] else 0.0
    documents = f"{kept['documents']:,} of {there['documents']:,}"
    return f"{documents:>20} {kept['tokens']:>12,} of {there['tokens']:>11,}  {share:6.1%}"


def _threshold(threshold: dict[str, Any], score: str | None) -> str:
    """`score`: what was ranked by, as the manifest says it; None: chance."""
    from mira_stream.selection.dsir import SHORT_WEIGHT, WORDS_MIN

    if threshold["keeps"] != "above":
        return str(threshold["keeps"])
    share = f"{threshold['tie_fraction']:.1%}"
    if score is None:
        return f"{share} by chance"
    if score == "dsir" and threshold["score"] == SHORT_WEIGHT:
        return f"all of {WORDS_MIN} words or more, {share} of the shorter ones by chance"
    return f"{threshold['score']:.4g} (of equal ones {share})"


def _left_out(source: dict[str, Any]) -> str:
    found = ", ".join(f"{count:,} {reason}" for reason, count in source["left_out"].items())
    return f"  left out: {found}" if found else ""
