"""A bench run and a comparison as tables for people."""

from typing import TYPE_CHECKING, Any, Final, TypeVar

from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from msgspec import Struct

    from mira_stream.benching.intervals import Comparison
    from mira_stream.benching.modes import ModesRun
    from mira_stream.benching.result import Block, Run, Shape
    from mira_stream.tuning.result import TuneRun

NARROW: Final[dict[str, Any]] = {"box": box.SIMPLE_HEAD, "pad_edge": False, "padding": (0, 1, 0, 0)}
"""Wide tables within 80 columns."""


Saved = TypeVar("Saved", bound="Struct")


def show_saved(run: Saved, path: "Path", show: "Callable[[Saved], None]", *, json: bool, without: str = "") -> None:
    """Where a run was saved, and the run: as `show` prints it, or as JSON `without` that field."""
    import msgspec

    from mira_stream.cli.output import emit, say

    plotted = path.with_suffix(".svg")
    say(f"saved: {path}{f', {plotted.name}' if plotted.exists() else ''}")
    if json:
        found = {name: value for name, value in msgspec.to_builtins(run).items() if name != without}
        emit({**found, "file": str(path)})
    else:
        show(run)


def print_run(run: "Run") -> None:
    """The fixed block, one line a figure."""
    block, latency = run.result, run.result.latency_ms
    table = Table(title=f"{run.kind}: {run.measured}", title_justify="left")
    table.add_column("figure")
    table.add_column("median of the repetitions", justify="right")
    rows: list[tuple[str, str]] = [
        ("load", _load(run.load)),
        ("documents/s", f"{block.documents_per_s:,.1f}"),
        ("prompt tokens/s (of them cached)", f"{block.prompt_tokens_per_s:,.0f} ({block.cached_prompt_share:.0%})"),
        ("tokens a prompt (alike in all: head, tail)", _prompt(block)),
        ("generated tokens/s", f"{block.generation_tokens_per_s:,.0f}"),
        ("p50, p95, p99, ms", f"{latency.p50:,.0f}  {latency.p95:,.0f}  {latency.p99:,.0f}"),
        ("engine busy", f"{block.engine_busy:.0%}"),
        ("waiting: nothing could be admitted", f"{block.waiting:.0%}"),
        ("lag in documents, mean and most", f"{block.lag_mean:,.0f}  {block.lag_most:,}"),
        ("peak memory, broker not counted, MiB", f"{block.peak_memory_mib:,.0f}"),
        ("CPU a document, this process, µs", f"{block.cpu_us_per_document:,.0f}"),
        ("documents, dead letters", f"{block.documents:,}  {block.dead_letters:,}"),
    ]  # fmt: skip
    kept_up = [turn.kept_up for turn in run.turns if turn.kept_up is not None]
    if kept_up:
        rows.append(("rate out of rate in, the least", f"{min(kept_up):.0%}"))
    for row in rows:
        table.add_row(*row)
    console = Console(emoji=False, highlight=False)
    console.print(table)
    for line in filter(None, (run.stand_in, *run.notes)):
        console.print(f"note: {line}", markup=False, soft_wrap=True)
    if run.ramp is not None:
        print_ramp(run.ramp, console)


def print_ramp(ramp: dict[str, Any], console: Console) -> None:
    least, limit = ramp["kept_up_least"], ramp["p99_limit_ms"]
    table = Table("documents/s offered", "p99, ms", "out of in", f"under {limit:g} ms, {least:.0%} out of in")
    for step in sorted(ramp["steps"], key=lambda step: float(step["rate_per_s"])):
        holds = "yes" if step["holds"] else "no"
        table.add_row(f"{step['rate_per_s']:.2f}", f"{step['p99_ms']:,.0f}", f"{step['kept_up']:.0%}", holds)
    console.print(table)
    refused = ramp["lowest_refused_per_s"]
    beyond = "none was refused" if refused is None else f"refused: {refused:.2f}/s"
    once = "" if ramp["confirmed"] else f"; held once only, the search ended after {len(ramp['steps'])} steps"
    console.print(f"highest rate that holds: {ramp['highest_rate_per_s']:.2f} documents/s ({beyond}{once})")


def print_comparison(found: "Comparison") -> None:
    over = f"over repetitions ({found.repetitions_a} and {found.repetitions_b}) of one run each"
    title = f"{found.kind}: B over A, 95 % intervals {over}"
    table = Table(title=title, title_justify="left", **NARROW)
    means, medians = (f"{side},\nmean" for side in "AB"), (f"{side},\nmedian" for side in "AB")
    for name in ("figure", *means, "B / A", "interval", "shown", *medians):
        table.add_column(name, justify="left" if name == "figure" else "right", no_wrap=True)
    for one in found.ratios:
        span = "-" if one.low is None or one.high is None else f"{one.low:.3f}..{one.high:.3f}"
        a, b, *middle = (_short(value) for value in (one.a, one.b, one.a_median, one.b_median))
        table.add_row(one.figure, a, b, f"{one.ratio:.3f}", span, "yes" if one.shown else "no", *middle)
    console = Console(emoji=False, highlight=False)
    console.print(table)
    console.print("B / A is of means; medians are what bench shows of a run")
    if found.dead_letters_a or found.dead_letters_b:
        console.print(f"dead letters: {found.dead_letters_a:.2%} of A's documents, {found.dead_letters_b:.2%} of B's")
    for line in found.notes:
        console.print(f"note: {line}", markup=False, soft_wrap=True)
    for line in found.differences:
        console.print(f"also differs: {line}", markup=False, soft_wrap=True)


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.1f}"


