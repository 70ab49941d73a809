"""Scores and replies of the feature judge, a family of documents at a time. Pure.

It is a stand-in for a teacher model: measured features of the view, cut into ten levels, and no understanding.
Asked free-form, it names dimensions of its own fixed list: a rubric discovered with it shows that the path works, and
nothing about the documents. Asked with a rubric, it finds its own dimensions again by their names.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Final

from mira_stream.demo.featurejudge import agent, qa, text
from mira_stream.demo.featurejudge.scale import Feature
from mira_stream.errors import UsageError
from mira_stream.messages import Layout, Mode, Verdict
from mira_stream.rubric.freeform import FreeDimension, write_freeform
from mira_stream.scorecard import Reply, write
from mira_stream.sections import Family

MODEL: Final = "featurejudge"
FEATURES: Final[Mapping[Family, tuple[Feature, ...]]] = {
    "text": text.FEATURES,
    "qa": qa.FEATURES,
    "agent": agent.FEATURES,
}
KEEP_MIN: Final = 60
DOWNSAMPLE_MIN: Final = 40
USUAL_SHARE: Final = 0.75
"""So often a dimension is called by its usual name, else by another: free-form names are never all the same."""


def judge_sha256() -> str:
    """Hex sha256 over the source files that judge: what it was when something was measured with it. How the judge is
    served is no part of that."""
    digest = sha256()
    for path in sorted(set(Path(__file__).parent.glob("*.py")) - {Path(__file__).with_name("server.py")}):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def feature_named(family: Family, name: str) -> Feature:
    """The feature a dimension's name stands for; of `base (sub-label)`, the sub-label's before the base's.

    Raises UsageError for a name that is none of the judge's.
    """
    known = _by_name(family)
    base, _, sub = name.removesuffix(")").rpartition(" (")
    for candidate in (name, sub if base else name, base):
        if candidate in known:
            return known[candidate]
    raise UsageError(
        "featurejudge_dimension",
        f"featurejudge knows no dimension {name!r} in family {family!r}",
        "it is a stand-in with a fixed list: discover the rubric with it, or name another teacher in [teacher]",
    )


def scores(family: Family, view: str, names: Sequence[str]) -> list[int]:
    """A score 1..10 for each named dimension. Raises UsageError like `feature_named`."""
    return [feature_named(family, name).score(view) for name in names]


def overall(fifteen: Sequence[int]) -> int:
    """The mean of the scores times ten, 10..100; a half goes to the even number."""
    return round(10 * sum(fifteen) / len(fifteen))


def recommendation(overall_score: int) -> Verdict:
    """keep from 60, downsample from 40, else drop."""
    if overall_score >= KEEP_MIN:
        return "keep"
    return "downsample" if overall_score >= DOWNSAMPLE_MIN else "drop"


def reply(family: Family, view: str, names: Sequence[str], layout: Layout, mode: Mode | None = None) -> str:
    """The judge's reply to an anchored prompt. Without a `mode`: scores alone in `scores_first`, scores with
    justifications in `interleaved`. Raises UsageError like `feature_named`."""
    chosen = [feature_named(family, name) for name in names]
    fifteen = [feature.score(view) for feature in chosen]
    total = overall(fifteen)
    words = [feature.justification(score) for feature, score in zip(chosen, fifteen, strict=True)]
    best = max(range(len(fifteen)), key=fifteen.__getitem__)
    worst = min(range(len(fifteen)), key=fifteen.__getitem__)
    answer = Reply(
        scores=fifteen,
        overall=total,
        recommendation=recommendation(total),
        domain_tag=family,
        brief=f"Best: {words[best]}. Worst: {words[worst]}.",
        justifications=words,
    )
    return write(answer, layout, mode or ("scores" if layout == "scores_first" else "rationale"), names)


def freeform_reply(family: Family, view: str) -> str:
    """The judge's reply to a free-form prompt: all its dimensions, each by one of its names."""
    return write_freeform([_free(feature, view) for feature in FEATURES[family]])


def _free(feature: Feature, view: str) -> FreeDimension:
    score = feature.score(view)
    digest = blake2b(f"{feature.names[0]}\0{view}".encode(), digest_size=8).digest()
    chance = int.from_bytes(digest, "big") / 2**64
    usual, *others = feature.names
    name = usual if chance < USUAL_SHARE or not others else others[int(chance * 1e6) % len(others)]
    return FreeDimension(name=name, score=score, reason=feature.justification(score))


@cache
def _by_name(family: Family) -> dict[str, Feature]:
    return {name: feature for feature in FEATURES[family] for name in feature.names}
