"""A run as an SVG: rate and latency over its windows; of a search, p99 over rate."""

from math import nan
from pathlib import Path
from typing import Any, Final

from mira_stream.benching.result import Run

COLOURS: Final = {"p50": "#2f9e78", "p95": "#b8860b", "p99": "#d9480f"}
RATE: Final = "#33507a"


def plot(run: Run, path: Path) -> None:
    """Writes `path`."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 9}):
        figure = Figure(figsize=(9.0, 5.6 if run.ramp is None else 3.4), layout="constrained")
        if run.ramp is None:
            _windows(figure, run)
        else:
            _search(figure, run.ramp)
        what = f"{run.kind}{_groups(run)}, {run.taken_at}, {run.result.documents_per_s:.1f} documents/s"
        figure.suptitle(f"{what} ({run.stand_in})" if run.stand_in else what, fontsize=9)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _windows(figure: Any, run: Run) -> None:
    rates, latencies = figure.subplots(2, 1, sharex=True)
    before = 0.0
    for turn in run.turns:
        middles = [before + window.start_s + window.seconds / 2 for window in turn.windows]
        rates.plot(middles, [one.documents_per_s for one in turn.windows], ".-", color=RATE)
        for name, colour in COLOURS.items():
            values = [getattr(one.latency_ms, name) if one.latency_ms else nan for one in turn.windows]  # a gap there
            latencies.plot(middles, values, ".-", color=colour, label=name if before == 0 else None)
        before += turn.seconds
        rates.axvline(before, color="0.8", linewidth=0.8)
        latencies.axvline(before, color="0.8", linewidth=0.8)
    rates.set_ylabel("documents/s")
    rates.set_ylim(bottom=0)
    latencies.set_ylabel("latency, ms")
    latencies.set_ylim(bottom=0)
    latencies.set_xlabel("seconds of the turns, one after another")
    latencies.legend(frameon=False, ncols=3, loc="upper left")  # the best place is searched for long, and that is said


def _groups(run: Run) -> str:
    """Each with the modes that its sources were judged in."""
    groups = run.settings.get("groups", {})
    modes = {name: " and ".join(one.get("served_modes") or [one["mode"]]) for name, one in groups.items()}
    return "".join(f", {name} in {mode}" for name, mode in modes.items())


def _search(figure: Any, ramp: dict[str, Any]) -> None:
    from matplotlib.ticker import LogFormatter

    axes = figure.subplots()
    for holds, colour, label in ((True, COLOURS["p50"], "holds"), (False, COLOURS["p99"], "does not")):
        steps = [step for step in ramp["steps"] if step["holds"] is holds]
        axes.plot([s["rate_per_s"] for s in steps], [s["p99_ms"] for s in steps], "o", color=colour, label=label)
    axes.axhline(ramp["p99_limit_ms"], color="0.4", linestyle="--", linewidth=1, label="limit")
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(LogFormatter())
        axis.set_minor_formatter(LogFormatter())  # which names some where there are few decades
    axes.set_xlabel("offered documents/s")
    axes.set_ylabel("p99, ms")
    axes.legend(frameon=False, ncols=3, loc="upper left")