def _prompt(block: "Block") -> str:
    if block.tokens_per_prompt is None:
        return "-"
    alike = "not known" if block.frame is None else f"{block.frame.head:,}, {block.frame.tail:,}"
    return f"{block.tokens_per_prompt:,.0f} ({alike})"


def _load(load: "Shape") -> str:
    match load["shape"]:
        case "closed":
            return f"closed loop, {load['outstanding']:,} outstanding"
        case "open":
            return f"open loop, {load['rate_per_s']:g}/s, Poisson"
        case _:
            return "search of the highest rate, Poisson"


def print_tune(run: "TuneRun") -> None:
    """What was tried, and what came of it."""
    from mira_stream.tuning.space import said

    title = f"{run.group}: documents/s of each value and of the best before it, {run.pairs} pairs"
    table = Table(title=title, title_justify="left", **NARROW)
    for name in ("setting", "value", "tried", "before", "gain", "95 % interval", "verdict"):
        table.add_column(name, justify="left" if name in ("setting", "value", "verdict") else "right", overflow="fold")
    for duel in run.duels:
        rates = ["-" if rate is None else f"{rate:,.1f}" for rate in (duel.tried_median, duel.base_median)]
        gain, span = "-", "-"
        if duel.interval is not None:
            gain, span = f"{duel.interval.ratio:.3f}", f"{duel.interval.low:.3f}..{duel.interval.high:.3f}"
        table.add_row(duel.knob, duel.value, *rates, gain, span, duel.verdict)
    console = Console(emoji=False, highlight=False)
    console.print(table)
    for duel in run.duels:
        if duel.verdict == "failed":
            console.print(f"{duel.knob} = {duel.value}: {duel.why}", markup=False, soft_wrap=True)
    for note in run.notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    if not run.changes:
        console.print("nothing is faster than what is in force by more than the noise; mira.toml is as it was")
        return
    found = ", ".join(f"{name} = {said(value)}" for name, value in run.changes.items())
    where = "written to mira.toml" if run.written else "not written (--dry-run)"
    console.print(f"faster: {found}; {where}", markup=False, soft_wrap=True)


def print_modes(run: "ModesRun") -> None:
    """Modes side by side; what the table of reliability says of them beside what was measured now."""
    from mira_stream.reliability.acceptance import DOCUMENTS_MIN

    first = run.rows[0].mode
    title = f"{run.group}: {run.documents} documents, {run.repetitions} repetitions; gain and overlap of n held out"
    table = Table(title=title, title_justify="left", **NARROW)
    kept_names = ("gain", "overlap", "n")
    for name in ("mode", "documents/s", f"over {first} (least)", "prompt tokens", "reply tokens", *kept_names):
        whole = max(map(len, name.split()))
        table.add_column(name, justify="left" if name == "mode" else "right", min_width=whole)
    for row in run.rows:
        kept = ["-" if value is None else f"{value:.3f}" for value in (row.gain, row.overlap)]
        least = "-" if row.ratio_least is None else f"{row.ratio_least:.2f}"
        table.add_row(
            row.mode, f"{row.documents_per_s:,.1f}", f"{row.ratio:.2f} ({least})",
            f"{row.prompt_tokens:,.0f}", f"{row.reply_tokens:,.0f}", *kept, f"{row.heldout or '-'}",
        )  # fmt: skip
    console = Console(emoji=False, highlight=False)
    console.print(table)
    for mode, why in run.left_out.items():
        console.print(f"left out: {mode}: {why}", markup=False, soft_wrap=True)
    if run.repetitions == 1 and len(run.rows) > 1:
        console.print("one repetition: its ratio has no least, and the next one's may be far off")
    missing = ", ".join(row.mode for row in run.rows if row.heldout is None)
    if missing:
        console.print(f"not measured against the teacher: {missing}; mira-stream reliability does it", markup=False)
    faster = ", ".join(row.mode for row in run.rows if row.mode not in ("rationale", "scores"))
    if faster:
        console.print(
            f"the stream judges a source in {faster} only where {DOCUMENTS_MIN} of its held-out documents speak for it:"
            f" [labels] heldout = {DOCUMENTS_MIN} or more, then mira-stream label and reliability",
            markup=False,
            soft_wrap=True,
        )
