"""The grouping report: groups with their members and cosines as data, as a picture and as a page."""

import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, Final

import numpy as np

from mira_stream.rubric.grouping import SILHOUETTE_MIN, Grouping, SourceMean, cosines
from mira_stream.sections import Family

DIGITS: Final = 4
VECTOR_DIGITS: Final = 6
WARN_DOCUMENTS: Final = 30
"""Of fewer documents a source's mean says little."""


def grouping_report(grouping: Grouping, means: Sequence[SourceMean], made: Mapping[str, Any]) -> dict[str, Any]:
    """The report as data. `made`: how it was made (embedding, sample, seed, scope)."""
    by_name = {one.name: one for one in means}
    groups = [
        {
            "group": group.name,
            "family": group.family,
            "within_cosine": _rounded(group.within),
            "sources": {name: by_name[name].documents for name in group.sources},
        }
        for group in grouping.groups
    ]
    chosen: dict[Family, dict[str, float]] = {
        family: {str(k): round(score, DIGITS) for k, score in sorted(scores.items())}
        for family, scores in grouping.silhouettes.items()
    }
    ordered = [by_name[name] for group in grouping.groups for name in group.sources]
    return {
        **made,
        "groups": groups,
        "between_cosine": [[a, b, round(cosine, DIGITS)] for (a, b), cosine in sorted(grouping.between.items())],
        "silhouettes": chosen,
        "silhouette_min": SILHOUETTE_MIN,
        "few_documents": sorted(one.name for one in means if one.documents < WARN_DOCUMENTS),
        "cosines": {
            "sources": [one.name for one in ordered],
            "values": [[round(float(value), DIGITS) for value in row] for row in cosines(ordered)],
        },
    }


def vectors_of(means: Sequence[SourceMean]) -> dict[str, list[float]]:
    """Each source's mean vector as it is kept for placing others beside it."""
    return {one.name: [round(float(value), VECTOR_DIGITS) for value in one.vector] for one in means}


def grouping_picture(grouping: Grouping, means: Sequence[SourceMean]) -> bytes:
    """A PNG: cosines of all sources in the order of their groups, and the sources in the plane of their first axes."""
    from matplotlib.figure import Figure

    by_name = {one.name: one for one in means}
    ordered = [by_name[name] for group in grouping.groups for name in group.sources]
    side = max(3.5, 0.34 * len(ordered) + 1.5)
    figure = Figure(figsize=(2.2 * side, side), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_cosines(left, grouping, ordered)
    _draw_plane(right, grouping, ordered)
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=110, metadata={"Software": None})
    return sink.getvalue()


def grouping_page(report: Mapping[str, Any], picture: bytes) -> str:
    """The report as one HTML page with its picture inside, nothing fetched from anywhere."""
    from jinja2 import Environment, StrictUndefined

    source = (files("mira_stream.discovery") / "templates" / "grouping.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(source).render(report=report, picture=b64encode(picture).decode())


def _draw_cosines(axes: Any, grouping: Grouping, ordered: Sequence[SourceMean]) -> None:
    names = [one.name for one in ordered]
    image = axes.imshow(cosines(ordered), vmin=0.0, vmax=1.0, cmap="viridis")
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    for border in np.cumsum([len(group.sources) for group in grouping.groups])[:-1]:
        axes.axhline(border - 0.5, color="white", linewidth=2)
        axes.axvline(border - 0.5, color="white", linewidth=2)
    axes.set_title("cosine of source means", fontsize=10)
    axes.figure.colorbar(image, ax=axes, shrink=0.7)


def _draw_plane(axes: Any, grouping: Grouping, ordered: Sequence[SourceMean]) -> None:
    stacked = np.stack([one.vector for one in ordered]).astype(np.float64)
    centred = stacked - stacked.mean(axis=0)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    plane = np.zeros((len(ordered), 2))
    plane[:, : min(2, len(scale))] = (left * scale)[:, :2]
    place = {one.name: plane[index] for index, one in enumerate(ordered)}
    for group in grouping.groups:
        points = np.array([place[name] for name in group.sources])
        axes.scatter(points[:, 0], points[:, 1], label=group.name, s=40)
        for name in group.sources:
            axes.annotate(name, place[name], textcoords="offset points", xytext=(5, 4), fontsize=8)
    axes.legend(fontsize=8)
    axes.margins(0.25)
    axes.set_title("sources, first two principal axes", fontsize=10)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)
