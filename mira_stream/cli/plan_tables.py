"""A plan as tables for people."""

from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mira_stream.catalog.students import Catalog
from mira_stream.planning.card import Beside
from mira_stream.planning.corpus import Corpus
from mira_stream.planning.fleet import Fleet
from mira_stream.planning.gpus import GB
from mira_stream.planning.measured import Rate
from mira_stream.planning.model import Model
from mira_stream.planning.prompts import Prompts
from mira_stream.planning.roofline import Efficiency, Engine, Memory, Roofline

KIB = 1024


def show_measured(path: Path, corpus: Corpus, rate: Rate, taken: Fleet) -> None:
    """From a saved run."""
    rows = [
        ("corpus", _corpus(corpus)),
        (
            "measured, one engine",
            f"{rate.measured_documents_per_s:,.2f} documents/s, median of its repetitions,"
            f" of {_prompts(rate.prompts)} and {rate.reply_tokens:,.0f} generated,"
            f" group {rate.group}, mode {rate.mode}",
        ),
        ("for the corpus", f"{_figure(rate.documents_per_s)} documents/s: {_scaled(rate)}"),
        *_fleet(taken),
    ]
    console = _print(f"plan from {path.name}", rows)
    for note in rate.notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True)


def show_roofline(
    model: Model,
    engine: Engine,
    corpus: Corpus,
    held: Memory,
    speed: Roofline,
    share: Efficiency,
    taken: Fleet,
    least: Fleet,
    notes: list[str],
) -> None:
    """From config.json and a GPU's data sheet."""
    beside = model.kept_bytes(corpus.longest_tokens, engine.gpus) - held.token_bytes * corpus.longest_tokens
    tail = ": 99.5 % are shorter" if corpus.p95_tokens and corpus.document_tokens_max is None else ""
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(layer.kind for layer in model.layers).items())
    rows = [
        ("corpus", _corpus(corpus)),
        ("model", f"{model.name}: {model.weights_bytes / GB:,.3g} GB by {model.weights_by}"),
        ("layers", kinds),
        (
            "engine",
            f"vLLM over {engine.gpus} of {engine.gpu.name}, {engine.memory_share:.0%} of {engine.gpu.memory_gb:g} GB",
        ),
        (
            "kept on a GPU",
            f"{held.token_bytes:,} bytes a token, and {beside / KIB:,.0f} KiB a sequence in states and full windows",
        ),
        (
            "room on a GPU",
            f"{held.cache_gb:,.1f} GB less activations: {held.sequences_mean:,} sequences of the mean,"
            f" {held.sequences:,} of the longest ({corpus.longest_tokens:,.0f} tokens{tail})",
        ),
        (
            "bound",
            f"{_figure(speed.bound_documents_per_s)} documents/s an engine, {_duration(least.hours)}: none is faster of"
            f" at most {engine.sequences_max:,} sequences and {engine.batch_tokens:,} tokens a step in this memory",
        ),
        (
            "planned",
            f"{_figure(speed.planned_documents_per_s)} documents/s an engine at {share.compute:.0%} of the FLOP/s and"
            f" {share.bandwidth:.0%} of the bandwidth, as declared",
        ),
        (
            "a document",
            f"prefill {speed.prefill_s:.3g} s + decode {speed.decode_s:.3g} s of an engine; most by {speed.limited_by}",
        ),
        *_fleet(taken),
    ]
    console = _print("plan by roofline: an estimate, nothing was measured", rows)
    for line in (f"GPU: {engine.gpu.source}", *(f"note: {note}" for note in notes)):
        console.print(line, markup=False, soft_wrap=True)


def show_card(released: Catalog, rows: list[Beside]) -> None:
    """The card's figures beside those of config.json."""
    figures = released.figures
    table = Table(
        title=f"a GPU of {released.serving.card}'s card ({figures.gpus} x {figures.gpu}) beside {released.base_model}'s"
        " config.json",
        title_justify="left",
    )
    table.add_column("")
    for name in ("the card", "whole on each GPU", f"split over {figures.gpus}"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(row.figure, *(f"{value:,.4g}" if value < KIB else f"{value:,.0f}" for value in _values(row)))
    console = Console(emoji=False, highlight=False)
    console.print(table)
    console.print(
        f"the card's bytes a token follow from its own figures; documents reach {figures.document_tokens:,} tokens",
        markup=False,
        soft_wrap=True,
    )


def _scaled(rate: Rate) -> str:
    """What the measured rate was divided by, and why."""
    computed = f"{rate.computed_tokens:,.0f} of a prompt beside {rate.prompts.computed:,.0f}"
    prompt = f"{rate.prompt_factor:.2f} times the tokens to compute ({computed})"
    if rate.reply_factor is None:
        return prompt
    both = f"{prompt}, its replies {rate.reply_factor:.2f} times as long"
    least = min(rate.prompt_factor, rate.reply_factor)
    careful = "" if least == rate.factor else "; by the greater, since what is shorter is not counted as cheaper"
    return f"{both}{careful}"


def _prompts(prompts: Prompts) -> str:
    cached = f", {prompts.cached:,.0f} from the prefix cache" if prompts.cached else ""
    alike = ""
    if prompts.frame is not None:
        alike = f"; all alike in the first {prompts.frame.head:,} and the last {prompts.frame.tail:,}"
    return f"{prompts.tokens:,.0f} tokens a prompt ({prompts.computed:,.0f} computed{cached}{alike})"


def _values(row: Beside) -> tuple[float, float, float]:
    return row.card, row.whole, row.split


def _corpus(corpus: Corpus) -> str:
    p95 = f", 95 % under {corpus.p95_tokens:,.0f}" if corpus.p95_tokens else ""
    cut = f", cut to {corpus.document_tokens_max:,}" if corpus.document_tokens_max else ""
    return (
        f"{_count(corpus.documents, 'document')} of {_count(corpus.mean_tokens, 'token')}{p95}{cut};"
        f" {corpus.prefix_tokens:,} shared around each, {corpus.reply_tokens:,.0f} generated"
    )


def _fleet(taken: Fleet) -> list[tuple[str, str]]:
    gpus = f", {_count(taken.gpus, 'GPU')}" if taken.gpus else ""
    hours = _duration(taken.hours) + (f", {_duration(taken.gpu_hours)} of a GPU" if taken.gpus else "")
    return [
        ("take", f"{_count(taken.engines, 'engine')}{gpus}, {taken.partitions:,} partitions of the group's topic"),
        ("together", f"{_figure(taken.documents_per_s)} documents/s: {hours}"),
    ]


def _count(count: float, noun: str) -> str:
    return f"{count:,.0f} {noun}{'' if count == 1 else 's'}"


def _figure(value: float) -> str:
    """Three digits of a small one: 0.0 h tells nothing."""
    return f"{value:,.1f}" if value >= 100 else f"{value:.3g}"


def _duration(hours: float) -> str:
    """In a unit that is read: 4e-06 h tells nothing."""
    if hours >= 1:
        return f"{_figure(hours)} h"
    seconds = 3600 * hours
    return f"{_figure(seconds / 60)} min" if seconds >= 60 else f"{_figure(seconds)} s" if seconds >= 1 else "under 1 s"


def _print(title: str, rows: list[tuple[str, str]]) -> Console:
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(emoji=False, highlight=False)
    console.print(table)
    return console
