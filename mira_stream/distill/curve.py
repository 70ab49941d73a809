"""The learning curve of a training, as a picture: training and held-out loss, held-out rho."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from mira_stream.whole_file import replace_file

Entries = Sequence[Mapping[str, float]]


def points(log: Entries, name: str) -> tuple[list[float], list[float]]:
    """Steps and values of the entries of a log that have `name`."""
    found = [(entry["step"], entry[name]) for entry in log if name in entry]
    return [step for step, _ in found], [value for _, value in found]


def draw(path: Path, group: str, log: Entries, best_step: int | None, unit: str = "nats") -> None:
    """Write a PNG under a hidden name, then rename it. `best_step`: the checkpoint that became the student.
    `unit`: of the loss."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(*points(log, "loss"), color="#8a94a6", linewidth=1, label="training loss")
    axes.plot(*points(log, "eval_loss"), color="#d9480f", marker="o", markersize=3, label="held-out loss")
    axes.set(xlabel="step", ylabel=f"loss ({unit})", title=f"{group}: learning curve", ylim=(0, None))
    lines = axes.get_lines()
    if points(log, "eval_rho")[0]:
        right = axes.twinx()
        right.plot(*points(log, "eval_rho"), color="#2f9e78", marker="o", markersize=3, label="held-out rho")
        right.set(ylabel="Spearman's rho", ylim=(min(0.0, *points(log, "eval_rho")[1]), 1))
        lines = [*lines, *right.get_lines()]
    if best_step:
        lines = [*lines, axes.axvline(best_step, color="#555555", linestyle=":", label="the student")]
    axes.legend(handles=lines, loc="center right")
    image = io.BytesIO()
    FigureCanvasAgg(figure).print_png(image)
    replace_file(path, image.getvalue())
