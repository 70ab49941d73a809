"""Plots as inline SVG. Their text and axes take the page's colour, so they are right on light and on dark."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mira_stream.demo.summary import MaskEffect
from mira_stream.messages import SLOTS, Decision, Epoch
from mira_stream.reliability.table import ModeReliability

INK: Final = "#010203"
"""Stands for the page's own colour; replaced by currentColor in the SVG."""
KEPT: Final = "#2f9e78"
ALL: Final = "#8a94a6"
MARK: Final = "#d9480f"


def reliability_map(group: str, reliability: ModeReliability) -> str:
    """Spearman's rho of student and teacher, source by dimension; a cross is a masked cell."""
    rows = list(reliability.sources)
    figure, axes = _figure(9.0, 0.9 + 0.38 * len(rows))
    values = [[_or_zero(reliability.sources[row].dimensions[slot].rho) for slot in SLOTS] for row in rows]
    image = axes.imshow(values, vmin=0.0, vmax=1.0, cmap="viridis", aspect="auto")
    for y, row in enumerate(rows):
        for x, slot in enumerate(SLOTS):
            cell = reliability.sources[row].dimensions[slot]
            light = values[y][x] < 0.6
            label = "-" if cell.rho is None else f"{cell.rho:.2f}".lstrip("0")
            axes.text(x, y, label, ha="center", va="center", fontsize=8, color="white" if light else "black")
            if cell.verdict != "reliable":
                axes.plot(x, y, marker="x", markersize=17, color=MARK, markeredgewidth=2)
    axes.set_xticks(range(len(SLOTS)), SLOTS)
    axes.set_yticks(range(len(rows)), ["whole group" if row == "*" else row for row in rows])
    bar = figure.colorbar(image, ax=axes, pad=0.01)
    bar.set_label("rho", color=INK)
    bar.ax.tick_params(colors=INK)
    bar.outline.set_edgecolor(INK)
    return _svg(figure, f"map-{group}")


def quality_histograms(sources: Sequence[str], decisions: Sequence[Decision], epochs: Mapping[str, Epoch]) -> str:
    """Qualities of every source, the selected ones filled, with the last epoch's two marks."""
    columns = 2
    lines = (len(sources) + columns - 1) // columns
    figure, grid = _figure(9.0, 2.1 * lines, lines, columns)
    axes_of = list(grid.flat)
    for axes in axes_of[len(sources) :]:
        axes.set_visible(False)
    for source, axes in zip(sources, axes_of, strict=False):
        mine = [decision for decision in decisions if decision.source == source]
        bins = [2.5 * i for i in range(41)]
        axes.hist([decision.quality for decision in mine], bins=bins, color=ALL, label="all")
        axes.hist([decision.quality for decision in mine if decision.selected], bins=bins, color=KEPT, label="selected")
        epoch = epochs.get(source)
        marks = () if epoch is None else ((epoch.keep, "-"), (epoch.drop, "--"))
        for mark, style in marks:
            if mark is not None:
                axes.axvline(mark.value, color=MARK, linestyle=style, linewidth=1.4)
        axes.set_title(f"{source} ({len(mine)})", fontsize=10, color=INK)
        axes.set_xlim(0, 100)
    if axes_of:
        axes_of[0].legend(frameon=False, fontsize=8, labelcolor=INK)
    return _svg(figure, "quality")


def mask_effects(effects: Sequence[MaskEffect]) -> str:
    """Of each source's best documents under its mask: how many are also the best if no dimension is masked."""
    figure, axes = _figure(9.0, 0.8 + 0.35 * len(effects))
    same = [100 * effect.same / effect.kept if effect.kept else 100.0 for effect in effects]
    names = [f"{effect.source} ({100 - share:.0f} %)" for effect, share in zip(effects, same, strict=True)]
    axes.barh(names, same, color=KEPT, label="chosen either way")
    axes.barh(names, [100 - share for share in same], left=same, color=MARK, label="chosen only with the mask")
    axes.set_xlim(0, 100)
    axes.invert_yaxis()
    axes.set_xlabel("% of the documents chosen under the mask")
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
    return _svg(figure, "mask")


def _figure(width: float, height: float, lines: int = 1, columns: int = 1) -> tuple[Any, Any]:
    """A figure in the page's colours, with no window system behind it."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    ink = {f"{part}.color": INK for part in ("text", "xtick", "ytick")}
    style = {**ink, "axes.edgecolor": INK, "axes.labelcolor": INK, "axes.facecolor": "none", "font.size": 9}
    with mpl.rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=lines * columns == 1)
    figure.patch.set_alpha(0.0)
    return figure, axes


def _svg(figure: Any, name: str) -> str:
    """The figure as an <svg> element whose ids bear `name`, so that several live on one page."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        sink = io.StringIO()
        figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = sink.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", svg)
    return svg.replace(INK, "currentColor")


def _or_zero(value: float | None) -> float:
    return 0.0 if value is None else value
