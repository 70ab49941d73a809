"""Scores and replies of the feature judge, a source group at a time. Pure.

It is a stand-in for a teacher model: measured features of the view, cut into ten levels, and no understanding.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from mira_stream.demo.featurejudge import agent, qa, text
from mira_stream.demo.featurejudge.scale import Feature
from mira_stream.errors import UsageError
from mira_stream.messages import Layout, Mode, Verdict
from mira_stream.rubric.anchors import Anchor
from mira_stream.scorecard import Reply, write

MODEL: Final = "featurejudge"
FEATURES: Final[Mapping[str, tuple[Feature, ...]]] = {
    "text": text.FEATURES,
    "qa": qa.FEATURES,
    "agent": agent.FEATURES,
}
KEEP_MIN: Final = 60
DOWNSAMPLE_MIN: Final = 40


def features(group: str) -> tuple[Feature, ...]:
    """The fifteen features of a demo group. Raises UsageError for any other."""
    try:
        return FEATURES[group]
    except KeyError:
        raise UsageError(
            "featurejudge_group",
            f"featurejudge has no features for group {group!r}",
            f"it judges {', '.join(FEATURES)}; name another teacher with [teacher] base_url and model",
        ) from None


def scores(group: str, view: str) -> list[int]:
    """Fifteen scores 1..10 in slot order."""
    return [feature.score(view) for feature in features(group)]


def overall(fifteen: Sequence[int]) -> int:
    """The mean of the scores times ten, 10..100; a half goes to the even number."""
    return round(10 * sum(fifteen) / len(fifteen))


def recommendation(overall_score: int) -> Verdict:
    """keep from 60, downsample from 40, else drop."""
    if overall_score >= KEEP_MIN:
        return "keep"
    return "downsample" if overall_score >= DOWNSAMPLE_MIN else "drop"


def reply(group: str, view: str, anchors: Sequence[Anchor], layout: Layout) -> str:
    """The judge's reply: scores alone in `scores_first`, scores with justifications in `interleaved`."""
    fifteen = scores(group, view)
    total = overall(fifteen)
    words = [feature.justification(score) for feature, score in zip(features(group), fifteen, strict=True)]
    best = max(range(len(fifteen)), key=fifteen.__getitem__)
    worst = min(range(len(fifteen)), key=fifteen.__getitem__)
    answer = Reply(
        scores=fifteen,
        overall=total,
        recommendation=recommendation(total),
        domain_tag=group,
        brief=f"Best: {words[best]}. Worst: {words[worst]}.",
        justifications=words,
    )
    mode: Mode = "scores" if layout == "scores_first" else "rationale"
    return write(answer, layout, mode, [anchor.name for anchor in anchors])
